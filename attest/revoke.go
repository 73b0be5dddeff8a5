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

// A Revocation names the attestations to delete.
type Revocation struct {
	Images    []attestor.Image       // for an index, its children too
	Attestors []string               // none: every one that is configured
	Notes     []string               // further notes to search: a policy's dsseNote
	Recorded  []attestor.Attestation // made according to decisions: lists do not show what was stored moments ago
}

// Revoke deletes every attestation of the images that a key of its attestor
// verifies, or that names the gate's own key, whatever repository it names, since
// admission goes by digest. Other occurrences admit nothing and are kept; Standing
// lists them. The deleted attestations are returned, also with an error: then the
// rest still admits. Revoking again deletes nothing and is no error. Intents to
// make the attestations anew are dropped first.
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

	// The order matters: an intent that is left would bring an attestation back, and a
	// task that is running would store one after the search.
	if err := a.dropIntents(ctx, r.Images); err != nil {
		errs = append(errs, err)
	}

	a.awaitTasks(ctx, r.Images)

	// One failure does not end the rest: each attestation that goes is one that admits
	// no more.
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
		return fault(
			attestor.CodeAttestationNotStored,
			"intents to make an attestation anew could not be dropped",
			"check the gate's database, then revoke again",
			err,
		)
	}

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

// awaitTasks waits for what this process is storing about the images, so that it
// is deleted too.
func (a *Attester) awaitTasks(ctx context.Context, images []attestor.Image) {
	var tasks []*task
	a.mu.Lock()
	for _, k := range a.tasks {
		if slices.Contains(digests(images), k.target.image.Digest()) {
			tasks = append(tasks, k)
		}
	}

	a.mu.Unlock()

	for _, k := range tasks {
		if !k.stored.wait(ctx) {
			return // what it stores is not deleted: the lists that follow fail with ctx
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

	// Attestations under another note admit too: a policy's dsseNote, or the note of
	// an earlier attestor.
	notes := slices.Clone(r.Notes)
	var recorded []string
	for _, att := range r.Recorded {
		if att.Attestor == name {
			notes = append(notes, att.Note)
			recorded = append(recorded, att.Occurrence)
		}
	}

	// Names come from records and from the caller; only those of notes are asked for.
	slices.Sort(notes)
	notes = slices.DeleteFunc(
		slices.Compact(notes),
		func(n string) bool { return !notePattern.MatchString(n) || sameNote(n, t.note) },
	)

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

	// What this process stored moments ago may be in no list yet.
	notes = append(notes, t.note)
	for _, note := range notes {
		for _, d := range digests(r.Images) {
			if o, ok := a.seen.Get(seenKey{name, note, d}); ok {
				recorded = append(recorded, o.occurrence)
			}
		}
	}

	// Records and memory name occurrences; reads by name do not lag.
	more, err := a.unlisted(ctx, t, notes, recorded, found, r)
	found = append(found, more...)
	if err != nil {
		errs = append(errs, err)
	}

	return slices.DeleteFunc(
			found,
			func(c checked) bool { return c.empty() && !c.names(a.attestors[name].PublicKeyID) },
		), errors.Join(
			errs...)
}

// unlisted reads the occurrences that are known by name and that no list showed. A
// name is a hint: an occurrence counts only if it is of one of the digests, under
// one of the notes.
func (a *Attester) unlisted(
	ctx context.Context,
	t *trust,
	notes, names []string,
	found []checked,
	r Revocation,
) ([]checked, error) {
	var out []checked
	var errs []error
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if slices.ContainsFunc(found, func(c checked) bool { return c.occurrence.GetName() == name }) ||
			!occurrencePattern.MatchString(name) {
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

// revoke deletes an occurrence and reads it again, since only its absence means
// that it admits no more.
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
		return false, fault(
			attestor.CodeAttestationNotStored,
			fmt.Sprintf("%s is still readable after its deletion", occurrence),
			"revoke again",
			nil,
		)
	}

	a.seen.Remove(seenKey{name, c.occurrence.GetNoteName(), c.digest})
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
