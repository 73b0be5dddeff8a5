package audit_test

import (
	"database/sql"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// TestOldRevocationsAreNoDenials: a revocation that a version before recorded as a denial is not listed or counted as
// one, whether it was read yet or not: the image's last verdict stays its verdict. Once read, the decision that had
// admitted the image tells of it. A denial that no policy made stays one.
func TestOldRevocationsAreNoDenials(t *testing.T) {
	history := []oldDecision{
		{id: "pass", minutes: 9000, image: 1, verdict: "pass", attested: true, ruled: true},
		{id: "revoked", minutes: 8999, image: 1, verdict: "deny", attested: true, revoked: "leaked credentials, ticket 4711"},
		{id: "ungoverned", minutes: 8998, image: 2, verdict: "deny"},
		{id: "refused", minutes: 300, image: 3, verdict: "deny", ruled: true},
		{
			id: "override", minutes: 299, image: 4, verdict: "deny", attested: true, ruled: true,
			override: `{"by":"oncall@acme.example","reason":"INC-1 outage","expires":"2026-11-21T08:00:00Z"}`,
		},
		{
			id: "expired", minutes: 200, image: 4, verdict: "deny", attested: true,
			revoked: "decision override: the override by oncall@acme.example ended at 2026-11-21T08:00:00Z",
		},
	}

	onOldRecords(t, func(t *testing.T, old oldRecord) {
		old.execute(t, func(db *sql.DB) { writeOldDecisions(t, db, old.dialect, history, "") })
		s := open(t, old.config)

		check := func(when string, want ...string) {
			t.Helper()
			all := everything(t, s)
			var ids []string
			for _, r := range all {
				ids = append(ids, r.Decision.ID)
			}
			if !slices.Equal(ids, want) {
				t.Errorf("%s: listed %v, want %v", when, ids, want)
			}
			page, err := s.List(t.Context(), audit.Filter{Reason: attestor.CodeRevoked}, 10, "")
			if err != nil || len(page.Decisions) != 0 {
				t.Errorf("%s: denials with the reason REVOKED: %+v, %v", when, page.Decisions, err)
			}

			// Whole days and hours come from sums, the others from the decisions themselves.
			for _, f := range []audit.Filter{{}, {Since: day.Add(-4*time.Hour - 59*time.Minute)}, {Verdict: attestor.Deny}, {Policy: "none"}} {
				wantLines, wantDays := recomputed(all, f)
				if d := gocmp.Diff(wantDays, days(t, s, f), cmpopts.EquateEmpty()); d != "" {
					t.Errorf("%s, %v: days (-want +got):\n%s", when, f.Values(), d)
				}
				if f.Verdict != "" || f.Policy != "" {
					continue
				}
				if d := gocmp.Diff(factsOf(wantLines), facts(t, s, f)); d != "" {
					t.Errorf("%s, %v: facts (-want +got):\n%s", when, f.Values(), d)
				}
			}
			for _, l := range lines(t, s, audit.Filter{}) {
				if l.Row.ID == "revoked" || l.Row.ID == "expired" {
					t.Errorf("%s: the last verdict on an image is %+v", when, l.Row)
				}
			}
		}

		check("before it was read", "override", "refused", "ungoverned", "pass")
		if _, err := s.Fill(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("once it was read", "override", "refused", "ungoverned", "pass")

		for id, want := range map[string]attestor.RevocationRecord{
			"pass": {
				ID: "revoked", Kind: attestor.RevokedByPerson, Reason: "leaked credentials, ticket 4711", Time: history[1].at(),
			},
			"override": {
				ID: "expired", Kind: attestor.RevokedAtEnd, Override: "override", Reason: history[5].revoked, Time: history[5].at(),
			},
		} {
			d, err := s.Decision(t.Context(), id)
			if err != nil || d.Revoked == nil {
				t.Fatalf("%s: %+v, %v", id, d.Revoked, err)
			}
			r := *d.Revoked
			if r.ID != want.ID || r.Kind != want.Kind || r.Reason != want.Reason || !r.Time.Equal(want.Time) || r.Override != want.Override ||
				r.Caller.Subject != "admin@acme.example" || len(r.Attestations) != 1 || r.Attestations[0].Digest != d.Image.Digest {
				t.Errorf("%s was revoked by %+v, want %+v", id, r, want)
			}
		}

		// What is pruned is taken out of the sums only if it was in them.
		if _, err := s.Prune(t.Context(), day.Add(-250*time.Minute)); err != nil {
			t.Fatal(err)
		}
		check("pruned")
		if _, err := s.Prune(t.Context(), day); err != nil {
			t.Fatal(err)
		}
		check("pruned whole")
	})
}
