package engine_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/event"
)

// freeClaims ends what instances that were killed had claimed, as time would.
func (k *killer) freeClaims() {
	k.tb.Helper()
	db := k.db()
	_, err := db.ExecContext(k.tb.Context(), "UPDATE outbox SET due = 0")
	_, judged := db.ExecContext(k.tb.Context(), "UPDATE admissions SET claimed_until = 0")
	k.ok(errors.Join(err, judged, db.Close()))
}

// checkTold compares the events that the webhook got with the record: each event that the
// record implies was told, under one id and with one text, and no other.
func (k *killer) checkTold(t *testing.T) {
	t.Helper()
	db := k.db()
	defer db.Close()
	for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var left int
		k.ok(db.QueryRowContext(t.Context(), "SELECT count(*) FROM outbox").Scan(&left))
		if left == 0 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("%d events are not delivered", left)
		}
	}

	got, repeats := map[string]told{}, 0
	for len(k.hook.got) > 0 {
		ev := k.hook.next(t)
		if before, ok := got[ev.event.ID]; ok {
			repeats++
			if string(before.body) != string(ev.body) {
				t.Errorf("told %s, and again as %s", before.body, ev.body)
			}
		}
		got[ev.event.ID] = ev
	}

	counts := map[event.Type]int{}
	implied := k.implied(t, db)
	for id, want := range implied {
		counts[want.kind]++
		if ev, ok := got[id]; !ok {
			t.Errorf("the record implies the event %s, which was not told", id)
		} else if ev.event.Type != string(want.kind) || ev.event.Subject != want.image {
			t.Errorf("%s was told as %s of %q, want %s of %q", id, ev.event.Type, ev.event.Subject, want.kind, want.image)
		}
		delete(got, id)
	}
	for _, id := range slices.Sorted(maps.Keys(got)) {
		t.Errorf("%s was told, and the record does not imply it: %s", id, got[id].body)
	}
	t.Logf("told %v, %d of them again", counts, repeats)
}

// An impliedEvent is an event that the record implies.
type impliedEvent struct {
	kind  event.Type
	image string
}

// implied lists by id the events that the record implies, from the texts of its decisions and
// revocations and from the last look at each admission: docs/events.md says when each type is told.
func (k *killer) implied(t *testing.T, db *sql.DB) map[string]impliedEvent {
	t.Helper()
	out := map[string]impliedEvent{}
	bodies := k.texts(t, db, "SELECT body, packed FROM decisions WHERE state = 'finished'")
	for _, body := range bodies {
		var d attestor.Decision
		k.ok(json.Unmarshal([]byte(body), &d))
		switch {
		case d.DryRun:
		case overridden(d):
			out["override-used-"+d.ID] = impliedEvent{event.OverrideUsed, d.Image.Reference}
		case d.Verdict == attestor.Deny:
			out["decision-denied-"+d.ID] = impliedEvent{event.DecisionDenied, d.Image.Reference}
		}
	}

	for _, body := range k.texts(t, db, "SELECT body, NULL FROM revocations WHERE state = 'finished'") {
		var r attestor.RevocationRecord
		k.ok(json.Unmarshal([]byte(body), &r))
		kind, id := event.AttestationRevoked, "attestation-revoked-"+r.ID
		if r.Kind == attestor.RevokedAtEnd {
			kind, id = event.OverrideExpired, "override-expired-"+r.ID
		}
		out[id] = impliedEvent{kind, r.Image.String()}
		if r.Judgment != "" {
			out["admission-lost-"+r.Judgment] = impliedEvent{event.AdmissionLost, r.Image.String()}
		}
	}

	// The first policies of a record change nothing.
	changed, err := db.QueryContext(t.Context(), "SELECT id FROM policy_changes WHERE n > 1")
	k.ok(err)
	defer changed.Close()
	for changed.Next() {
		var id string
		k.ok(changed.Scan(&id))
		out["policy-changed-"+id] = impliedEvent{event.PolicyChanged, ""}
	}
	k.ok(changed.Err())

	// An admission that was lost and not revoked is still there. An override was refused to begin with: then
	// the decision that admitted is the one that changed it last.
	lost, err := db.QueryContext(t.Context(), `SELECT changed, repository, digest FROM admissions
		WHERE verdict = 'deny' AND changed NOT IN ('', decision)`)
	k.ok(err)
	defer lost.Close()
	for lost.Next() {
		var decision, repository, digest string
		k.ok(lost.Scan(&decision, &repository, &digest))
		out["admission-lost-"+decision] = impliedEvent{event.AdmissionLost, repository + "@" + digest}
	}
	k.ok(lost.Err())
	return out
}

// overridden reports whether attestations were made in spite of the refusal.
func overridden(d attestor.Decision) bool {
	return d.BreakGlass != nil && !d.DryRun && len(d.Attestations) > 0
}

// texts lists the one column of a query.
func (k *killer) texts(t *testing.T, db *sql.DB, query string) (out []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	k.ok(err)
	defer rows.Close()
	for rows.Next() {
		var text string
		var kept []byte
		k.ok(rows.Scan(&text, &kept))
		out = append(out, k.unpacked(text, kept))
	}
	k.ok(rows.Err())
	return out
}

// verifyLog compares the whole record with its log while the program runs: a kill leaves
// no record without its entry, no entry without its record, and no second history.
func (k *killer) verifyLog(t *testing.T) {
	t.Helper()
	self, err := program()
	k.ok(err)
	kept := filepath.Join(k.dir, "kept.checkpoint")
	args := []string{"decisions", "verify", "--config", filepath.Join(k.dir, "attestor.yaml"), "--save-checkpoint", kept}
	if _, err := os.Stat(kept); err == nil {
		args = append(args, "--checkpoint", kept)
	}
	out, err := exec.Command(self, args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "All is as it was recorded") {
		t.Errorf("verifying the record: %v\n%s", err, out)
	}
}
