package attest

import (
	"fmt"
	"slices"

	"github.com/attestor-gate/attestor"
)

// A target is one occurrence to be made: an attestor's statement about one image.
type target struct {
	conf    AttestorConfig
	image   attestor.Image
	warrant warrant // zero where an intent is completed: nothing is signed then
	note    string  // "": the attestor's own
	forms   []form
	last    bool // an index: stored when everything else is
}

// targetKey is equal for targets that the same occurrence satisfies.
type targetKey struct {
	attestor, note, image string
	pae                   bool
}

func (t target) key() targetKey {
	return targetKey{
		attestor: t.conf.Name,
		note:     t.note,
		image:    t.image.String(),
		pae:      slices.Contains(t.forms, pae),
	}
}

// targets lists the occurrences that an authorization asks for.
func (a *Attester) targets(auth attestor.Authorization) ([]target, error) {
	ws, err := warrants(auth)
	if err != nil {
		return nil, err
	}

	dsse, dsseNote := auth.DSSE()
	if dsse && dsseNote != "" && !notePattern.MatchString(dsseNote) {
		return nil, fault(
			attestor.CodeAttestorUnavailable,
			fmt.Sprintf("dsseNote %q is not a note", short(dsseNote)),
			"write projects/PROJECT/notes/NOTE in the policy",
			nil,
		)
	}

	// The DSSE signature is stored beside the plain one where it has no note of its
	// own: both sign the same payload, and an occurrence holds several signatures.
	forms := []form{plain}
	if dsse && dsseNote == "" {
		forms = append(forms, pae)
	}

	var out []target
	for _, w := range ws {
		last := len(ws) > 1 && w.image == auth.Image()
		for _, name := range auth.Attestors() {
			// One attestor without a signer fails the whole request before
			// anything is signed: a part of the attestations admits nothing.
			conf, err := a.configured(name)
			if err != nil {
				return nil, err
			}

			t := target{conf: conf, image: w.image, warrant: w, forms: forms, last: last}
			out = append(out, t)
			if dsse && dsseNote != "" {
				t.note, t.forms = dsseNote, []form{pae}
				out = append(out, t)
			}
		}
	}
	return out, nil
}

// known returns the attestation of the target that s lists, if it is one that
// this Attester verified itself and that the signer's own key made. Whatever
// else s lists is looked up again: the caller's word is no evidence.
func (a *Attester) known(t target, s attestor.Standing) (attestor.Attestation, bool) {
	// A Standing speaks of the attestor's own note and of plain signatures only.
	if !s.Known || t.note != "" || slices.Contains(t.forms, pae) {
		return attestor.Attestation{}, false
	}

	for _, v := range s.By(t.conf.Name, t.image) {
		if v.PublicKeyID != t.conf.PublicKeyID {
			continue
		}
		r, ok := a.seen.Get(seenKey{v.Attestor, v.Note, v.Digest})
		if ok && r.occurrence == v.Occurrence && r.keyID == v.PublicKeyID {
			v.Created = false
			return v, true
		}
	}
	return attestor.Attestation{}, false
}
