package audit_test

import (
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/courier"
	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
)

// reopened runs a suite on each database. again opens what the store before it
// left, as another process would.
func reopened(t *testing.T, suite func(t *testing.T, open func(t *testing.T) (*audit.Store, func() *audit.Store))) {
	t.Helper()
	onBothConfigs(t, func(t *testing.T, config func(t *testing.T) audit.Config) {
		suite(t, func(t *testing.T) (*audit.Store, func() *audit.Store) {
			c := config(t)
			c.Now = clockAt(day).now
			return open(t, c), func() *audit.Store { return open(t, c) }
		})
	})
}

// onBothConfigs runs a test for each database. config is one with the schema and without rows, without a
// clock.
func onBothConfigs(t *testing.T, f func(t *testing.T, config func(t *testing.T) audit.Config)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		f(t, func(t *testing.T) audit.Config { return audit.Config{SQLite: migratedFile(t)} })
	})
	t.Run("postgresql", func(t *testing.T) {
		f(t, func(t *testing.T) audit.Config { return audit.Config{PostgreSQL: shared.database(t)} })
	})
}

// recording lets a suite read what a store keeps.
func recording(s *audit.Store, again func() *audit.Store) contract.Recording {
	return contract.Recording{
		Recorder: s,
		Finished: func(t *testing.T, id string) (attestor.Decision, bool) {
			t.Helper()
			r, err := s.Record(t.Context(), id)
			if err != nil && attestor.KindOf(err) != attestor.NotFound {
				t.Fatal(err)
			}
			return r.Decision, err == nil
		},
		Again: func(*testing.T) contract.Recording { return recording(again(), nil) },
	}
}

func TestRecorderContract(t *testing.T) {
	reopened(t, func(t *testing.T, open func(t *testing.T) (*audit.Store, func() *audit.Store)) {
		contract.Recorder(t, func(t *testing.T) contract.Recording { return recording(open(t)) })
	})
}

func TestJournalContract(t *testing.T) {
	reopened(t, func(t *testing.T, open func(t *testing.T) (*audit.Store, func() *audit.Store)) {
		contract.Journal(t, open)
	})
}

func TestRevocationsContract(t *testing.T) {
	reopened(t, func(t *testing.T, open func(t *testing.T) (*audit.Store, func() *audit.Store)) {
		contract.Revocations(t, func(t *testing.T) contract.RevocationRecord {
			s, _ := open(t)
			return contract.RevocationRecord{
				Revocations: s, Recorder: s,
				Finished: func(t *testing.T, id string) (attestor.RevocationRecord, bool) {
					t.Helper()
					r, err := s.Revocation(t.Context(), id)
					if err != nil && attestor.KindOf(err) != attestor.NotFound {
						t.Fatal(err)
					}
					return r, err == nil
				},
			}
		})
	})
}

func TestWatchedContract(t *testing.T) {
	onBothConfigs(t, func(t *testing.T, config func(t *testing.T) audit.Config) {
		watched := func(t *testing.T) *audit.Store {
			c := config(t)
			c.Now = contract.WatchedNow
			return open(t, c)
		}
		t.Run("admissions", func(t *testing.T) {
			contract.Admissions(t, func(t *testing.T) contract.Watched[*audit.Store] {
				s := watched(t)
				return contract.Watched[*audit.Store]{Record: s, Add: finisher(s)}
			})
		})
		t.Run("overrides", func(t *testing.T) {
			contract.Overrides(t, func(t *testing.T) contract.Watched[*audit.Store] {
				s := watched(t)
				return contract.Watched[*audit.Store]{Record: s, Add: finisher(s)}
			})
		})
	})
}

// finisher adds records.
func finisher(s *audit.Store) func(t *testing.T, records ...attestor.Record) {
	return func(t *testing.T, records ...attestor.Record) {
		t.Helper()
		for _, r := range records {
			if _, err := s.Finish(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestOutboxContract(t *testing.T) {
	onBothConfigs(t, func(t *testing.T, config func(t *testing.T) audit.Config) {
		contract.Outbox(t, func(t *testing.T) contract.OutboxRecord {
			c, now := config(t), clockAt(day)
			c.Now = now.now
			c.Receivers = []audit.Receiver{
				{Name: contract.ReceiverBoth, Types: []event.Type{event.DecisionDenied, event.OverrideUsed}},
				{Name: contract.ReceiverDenials, Types: []event.Type{event.DecisionDenied}},
			}
			s := open(t, c)
			out := contract.OutboxRecord{
				Outbox: s, Add: finisher(s), Later: func(d time.Duration) { now.set(now.now().Add(d)) },
			}
			if c.PostgreSQL != "" {
				out.Again = func(t *testing.T) courier.Outbox { return open(t, c) }
			}
			return out
		})
	})
}
