package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/internal/testkit/postgres"
	"github.com/attestor-gate/attestor/server"
)

// recordsOfBoth runs one suite over the record on each database.
func recordsOfBoth(t *testing.T, suite func(t *testing.T, open func(t *testing.T) *audit.Store)) {
	t.Helper()
	open := func(t *testing.T, c audit.Config) *audit.Store {
		t.Helper()
		c.Now = time.Now
		s, err := audit.Open(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	t.Run("sqlite", func(t *testing.T) {
		suite(t, func(t *testing.T) *audit.Store {
			return open(t, audit.Config{SQLite: filepath.Join(t.TempDir(), "record.db")})
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
		suite(t, func(t *testing.T) *audit.Store {
			t.Helper()
			n++
			dsn, err := pg.Database(fmt.Sprintf("suite%d", n))
			if err != nil {
				t.Fatal(err)
			}
			return open(t, audit.Config{PostgreSQL: dsn})
		})
	})
}

func TestDecisionsContract(t *testing.T) {
	t.Parallel()
	recordsOfBoth(t, func(t *testing.T, open func(t *testing.T) *audit.Store) {
		contract.Decisions(t, func(t *testing.T) contract.DecisionRecord {
			s := open(t)
			d := decisions{s}
			return contract.DecisionRecord{
				Decision: d.Decision,
				List: func(ctx context.Context, q contract.DecisionQuery) ([]attestor.Decision, string, error) {
					page, err := d.List(ctx, server.DecisionFilter{
						Image: q.Image, Repository: q.Repository, Verdict: q.Verdict, Policy: q.Policy, Since: q.Since, Until: q.Until,
						Period: q.Period, PageSize: q.PageSize, PageToken: q.PageToken, BreakGlass: q.BreakGlass, Visible: q.Visible,
					})
					return page.Decisions, page.NextPageToken, err
				},
				Add: func(t *testing.T, records ...attestor.Record) {
					t.Helper()
					for _, r := range records {
						if err := s.Finish(t.Context(), r); err != nil {
							t.Fatal(err)
						}
					}
				},
			}
		})
	})
}
