package audit_test

import (
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/probe"
)

// asked are the questions of a probe with what each comes to.
func asked(results []probe.Result) map[string]probe.State {
	out := map[string]probe.State{}
	for _, r := range results {
		out[r.Question] = r.State()
	}
	return out
}

// edited is a connection string with a database, or a user, that the server does not have.
func edited(t *testing.T, dsn, part string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" {
		t.Fatalf("the connection string is no URL: %v", err)
	}
	if part == "database" {
		u.Path = "/none"
	} else {
		u.User = url.User("nobody-knows")
	}
	return u.String()
}

// TestProbe: a record that works, on both databases, and one that does not, each by the question that says why.
func TestProbe(t *testing.T) {
	good := map[string]probe.State{
		"it can be opened": probe.OK, "its schema is one that this program knows": probe.OK, "a decision can be written": probe.OK,
	}
	sqlite := func(t *testing.T, edit string) audit.Config {
		t.Helper()
		path := filepath.Join(t.TempDir(), "r.db")
		s, err := audit.Open(t.Context(), audit.Config{SQLite: path, Now: clockAt(day).now})
		if err != nil {
			t.Fatal(err)
		}
		if edit != "" {
			run(t, s.Writer(), edit)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return audit.Config{SQLite: path}
	}

	for _, tt := range []struct {
		name string
		c    func(t *testing.T) audit.Config
		want map[string]probe.State
		says string // of the one that is wrong
	}{
		{"nowhere", func(*testing.T) audit.Config { return audit.Config{None: true} }, map[string]probe.State{}, ""},
		{"SQLite", func(t *testing.T) audit.Config { t.Helper(); return sqlite(t, "") }, good, ""},
		{"PostgreSQL", func(t *testing.T) audit.Config {
			t.Helper()
			c := audit.Config{PostgreSQL: shared.database(t), Now: clockAt(day).now}
			open(t, c)
			return c
		}, good, ""},

		{"no file yet", func(t *testing.T) audit.Config {
			t.Helper()
			return audit.Config{SQLite: filepath.Join(t.TempDir(), "new", "r.db")}
		}, map[string]probe.State{"the file can be created": probe.OK}, ""},
		{"an empty database", func(t *testing.T) audit.Config {
			t.Helper()
			return audit.Config{PostgreSQL: shared.empty(t)}
		}, map[string]probe.State{"it can be opened": probe.OK, "its schema is one that this program knows": probe.OK}, ""},
		{"an earlier schema", func(t *testing.T) audit.Config {
			t.Helper()
			return sqlite(t, "DELETE FROM goose_db_version WHERE version_id > 1")
		}, good, ""},

		{"a later schema", func(t *testing.T) audit.Config {
			t.Helper()
			return sqlite(t, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
		}, map[string]probe.State{"it can be opened": probe.OK, "its schema is one that this program knows": probe.Fault}, "9999"},
		{"a table is missing", func(t *testing.T) audit.Config {
			t.Helper()
			return sqlite(t, "DROP TABLE intents")
		}, map[string]probe.State{
			"it can be opened": probe.OK, "its schema is one that this program knows": probe.OK, "a decision can be written": probe.Fault,
		}, "not available"},
		{"damaged", func(t *testing.T) audit.Config {
			t.Helper()
			path := filepath.Join(t.TempDir(), "r.db")
			if err := os.WriteFile(path, []byte(strings.Repeat("this is no database ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
			return audit.Config{SQLite: path}
		}, map[string]probe.State{"it can be opened": probe.Fault}, "damaged"},
		{"PostgreSQL is down", func(*testing.T) audit.Config {
			return audit.Config{PostgreSQL: "postgres://gate:secret@127.0.0.1:1/gate?sslmode=disable"}
		}, map[string]probe.State{"it can be opened": probe.NoAnswer}, "cannot be reached"},
		{"a database that is not there", func(t *testing.T) audit.Config {
			t.Helper()
			return audit.Config{PostgreSQL: edited(t, shared.empty(t), "database")}
		}, map[string]probe.State{"it can be opened": probe.Fault}, "does not exist"},
		{"a user that is not known", func(t *testing.T) audit.Config {
			t.Helper()
			return audit.Config{PostgreSQL: edited(t, shared.empty(t), "user")}
		}, map[string]probe.State{"it can be opened": probe.Fault}, "does not accept"},
		{"a malformed connection string", func(*testing.T) audit.Config {
			return audit.Config{PostgreSQL: "postgres://gate:secret@:::/x"}
		}, map[string]probe.State{"it can be opened": probe.Fault}, "malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.c(t)
			c.Now = clockAt(day).now
			results := audit.Probe(t.Context(), c)
			if diff := cmp.Diff(tt.want, asked(results)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}

			said := ""
			for _, r := range results {
				if r.Err != nil {
					said += attestor.Message(r.Err)
				}
				if strings.Contains(r.Subject+said, "secret") {
					t.Errorf("the password is shown: %s %s", r.Subject, said)
				}
			}
			if (tt.says == "") != (said == "") || !strings.Contains(said, tt.says) {
				t.Errorf("it says %q, want %q", said, tt.says)
			}
		})
	}
}

// TestProbeChangesNothing: no file is created, and no schema is brought up to date.
func TestProbeChangesNothing(t *testing.T) {
	dir := t.TempDir()
	audit.Probe(t.Context(), audit.Config{SQLite: filepath.Join(dir, "new", "r.db"), Now: clockAt(day).now})
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%v, %v: want an empty directory", left, err)
	}

	dsn := shared.empty(t)
	audit.Probe(t.Context(), audit.Config{PostgreSQL: dsn, Now: clockAt(day).now})
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tables := 0
	if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'public'`).Scan(&tables); err != nil || tables != 0 {
		t.Errorf("%d tables, %v: want none", tables, err)
	}
}
