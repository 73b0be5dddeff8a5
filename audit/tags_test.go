package audit_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/verify"
)

func TestTagHistory(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		contract.TagHistory(t, func(t *testing.T) verify.TagHistory {
			return openSQLite(t, migratedFile(t), clockAt(day))
		})
	})

	t.Run("postgresql", func(t *testing.T) {
		contract.TagHistory(t, func(t *testing.T) verify.TagHistory {
			return open(t, audit.Config{PostgreSQL: shared.database(t), Now: clockAt(day).now})
		})
	})
}

// A history survives whoever wrote it, and several instances of PostgreSQL
// share one.
func TestTagHistoryIsTheSameAfterwards(t *testing.T) {
	file, dsn := filepath.Join(t.TempDir(), "record.db"), shared.database(t)
	for name, config := range map[string]audit.Config{
		"sqlite":     {SQLite: file, Now: clockAt(day).now, Timeout: 5 * time.Minute},
		"postgresql": {PostgreSQL: dsn, Now: clockAt(day).now, Timeout: 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			first, err := audit.Open(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}

			for n := range 3 {
				if err := first.RecordTag(t.Context(), attestor.TagPoint{Repository: "r", Tag: "1", Digest: digest(n),
					From: day.Add(time.Duration(n) * time.Hour)}); err != nil {
					t.Fatal(err)
				}
			}

			want, err := first.TagHistory(t.Context(), "r", "1")
			if err != nil {
				t.Fatal(err)
			}
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}

			got, err := open(t, config).TagHistory(t.Context(), "r", "1")
			if err != nil {
				t.Fatal(err)
			}

			if diff := cmp.Diff(want, got); diff != "" || len(got) != 3 || got[2].Digest != digest(2) {
				t.Errorf("after it was opened again (-before +after):\n%s\n%+v", diff, got)
			}
		})
	}
}

// oldRow is a row as versions without seen_last wrote it, in hours.
type oldRow struct{ digest, from, until int }

// What older versions recorded with overlaps is mended when the record is
// opened; what they recorded rightly stays as it is.
func TestOverlappingTagHistoryIsMended(t *testing.T) {
	at := func(h int) time.Time { return day.Add(time.Duration(h) * time.Hour) }
	want := func(d, from, until int) attestor.TagPoint {
		p := attestor.TagPoint{Repository: "r", Tag: "1", Digest: digest(d), From: at(from)}
		if until >= 0 {
			p.Until = new(at(until))
		}
		return p
	}

	for _, tt := range []struct {
		name string
		rows []oldRow
		want []attestor.TagPoint
	}{
		{"right already", []oldRow{{1, 0, 5}, {2, 5, 9}, {3, 9, -1}}, []attestor.TagPoint{want(1, 0, 5), want(2, 5, 9), want(3, 9, -1)}},
		{"one digest after restarts", []oldRow{{1, 0, 2}, {2, 2, 9}, {2, 4, 9}, {2, 6, 9}, {3, 9, -1}},
			[]attestor.TagPoint{want(1, 0, 2), want(2, 2, 9), want(3, 9, -1)}},
		{"stopped between the end and the next", []oldRow{{1, 0, 2}, {2, 2, -1}, {2, 4, 9}}, []attestor.TagPoint{want(1, 0, 2), want(2, 2, 9)}},
		{"one move, noticed twice", []oldRow{{1, 0, 7}, {2, 5, -1}}, []attestor.TagPoint{want(1, 0, 5), want(2, 5, -1)}},
		{"a stretch within another", []oldRow{{1, 0, 9}, {2, 3, 4}, {3, 9, -1}}, []attestor.TagPoint{want(1, 0, 3), want(2, 3, 4), want(3, 9, -1)}},
	} {
		for _, engine := range []string{"sqlite", "postgresql"} {
			t.Run(tt.name+"/"+engine, func(t *testing.T) {
				config := audit.Config{SQLite: filepath.Join(t.TempDir(), "record.db"), Now: clockAt(day).now}
				driver, source, dialect := "sqlite", config.SQLite, goose.DialectSQLite3
				if engine == "postgresql" {
					config.PostgreSQL, config.SQLite = shared.empty(t), ""
					driver, source, dialect = "pgx", config.PostgreSQL, goose.DialectPostgres
				}

				writeOldRows(t, driver, source, dialect, tt.rows)

				got, err := open(t, config).TagHistory(t.Context(), "r", "1")
				if err != nil {
					t.Fatal(err)
				}

				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}

				db, err := sql.Open(driver, source)
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				var overlaps int
				if err := db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM base_tags a JOIN base_tags b
					ON a.seen_from < b.seen_from AND (a.seen_until IS NULL OR a.seen_until > b.seen_from)`).Scan(&overlaps); err != nil || overlaps > 0 {
					t.Errorf("%d rows overlap in the database, %v", overlaps, err)
				}
			})
		}
	}
}

// writeOldRows makes a database of the first version, with these rows.
func writeOldRows(t *testing.T, driver, source string, dialect goose.Dialect, rows []oldRow) {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()

	provider, err := goose.NewProvider(dialect, db, os.DirFS("migrations"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}

	for _, r := range rows {
		until := "NULL"
		if r.until >= 0 {
			until = fmt.Sprint(day.Add(time.Duration(r.until) * time.Hour).UnixMicro())
		}
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf(`INSERT INTO base_tags (repository, tag, digest, `+
			`seen_from, seen_until) VALUES ('r', '1', '%s', %d, %s)`,
			digest(r.digest), day.Add(time.Duration(r.from)*time.Hour).UnixMicro(), until)); err != nil {
			t.Fatal(err)
		}
	}
}
