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
)

// A placement is the state of one flight: what stands, what was signed, and
// where it goes.
type placement struct {
	a      *Attester
	target target
	trust  *trust
	note   string // where the occurrence belongs

	existing   []checked
	signatures []*grafeaspb.Signature // new, verified

	noUpdates bool // an update was refused
	replaced  bool // what stood in the way was deleted
}

// prepare finds out whether the target stands, and signs if it does not.
func (a *Attester) prepare(ctx context.Context, t target, known attestor.Standing) (*placement, error) {
	p := &placement{a: a, target: t}
	var err error
	if p.trust, err = a.verifier.trust(ctx, t.conf.Name, a.c.Now().Add(-keysFor)); err != nil {
		return nil, err
	}
	p.note = t.note
	if p.note == "" {
		p.note = p.trust.note
	}
	if p.existing, err = p.look(ctx, known); err != nil {
		return nil, err
	}
	if _, ok := p.complete(p.existing); ok {
		return p, nil
	}
	return p, p.sign(ctx)
}

// look costs nothing where known says that there is nothing, unless this
// process remembers otherwise: then that occurrence is read.
func (p *placement) look(ctx context.Context, known attestor.Standing) ([]checked, error) {
	name, d := p.target.conf.Name, p.target.image.Digest()
	listed := slices.ContainsFunc(known.Valid, func(v attestor.Attestation) bool { return v.Attestor == name && v.Digest == d }) ||
		slices.ContainsFunc(known.Invalid, func(v attestor.InvalidAttestation) bool { return v.Attestor == name && v.Digest == d })
	var found []checked
	if !known.Known || listed || p.target.note != "" || slices.Contains(p.target.forms, pae) {
		var err error
		if found, err = p.list(ctx); err != nil {
			return nil, err
		}
	}
	r, ok := p.a.memory.find(name, p.note, d)
	if !ok || slices.ContainsFunc(found, func(c checked) bool { return c.occurrence.GetName() == r.occurrence }) {
		return found, nil
	}
	c, ok, err := p.read(ctx, r.occurrence)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		p.a.memory.forget(name, p.note, d)
	default:
		found = append(found, c)
	}
	return found, nil
}

// list asks what stands, and has it checked.
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
	occurrences, err := p.a.verifier.list(ctx, p.note, d)
	if err != nil {
		return nil, err
	}
	var found []checked
	for _, o := range occurrences {
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

// complete finds an occurrence with all that the target asks for, by the
// signer's own key.
func (p *placement) complete(found []checked) (checked, bool) {
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
	g, gctx := errgroup.WithContext(ctx)
	for i, f := range p.target.forms {
		g.Go(func() error {
			sig, err := conf.Signer.sign(gctx, p.target.warrant, f, alg)
			if err != nil {
				return err
			}
			p.signatures[i] = &grafeaspb.Signature{PublicKeyId: conf.PublicKeyID, Signature: sig}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if c := p.check(p.occurrence()); !c.signedBy(conf.PublicKeyID, p.target.forms) {
		return fault(attestor.CodeSignatureInvalid, conf.Signer.where()+" made a signature that the attestor's key does not verify; it was not stored",
			"try again; if it stays so, find out what answers in place of the signing key", errors.New(c.why))
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
	alg, err := t.find(conf.PublicKeyID, key)
	if err == nil {
		return alg, t, nil
	}
	if key, err = conf.Signer.load(ctx, true); err != nil {
		return algorithm{}, t, err
	}
	if t, err = a.verifier.trust(ctx, conf.Name, a.c.Now()); err != nil {
		return algorithm{}, t, err
	}
	if alg, err = t.find(conf.PublicKeyID, key); err != nil {
		return algorithm{}, t, notOfAttestor(conf, err)
	}
	return alg, t, nil
}

func notOfAttestor(conf AttestorConfig, err error) error {
	return fault(attestor.CodeKeyNotOfAttestor, err.Error()+", so that nothing it signs would be accepted",
		fmt.Sprintf("add the public key of %s to %s under the id %s: gcloud container binauthz attestors public-keys add", conf.Signer.where(), conf.Name, conf.PublicKeyID), nil)
}

// occurrence is what is to be stored, where nothing is there yet.
func (p *placement) occurrence() *grafeaspb.Occurrence {
	return &grafeaspb.Occurrence{
		ResourceUri: p.target.image.String(), NoteName: p.note,
		Kind: grafeaspb.NoteKind_ATTESTATION,
		Details: &grafeaspb.Occurrence_Attestation{Attestation: &grafeaspb.AttestationOccurrence{
			SerializedPayload: Payload(p.target.image), Signatures: p.signatures,
		}},
	}
}

// merged is an occurrence with the new signatures: one is dropped only if no
// present key of the attestor verifies it, or if the same key made it anew.
func (p *placement) merged(c checked) *grafeaspb.Occurrence {
	out := p.occurrence()
	old := c.occurrence.GetAttestation()
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

// updatable finds an occurrence that can take the new signatures in place: of
// this very image, and with nothing in it that would be lost.
func (p *placement) updatable(found []checked) (checked, bool) {
	if p.noUpdates {
		return checked{}, false
	}
	var second *checked
	for _, c := range found {
		switch {
		case !p.sameResource(c):
		case bytes.Equal(c.occurrence.GetAttestation().GetSerializedPayload(), Payload(p.target.image)) && !c.empty():
			return c, true
		case c.empty() && second == nil:
			second = &c
		}
	}
	if second == nil {
		return checked{}, false
	}
	return *second, true
}

// empty reports whether nothing in the occurrence verifies.
func (c checked) empty() bool { return len(c.plain) == 0 && len(c.pae) == 0 }

func (p *placement) sameResource(c checked) bool {
	uri := strings.TrimPrefix(c.occurrence.GetResourceUri(), "https://")
	return uri == p.target.image.String() && sameNote(c.occurrence.GetNoteName(), p.note)
}

// done is the attestation that stands.
func (p *placement) done(c checked, created bool) attestor.Attestation {
	a := c.attestation(p.target.conf.Name, p.target.conf.PublicKeyID)
	a.Created = created
	return a
}
