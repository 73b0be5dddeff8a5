package engine_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/samples"
)

// A decision that cannot be completed, as by a policy that this version does not read or without its evidence, does not
// keep those that were begun after it.
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
	for i, id := range []string{"decision-unread", "decision-damaged", "decision-good"} {
		begun.Decision.ID, begun.Decision.Time = id, time.Now().Add(-time.Hour+time.Duration(i)*time.Minute)
		begun.PolicyText = whole.PolicyText
		if i == 0 {
			begun.PolicyText = []byte("kind: OfAnotherVersion\n")
		}
		if i == 1 {
			begun.PolicyText = append(slices.Clone(whole.PolicyText), "# its own\n"...)
		}
		w.ok(w.engine.Store.Begin(t.Context(), begun))
	}

	db, err := sql.Open("sqlite", "file:"+w.config.Store.SQLite+"?_pragma=busy_timeout(60000)")
	w.ok(err)
	defer db.Close()
	own := attestor.DigestOf(append(slices.Clone(whole.PolicyText), "# its own\n"...))
	_, err = db.ExecContext(t.Context(), "DELETE FROM blobs WHERE hash = $1", string(own))
	w.ok(err)

	if err := w.engine.Recover(t.Context()); err == nil || !strings.Contains(err.Error(), "decision-unread") ||
		!strings.Contains(err.Error(), "decision-damaged") || strings.Contains(err.Error(), "decision-good") {
		t.Errorf("%v, want the decisions that cannot be completed", err)
	}
	left, err := collected(w.engine.Store.Pending(t.Context(), 0))
	if err == nil || !strings.Contains(err.Error(), "decision-damaged") {
		t.Errorf("%v, want the decision whose evidence is gone", err)
	}
	if len(left) != 1 || left[0].Decision.ID != "decision-unread" {
		t.Errorf("%d decisions are left, want the one that cannot be completed", len(left))
	}
}

// An attestation that cannot be replaced yet keeps no revocation: what was ordered to be deleted would admit until then.
func TestRevocationsAreFinishedBesideAnIntentThatFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{quiet: true})
	w.push("base/debian", "12", baseImage(t))
	image := w.push("app/ordered", "v1", imageOn(t, baseImage(t), "65532:65532", entry{"app", "ordered"}))
	w.scan(image, samples.Clean)
	d := w.post(image, false).decision
	img, err := attestor.ParseImage(image)
	w.ok(err)

	// The gate crashed after it had recorded the revocation, and while it replaced an attestation of another image.
	_, err = w.engine.Store.BeginRevocation(t.Context(), attestor.RevocationRecord{
		ID: "ordered", Time: time.Now().Add(-time.Hour), Kind: attestor.RevokedByPerson, Image: img,
		Reason: "it was built by a stolen account", Attestations: []attestor.Attestation{},
	})
	w.ok(err)
	other := strings.Replace(image, "app/ordered", "app/other", 1)
	intent, err := json.Marshal(map[string]any{
		"version": 1, "time": time.Now(), "attestor": samples.Attestor, "image": other, "occurrence": []byte{},
	})
	w.ok(err)
	w.ok(w.engine.Store.PutIntent(t.Context(), "attest-other", intent))
	w.emulator().Inject(emulator.Fault{Method: "GetAttestor", Count: 1, Code: codes.PermissionDenied})

	if err := w.engine.Recover(t.Context()); err == nil || !strings.Contains(err.Error(), "attest-other") {
		t.Errorf("%v, want the intent that cannot be completed", err)
	}
	if len(d.Attestations) == 0 || len(w.standing(image)) != 0 {
		t.Errorf("%d attestations, %d after the revocation", len(d.Attestations), len(w.standing(image)))
	}
	left, err := collected(w.engine.Store.PendingRevocations(t.Context(), 0))
	w.ok(err)
	if len(left) != 0 {
		t.Errorf("%d revocations are left begun", len(left))
	}
}

// collected is what a list yields, and every error.
func collected[T any](rows iter.Seq2[T, error]) (out []T, err error) {
	for row, e := range rows {
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		out = append(out, row)
	}
	return out, err
}
