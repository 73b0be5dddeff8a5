package audit_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/filter"
)

// alone are the filters of the table, one of each.
func alone(t *testing.T) map[string]filter.Filter {
	t.Helper()
	out := map[string]filter.Filter{"nothing": {}}
	for name, value := range map[string]string{
		"id": "0199-000001", "image": "us-docker.pkg.dev/acme/prod/api:v7", "digest": "00000000", "tag": "v7",
		"repository": "us-docker.pkg.dev/acme/prod/api", "package": "openssl", "cve": "CVE-2026-1234",
		"reason": string(attestor.CodeFixableSeverityExceeded), "caller": "build@acme.iam.gserviceaccount.com", "override": "true",
		"revocation": "0199-000001", "policy": "production", "verdict": "deny", "since": "2026-01-01", "until": "2099-01-01", "search": "api",
	} {
		f, err := filter.Parse(map[string]string{name: value}, day)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = f
	}
	if len(out) != len(filter.Names())+1 {
		t.Fatalf("%d filters, and the table has %d", len(out)-1, len(filter.Names()))
	}
	return out
}

// more are shapes of filters that the table has one name for: what is merged of several
// indexes.
func more(t *testing.T) map[string]filter.Filter {
	t.Helper()
	out := alone(t)
	for name, f := range map[string]filter.Filter{
		"pattern": {Repository: "us-docker.pkg.dev/acme/**"}, "end of a name": {Repository: "api"},
	} {
		out[name] = f
	}
	return out
}

// Whatever is searched for, alone and in pairs, is walked along an index, in its
// order: no statement reads a table from its beginning to its end, and none sorts what it
// finds. Revocations are the exception: they are sorted.
func TestEveryFilterHasAnIndex(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		s := openSQLite(t, migratedFile(t), clockAt(day))
		mixture(t, s)
		explained(t, s, "EXPLAIN QUERY PLAN ", func(plan string, sorted bool) string {
			for line := range strings.Lines(plan) {
				// A step of the plan: SCAN without an index reads the whole table.
				if whole(line, "SCAN ") && !strings.Contains(line, "INDEX") ||
					sorted && strings.Contains(line, "TEMP B-TREE") && !strings.Contains(plan, "LIST SUBQUERY") {
					return line
				}
			}
			return ""
		})
	})

	t.Run("postgresql", func(t *testing.T) {
		dsn := shared.database(t)

		// Of ten decisions any plan is quick. Without sequential scans and sorts the planner
		// shows whether there is an index that it can use, and whose order it can use.
		s := open(t, audit.Config{
			PostgreSQL: dsn + separator(dsn) + "enable_seqscan=off&enable_sort=off&enable_bitmapscan=off", Now: clockAt(day).now,
		})
		mixture(t, s)
		explained(t, s, "EXPLAIN ", func(plan string, sorted bool) string {
			for line := range strings.Lines(plan) {
				if whole(line, "Seq Scan on ") ||
					sorted && strings.Contains(line, "->  Sort") && !strings.Contains(plan, "revocation") && !strings.Contains(plan, "(id = '") {
					return line
				}
			}
			return ""
		})
	})
}

// whole reports whether a line of a plan, in the words of a database, reads all of a table that grows with decisions.
func whole(line, words string) bool {
	return strings.Contains(line, words+"decision") || strings.Contains(line, words+"override") || strings.Contains(line, words+"admissions")
}

// separator joins parameters to a connection string.
func separator(dsn string) string {
	if strings.Contains(dsn, "?") {
		return "&"
	}
	return "?"
}

// explained asks the database for the plan of every filter and pair, and reports what
// is wrong with it; sorted says that the statement's rows come in an order of an index.
func explained(t *testing.T, s *audit.Store, explain string, wrong func(plan string, sorted bool) string) {
	t.Helper()
	if _, err := s.List(t.Context(), audit.Filter{Caller: "x"}, 1, ""); err != nil { // the index is up to date
		t.Fatal(err)
	}

	// Overrides are looked up by themselves, however many have ended, and so are claims of admissions.
	texts, args := audit.StatementsForTest()
	for i, text := range texts {
		plan, err := planOf(t.Context(), s.Reader(), explain+text, args[i])
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if bad := wrong(plan, false); bad != "" {
			t.Errorf("%s\n%s\n%s", bad, text, plan)
		}

		// Few are begun, of millions.
		if strings.Contains(text, "state = 'begun' AND NOT moved") && !strings.Contains(plan, "decisions_unfinished") {
			t.Errorf("not along what is begun: %s\n%s", text, plan)
		}
	}

	all := more(t)
	for name, f := range all {
		for other, g := range all {
			if other < name {
				continue // the same pair
			}
			values := f.Values()
			for k, v := range g.Values() {
				values[k] = v
			}
			pair, err := filter.Parse(values, day)
			if err != nil {
				t.Fatal(err)
			}

			rowsAreLookedUp(t, s, explain, pair)
			texts, args, err := s.KeysForTest(t.Context(), pair)
			if err != nil {
				t.Fatal(err)
			}
			for i, text := range texts {
				plan, err := planOf(t.Context(), s.Reader(), explain+text, args[i])
				if err != nil {
					t.Fatalf("%s and %s: %v\n%s", name, other, err, text)
				}
				if bad := wrong(plan, true); bad != "" {
					t.Errorf("%s and %s: %s\n%s\n%s", name, other, bad, text, plan)
				}
			}
		}
	}
}

// rowsAreLookedUp reports a statement that does not look up each decision by its id, but joins many with each other: its
// time would grow with the record.
func rowsAreLookedUp(t *testing.T, s *audit.Store, explain string, f filter.Filter) {
	t.Helper()
	texts, args, err := s.RowsForTest(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range texts {
		plan, err := planOf(t.Context(), s.Reader(), explain+text, args[i])
		if err != nil {
			t.Fatalf("%v: %v\n%s", f.Values(), err, text)
		}
		byID := strings.Contains(plan, "SEARCH d USING INDEX sqlite_autoindex_decisions_1 (id=?)") ||
			strings.Contains(plan, "One-Time Filter: ") // the conditions name one id, or exclude each other
		for line := range strings.Lines(plan) {
			byID = byID || strings.Contains(line, "Index Cond: ") && strings.Contains(line, "(id = k.id)")
		}
		if !byID || strings.Contains(plan, "Hash Join") || strings.Contains(plan, "Merge Join") {
			t.Errorf("%v: rows are not looked up by their ids\n%s\n%s", f.Values(), text, plan)
		}
	}
}

// planOf reads a plan as text.
func planOf(ctx context.Context, db *sql.DB, text string, args []any) (string, error) {
	rows, err := db.QueryContext(ctx, text, args...)
	if err != nil {
		return "", err
	}
	defer func() { _ = rows.Close() }()

	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			return "", err
		}
		fmt.Fprintln(&out, *values[len(values)-1].(*any))
	}
	return out.String(), rows.Err()
}
