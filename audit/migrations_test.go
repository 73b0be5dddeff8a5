package audit_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"github.com/attestor-gate/attestor/audit"
)

// misnumbered says what is wrong with a list of migrations, sorted by name; nil: nothing.
func misnumbered(names []string) (wrong []string) {
	form := regexp.MustCompile(`^(\d{5})_[a-z0-9_]+\.sql$`)
	for i, name := range names {
		m := form.FindStringSubmatch(name)
		if m == nil {
			wrong = append(wrong, name+" is not named NNNNN_what_it_does.sql")
			continue
		}
		if n, err := strconv.Atoi(m[1]); err != nil || n != i+1 {
			wrong = append(wrong, fmt.Sprintf("%s is migration %d of the list: its number is duplicate or one is missing", name, i+1))
		}
	}
	return wrong
}

// Two changes that are made side by side may take one number, or leave one out: a database that has the first one would
// never get the other.
func TestMigrationsAreNumbered(t *testing.T) {
	entries, err := os.ReadDir("migrations")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		text, err := os.ReadFile(filepath.Join("migrations", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		up, down := strings.Index(string(text), "-- +goose Up\n"), strings.Index(string(text), "-- +goose Down\n")
		if up != 0 || down < up {
			t.Errorf("%s: want -- +goose Up in its first line, and -- +goose Down after that", e.Name())
		}
	}
	if wrong := misnumbered(names); wrong != nil || len(names) == 0 {
		t.Errorf("%d migrations: %s", len(names), strings.Join(wrong, "\n"))
	}

	// The test itself finds each fault.
	for _, bad := range [][]string{
		{"00001_a.sql", "00002_b.sql", "00002_c.sql"}, {"00001_a.sql", "00003_b.sql"}, {"00002_a.sql"},
		{"00000_a.sql"}, {"1_a.sql"}, {"00001_A.sql"}, {"00001_a.go"}, {"00001.sql"},
	} {
		if misnumbered(bad) == nil {
			t.Errorf("%q are taken for well numbered", bad)
		}
	}
}

// A column is one of a table, in the words that both databases have in common.
type column struct {
	Table, Name, Type string
	Required          bool
}

// columnsOf lists the columns of all tables but goose's own.
func columnsOf(t *testing.T, db *sql.DB, dialect goose.Dialect) (out []column) {
	t.Helper()
	query := `SELECT m.name, c.name, lower(c.type), c."notnull" FROM sqlite_master m, pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid`
	if dialect == goose.DialectPostgres {
		query = `SELECT table_name, column_name, data_type, is_nullable = 'NO' FROM information_schema.columns
			WHERE table_schema = 'public' ORDER BY table_name COLLATE "C", ordinal_position`
	}
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.Table, &c.Name, &c.Type, &c.Required); err != nil {
			t.Fatal(err)
		}
		if c.Table != "goose_db_version" {
			out = append(out, c)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// indexesOf lists the indexes that migrations have named.
func indexesOf(t *testing.T, db *sql.DB, dialect goose.Dialect) (out []string) {
	t.Helper()
	query := `SELECT tbl_name || ' ' || name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY 1`
	if dialect == goose.DialectPostgres {
		query = `SELECT tablename || ' ' || indexname FROM pg_indexes WHERE schemaname = 'public'
			AND indexname NOT LIKE '%\_pkey' AND indexname NOT LIKE '%\_key' ORDER BY 1`
	}
	rows, err := db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		out = append(out, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// Both databases get the same tables, columns and indexes, and every migration can be taken back.
func TestBothDatabasesHaveOneSchema(t *testing.T) {
	columns, indexes := map[goose.Dialect][]column{}, map[goose.Dialect][]string{}
	for dialect, c := range map[goose.Dialect]audit.Config{
		goose.DialectSQLite3:  {SQLite: migratedFile(t)},
		goose.DialectPostgres: {PostgreSQL: shared.database(t)},
	} {
		driver, source := "sqlite", "file:"+c.SQLite+"?_pragma=foreign_keys(1)"
		if dialect == goose.DialectPostgres {
			driver, source = "pgx", c.PostgreSQL
		}
		db, err := sql.Open(driver, source)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		columns[dialect], indexes[dialect] = columnsOf(t, db, dialect), indexesOf(t, db, dialect)

		p, err := goose.NewProvider(dialect, db, os.DirFS("migrations"))
		if err == nil {
			_, err = p.DownTo(context.WithoutCancel(t.Context()), 0)
		}
		if err != nil {
			t.Fatalf("%s: taking the migrations back: %v", dialect, err)
		}
		if left := columnsOf(t, db, dialect); len(left) != 0 {
			t.Errorf("%s: after every migration was taken back there are %v", dialect, left)
		}
	}

	if len(columns[goose.DialectSQLite3]) < 50 || len(indexes[goose.DialectSQLite3]) < 10 {
		t.Errorf("%d columns, %d indexes: this test would prove less", len(columns[goose.DialectSQLite3]), len(indexes[goose.DialectSQLite3]))
	}
	if diff := cmp.Diff(columns[goose.DialectSQLite3], columns[goose.DialectPostgres]); diff != "" {
		t.Errorf("columns (-SQLite +PostgreSQL):\n%s", diff)
	}
	if diff := cmp.Diff(indexes[goose.DialectSQLite3], indexes[goose.DialectPostgres]); diff != "" {
		t.Errorf("indexes (-SQLite +PostgreSQL):\n%s", diff)
	}
}
