package attest

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
)

var notePattern = regexp.MustCompile(`^projects/[^/]+(/locations/[^/]+)?/notes/[^/]+$`)

// trust is an attestor as it was read: where its attestations are, and the
// keys that verify them.
type trust struct {
	attestor string
	note     string
	keys     []attestorKey
	read     time.Time
	verified *verified
}

func newTrust(att *binaryauthorizationpb.Attestor, read time.Time) *trust {
	t := &trust{attestor: att.GetName(), note: att.GetUserOwnedGrafeasNote().GetNoteReference(), read: read, verified: &verified{}}
	for _, k := range att.GetUserOwnedGrafeasNote().GetPublicKeys() {
		t.keys = append(t.keys, newAttestorKey(k))
	}
	return t
}

// A checked is an occurrence with what its signatures are worth.
type checked struct {
	occurrence *grafeaspb.Occurrence
	digest     attestor.Digest
	plain      []int  // signatures that verify over the payload
	pae        []int  // signatures that verify over its DSSE encoding
	why        string // why it does not admit; "" if it does
}

// VerifyOccurrence returns nil if an occurrence admits the digest under an
// attestor, and why it does not otherwise. It needs nothing but its arguments.
func VerifyOccurrence(att *binaryauthorizationpb.Attestor, o *grafeaspb.Occurrence, d attestor.Digest, now time.Time) error {
	t := newTrust(att, now)
	if c := t.check(o, t.note, d, now); c.why != "" {
		return errors.New(c.why)
	}
	return nil
}

// check judges an occurrence as admission does: it is about the digest, under
// the note, and at least one signature verifies with a key that the attestor
// has under that id.
func (t *trust) check(o *grafeaspb.Occurrence, note string, d attestor.Digest, now time.Time) checked {
	c := checked{occurrence: o, digest: d}
	att := o.GetAttestation()
	switch {
	case att == nil:
		c.why = "it is no attestation"
	case !sameNote(o.GetNoteName(), note):
		c.why = fmt.Sprintf("it is under the note %q", short(o.GetNoteName()))
	case !namesDigest(o.GetResourceUri(), d):
		c.why = fmt.Sprintf("it is about %q", short(o.GetResourceUri()))
	case len(t.keys) == 0:
		c.why = "the attestor has no keys"
	case len(att.GetSignatures()) == 0:
		c.why = "it holds no signature"
	case len(att.GetSignatures()) > maxSignatures:
		c.why = fmt.Sprintf("it holds more than %d signatures", maxSignatures)
	}
	if c.why != "" {
		return c
	}
	payload := att.GetSerializedPayload()
	if err := checkStatement(payload, d); err != nil {
		c.why = err.Error()
		return c
	}
	encoded := dssePAE(payload)
	for i, s := range att.GetSignatures() {
		err := t.verify(s.GetPublicKeyId(), payload, s.GetSignature(), now)
		switch {
		case err == nil:
			c.plain = append(c.plain, i)
		case t.verify(s.GetPublicKeyId(), encoded, s.GetSignature(), now) == nil:
			c.pae = append(c.pae, i)
		default:
			c.why = err.Error()
		}
	}
	switch {
	case len(c.plain) > 0:
		c.why = ""
	case c.why == "":
		c.why = "it holds a signature for continuous validation only"
	}
	return c
}

// verify tries the keys of that id. The id is a hint for the look-up and
// nothing else; one that the attestor does not have verifies nothing.
func (t *trust) verify(id string, message, signature []byte, now time.Time) error {
	err := fmt.Errorf("its key %q is not one of the attestor's", short(id))
	for i, k := range t.keys {
		if k.id != id || id == "" {
			continue
		}
		lasting := k.pgp == nil && k.problem == nil // a PGP key may expire between two checks
		sum := signatureSum(i, message, signature)
		if lasting && t.verified.has(sum) {
			return nil
		}
		if err = k.verify(message, signature, now); err == nil {
			if lasting {
				t.verified.note(sum)
			}
			return nil
		}
	}
	return err
}

// find returns the attestor's entry for a signer's key: the same id, the same
// key, an algorithm with which the signer can sign.
func (t *trust) find(id string, key signerKey) (algorithm, error) {
	err := fmt.Errorf("attestor %s has no key with the id %q", t.attestor, id)
	for _, k := range t.keys {
		if k.id != id {
			continue
		}
		alg, known := algorithmOf(k.algorithm)
		switch {
		case k.problem != nil:
			err = fmt.Errorf("attestor %s has a key with the id %q that cannot be used: %w", t.attestor, id, k.problem)
		case !samePublicKey(k.public, key.public):
			err = fmt.Errorf("attestor %s has another public key under the id %q", t.attestor, id)
		case !known || !alg.fits(key.public):
			err = fmt.Errorf("attestor %s has the key %q with the algorithm %s, which does not fit it", t.attestor, id, k.algorithm)
		case key.fixed && key.alg.id != alg.id:
			err = fmt.Errorf("attestor %s has the key %q with the algorithm %s, but it signs by %s", t.attestor, id, k.algorithm, key.alg.id)
		default:
			return alg, nil
		}
	}
	return algorithm{}, err
}

// keyIDs are those of the signatures that admit.
func (c checked) keyIDs() []string {
	var ids []string
	for _, i := range c.plain {
		ids = append(ids, c.occurrence.GetAttestation().GetSignatures()[i].GetPublicKeyId())
	}
	return ids
}

// signedBy reports whether the key made a valid signature in each form.
func (c checked) signedBy(keyID string, forms []form) bool {
	sigs := c.occurrence.GetAttestation().GetSignatures()
	for _, f := range forms {
		valid := c.plain
		if f == pae {
			valid = c.pae
		}
		if !slices.ContainsFunc(valid, func(i int) bool { return sigs[i].GetPublicKeyId() == keyID }) {
			return false
		}
	}
	return len(forms) > 0
}

// attestation is the occurrence as a Decision shows it. Of several keys that
// verify, the preferred one is named.
func (c checked) attestation(attestorName, preferred string) attestor.Attestation {
	a := attestor.Attestation{
		Attestor: attestorName, Note: c.occurrence.GetNoteName(), Occurrence: c.occurrence.GetName(), Digest: c.digest,
	}
	if t := c.occurrence.GetCreateTime(); t.IsValid() {
		a.Since = t.AsTime()
	}
	ids := c.keyIDs() // whole: they are the attestor's own
	if len(ids) == 0 {
		for _, s := range c.occurrence.GetAttestation().GetSignatures() {
			ids = append(ids, short(s.GetPublicKeyId()))
		}
	}
	switch {
	case slices.Contains(ids, preferred):
		a.PublicKeyID = preferred
	case len(ids) > 0:
		a.PublicKeyID = ids[0]
	}
	return a
}

func samePublicKey(a, b crypto.PublicKey) bool {
	if a == nil || b == nil {
		return false
	}
	x, err := x509.MarshalPKIXPublicKey(a)
	if err != nil {
		return false
	}
	y, err := x509.MarshalPKIXPublicKey(b)
	return err == nil && bytes.Equal(x, y)
}

// sameNote compares two notes' names; the global location may be spelt out.
func sameNote(a, b string) bool {
	a, b = strings.Replace(a, "/locations/global/", "/", 1), strings.Replace(b, "/locations/global/", "/", 1)
	return a == b && notePattern.MatchString(a)
}
