package attest_test

import (
	"encoding/json"
	"testing"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

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
