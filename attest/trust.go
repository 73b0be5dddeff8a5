package attest

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/lru"
)

var notePattern = regexp.MustCompile(`^projects/[^/]+(/locations/[^/]+)?/notes/[^/]+$`)

// trust is an attestor as it was read: the note of its attestations, and the keys
// that verify them.
type trust struct {
	attestor string
	note     string
	keys     []attestorKey
	read     time.Time
	verified *verifiedSignatures
}

func newTrust(att *binaryauthorizationpb.Attestor, read time.Time) *trust {
	t := &trust{
		attestor: att.GetName(),
		note:     att.GetUserOwnedGrafeasNote().GetNoteReference(),
		read:     read,
		verified: lru.New[[sha256.Size]byte, struct{}](maxVerified),
	}

	for _, k := range att.GetUserOwnedGrafeasNote().GetPublicKeys() {
		t.keys = append(t.keys, newAttestorKey(k))
	}
	return t
}

// A checked is an occurrence with its valid signatures.
type checked struct {
	occurrence *grafeaspb.Occurrence
	digest     attestor.Digest
	plain      []int  // signatures that verify over the payload
	pae        []int  // signatures that verify over its DSSE encoding
	why        string // why it does not admit; "" if it does
}

// check verifies an occurrence as admission does. An attestation admits a digest under
// an attestor if it is under the attestor's note, names the digest, and at least one
// of its signatures is verified by the attestor's key with the id that the signature
// gives.
func (t *trust) check(o *grafeaspb.Occurrence, note string, d attestor.Digest, now time.Time) checked {
	c := checked{occurrence: o, digest: d}
	att := o.GetAttestation()

	// For each of these alone admission refuses the attestation, whatever its signatures are.
	switch {
	case att == nil:
		c.why = "it is not an attestation"
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

	// The resource URI is metadata that any writer of the note chooses. What was
	// signed is the payload, so that the payload must name the digest itself.
	payload := att.GetSerializedPayload()
	if err := checkStatement(payload, d); err != nil {
		c.why = err.Error()
		return c
	}

	// One valid signature is enough, whatever else is stored beside it: other writers
	// of the note must not be able to spoil it.
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
	// Admission reads signatures over the payload. One over its DSSE encoding alone
	// serves continuous validation and admits nothing.
	case len(c.plain) > 0:
		c.why = ""
	case c.why == "":
		c.why = "it holds a signature for continuous validation only"
	}
	return c
}

// verify tries the keys of that id. The id only selects keys; an id that the
// attestor does not have, or an empty one, verifies nothing.
func (t *trust) verify(id string, message, signature []byte, now time.Time) error {
	err := fmt.Errorf("its key %q is not one of the attestor's", short(id))
	for i, k := range t.keys {
		if k.id != id || id == "" {
			continue
		}

		// The same bytes verify by the same key again, unless the key may expire
		// between two checks, as a PGP key does.
		lasting := k.pgp == nil && k.problem == nil
		sum := signatureSum(i, message, signature)
		if _, ok := t.verified.Get(sum); ok && lasting {
			return nil
		}

		if err = k.verify(message, signature, now); err == nil {
			if lasting {
				t.verified.Put(sum, struct{}{}, 1)
			}
			return nil
		}
	}
	return err
}

// algorithmFor returns the algorithm of the attestor's entry for a signer's key:
// the same id, the same key, an algorithm with which the signer can sign.
func (t *trust) algorithmFor(id string, key signerKey) (algorithm, error) {
	err := fmt.Errorf("attestor %s has no key with the id %q", t.attestor, id)
	for _, k := range t.keys {
		if k.id != id {
			continue
		}

		// The id alone proves nothing: the key itself must be the signer's, or
		// admission would verify with another.
		alg, known := algorithmOf(k.algorithm)
		switch {
		case k.problem != nil:
			err = fmt.Errorf("attestor %s has a key with the id %q that cannot be used: %w", t.attestor, id, k.problem)
		case !samePublicKey(k.public, key.public):
			err = fmt.Errorf("attestor %s has another public key under the id %q", t.attestor, id)
		case !known || !alg.fits(key.public):
			err = fmt.Errorf(
				"attestor %s has the key %q with the algorithm %s, which does not fit it",
				t.attestor,
				id,
				k.algorithm,
			)
		case key.fixed && key.alg.id != alg.id:
			err = fmt.Errorf(
				"attestor %s has the key %q with the algorithm %s, but it signs by %s",
				t.attestor,
				id,
				k.algorithm,
				key.alg.id,
			)
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

	// These ids are the attestor's own and are shown whole; those of invalid
	// signatures are a stranger's text.
	ids := c.keyIDs()
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

	// Keys are compared by their SubjectPublicKeyInfo, the form in which the attestor
	// holds them. A key that has none equals nothing.
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
