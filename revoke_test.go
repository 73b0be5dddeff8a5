package attestor_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
)

// noted answers as a test says, and notes what it was given.
type noted struct {
	begin    error
	answer   func(attestor.RevocationRecord) attestor.RevocationRecord
	begun    []attestor.RevocationRecord
	finished []attestor.RevocationRecord
}

func (n *noted) BeginRevocation(_ context.Context, r attestor.RevocationRecord) (attestor.RevocationRecord, error) {
	n.begun = append(n.begun, r)
	if n.answer != nil {
		r = n.answer(r)
	}
	return r, n.begin
}

func (n *noted) FinishRevocation(_ context.Context, r attestor.RevocationRecord) error {
	n.finished = append(n.finished, r)
	return nil
}

var revokedAt = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func revoker(t *testing.T, n *noted, remove attestor.Deletion) *attestor.Revoker {
	t.Helper()
	v, err := attestor.NewRevoker(attestor.RevokerConfig{
		Record: n, Remove: remove, NewID: func() string { return "r1" }, Now: func() time.Time { return revokedAt },
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestRevocationIsRecordedBeforeAndAfter: nothing is deleted without a record,
// and no record says that something was deleted that was not.
func TestRevocationIsRecordedBeforeAndAfter(t *testing.T) {
	img := reference(t, repository+":v7").At(digest(1))
	stood := attestor.Attestation{Attestor: "projects/p/attestors/a", Digest: img.Digest(), Occurrence: "projects/p/occurrences/1"}
	asked := attestor.Revocation{
		Image: img, Reason: "  found to be wrong  ", Caller: attestor.CallerRef{Subject: "me", Issuer: "local"}, RequestID: "q1",
	}
	override := func(r *attestor.Revocation) { r.Kind, r.Override = attestor.RevokedAtEnd, "d7" }
	judgment := func(r *attestor.Revocation) {
		r.Kind, r.Admission, r.Judgment, r.Cause = attestor.RevokedByJudgment, "d7", "d9", attestor.CauseFinding
	}
	without := func(whole func(*attestor.Revocation), change func(*attestor.Revocation)) func(*attestor.Revocation) {
		return func(r *attestor.Revocation) { whole(r); change(r) }
	}

	for _, tt := range []struct {
		name          string
		change        func(*attestor.Revocation)
		begin, remove error
		deleted       bool // was tried
		finished      bool
		kind          attestor.Kind // of the error; 0: another error, or none
		failed        bool
	}{
		{name: "all goes", deleted: true, finished: true},
		{name: "no image", change: func(r *attestor.Revocation) { r.Image = attestor.Image{} }, kind: attestor.Invalid, failed: true},
		{name: "no reason", change: func(r *attestor.Revocation) { r.Reason = "" }, kind: attestor.Invalid, failed: true},
		{name: "a reason of spaces", change: func(r *attestor.Revocation) { r.Reason = strings.Repeat(" ", 40) }, kind: attestor.Invalid, failed: true},
		{name: "a short reason", change: func(r *attestor.Revocation) { r.Reason = "123456789" }, kind: attestor.Invalid, failed: true},
		{name: "the shortest reason", change: func(r *attestor.Revocation) { r.Reason = "1234567890" }, deleted: true, finished: true},
		{name: "the longest reason", change: func(r *attestor.Revocation) { r.Reason = strings.Repeat("x", 1000) }, deleted: true, finished: true},
		{name: "a long reason", change: func(r *attestor.Revocation) { r.Reason = strings.Repeat("x", 1001) }, kind: attestor.Invalid, failed: true},
		{name: "the shortest reason in characters of several bytes", change: func(r *attestor.Revocation) { r.Reason = strings.Repeat("é", 10) },
			deleted: true, finished: true},
		{name: "a short reason in characters of several bytes", change: func(r *attestor.Revocation) { r.Reason = strings.Repeat("é", 9) },
			kind: attestor.Invalid, failed: true},
		{name: "the longest reason in characters of several bytes", change: func(r *attestor.Revocation) { r.Reason = strings.Repeat("é", 1000) },
			deleted: true, finished: true},
		{name: "a long reason in characters of several bytes", change: func(r *attestor.Revocation) { r.Reason = strings.Repeat("é", 1001) },
			kind: attestor.Invalid, failed: true},
		{name: "the record is down", begin: errors.New("disk full"), failed: true},
		{name: "not all could be deleted", remove: errors.New("Container Analysis is down"), deleted: true, failed: true},
		{name: "an override's end", change: override, deleted: true, finished: true},
		{name: "the end of no override", change: without(override, func(r *attestor.Revocation) { r.Override = "" }), failed: true},
		{name: "a judgement", change: judgment, deleted: true, finished: true},
		{name: "a judgement of no admission", change: without(judgment, func(r *attestor.Revocation) { r.Admission = "" }), failed: true},
		{name: "no judgement", change: without(judgment, func(r *attestor.Revocation) { r.Judgment = "" }), failed: true},
		{name: "a judgement without cause", change: without(judgment, func(r *attestor.Revocation) { r.Cause = "" }), failed: true},
		{name: "an unknown kind", change: func(r *attestor.Revocation) { r.Kind = "whim" }, failed: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := &noted{begin: tt.begin}
			r, tried := asked, 0
			if tt.change != nil {
				tt.change(&r)
			}

			got, err := revoker(t, n, func(_ context.Context, of attestor.RevocationRecord) (attestor.Deleted, error) {
				if len(n.begun) != 1 {
					t.Error("something is deleted before that was recorded")
				}
				if of.Image != img {
					t.Errorf("attestations of %s are deleted", of.Image)
				}
				tried++
				return attestor.Deleted{Attestations: []attestor.Attestation{stood}}, tt.remove
			}).Revoke(context.Background(), r)
			if (err != nil) != tt.failed || (tt.kind != 0 && attestor.KindOf(err) != tt.kind) {
				t.Errorf("error %v", err)
			}
			if (tried == 1) != tt.deleted || (len(got.Attestations) == 1) != tt.deleted {
				t.Errorf("deletion was tried %d times, and %v is returned", tried, got.Attestations)
			}
			if finished := len(n.finished) == 1; finished != tt.finished {
				t.Errorf("the record is finished: %t, want %t", finished, tt.finished)
			}
			if !tt.finished {
				return
			}

			want := attestor.RevocationRecord{
				ID: "r1", Time: revokedAt, Kind: r.Kind, Image: img, Reason: strings.TrimSpace(r.Reason),
				Cause: r.Cause, Judgment: r.Judgment, Override: r.Override, Admitted: []string{},
				Attestations: []attestor.Attestation{stood}, Caller: asked.Caller, RequestID: "q1",
			}
			if want.Kind == "" {
				want.Kind = attestor.RevokedByPerson
			}
			if r.Admission != "" {
				want.Admitted = []string{r.Admission}
			}
			if diff := cmp.Diff(want, n.finished[0], cmp.Comparer(func(a, b attestor.Image) bool { return a == b })); diff != "" {
				t.Errorf("recorded otherwise (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAnEarlierRevocationIsCompleted: where the record answers with a revocation
// that was begun before, that one is carried out, and no second one.
func TestAnEarlierRevocationIsCompleted(t *testing.T) {
	img := reference(t, repository+":v7").At(digest(1))
	n := &noted{answer: func(r attestor.RevocationRecord) attestor.RevocationRecord {
		r.ID, r.Kept = "r0", []attestor.Digest{digest(2)}
		return r
	}}
	var kept []attestor.Digest
	_, err := revoker(t, n, func(_ context.Context, of attestor.RevocationRecord) (attestor.Deleted, error) {
		kept = of.Kept
		return attestor.Deleted{}, nil
	}).Revoke(t.Context(), attestor.Revocation{
		Image: img, Kind: attestor.RevokedAtEnd, Override: "d7", Reason: "the override ended",
	})
	if err != nil || len(n.finished) != 1 || n.finished[0].ID != "r0" || len(kept) != 1 {
		t.Errorf("finished %+v, kept %v, %v", n.finished, kept, err)
	}
}

func TestRevokerNeedsItsParts(t *testing.T) {
	whole := attestor.RevokerConfig{
		Record: &noted{}, NewID: func() string { return "r" }, Now: time.Now,
		Remove: func(context.Context, attestor.RevocationRecord) (attestor.Deleted, error) {
			return attestor.Deleted{}, nil
		},
	}
	for name, without := range map[string]func(*attestor.RevokerConfig){
		"record":   func(c *attestor.RevokerConfig) { c.Record = nil },
		"deletion": func(c *attestor.RevokerConfig) { c.Remove = nil },
		"ids":      func(c *attestor.RevokerConfig) { c.NewID = nil },
		"clock":    func(c *attestor.RevokerConfig) { c.Now = nil },
	} {
		c := whole
		without(&c)
		if _, err := attestor.NewRevoker(c); err == nil {
			t.Errorf("a revoker without %s", name)
		}
	}
}

// TestOldRevocationsAreRead: earlier versions recorded a revocation as a denial
// that no policy made.
func TestOldRevocationsAreRead(t *testing.T) {
	img := reference(t, repository+":v7").At(digest(1))
	old := func(reason string) attestor.Decision {
		return attestor.Decision{
			ID: "d9", Time: revokedAt, Verdict: attestor.Deny, Caller: attestor.CallerRef{Subject: "me"},
			Image: attestor.DecidedImage{Requested: img.String(), Reference: img.String(), Digest: img.Digest()},
			Checks: []attestor.Check{{Name: attestor.CheckAttest, Status: attestor.StatusDeny, Reasons: []attestor.Reason{{
				Code: attestor.CodeRevoked, Subject: img.String(), Message: reason,
			}}}},
		}
	}
	for _, tt := range []struct {
		reason             string
		kind               attestor.RevocationKind
		override, judgment string
	}{
		{"drill, ticket 4711", attestor.RevokedByPerson, "", ""},
		{"decision 0199-7: the override by oncall@example ended at 2026-03-01T12:00:00Z", attestor.RevokedAtEnd, "0199-7", ""},
		{"decision 0199-8: found after admission by 0199-7: CVE-2026-9", attestor.RevokedByJudgment, "", "0199-8"},
		{"decision of the board: see the minutes", attestor.RevokedByPerson, "", ""},
		{"decision 0199-8 was wrong", attestor.RevokedByPerson, "", ""},
	} {
		r, ok := attestor.AsRevocation(old(tt.reason))
		if !ok || r.Kind != tt.kind || r.Override != tt.override || r.Judgment != tt.judgment ||
			r.ID != "d9" || r.Image != img || r.Reason != tt.reason || r.Caller.Subject != "me" {
			t.Errorf("%q is read as %+v, %t", tt.reason, r, ok)
		}
	}

	// Denials admitted nothing, with a policy or without.
	judged, ungoverned, unresolved := old("x"), old("x"), old("x")
	judged.Policy = &attestor.PolicyRef{Name: "p"}
	ungoverned.Checks[0] = attestor.Check{Name: attestor.CheckPolicy, Status: attestor.StatusDeny, Reasons: []attestor.Reason{{Code: attestor.CodeNoPolicy}}}
	unresolved.Image.Reference = repository + ":v7"
	for name, d := range map[string]attestor.Decision{"judged": judged, "not governed": ungoverned, "not resolved": unresolved} {
		if _, ok := attestor.AsRevocation(d); ok {
			t.Errorf("a decision that was %s is read as a revocation", name)
		}
	}
}
