package audit_test

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/testkit/pgtest"
)

// refused checks that nothing can be recorded, and that it says why in words
// that hold no path and no host.
func refused(t *testing.T, s *audit.Store, says string) {
	t.Helper()
	r := record(7, attestor.Pass, func(r *attestor.Record) {
		r.Decision.ID = "refused"
		much := make([]byte, 1<<19) // that does not compress
		_, _ = rand.NewChaCha8([32]byte{}).Read(much)
		r.Decision.Labels = map[string]string{"much": hex.EncodeToString(much)}
	})

	finish := func(ctx context.Context, r attestor.Record) error {
		_, err := s.Finish(ctx, r)
		return err
	}
	for name, call := range map[string]func(context.Context, attestor.Record) error{"Begin": s.Begin, "Finish": finish} {
		err := call(t.Context(), r)
		if attestor.KindOf(err) != attestor.Unavailable {
			t.Fatalf("%s: %v, want an error of kind Unavailable", name, err)
		}
		if msg := attestor.Message(err); !strings.Contains(msg, says) || strings.Contains(msg, "/") || strings.Contains(msg, "127.0.0.1") {
			t.Errorf("%s says %q, want %q", name, msg, says)
		}
	}

	if err := s.Ready(t.Context()); says != "full" && attestor.KindOf(err) != attestor.Unavailable {
		t.Errorf("Ready: %v, want an error of kind Unavailable", err)
	}
}

func run(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// A statement that a deadline cut off was not refused: the database is slow, and its log has no other cause. Nor was one
// refused whose connection the server ended.
func TestWhatIsSaidOfPostgreSQL(t *testing.T) {
	for _, tt := range []struct {
		err  error
		says string
	}{
		{&pgconn.PgError{Code: "57014", Message: "canceling statement due to user request"}, "did not answer in time"},
		{fmt.Errorf("timeout: %w", context.DeadlineExceeded), "did not answer in time"},
		{&pgconn.PgError{Code: "42P01"}, "refused a statement"},
		{&pgconn.PgError{Code: "25006"}, "read-only"},
		{&pgconn.PgError{Code: "28P01"}, "does not accept the gate's user"},
		{&pgconn.PgError{Code: "40P01"}, "in the way"},
		{&pgconn.PgError{Code: "40001"}, "in the way"},
		{&pgconn.PgError{Code: "57P01"}, "cannot be reached"}, // it was told to stop
		{&pgconn.PgError{Code: "57P02"}, "cannot be reached"}, // it crashed
		{&pgconn.PgError{Code: "57P03"}, "cannot be reached"}, // it starts
		{&pgconn.PgError{Code: "08006"}, "cannot be reached"},
		{errors.New("connection refused"), "cannot be reached"},
	} {
		if got := audit.PostgresMessage(tt.err); !strings.Contains(got, tt.says) {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.says)
		}
	}
}

func TestFullDiskFailsTheRequest(t *testing.T) {
	s := openSQLite(t, migratedFile(t), clockAt(day))
	finish(t, s, record(1, attestor.Pass))
	run(t, s.Writer(), "PRAGMA max_page_count = 40")
	refused(t, s, "full")
	run(t, s.Writer(), "PRAGMA max_page_count = 1073741823")
	finish(t, s, record(2, attestor.Pass)) // and back again
	if _, err := s.Record(t.Context(), "refused"); attestor.KindOf(err) != attestor.NotFound {
		t.Errorf("a request that failed left something behind: %v", err)
	}
}

func TestReadOnlyFailsTheRequest(t *testing.T) {
	s := openSQLite(t, migratedFile(t), clockAt(day))
	run(t, s.Writer(), "PRAGMA query_only = 1")
	refused(t, s, "read-only")
	run(t, s.Writer(), "PRAGMA query_only = 0")
	finish(t, s, record(1, attestor.Pass))
}

func TestLockedFailsTheRequest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	s := openSQLite(t, path, clockAt(day))
	run(t, s.Writer(), "PRAGMA busy_timeout = 1")
	other, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()

	other.SetMaxOpenConns(1)
	run(t, other, "BEGIN IMMEDIATE")
	refused(t, s, "locked")
	run(t, other, "ROLLBACK")
	finish(t, s, record(1, attestor.Pass))
}

// SQLite goes on writing to a file that was removed: nobody would ever read it.
func TestRemovedFileFailsTheRequest(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "r.db")
	s := openSQLite(t, path, clockAt(day))
	finish(t, s, record(1, attestor.Pass))
	for _, name := range []string{path, path + "-wal"} {
		if err := os.Rename(name, name+".away"); err != nil {
			t.Fatal(err)
		}
		refused(t, s, "removed")
		if err := os.Rename(name+".away", name); err != nil {
			t.Fatal(err)
		}
	}

	finish(t, s, record(2, attestor.Pass))
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil { // another file in its place
		t.Fatal(err)
	}
	refused(t, s, "removed")
}

func TestDamagedAndForbiddenFiles(t *testing.T) {
	dir := t.TempDir()
	damaged := filepath.Join(dir, "damaged.db")
	if err := os.WriteFile(damaged, []byte(strings.Repeat("this is no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct{ name, path, says string }{
		{"damaged", damaged, "damaged"},
		{"a directory", dir, "not available"},
	} {
		_, err := audit.Open(t.Context(), audit.Config{SQLite: tt.path, Now: clockAt(day).now})
		if attestor.KindOf(err) != attestor.Unavailable || !strings.Contains(attestor.Message(err), tt.says) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
	}
}

func TestOpenNeedsOneDatabase(t *testing.T) {
	now := clockAt(day).now
	for name, c := range map[string]audit.Config{
		"none":       {Now: now},
		"both":       {SQLite: "x", PostgreSQL: "postgres://x", Now: now},
		"no clock":   {SQLite: "x"},
		"no string":  {PostgreSQL: "postgres://user:secret@:::/x", Now: now},
		"not there":  {PostgreSQL: "postgres://gate:secret@127.0.0.1:1/x?sslmode=disable", Now: now},
		"schema new": {SQLite: newerSchema(t), Now: now},
	} {
		s, err := audit.Open(t.Context(), c)
		if err == nil {
			t.Errorf("%s: opened %v", name, s)
			continue
		}

		if strings.Contains(attestor.Message(err), "secret") {
			t.Errorf("%s: the message quotes the password: %v", name, err)
		}
	}
}

// newerSchema is a record that a later version of the program wrote.
func newerSchema(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.db")
	s := openSQLite(t, path, clockAt(day))
	run(t, s.Writer(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
	return path
}

func TestKilledPostgreSQL(t *testing.T) {
	pg := pgtest.Start(t)
	s := open(t, audit.Config{PostgreSQL: pg.DSN("postgres"), Now: clockAt(day).now, Timeout: 5 * time.Second})
	finish(t, s, record(1, attestor.Pass))
	pg.Stop()
	refused(t, s, "cannot be reached")
	if _, err := s.List(t.Context(), audit.Filter{}, 0, ""); attestor.KindOf(err) != attestor.Unavailable {
		t.Errorf("List: %v, want an error of kind Unavailable", err)
	}

	for _, err := range s.Records(t.Context(), audit.Filter{}) {
		if attestor.KindOf(err) != attestor.Unavailable {
			t.Errorf("Records: %v, want an error of kind Unavailable", err)
		}
	}

	if err := pg.Start(); err != nil {
		t.Fatal(err)
	}
	finish(t, s, record(2, attestor.Pass)) // and back again, by itself
	for _, n := range []int{1, 2} {
		if _, err := s.Record(t.Context(), record(n, attestor.Pass).Decision.ID); err != nil {
			t.Errorf("decision %d is lost: %v", n, err)
		}
	}
}

func TestReadOnlyPostgreSQL(t *testing.T) {
	dsn := shared.database(t)
	s := open(t, audit.Config{PostgreSQL: dsn, Now: clockAt(day).now})
	finish(t, s, record(1, attestor.Pass))
	replica := open(t, audit.Config{PostgreSQL: dsn, Now: clockAt(day).now})
	run(t, replica.Writer(), "SET default_transaction_read_only = on")
	replica.Writer().SetMaxOpenConns(1)
	refused(t, replica, "read-only")
}

func TestDurabilityIsAskedFor(t *testing.T) {
	pg := open(t, audit.Config{PostgreSQL: shared.database(t), Now: clockAt(day).now})
	lite := openSQLite(t, migratedFile(t), clockAt(day))
	for _, tt := range []struct {
		s           *audit.Store
		query, want string
	}{
		{pg, "SHOW synchronous_commit", "on"},
		{lite, "PRAGMA synchronous", "2"}, // FULL
		{lite, "PRAGMA journal_mode", "wal"},
		{lite, "PRAGMA foreign_keys", "1"},
	} {
		var got string
		if err := tt.s.Writer().QueryRowContext(t.Context(), tt.query).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != tt.want {
			t.Errorf("%s = %s, want %s", tt.query, got, tt.want)
		}
	}
}

func TestExpiredContextFailsTheRequest(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Finish(ctx, record(1, attestor.Pass)); attestor.KindOf(err) != attestor.Unavailable {
			t.Errorf("Finish: %v, want an error of kind Unavailable", err)
		}
	})
}
