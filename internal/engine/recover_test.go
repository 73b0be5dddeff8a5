package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/internal/samples"
)

// A decision that cannot be completed, as by a policy that this version does not read, does not keep those that were begun
// after it.
func TestRecoveryGoesOnBesideAFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{quiet: true})
	w.push("base/debian", "12", baseImage(t))
	image := w.push("app/slow", "v1", imageOn(t, baseImage(t), "65532:65532", entry{"app", "slow"}))
	w.scan(image, samples.Clean)
	whole, err := w.engine.Store.Record(t.Context(), w.post(image, false).decision.ID)
	w.ok(err)

	begun := whole
	begun.Decision.Log = nil
	for i, id := range []string{"decision-unread", "decision-good"} {
		begun.Decision.ID, begun.Decision.Time = id, time.Now().Add(-time.Hour+time.Duration(i)*time.Minute)
		begun.PolicyText = whole.PolicyText
		if i == 0 {
			begun.PolicyText = []byte("kind: OfAnotherVersion\n")
		}
		w.ok(w.engine.Store.Begin(t.Context(), begun))
	}

	if err := w.engine.Recover(t.Context()); err == nil || !strings.Contains(err.Error(), "decision-unread") {
		t.Errorf("%v, want the decision that cannot be completed", err)
	}
	left, err := w.engine.Store.Pending(t.Context(), 0)
	w.ok(err)
	if len(left) != 1 || left[0].Decision.ID != "decision-unread" {
		t.Errorf("%d decisions are left, want the one that cannot be completed", len(left))
	}
}
