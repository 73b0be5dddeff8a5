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

func TestRevoke(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone}, true)
	img := image(t, 1)
	foreign := r.put(r.existing("foreign"))
	r.put(r.existing("older")) // by the attestor's other key: it admits too
	elsewhere := r.put(signed(t, r.mine, attest.KeyID(r.signer), "gcr.io/other/api@"+string(img.Digest()), compact("gcr.io/other/api", img.Digest())))
	spared := r.put(signed(t, r.mine, attest.KeyID(r.signer), image(t, 2).String(), attest.Payload(image(t, 2))))
	_, err := r.gate.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	must(t, err)

	revoked, err := r.gate.Revoke(t.Context(), attest.Revocation{Images: []attestor.Image{img}})
	must(t, err)
	if len(revoked) != 2 {
		t.Errorf("revoked %+v", revoked)
	}

	var names []string
	for _, o := range r.stored(noteName) {
		names = append(names, o.GetName())
		if r.valid(attestorName, o) && strings.HasSuffix(o.GetResourceUri(), string(img.Digest())) {
			t.Errorf("%s still admits", o.GetName())
		}
	}

	if len(names) != 2 || !strings.Contains(strings.Join(names, " "), foreign.GetName()) || !strings.Contains(strings.Join(names, " "), spared.GetName()) {
		t.Errorf("left: %v, want the foreign one and the one of another image; %s was of the same digest", names, elsewhere.GetName())
	}

	again, err := r.gate.Revoke(t.Context(), attest.Revocation{Images: []attestor.Image{img}})
	if err != nil || len(again) != 0 {
		t.Errorf("again: %v, %v", again, err)
	}

	made, err := r.gate.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	must(t, err)
	if len(made) != 1 || !made[0].Created {
		t.Errorf("attested again: %+v", made)
	}
}

// TestRevokeWhatNoListShows: what was stored moments ago, by this process or,
// as recorded, by another; and under the note for continuous validation.
func TestRevokeWhatNoListShows(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{ListLag: time.Hour})
	a, s := w.gate()
	w.note("projects/sec/notes/cv")
	img := image(t, 1)
	made, err := a.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{DSSE: true, DSSENote: "projects/sec/notes/cv"}), attestor.Standing{}, recorded)
	must(t, err)
	if len(made) != 2 {
		t.Fatalf("made %v", made)
	}

	t.Run("as recorded", func(t *testing.T) {
		other := w.newAttester(attest.AttestorConfig{Name: attestorName, Signer: s})
		revoked, err := other.Revoke(t.Context(), attest.Revocation{Images: []attestor.Image{img}, Recorded: made})
		must(t, err)
		if len(revoked) != 2 {
			t.Errorf("revoked %+v", revoked)
		}
	})

	t.Run("as remembered", func(t *testing.T) {
		made, err := a.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{}), attestor.Standing{Known: true}, recorded)
		must(t, err)
		if len(made) != 1 || !made[0].Created {
			t.Fatalf("made %v", made)
		}

		revoked, err := a.Revoke(t.Context(), attest.Revocation{Images: []attestor.Image{img}})
		must(t, err)
		if len(revoked) != 1 || revoked[0].Occurrence != made[0].Occurrence {
			t.Errorf("revoked %+v", revoked)
		}
	})

	t.Run("under a further note", func(t *testing.T) {
		_, err := a.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{DSSE: true,
			DSSENote: "projects/sec/notes/cv"}), attestor.Standing{Known: true}, recorded)
		must(t, err)
		w.clock.advance(2 * time.Hour)
		other := w.newAttester(attest.AttestorConfig{Name: attestorName, Signer: s})
		revoked, err := other.Revoke(t.Context(), attest.Revocation{Images: []attestor.Image{img},
			Attestors: []string{attestorName}, Notes: []string{"projects/sec/notes/cv"}})
		must(t, err)
		if len(revoked) != 2 {
			t.Errorf("revoked %+v", revoked)
		}
	})

	if left := append(w.stored(noteName), w.stored("projects/sec/notes/cv")...); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestRecordedNamesAreNotTrusted: a record that names somebody else's
// occurrence deletes nothing.
func TestRecordedNamesAreNotTrusted(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone}, false)
	other := r.put(signed(t, r.mine, attest.KeyID(r.signer), image(t, 2).String(), attest.Payload(image(t, 2))))
	foreign := r.put(r.existing("foreign"))
	r.note("projects/sec/notes/theirs")
	theirs := signed(t, r.foreign, "foreign", image(t, 1).String(), attest.Payload(image(t, 1)))
	theirs.NoteName = "projects/sec/notes/theirs"
	theirs = r.put(theirs)
	var recorded []attestor.Attestation

	for _, o := range []*grafeaspb.Occurrence{other, foreign, theirs} {
		recorded = append(recorded, attestor.Attestation{Attestor: attestorName, Note: o.GetNoteName(), Occurrence: o.GetName(), Digest: digest(1)})
	}

	recorded = append(recorded, attestor.Attestation{Attestor: attestorName, Note: "x", Occurrence: "../y", Digest: digest(1)})
	revoked, err := r.gate.Revoke(t.Context(), attest.Revocation{Images: []attestor.Image{image(t, 1)}, Recorded: recorded})
	if err != nil || len(revoked) != 0 || len(r.Calls("DeleteOccurrence")) != 0 {
		t.Errorf("revoked %v, %v", revoked, err)
	}
}

func TestRevokeThatFails(t *testing.T) {
	tests := []struct {
		name  string
		fault emulator.Fault
	}{
		{"list", emulator.Fault{Method: "ListNoteOccurrences", Code: codes.Internal}},
		{"denied", emulator.Fault{Method: "DeleteOccurrence", Code: codes.PermissionDenied}},
		{"delete", emulator.Fault{Method: "DeleteOccurrence", Code: codes.Internal}},
		{"attestor", emulator.Fault{Method: "GetAttestor", Code: codes.Internal}},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, emulator.Behaviour{})
			a, s := w.gate()
			_, err := a.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
			must(t, err)
			other := w.newAttester(attest.AttestorConfig{Name: attestorName, Signer: s})
			w.Inject(tt.fault)
			revoked, err := other.Revoke(t.Context(), attest.Revocation{Images: []attestor.Image{image(t, 1)}})
			if err == nil || len(revoked) != 0 {
				t.Errorf("revoked %v, %v", revoked, err)
			}

			w.ClearFaults()
			w.oneValid(image(t, 1))
			revoked, err = other.Revoke(t.Context(), attest.Revocation{Images: []attestor.Image{image(t, 1)}})
			if err != nil || len(revoked) != 1 {
				t.Errorf("again: revoked %v, %v", revoked, err)
			}

			w.nothingValid()
		})
	}

	w := newWorld(t, emulator.Behaviour{})
	a, _ := w.gate()

	for _, images := range [][]attestor.Image{nil, {{}}, {image(t, 1), {}}} {
		if _, err := a.Revoke(t.Context(), attest.Revocation{Images: images}); err == nil {
			t.Errorf("%v were revoked", images)
		}
	}
}

// TestRevocationOutlivesAnIntent: what was revoked is not brought back.
func TestRevocationOutlivesAnIntent(t *testing.T) {
	r, intents := interrupted(t)
	if len(intents) != 1 {
		t.Fatalf("%d intents", len(intents))
	}

	_, err := r.gate.Revoke(t.Context(), attest.Revocation{Images: []attestor.Image{image(t, 1)}})
	must(t, err)
	must(t, r.gate.Recover(t.Context()))
	r.nothingValid()
}

// interrupted is a gate that deleted what was in the way, and then could not
// create: its intent is left.
func interrupted(t *testing.T) (*rotation, map[string][]byte) {
	t.Helper()
	r := newRotation(t, emulator.Behaviour{RefuseUpdates: true}, false)
	r.put(r.existing("rotated"))
	r.Inject(emulator.Fault{Method: "CreateOccurrence", Skip: 1, Code: codes.PermissionDenied})
	_, err := r.gate.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	wantError(t, err, attestor.CodeAttestorDenied)
	r.ClearFaults()
	if left := r.stored(noteName); len(left) != 0 {
		t.Fatalf("left: %v", left)
	}

	r.clock.advance(-time.Hour) // stored looked an hour ahead
	intents, err := r.journal.Intents(t.Context())
	must(t, err)
	return r, intents
}

// TestRecover completes an intent, unless something speaks against it. It
// never signs.
func TestRecover(t *testing.T) {
	edit := func(change func(map[string]any)) func(r *rotation, intents map[string][]byte) {
		return func(r *rotation, intents map[string][]byte) {
			for id, data := range intents {
				var in map[string]any
				must(r.t, json.Unmarshal(data, &in))
				change(in)
				data, err := json.Marshal(in)
				must(r.t, err)
				must(r.t, r.journal.PutIntent(r.t.Context(), id, data))
			}
		}
	}

	tests := []struct {
		name  string
		do    func(r *rotation, intents map[string][]byte)
		valid int
		left  int // intents
		fails bool
	}{
		{"completed", func(*rotation, map[string][]byte) {}, 1, 0, false},
		{"done meanwhile", func(r *rotation, _ map[string][]byte) {
			_, err := r.gate.Attest(r.t.Context(), authorize(r.t, image(r.t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
			must(r.t, err)
		}, 1, 0, false},
		{"too old", func(r *rotation, _ map[string][]byte) { r.clock.advance(2 * time.Hour) }, 0, 0, false},
		{"the key has left the attestor", func(r *rotation, _ map[string][]byte) { r.keys(attestorName, pkix(r.t, "x", r.old.Public(), p256)) }, 0, 0, false},
		{"malformed", func(r *rotation, intents map[string][]byte) {
			for id := range intents {
				must(r.t, r.journal.PutIntent(r.t.Context(), id, []byte("{")))
			}
		}, 0, 0, false},
		{"of another version", edit(func(in map[string]any) { in["version"] = 2 }), 0, 0, false},
		{"for another image", edit(func(in map[string]any) { in["image"] = repository + "@" + string(digest(2)) }), 0, 0, false},
		{"for no image", edit(func(in map[string]any) { in["image"] = "" }), 0, 0, false},
		{"for another attestor", edit(func(in map[string]any) { in["attestor"] = "projects/sec/attestors/other" }), 0, 0, false},
		{"without an occurrence", edit(func(in map[string]any) { in["occurrence"] = "" }), 0, 0, false},
		{"asking for more than was signed", edit(func(in map[string]any) { in["pae"] = true }), 0, 0, false},
		{"the attestor cannot be read", func(r *rotation, _ map[string][]byte) {
			r.Inject(emulator.Fault{Method: "GetAttestor", Count: 1, Code: codes.Internal})
		}, 0, 1, true},
		{"nothing can be stored", func(r *rotation, _ map[string][]byte) { r.SetBehaviour(emulator.Behaviour{RefuseCreates: true}) }, 0, 1, true},
		{"naming something that is valid", func(r *rotation, intents map[string][]byte) {
			o := r.put(signed(r.t, r.mine, attest.KeyID(r.signer), image(r.t, 2).String(), attest.Payload(image(r.t, 2))))
			edit(func(in map[string]any) { in["delete"] = []string{o.GetName()} })(r, intents)
		}, 2, 0, false},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, intents := interrupted(t)
			tt.do(r, intents)
			if err := r.gate.Recover(t.Context()); (err != nil) != tt.fails {
				t.Fatalf("recovering: %v", err)
			}

			valid := 0
			for _, o := range r.stored(noteName) {
				if r.valid(attestorName, o) {
					valid++
				}
			}

			left, err := r.journal.Intents(t.Context())
			must(t, err)
			if valid != tt.valid || len(left) != tt.left {
				t.Errorf("%d valid, %d intents left, want %d and %d", valid, len(left), tt.valid, tt.left)
			}
		})
	}
}

// brokenJournal is a store that is down.
type brokenJournal struct{ *memoryJournal }

func (brokenJournal) PutIntent(context.Context, string, []byte) error { return errors.New("disk full") }

// TestNothingIsDeletedWithoutAnIntent that is durable.
func TestNothingIsDeletedWithoutAnIntent(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{RefuseUpdates: true}, false)
	r.put(r.existing("rotated"))
	c := r.config(attest.AttestorConfig{Name: attestorName, Signer: r.signer})
	c.Journal = brokenJournal{r.journal}
	gate, err := attest.New(c)
	must(t, err)
	gate.SetPause(r.clock.pause)
	_, err = gate.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	wantError(t, err, attestor.CodeAttestationNotStored, "nothing was deleted", "database")
	if n := len(r.Calls("DeleteOccurrence")); n != 0 {
		t.Errorf("%d deleted", n)
	}
}
