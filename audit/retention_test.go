package audit_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// A time in the future means everything that may go. What stays keeps its evidence.
func TestPruneBeforeAFutureTime(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		c.set(day)
		admitted := record(1, attestor.Pass, stored)
		finish(t, s, admitted)
		finish(t, s, record(2, attestor.Deny))

		got, err := s.Prune(t.Context(), day.AddDate(70, 0, 0))
		if err != nil || got.Decisions != 1 {
			t.Fatalf("pruned %+v, %v; want the denial", got, err)
		}
		if _, err := s.Record(t.Context(), admitted.Decision.ID); err != nil {
			t.Errorf("the decision by which an image is admitted has lost its evidence: %v", err)
		}
	})
}

func TestPrune(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		at := func(days int) time.Time { return day.AddDate(0, 0, days) }
		put := func(id string, days int, own string) {
			c.set(at(days))
			finish(t, s, record(1, attestor.Deny, func(r *attestor.Record) {
				r.Decision.ID, r.Decision.Time = id, at(days)
				r.Evidence.Platforms[0].Scan.Findings[0].Package = own
				if own == "openssl-2" {
					r.PolicyText = []byte("another")
				}
			}))
		}

		put("old", 0, "openssl-1")     // its evidence is used again on day 40
		put("old-own", 1, "openssl-2") // its evidence is its own
		put("new", 40, "openssl-1")
		begun := record(2, attestor.Pass)
		if err := s.Begin(t.Context(), begun); err != nil {
			t.Fatal(err)
		}

		got, err := s.Prune(t.Context(), at(30))
		if err != nil {
			t.Fatal(err)
		}
		if got.Decisions != 2 {
			t.Errorf("pruned %d decisions, want 2", got.Decisions)
		}

		for _, id := range []string{"old", "old-own"} {
			if _, err := s.Record(t.Context(), id); attestor.KindOf(err) != attestor.NotFound {
				t.Errorf("%s is still there: %v", id, err)
			}
		}

		if _, err := s.Record(t.Context(), "new"); err != nil {
			t.Errorf("what is left has lost its evidence: %v", err)
		}
		if left, err := collected(s.Pending(t.Context(), 0)); err != nil || len(left) != 1 {
			t.Errorf("what was begun was pruned, or lost its evidence: %d, %v", len(left), err)
		}

		finish(t, s, begun)
		if got, err = s.Prune(t.Context(), at(60)); err != nil || got.Decisions != 2 || got.Blobs == 0 {
			t.Errorf("the second pruning removed %+v, %v", got, err)
		}
		c.set(at(70))
		if _, err = s.Prune(t.Context(), at(70)); err != nil {
			t.Fatal(err)
		}

		for _, table := range []string{"decisions", "blobs", "decision_digests"} {
			if n, err := s.Count(t.Context(), table); err != nil || n != 0 {
				t.Errorf("%d rows left in %s, %v", n, table, err)
			}
		}
	})
}

// Evidence that a decision is just about to share is not pruned from under it.
func TestPruneWhileRecording(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		finish(t, s, record(1, attestor.Deny))
		late := day.AddDate(0, 0, 60)
		c.set(late)
		var wg sync.WaitGroup
		const n = 40
		wg.Go(func() {
			for i := range n {
				finishLate := record(1, attestor.Deny, func(r *attestor.Record) {
					r.Decision.ID, r.Decision.Time = fmt.Sprint("late-", i), late
				})
				if _, err := s.Finish(context.Background(), finishLate); err != nil {
					t.Error(err)
				}
			}
		})

		wg.Go(func() {
			for range n {
				if _, err := s.Prune(context.Background(), late.AddDate(0, 0, -10)); err != nil {
					t.Error(err)
				}
			}
		})

		wg.Wait()
		for i := range n {
			if _, err := s.Record(t.Context(), fmt.Sprint("late-", i)); err != nil {
				t.Fatalf("its evidence is gone: %v", err)
			}
		}
	})
}

// TestPruneBesideADamagedDecision: one that admits an image, and whose evidence somebody damaged, stays, and keeps no
// other.
func TestPruneBesideADamagedDecision(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		finish(t, s, record(1, attestor.Pass, stored), record(2, attestor.Deny))
		damage(t, s, record(1, attestor.Pass).Decision.ID)
		if got, err := s.Prune(t.Context(), day.AddDate(0, 0, 1)); err != nil || got.Decisions != 1 {
			t.Errorf("pruned %+v, %v, want the denial", got, err)
		}
		if n, err := s.Count(t.Context(), "decisions"); err != nil || n != 1 {
			t.Errorf("%d decisions are left, %v", n, err)
		}
	})
}

// TestExportBesideADamagedDecision: one whose evidence somebody damaged is written as changed, and hides no other. A search
// by findings, which it might have, is an error.
func TestExportBesideADamagedDecision(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		finish(t, s, record(1, attestor.Pass), record(2, attestor.Deny), record(3, attestor.Pass))
		days(t, s, audit.Filter{}) // all are indexed
		damage(t, s, record(2, attestor.Deny).Decision.ID)

		got := everything(t, s)
		if len(got) != 3 || got[0].Decision.Log != nil || len(got[0].Evidence.Platforms) != 1 ||
			got[1].Decision.Log == nil || got[1].Decision.Log.Changed == "" || got[1].Decision.Verdict != attestor.Undecided {
			t.Errorf("the record: %+v", got)
		}
		var b strings.Builder
		if n, err := s.Export(t.Context(), &b, audit.Filter{}); err != nil || n != 3 || strings.Count(b.String(), "\n") != 3 {
			t.Errorf("exported %d, %v: %s", n, err, b.String())
		}
		if _, err := s.Export(t.Context(), &b, audit.Filter{CVE: "CVE-2026-1234"}); err == nil {
			t.Error("a search by a finding leaves out what cannot be read")
		}
	})
}
