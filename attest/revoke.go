package attest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/attestor-gate/attestor"
)

// A Revocation says what is to be taken back.
type Revocation struct {
	Images    []attestor.Image       // for an index, its children too
	Attestors []string               // none: every one that is configured
	Notes     []string               // further notes to look under: a policy's dsseNote
	Recorded  []attestor.Attestation // what decisions say was made: a list does not show what was stored moments ago
}

// Revoke deletes every attestation of the images that a key of its attestor
// verifies, or that names the gate's own key, whatever repository it names,
// since admission goes by digest. Others admit nothing and are left alone; see
// Standing. What was deleted is returned, also with an error: then the rest
// still admits. Revoking again deletes nothing and is no error. Intents to make
// the attestations anew are dropped first.
func (a *Attester) Revoke(ctx context.Context, r Revocation) ([]attestor.Attestation, error) {
	if len(r.Images) == 0 || slices.ContainsFunc(r.Images, attestor.Image.IsZero) {
		return nil, errors.New("revoking: no image")
	}
	names := r.Attestors
	if len(names) == 0 {
		for _, c := range a.c.Attestors {
			names = append(names, c.Name)
		}
	}
	var errs []error
	if err := a.dropIntents(ctx, r.Images); err != nil {
		errs = append(errs, err)
	}
	a.settled(ctx, r.Images)
	var revoked []attestor.Attestation
	for _, name := range names {
		found, err := a.revocable(ctx, name, r)
		if err != nil {
			errs = append(errs, err)
		}
		for _, c := range found {
			deleted, err := a.revoke(ctx, name, c)
			if err != nil {
				errs = append(errs, err)
			}
			if deleted {
				revoked = append(revoked, c.attestation(name, a.attestors[name].PublicKeyID))
			}
		}
	}
	return revoked, errors.Join(errs...)
}

// dropIntents keeps Recover from bringing back what is being revoked.
func (a *Attester) dropIntents(ctx context.Context, images []attestor.Image) error {
	failed := func(err error) error {
		return fault(attestor.CodeAttestationNotStored, "intents to make an attestation anew could not be dropped", "see to the gate's store, and revoke again", err)
	}
	ctx, cancel := context.WithTimeout(ctx, a.c.CallTimeout)
	defer cancel()
	intents, err := a.c.Journal.Intents(ctx)
	if err != nil {
		return failed(err)
	}
	for id, data := range intents {
		var in intent
		if json.Unmarshal(data, &in) != nil || !slices.Contains(digests(images), in.Image.Digest()) {
			continue
		}
		if err := a.c.Journal.DeleteIntent(ctx, id); err != nil {
			return failed(err)
		}
	}
	return nil
}

// settled waits for what this process is storing about the images, so that it
// is deleted too.
func (a *Attester) settled(ctx context.Context, images []attestor.Image) {
	a.mu.Lock()
	var flights []*flight
	for _, f := range a.flights {
		if slices.Contains(digests(images), f.target.image.Digest()) {
			flights = append(flights, f)
		}
	}
	a.mu.Unlock()
	for _, f := range flights {
		select {
		case <-f.done:
		case <-ctx.Done():
			return
		}
	}
}

// revocable lists what is to be deleted under an attestor, from its note, the
// further notes, and what was recorded or is remembered.
func (a *Attester) revocable(ctx context.Context, name string, r Revocation) ([]checked, error) {
	t, found, err := a.verifier.find(ctx, name, digests(r.Images))
	if err != nil {
		return nil, err
	}
	notes := slices.Clone(r.Notes)
	var recorded []string
	for _, att := range r.Recorded {
		if att.Attestor == name {
			notes = append(notes, att.Note)
			recorded = append(recorded, att.Occurrence)
		}
	}
	slices.Sort(notes)
	notes = slices.DeleteFunc(slices.Compact(notes), func(n string) bool { return !notePattern.MatchString(n) || sameNote(n, t.note) })
	var errs []error
	for _, note := range notes {
		lists, err := a.verifier.lists(ctx, note, digests(r.Images))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for i, d := range digests(r.Images) {
			for _, o := range lists[i] {
				found = append(found, t.check(o, note, d, a.c.Now()))
			}
		}
	}
	notes = append(notes, t.note)
	for _, note := range notes {
		for _, d := range digests(r.Images) {
			if m, ok := a.memory.find(name, note, d); ok {
				recorded = append(recorded, m.occurrence)
			}
		}
	}
	more, err := a.unlisted(ctx, t, notes, recorded, found, r)
	found = append(found, more...)
	if err != nil {
		errs = append(errs, err)
	}
	return slices.DeleteFunc(found, func(c checked) bool { return c.empty() && !c.names(a.attestors[name].PublicKeyID) }), errors.Join(errs...)
}

// unlisted reads the occurrences that are known by name and that no list showed.
func (a *Attester) unlisted(ctx context.Context, t *trust, notes, names []string, found []checked, r Revocation) ([]checked, error) {
	var out []checked
	var errs []error
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if slices.ContainsFunc(found, func(c checked) bool { return c.occurrence.GetName() == name }) || !occurrencePattern.MatchString(name) {
			continue
		}
		o, err := a.verifier.occurrence(ctx, name)
		if err != nil {
			errs = append(errs, err)
		}
		for _, note := range notes {
			for _, d := range digests(r.Images) {
				if o != nil && namesDigest(o.GetResourceUri(), d) && sameNote(o.GetNoteName(), note) {
					out = append(out, t.check(o, note, d, a.c.Now()))
				}
			}
		}
	}
	return out, errors.Join(errs...)
}

// names reports whether a signature claims to be by the key.
func (c checked) names(keyID string) bool {
	for _, s := range c.occurrence.GetAttestation().GetSignatures() {
		if keyID != "" && s.GetPublicKeyId() == keyID {
			return true
		}
	}
	return false
}

// revoke deletes one and looks whether it is gone.
func (a *Attester) revoke(ctx context.Context, name string, c checked) (deleted bool, err error) {
	occurrence := c.occurrence.GetName()
	err = a.delete(ctx, occurrence)
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, writeError("delete "+occurrence, projectOf(occurrence), c.occurrence.GetNoteName(), err)
	}
	left, err := a.verifier.occurrence(ctx, occurrence)
	switch {
	case err != nil:
		return true, err
	case left != nil:
		return false, fault(attestor.CodeAttestationNotStored, fmt.Sprintf("%s was deleted and is still there", occurrence), "revoke again", nil)
	}
	a.memory.forget(name, c.occurrence.GetNoteName(), c.digest)
	a.c.Logger.LogAttrs(ctx, slog.LevelInfo, "attestation revoked", slog.String("attestor", name),
		slog.String("occurrence", occurrence), slog.String("image_digest", string(c.digest)))
	return true, nil
}

func projectOf(occurrence string) string {
	if m := occurrencePattern.FindStringSubmatch(occurrence); m != nil {
		return m[1]
	}
	return occurrence
}
