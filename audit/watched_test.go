package audit_test

import (
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// granted is an override of an image that is attested, until an hour after its time.
func granted(n int) attestor.Record {
	return record(n, attestor.Deny, stored, func(r *attestor.Record) {
		r.Decision.BreakGlass = &attestor.BreakGlass{Reason: "INC-1 outage", By: "oncall@example", Expires: new(r.Decision.Time.Add(time.Hour))}
	})
}

// TestWatchedSaysHowWellTheRecordIsKeptUp: the numbers behind the metrics and alerts, from the record alone, so that
// every instance says the same.
func TestWatchedSaysHowWellTheRecordIsKeptUp(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		check := func(when string, want audit.Watched) {
			t.Helper()
			got, err := s.Watched(t.Context())
			if err != nil || got != want {
				t.Errorf("%s: %+v, %v, want %+v", when, got, err, want)
			}
		}
		check("nothing is admitted", audit.Watched{})

		// No run has ended overrides: it counts from the first start. A denial and a dry run are nothing that is watched.
		old, other := record(1, attestor.Pass, stored), record(2, attestor.Pass, stored)
		other.Decision.Time = day.Add(time.Hour)
		finish(t, s, old, other, record(3, attestor.Deny), record(4, attestor.Pass, func(r *attestor.Record) { r.Decision.DryRun = true }))
		c.set(day.Add(2 * time.Hour))
		check("two images", audit.Watched{Admissions: true, Oldest: 2*time.Hour - time.Minute, Expired: 2 * time.Hour})

		// One is looked at. A look without an answer does not count.
		looked := func(r attestor.Record, answered bool) {
			t.Helper()
			a, err := s.AdmittedWith(t.Context(), imageOf(t, r))
			if err != nil || len(a) != 1 {
				t.Fatalf("%+v, %v", a, err)
			}
			look := attestor.Rejudgement{Admission: a[0], Time: c.now(), Answered: answered, Verdict: attestor.Pass}
			if err := s.Looked(t.Context(), attestor.Run{}, []attestor.Rejudgement{look}); err != nil {
				t.Fatal(err)
			}
		}
		looked(old, false)
		check("no answer", audit.Watched{Admissions: true, Oldest: 2*time.Hour - time.Minute, Expired: 2 * time.Hour})
		looked(old, true)
		check("one was looked at", audit.Watched{Admissions: true, Oldest: time.Hour, Expired: 2 * time.Hour})
		looked(other, true)
		check("both were", audit.Watched{Admissions: true, Expired: 2 * time.Hour})

		// An override that ends an hour after its time, which is the fifth minute of the day.
		over := granted(5)
		finish(t, s, over)
		check("an open override", audit.Watched{Admissions: true, Oldest: 2*time.Hour - 5*time.Minute, Open: 1,
			Overdue: time.Hour - 5*time.Minute, Expired: 2 * time.Hour})
		if err := s.Expired(t.Context(), "run-1", attestor.CallerRef{Subject: "scheduler"}, c.now()); err != nil {
			t.Fatal(err)
		}
		c.set(day.Add(2*time.Hour + 10*time.Minute))
		check("ten minutes after a run", audit.Watched{
			Admissions: true, Oldest: 2*time.Hour + 5*time.Minute, Open: 1, Overdue: time.Hour + 5*time.Minute, Expired: 10 * time.Minute,
		})

		end := attestor.RevocationRecord{
			ID: "r", Time: c.now(), Kind: attestor.RevokedAtEnd, Image: imageOf(t, over), Reason: "ended at its end", Override: over.Decision.ID,
		}
		begun, err := s.BeginRevocation(t.Context(), end)
		if err == nil {
			err = s.FinishRevocation(t.Context(), begun)
		}
		if err != nil {
			t.Fatal(err)
		}
		check("it has ended", audit.Watched{Admissions: true, Oldest: 10 * time.Minute, Expired: 10 * time.Minute})
	})
}

// TestPruneKeepsOpenOverrides: whatever is pruned, an open override ends when it says. Once it is closed it may go.
func TestPruneKeepsOpenOverrides(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		over, denied := granted(1), record(2, attestor.Deny)
		forever := granted(3)
		forever.Decision.BreakGlass.Expires = nil
		finish(t, s, over, denied, forever)

		c.set(day.AddDate(2, 0, 0))
		got, err := s.Prune(t.Context(), c.now())
		if err != nil || got.Decisions != 1 {
			t.Fatalf("pruned %+v, %v, want the denial", got, err)
		}
		for _, r := range []attestor.Record{over, forever} {
			open, err := s.OpenOverrides(t.Context(), imageOf(t, r))
			if err != nil || len(open) != 1 || open[0].Decision != r.Decision.ID || len(open[0].Digests) != 1 {
				t.Errorf("open overrides of %s: %+v, %v", r.Decision.ID, open, err)
			}
			if _, err := s.Record(t.Context(), r.Decision.ID); err != nil {
				t.Errorf("its decision or evidence is gone: %v", err)
			}
		}
		overdue, err := s.Overdue(t.Context(), attestor.Override{}, 10)
		if err != nil || len(overdue) != 1 || overdue[0].Decision != over.Decision.ID {
			t.Fatalf("overdue: %+v, %v, want the override that has an end", overdue, err)
		}

		begun, err := s.BeginRevocation(t.Context(), attestor.RevocationRecord{
			ID: "r", Time: c.now(), Kind: attestor.RevokedAtEnd, Image: imageOf(t, over), Reason: "ended at its end", Override: over.Decision.ID,
		})
		if err == nil {
			err = s.FinishRevocation(t.Context(), begun)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Prune(t.Context(), c.now()); err != nil || got.Decisions != 1 {
			t.Errorf("pruned %+v, %v, want the override that has ended", got, err)
		}
		if n, err := s.Count(t.Context(), "overrides"); err != nil || n != 1 {
			t.Errorf("%d overrides, %v, want the open one", n, err)
		}
	})
}
