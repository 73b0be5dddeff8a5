package audit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/testkit/pgtest"
	"github.com/attestor-gate/attestor/internal/testkit/postgres"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.pg != nil {
		_ = shared.pg.Close()
	}
	if err := goleak.Find(goleak.IgnoreTopFunction("github.com/docker/go-events.(*Broadcaster).run")); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// empty is a database without tables.
func (s *server) empty(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()

	dsn, _ := s.create(t, "template1")
	return dsn
}

// database is one with the schema and without rows. It is a copy, since migrating takes seconds on a busy machine.
func (s *server) database(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.migrated == "" {
		dsn, name := s.create(t, "template1")
		if err := audit.MigrateForTest(t.Context(), audit.Config{PostgreSQL: dsn}); err != nil {
			t.Fatal(err)
		}
		s.migrated = name
	}
	dsn, _ := s.create(t, s.migrated)
	return dsn
}

// create makes a copy of a database. mu must be held.
func (s *server) create(t testing.TB, of string) (dsn, name string) {
	t.Helper()
	if s.pg == nil {
		s.pg = pgtest.Need(t, postgres.New)
	}

	s.n++
	name = fmt.Sprintf("t%d", s.n)
	dsn, err := s.pg.Copy(name, of)
	if err != nil {
		t.Fatal(err)
	}
	return dsn, name
}

// migratedFile is a new file of SQLite with the schema and without rows, a copy too.
func migratedFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "record.db")
	shared.mu.Lock()
	defer shared.mu.Unlock()

	if shared.file == nil {
		if err := audit.MigrateForTest(t.Context(), audit.Config{SQLite: path}); err != nil {
			t.Fatal(err)
		}
		var err error
		if shared.file, err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.WriteFile(path, shared.file, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
