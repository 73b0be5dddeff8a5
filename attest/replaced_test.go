package attest_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"testing"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
)

// strange puts an occurrence in the way that no key of the attestor verifies.
func (r *rotation) strange(ctx context.Context) error {
	_, err := r.Grafeas.CreateOccurrence(ctx, &grafeaspb.CreateOccurrenceRequest{Parent: "projects/sec", Occurrence: r.existing("foreign")})
	return err
}

// Completing an intent deletes what the intent names, and nothing else: what is
// in the way by then was put there by somebody since.
func TestRecoverDeletesOnlyWhatTheIntentNames(t *testing.T) {
	r, _ := interrupted(t)
	must(t, r.strange(t.Context()))
	r.ResetCalls()

	err := r.gate.Recover(t.Context())

	if deleted := len(r.Calls("DeleteOccurrence")); err == nil || deleted != 0 || r.intents() != 1 {
		t.Errorf("%v; %d deleted, %d intents left", err, deleted, r.intents())
	}
}

// Where somebody puts an invalid occurrence in the way as often as one is
// deleted, the gate deletes once and then asks to try again: a race of writes
// would end only by chance.
func TestOneReplacementDeletesOnce(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{RefuseUpdates: true}, false)
	must(t, r.strange(t.Context()))
	back := 0
	r.Inject(emulator.Fault{Method: "DeleteOccurrence", Mutate: func(_, _ proto.Message) {
		if back++; back <= 5 { // it gives up one day, so that what deletes on succeeds
			if err := r.strange(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		}
	}})

	made, err := r.gate.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)

	wantError(t, err, attestor.CodeAttestationConflict, "try again")
	if deleted := len(r.Calls("DeleteOccurrence")); len(made) != 0 || deleted != 1 {
		t.Errorf("made %+v after %d deletions", made, deleted)
	}
}

// An intent without an image is malformed, and dropped for that, without asking
// for anything: it is no reason to wait until the attestor can be read.
func TestRecoverDropsAnIntentWithoutAnImage(t *testing.T) {
	for name, withImage := range map[string]bool{"whole": true, "without an image": false} {
		t.Run(name, func(t *testing.T) {
			r, intents := interrupted(t)
			for id, data := range intents {
				var in map[string]any
				must(t, json.Unmarshal(data, &in))
				if !withImage {
					delete(in, "image")
				}

				data, err := json.Marshal(in)
				must(t, err)
				must(t, r.journal.PutIntent(t.Context(), id, data))
			}

			r.Inject(emulator.Fault{Method: "GetAttestor", Code: codes.PermissionDenied})

			err := r.gate.Recover(t.Context())

			if left := r.intents(); (err != nil) != withImage || (left == 1) != withImage {
				t.Errorf("%v; %d intents left", err, left)
			}
		})
	}
}

// outcomes keeps how the log says that intents ended.
type outcomes struct {
	slog.Handler
	said *[]string
}

func (outcomes) Enabled(context.Context, slog.Level) bool { return true }

func (o outcomes) Handle(_ context.Context, record slog.Record) error {
	record.Attrs(func(a slog.Attr) bool {
		if a.Key == "outcome" {
			*o.said = append(*o.said, a.Value.String())
		}
		return true
	})
	return nil
}

// The log tells an intent that was completed from one that was done already.
func TestRecoverSaysHowAnIntentEnded(t *testing.T) {
	for want, done := range map[string]bool{"completed": false, "it was done already": true} {
		r, _ := interrupted(t)
		if done {
			r.put(signed(t, r.mine, attest.KeyID(r.signer), image(t, 1).String(), attest.Payload(image(t, 1))))
		}

		var said []string
		c := r.config(attest.AttestorConfig{Name: attestorName, Signer: r.signer})
		c.Logger = slog.New(outcomes{slog.DiscardHandler, &said})
		gate, err := attest.New(c)
		must(t, err)
		gate.SetPause(r.clock.pause)

		must(t, gate.Recover(t.Context()))

		if !slices.Equal(said, []string{want}) {
			t.Errorf("%q, want %q", said, want)
		}
	}
}
