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
	"google.golang.org/protobuf/proto"

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

// What this process begins while it recovers is no crash's, however long the recovery of something else takes.
func TestRecoveryLeavesWhatWasBegunMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{quiet: true})
	w.push("base/debian", "12", baseImage(t))
	image := w.push("app/mine", "v1", imageOn(t, baseImage(t), "65532:65532", entry{"app", "mine"}))
	other := w.push("app/ordered", "v1", imageOn(t, baseImage(t), "65532:65532", entry{"app", "ordered"}))
	w.scan(image, samples.Clean)
	w.scan(other, samples.Clean)
	w.post(other, false)
	mine, err := w.engine.Store.Record(t.Context(), w.post(image, false).decision.ID)
	w.ok(err)
	img, err := attestor.ParseImage(other)
	w.ok(err)
	_, err = w.engine.Store.BeginRevocation(t.Context(), attestor.RevocationRecord{
		ID: "ordered", Time: time.Now().Add(-time.Hour), Kind: attestor.RevokedByPerson, Image: img,
		Reason: "it was built by a stolen account", Attestations: []attestor.Attestation{},
	})
	w.ok(err)

	// The deletion takes longer than the process is old when it begins: an age would reach into the process's own time.
	started := time.Now()
	w.restart()
	w.emulator().Inject(emulator.Fault{Method: "DeleteOccurrence", Count: 1, Mutate: func(_, _ proto.Message) {
		mine.Decision.ID, mine.Decision.Time, mine.Decision.Log = "decision-mine", time.Now(), nil
		if err := w.engine.Store.Begin(t.Context(), mine); err != nil {
			t.Error(err)
		}
		time.Sleep(min(2*time.Since(started), 5*time.Second))
	}})
	w.ok(w.engine.Recover(t.Context()))

	if d, err := w.engine.Store.Decision(t.Context(), "decision-mine"); attestor.KindOf(err) != attestor.NotFound {
		t.Errorf("what is just being attested was taken for a crash's: %+v, %v", d, err)
	}
	if left, err := collected(w.engine.Store.Pending(t.Context(), 0)); err != nil || len(left) != 1 || len(w.standing(other)) != 0 {
		t.Errorf("%d decisions are begun, %v; the revocation left %d attestations", len(left), err, len(w.standing(other)))
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
