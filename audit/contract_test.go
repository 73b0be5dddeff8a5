package audit_test

import (
	"path/filepath"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
)

// reopened runs a suite on each database. again opens what the store before it
// left, as another process would.
func reopened(t *testing.T, suite func(t *testing.T, open func(t *testing.T) (*audit.Store, func() *audit.Store))) {
	t.Helper()
	for name, config := range map[string]func(t *testing.T) audit.Config{
		"sqlite": func(t *testing.T) audit.Config { return audit.Config{SQLite: filepath.Join(t.TempDir(), "record.db")} },
		"postgresql": func(t *testing.T) audit.Config {
			return audit.Config{PostgreSQL: shared.database(t)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			suite(t, func(t *testing.T) (*audit.Store, func() *audit.Store) {
				c := config(t)
				c.Now = clockAt(day).now
				return open(t, c), func() *audit.Store { return open(t, c) }
			})
		})
	}
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
