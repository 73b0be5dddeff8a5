package server_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/internal/testkit/postgres"
	"github.com/attestor-gate/attestor/server"
	"github.com/attestor-gate/attestor/server/watch"
)

// finisher adds records.
func finisher(s *audit.Store) func(t *testing.T, records ...attestor.Record) {
	return func(t *testing.T, records ...attestor.Record) {
		t.Helper()
		for _, r := range records {
			if err := s.Finish(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// listed asks d as the suite does.
func listed(d server.Decisions, add func(t *testing.T, records ...attestor.Record)) contract.DecisionRecord {
	return contract.DecisionRecord{
		Decision: d.Decision,
		Add:      add,
		List: func(ctx context.Context, q contract.DecisionQuery) ([]attestor.Decision, string, error) {
			page, err := d.List(ctx, server.DecisionFilter{
				Image: q.Image, Repository: q.Repository, Verdict: q.Verdict, Policy: q.Policy, Since: q.Since, Until: q.Until,
				Period: q.Period, PageSize: q.PageSize, PageToken: q.PageToken, BreakGlass: q.BreakGlass, Visible: q.Visible,
			})
			return page.Decisions, page.NextPageToken, err
		},
	}
}

func TestDecisionsContract(t *testing.T) {
	t.Run("recorded", func(t *testing.T) {
		contract.Decisions(t, func(t *testing.T) contract.DecisionRecord {
			s := openRecord(t)
			return listed(recorded{s}, finisher(s))
		})
	})
	t.Run("parts", func(t *testing.T) {
		contract.Decisions(t, func(t *testing.T) contract.DecisionRecord {
			w := newWorld()
			w.tb = t
			return listed(&parts{w: w}, finisher(w.store()))
		})
	})
}

// TestHistoryContract runs on both databases: the watch's run over everything
// admitted is the longest list that there is.
func TestHistoryContract(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		contract.History(t, func(t *testing.T) (watch.History, func(t *testing.T, records ...attestor.Record)) {
			s := openRecord(t)
			return server.HistoryForTest(recorded{s}), finisher(s)
		})
	})
	t.Run("postgresql", func(t *testing.T) {
		pg, err := postgres.New()
		if errors.Is(err, postgres.ErrMissing) && os.Getenv("GATE_REQUIRE_PARTS") != "1" {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = pg.Close() })
		n := 0
		contract.History(t, func(t *testing.T) (watch.History, func(t *testing.T, records ...attestor.Record)) {
			n++
			dsn, err := pg.Database("history" + string(rune('a'+n)))
			if err != nil {
				t.Fatal(err)
			}
			s := open(t, audit.Config{PostgreSQL: dsn, Now: newWorld().clock})
			return server.HistoryForTest(recorded{s}), finisher(s)
		})
	})
}
