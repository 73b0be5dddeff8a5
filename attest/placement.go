package attest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/together"
)

// A placement is the state of one task: the occurrences that are stored, the
// signatures that were made, and where they go.
type placement struct {
	a      *Attester
	target target
	trust  *trust
	note   string // where the occurrence belongs

	existing   []checked
	signatures []*grafeaspb.Signature // new, verified

	noUpdates bool // an update was refused
	replaced  bool // what was in the way was deleted
	recreated bool // a first attempt to create it had stored nothing
}

// prepare looks the target up, and signs where no stored occurrence satisfies it.
func (a *Attester) prepare(ctx context.Context, t target, known attestor.Standing) (*placement, error) {
	p := &placement{a: a, target: t}
	var err error
	if p.trust, err = a.verifier.trust(ctx, t.conf.Name, a.c.Now().Add(-keysFor)); err != nil {
		return nil, err
	}

	// The note of a policy's DSSE signatures wins over the attestor's own.
	p.note = t.note
	if p.note == "" {
		p.note = p.trust.note
	}

	if p.existing, err = p.lookUp(ctx, known); err != nil {
		return nil, err
	}

	if _, ok := p.satisfying(p.existing); ok {
		return p, nil
	}
	return p, p.sign(ctx)
}

// lookUp finds the occurrences that are stored. Where known lists none, no call is
// made, unless this process remembers one: then that one is read.
func (p *placement) lookUp(ctx context.Context, known attestor.Standing) ([]checked, error) {
	name, d := p.target.conf.Name, p.target.image.Digest()
	same := func(v attestor.Attestation) bool { return v.Attestor == name && v.Digest == d }
	listed := slices.ContainsFunc(known.Valid, same) ||
		slices.ContainsFunc(known.Invalid, func(v attestor.InvalidAttestation) bool { return same(v.Attestation) })

	// known speaks of plain signatures under the attestor's own note only, and a
	// caller's word that there is nothing is safe to take: what comes of it, at
	// worst, is a second attestation or a conflict, which create follows up.
	var found []checked
	if !known.Known || listed || p.target.note != "" || slices.Contains(p.target.forms, pae) {
		var err error
		if found, err = p.list(ctx); err != nil {
			return nil, err
		}
	}

	// A list may not show yet what this process stored. Reads by name do not lag.
	key := seenKey{name, p.note, d}
	r, ok := p.a.seen.Get(key)
	if !ok || slices.ContainsFunc(found, func(c checked) bool { return c.occurrence.GetName() == r.occurrence }) {
		return found, nil
	}

	c, ok, err := p.read(ctx, r.occurrence)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		p.a.seen.Remove(key)
	default:
		found = append(found, c)
	}
	return found, nil
}

// list reads what is stored under the note, and checks each.
func (p *placement) list(ctx context.Context) ([]checked, error) {
	d := p.target.image.Digest()
	if p.target.note == "" {
		t, found, err := p.a.verifier.find(ctx, p.target.conf.Name, []attestor.Digest{d})
		if err != nil {
			return nil, err
		}
		p.trust, p.note = t, t.note
		return found, nil
	}

	// Under a policy's own note the keys that count are the attestor's all the same.
	occurrences, err := p.a.verifier.lists(ctx, p.note, []attestor.Digest{d})
	if err != nil {
		return nil, err
	}

	var found []checked
	for _, o := range occurrences[0] {
		found = append(found, p.check(o))
	}
	return found, nil
}

// read checks one occurrence as it is now.
func (p *placement) read(ctx context.Context, name string) (checked, bool, error) {
	o, err := p.a.verifier.occurrence(ctx, name)
	if err != nil || o == nil {
		return checked{}, false, err
	}
	return p.check(o), true, nil
}

func (p *placement) check(o *grafeaspb.Occurrence) checked {
	return p.trust.check(o, p.note, p.target.image.Digest(), p.a.c.Now())
}

// satisfying finds an occurrence with all that the target asks for, by the
// signer's own key.
func (p *placement) satisfying(found []checked) (checked, bool) {
	for _, c := range found {
		if c.signedBy(p.target.conf.PublicKeyID, p.target.forms) {
			return c, true
		}
	}
	return checked{}, false
}

// sign makes the signatures, and has them checked in the occurrence that they
// are for, by the code that reads other people's.
func (p *placement) sign(ctx context.Context) error {
	conf := p.target.conf
	alg, t, err := p.a.match(ctx, conf, p.trust)
	if err != nil {
		return err
	}

	p.trust = t
	p.signatures = make([]*grafeaspb.Signature, len(p.target.forms))

	// Each form is signed by the same key, side by side.
	g, gctx := errgroup.WithContext(ctx)
	for i, f := range p.target.forms {
		g.Go(together.Caught(func() error {
			sig, err := conf.Signer.sign(gctx, p.target.warrant, f, alg)
			if err != nil {
				return err
			}
			p.signatures[i] = &grafeaspb.Signature{PublicKeyId: conf.PublicKeyID, Signature: sig}
			return nil
		}))
	}

	if err := g.Wait(); err != nil {
		return err
	}

	// The signature is verified before it is stored, with the key that the attestor
	// has, not with the one that the signer says it used.
	if c := p.check(p.occurrence()); !c.signedBy(conf.PublicKeyID, p.target.forms) {
		return fault(
			attestor.CodeSignatureInvalid,
			conf.Signer.where()+" made a signature that the attestor's key does not verify; it was not stored",
			"try again; if it persists, find out what answers in place of the signing key",
			errors.New(c.why),
		)
	}
	return nil
}

// match finds the attestor's entry for the signer's key. Where there is none,
// both are read again, since either may have changed.
func (a *Attester) match(ctx context.Context, conf AttestorConfig, t *trust) (algorithm, *trust, error) {
	key, err := conf.Signer.load(ctx, false)
	if err != nil {
		return algorithm{}, t, err
	}
	alg, err := t.algorithmFor(conf.PublicKeyID, key)
	if err == nil {
		return alg, t, nil
	}

	// Either may have changed since it was read; a mismatch is an answer only when
	// both were read again.
	if key, err = conf.Signer.load(ctx, true); err != nil {
		return algorithm{}, t, err
	}

	if t, err = a.verifier.trust(ctx, conf.Name, a.c.Now()); err != nil {
		return algorithm{}, t, err
	}

	if alg, err = t.algorithmFor(conf.PublicKeyID, key); err != nil {
		return algorithm{}, t, notOfAttestor(conf, err)
	}
	return alg, t, nil
}

// notOfAttestor is the error of a signer whose key the attestor does not have.
func notOfAttestor(conf AttestorConfig, err error) error {
	return fault(
		attestor.CodeKeyNotOfAttestor,
		err.Error()+", so that admission would accept none of its signatures",
		fmt.Sprintf(
			"add the public key of %s to %s under the id %s: gcloud container binauthz attestors public-keys add",
			conf.Signer.where(),
			conf.Name,
			conf.PublicKeyID,
		),
		nil,
	)
}

// occurrence is a new one with the signatures that were made.
func (p *placement) occurrence() *grafeaspb.Occurrence {
	return &grafeaspb.Occurrence{
		ResourceUri: p.target.image.String(), NoteName: p.note,
		Kind: grafeaspb.NoteKind_ATTESTATION,
		Details: &grafeaspb.Occurrence_Attestation{Attestation: &grafeaspb.AttestationOccurrence{
			SerializedPayload: Payload(p.target.image), Signatures: p.signatures,
		}},
	}
}

// merged is a stored occurrence with the new signatures. A signature is dropped only
// if no present key of the attestor verifies it, or if the same key made it anew.
func (p *placement) merged(c checked) *grafeaspb.Occurrence {
	out := p.occurrence()
	old := c.occurrence.GetAttestation()

	// A signature is over the payload, so that none can be kept where the payload
	// changes.
	var keep []*grafeaspb.Signature
	if bytes.Equal(old.GetSerializedPayload(), out.GetAttestation().GetSerializedPayload()) {
		for _, v := range []struct {
			form  form
			valid []int
		}{{plain, c.plain}, {pae, c.pae}} {
			for _, i := range v.valid {
				s := old.GetSignatures()[i]
				if s.GetPublicKeyId() != p.target.conf.PublicKeyID || !slices.Contains(p.target.forms, v.form) {
					keep = append(keep, s)
				}
			}
		}
	}

	merged, ok := proto.Clone(c.occurrence).(*grafeaspb.Occurrence)
	if !ok {
		return out // cannot be: a clone has its original's type
	}
	merged.Details = &grafeaspb.Occurrence_Attestation{Attestation: &grafeaspb.AttestationOccurrence{
		SerializedPayload: out.GetAttestation().GetSerializedPayload(), Signatures: append(keep, p.signatures...),
	}}
	return merged
}

// updatable finds an occurrence that can take the new signatures by an update: of
// this very image, preferably one that admits it already, else one in which
// nothing verifies and nothing can be lost.
func (p *placement) updatable(found []checked) (checked, bool) {
	if p.noUpdates {
		return checked{}, false
	}
	var invalid *checked
	for _, c := range found {
		switch {
		case !p.sameResource(c):
		case bytes.Equal(c.occurrence.GetAttestation().GetSerializedPayload(), Payload(p.target.image)) && !c.empty():
			return c, true
		case c.empty() && invalid == nil:
			invalid = &c
		}
	}

	if invalid == nil {
		return checked{}, false
	}
	return *invalid, true
}

// empty reports whether nothing in the occurrence verifies.
func (c checked) empty() bool { return len(c.plain) == 0 && len(c.pae) == 0 }

// sameResource reports whether the occurrence is of this very image, under this
// note. Container Analysis takes the resource with and without a scheme.
func (p *placement) sameResource(c checked) bool {
	uri := strings.TrimPrefix(c.occurrence.GetResourceUri(), "https://")
	return uri == p.target.image.String() && sameNote(c.occurrence.GetNoteName(), p.note)
}

// done is the attestation for the Decision.
func (p *placement) done(c checked, created bool) attestor.Attestation {
	a := c.attestation(p.target.conf.Name, p.target.conf.PublicKeyID)
	a.Created = created
	return a
}
