package attest_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
)

// names puts occurrences into the list of what an intent deletes.
func (r *rotation) names(intents map[string][]byte, occurrences ...*grafeaspb.Occurrence) {
	r.t.Helper()
	for id, data := range intents {
		var in map[string]any
		must(r.t, json.Unmarshal(data, &in))
		names := []string{}
		for _, o := range occurrences {
			names = append(names, o.GetName())
		}
		in["delete"] = names
		data, err := json.Marshal(in)
		must(r.t, err)
		must(r.t, r.journal.PutIntent(r.t.Context(), id, data))
	}
}

// An intent names what no key of the attestor verified when it was written. If
// a key verifies it by the time the intent is completed (the attestor has its
// old key again), it admits the image, and stays: deleting it would end running
// admissions for as long as the create takes, or for ever if that fails.
func TestRecoverDeletesNothingThatAdmits(t *testing.T) {
	for name, keyIsBack := range map[string]bool{"the old key is back": true, "the old key has left": false} {
		t.Run(name, func(t *testing.T) {
			r, intents := interrupted(t)
			r.SetBehaviour(emulator.Behaviour{RefuseUpdates: true, Uniqueness: emulator.UniqueNone})
			old := r.put(r.existing("rotated"))
			r.names(intents, old)
			if keyIsBack {
				r.keys(attestorName, pkix(t, "old", r.old.Public(), p256), pkix(t, attest.KeyID(r.signer), r.mine.Public(), p256))
			}
			r.ResetCalls()

			must(t, r.gate.Recover(t.Context()))

			deleted := len(r.Calls("DeleteOccurrence"))
			stays := false
			for _, o := range r.stored(noteName) {
				stays = stays || o.GetName() == old.GetName()
			}
			if keyIsBack && (deleted != 0 || !stays || !r.valid(attestorName, old)) {
				t.Errorf("what the old key verifies: %d deleted, stays %t", deleted, stays)
			}
			if !keyIsBack && (deleted != 1 || stays) {
				t.Errorf("what no key verifies: %d deleted, stays %t", deleted, stays)
			}
			mine, err := r.journal.Intents(t.Context())
			must(t, err)
			if len(mine) != 0 {
				t.Errorf("%d intents are left", len(mine))
			}
		})
	}
}

// interruptedFor is a gate that deleted what was in the way under a note, and
// then could not create there: its intent is left.
func interruptedFor(t *testing.T, needs attestor.AttestNeeds, note string) *rotation {
	t.Helper()
	r := newRotation(t, emulator.Behaviour{RefuseUpdates: true}, false)
	if note != noteName {
		r.note(note)
	}
	r.put(change(r.existing("rotated"), func(o *grafeaspb.Occurrence) { o.NoteName = note }))
	r.Inject(emulator.Fault{Method: "CreateOccurrence", Skip: 1, Match: about(note), Code: codes.PermissionDenied})
	_, err := r.gate.Attest(t.Context(), authorize(t, image(t, 1), needs), attestor.Standing{}, recorded)
	wantError(t, err, attestor.CodeAttestorDenied)
	r.ClearFaults()
	if n := r.intents(); n != 1 {
		t.Fatalf("%d intents", n)
	}

	return r
}

func (r *rotation) intents() int {
	r.t.Helper()
	intents, err := r.journal.Intents(r.t.Context())
	must(r.t, err)

	return len(intents)
}

// An intent is completed in the form that it was signed for: both signatures in
// one occurrence, or the second one under a note of its own.
func TestRecoverCompletesEachForm(t *testing.T) {
	const cv = "projects/sec/notes/cv"
	for name, tt := range map[string]struct {
		needs      attestor.AttestNeeds
		note       string
		signatures int
	}{
		"plain":                {attestor.AttestNeeds{}, noteName, 1},
		"both":                 {attestor.AttestNeeds{DSSE: true}, noteName, 2},
		"under a note its own": {attestor.AttestNeeds{DSSE: true, DSSENote: cv}, cv, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := interruptedFor(t, tt.needs, tt.note)

			must(t, r.gate.Recover(t.Context()))

			var mine []*grafeaspb.Occurrence
			for _, o := range r.stored(tt.note) {
				if s := o.GetAttestation().GetSignatures(); s[0].GetPublicKeyId() == attest.KeyID(r.signer) {
					mine = append(mine, o)
				}
			}
			if len(mine) != 1 || len(mine[0].GetAttestation().GetSignatures()) != tt.signatures || r.intents() != 0 {
				t.Errorf("stored under %s: %v; %d intents left", tt.note, mine, r.intents())
			}
			r.clock.advance(-time.Hour) // stored looked an hour ahead
			made, err := r.gate.Attest(t.Context(), authorize(t, image(t, 1), tt.needs), attestor.Standing{}, recorded)
			must(t, err)
			for _, a := range made {
				if a.Created {
					t.Errorf("it is not what was asked for: %+v was made again", a)
				}
			}
		})
	}
}

// Intents of different images are kept apart.
func TestEachImageHasItsIntent(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{RefuseUpdates: true}, false)
	r.put(r.existing("rotated"))
	r.put(signed(t, r.old, "old", image(t, 2).String(), attest.Payload(image(t, 2))))
	for n := range 2 {
		img := image(t, n+1)
		r.Inject(emulator.Fault{Method: "CreateOccurrence", Skip: 1, Match: about(string(img.Digest())), Code: codes.PermissionDenied})
		_, err := r.gate.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{}), attestor.Standing{}, recorded)
		wantError(t, err, attestor.CodeAttestorDenied)
	}
	if n := r.intents(); n != 2 {
		t.Errorf("%d intents for two images", n)
	}
}

// An intent is completed for an hour, by either clock, and not a moment longer.
func TestRecoverWithinAnHour(t *testing.T) {
	for age, want := range map[time.Duration]bool{time.Hour: true, time.Hour + 1: false, -time.Hour: true, -time.Hour - 1: false} {
		r, intents := interrupted(t)
		c := r.config(attest.AttestorConfig{Name: attestorName, Signer: r.signer})
		for _, data := range intents {
			var in struct{ Time time.Time }
			must(t, json.Unmarshal(data, &in))
			c.Now = func() time.Time { return in.Time.Add(age) }
		}
		gate, err := attest.New(c)
		must(t, err)
		gate.SetPause(r.clock.pause)
		r.ResetCalls()

		must(t, gate.Recover(t.Context()))

		if created := len(r.Calls("CreateOccurrence")); created > 0 != want || r.intents() != 0 {
			t.Errorf("at an age of %s: %d created, %d intents left", age, created, r.intents())
		}
	}
}

// What fails while an intent is completed leaves it for the next time, and what
// is done by then is not done again.
func TestRecoverThatFailsTriesAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		fault   emulator.Fault
		deletes bool // there is something to delete
		created int
		fails   bool
	}{
		"nothing":             {emulator.Fault{Method: "none"}, true, 1, false},
		"the list":            {emulator.Fault{Method: "ListNoteOccurrences", Code: codes.PermissionDenied}, true, 0, true},
		"the look":            {emulator.Fault{Method: "GetOccurrence", Code: codes.PermissionDenied}, true, 0, true},
		"the delete":          {emulator.Fault{Method: "DeleteOccurrence", Code: codes.PermissionDenied}, true, 0, true},
		"the delete, gone":    {emulator.Fault{Method: "DeleteOccurrence", Code: codes.NotFound}, true, 1, false},
		"nothing to delete":   {emulator.Fault{Method: "DeleteOccurrence", Code: codes.PermissionDenied}, false, 1, false},
		"the create, refused": {emulator.Fault{Method: "CreateOccurrence", Code: codes.PermissionDenied}, false, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, intents := interrupted(t)
			r.SetBehaviour(emulator.Behaviour{RefuseUpdates: true, Uniqueness: emulator.UniqueNone})
			if tt.deletes {
				r.names(intents, r.put(r.existing("rotated")))
			}
			r.Inject(tt.fault)
			r.ResetCalls()

			err := r.gate.Recover(t.Context())

			left := map[bool]int{true: 1, false: 0}[tt.fails]
			if created := len(r.Calls("CreateOccurrence")); (err != nil) != tt.fails || created != tt.created || r.intents() != left {
				t.Errorf("%v; %d created, %d intents left; want %d and %d", err, created, r.intents(), tt.created, left)
			}
		})
	}
}

// An intent whose attestation is stored already is dropped without a write.
func TestRecoverOfWhatIsDone(t *testing.T) {
	r, _ := interrupted(t)
	r.put(signed(t, r.mine, attest.KeyID(r.signer), image(t, 1).String(), attest.Payload(image(t, 1))))
	r.ResetCalls()
	must(t, r.gate.Recover(t.Context()))
	if writes := len(r.Calls("CreateOccurrence", "DeleteOccurrence", "UpdateOccurrence")); writes != 0 || r.intents() != 0 {
		t.Errorf("%d writes, %d intents left", writes, r.intents())
	}
}

// forgetful is a journal that cannot be read.
type forgetful struct{ *memoryJournal }

func (forgetful) Intents(context.Context) (map[string][]byte, error) {
	return nil, errors.New("disk failed")
}

func TestRecoverWithoutAJournalIsAnError(t *testing.T) {
	r, _ := interrupted(t)
	c := r.config(attest.AttestorConfig{Name: attestorName, Signer: r.signer})
	c.Journal = forgetful{r.journal}
	gate, err := attest.New(c)
	must(t, err)
	if err := gate.Recover(t.Context()); err == nil || !strings.Contains(err.Error(), "disk failed") {
		t.Errorf("recovering: %v", err)
	}
}

// tenacious is a journal that nothing can be deleted from.
type tenacious struct{ *memoryJournal }

func (tenacious) DeleteIntent(context.Context, string) error { return errors.New("disk full") }

// An intent that is done, and could not be removed, is not called completed: the
// next recovery finds it.
func TestRecoverThatCannotForgetIsAnError(t *testing.T) {
	r, _ := interrupted(t)
	c := r.config(attest.AttestorConfig{Name: attestorName, Signer: r.signer})
	c.Journal = tenacious{r.journal}
	gate, err := attest.New(c)
	must(t, err)
	if err := gate.Recover(t.Context()); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("recovering: %v", err)
	}
	if r.intents() != 1 {
		t.Errorf("%d intents left", r.intents())
	}
}

// A deletion that was refused ends the attempt before anything is created. Its
// intent is forgotten only if nothing was changed: if an earlier deletion took
// effect, or this one may have, what was deleted has to be made good.
func TestDeletionsThatFailWhileReplacing(t *testing.T) {
	for name, tt := range map[string]struct {
		blockers int
		fault    emulator.Fault
		left     int // intents
	}{
		"refused":                        {1, emulator.Fault{Method: "DeleteOccurrence", Code: codes.PermissionDenied}, 0},
		"refused at the second":          {2, emulator.Fault{Method: "DeleteOccurrence", Skip: 1, Code: codes.PermissionDenied}, 1},
		"failed, and may have succeeded": {1, emulator.Fault{Method: "DeleteOccurrence", Code: codes.Internal, AnswerLost: true}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRotation(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone}, false)
			for range tt.blockers {
				r.put(r.existing("rotated"))
			}
			r.SetBehaviour(emulator.Behaviour{RefuseUpdates: true})
			r.Inject(tt.fault)
			r.ResetCalls()

			made, err := r.gate.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)

			if err == nil || len(made) != 0 || !strings.Contains(attestor.Message(err), "delete") || len(r.Calls("CreateOccurrence")) != 1 {
				t.Errorf("made %v, %v; %d creates", made, err, len(r.Calls("CreateOccurrence")))
			}
			if n := r.intents(); n != tt.left {
				t.Errorf("%d intents are left, want %d", n, tt.left)
			}
		})
	}
}
