package audit_test

import (
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/packed"
	"github.com/attestor-gate/attestor/internal/translog"
)

func codec(t *testing.T) *packed.Codec {
	t.Helper()
	c, err := packed.New(64 << 20)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A packedRow is a row of decisions as this version writes it.
type packedRow struct {
	id, body, evidence string
}

// packedRows reads the finished decisions, none of which has text in its columns.
func packedRows(t *testing.T, s *audit.Store) (out []packedRow) {
	t.Helper()
	c := codec(t)
	rows, err := s.Writer().QueryContext(t.Context(), `SELECT id, body, evidence, packed FROM decisions WHERE state = 'finished'`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var r packedRow
		var kept []byte
		if err := rows.Scan(&r.id, &r.body, &r.evidence, &kept); err != nil {
			t.Fatal(err)
		}
		if r.body != "" || r.evidence != "" || len(kept) == 0 {
			t.Fatalf("%s is not compressed: %q, %q, %d bytes", r.id, r.body, r.evidence, len(kept))
		}
		if r.body, r.evidence, err = c.UnpackTwo(kept); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// asEarlier turns every finished decision, and every entry of the log, into the form in which earlier builds wrote it.
func asEarlier(t *testing.T, s *audit.Store) {
	t.Helper()
	leaves, err := translog.Leaves(t.Context(), s.Writer(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leaves {
		if _, err := s.Writer().ExecContext(t.Context(), `UPDATE log_leaves SET entry = $1 WHERE n = $2`, l.Entry, l.Index); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range packedRows(t, s) {
		_, err := s.Writer().ExecContext(t.Context(), `UPDATE decisions SET body = $1, evidence = $2, packed = NULL WHERE id = $3`,
			r.body, r.evidence, r.id)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// rewrite changes what a decision says, as somebody does who may write to the database and knows its form.
func rewrite(t *testing.T, s *audit.Store, id string, change func(body string) string) {
	t.Helper()
	rows := packedRows(t, s)
	i := slices.IndexFunc(rows, func(r packedRow) bool { return r.id == id })
	body := change(rows[i].body)
	if body == rows[i].body {
		t.Fatalf("nothing of %s would be changed", id)
	}
	_, err := s.Writer().ExecContext(t.Context(), `UPDATE decisions SET packed = $1 WHERE id = $2`,
		codec(t).Two(body, rows[i].evidence), id)
	if err != nil {
		t.Fatal(err)
	}
}

// Somebody who compresses what they forge is found as well.
func TestACompressedForgeryIsFound(t *testing.T) {
	t.Parallel()
	onBothSigned(t, func(t *testing.T, s *audit.Store, _ *clock) {
		filled(t, s)
		rewrite(t, s, "0199-000003", func(body string) string {
			return strings.Replace(body, `"verdict":"deny"`, `"verdict":"pass"`, 1)
		})

		_, faults := verified(t, s)
		if len(faults) != 1 || faults[0].ID != "0199-000003" || !strings.Contains(faults[0].Problem, "body") {
			t.Fatalf("faults: %v", faults)
		}
		notRepeated(t, s, "0199-000003")
	})
}

// What earlier builds wrote reads as before, and verifies, beside what this one writes.
func TestRowsOfEarlierBuilds(t *testing.T) {
	t.Parallel()
	onBothSigned(t, func(t *testing.T, s *audit.Store, _ *clock) {
		filled(t, s)
		before := exported(t, s)
		asEarlier(t, s)
		if after := exported(t, s); after != before {
			t.Errorf("the record reads\n%s\nwant\n%s", after, before)
		}
		finish(t, s, record(30, attestor.Deny))

		v, faults := verified(t, s)
		if len(faults) != 0 || v.Records != 23 {
			t.Fatalf("%+v: %v", v, faults)
		}
	})
}

func exported(t *testing.T, s *audit.Store) string {
	t.Helper()
	var out strings.Builder
	if n, err := s.Export(t.Context(), &out, audit.Filter{}); err != nil || n != 20 {
		t.Fatalf("%d decisions, %v", n, err)
	}
	return out.String()
}

// Tables of SQLite that are little more than their key are kept by it. One of an earlier build that has rows stays.
func TestTablesThatAreKeptByTheirKey(t *testing.T) {
	t.Parallel()
	path := migratedFile(t)
	kept := func() (out []string) {
		db, err := sql.Open("sqlite", "file:"+path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		rows, err := db.QueryContext(t.Context(), `SELECT name FROM sqlite_schema WHERE sql LIKE '%WITHOUT ROWID' ORDER BY name`)
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
		return out
	}
	all := []string{"day_sums", "decision_terms", "finding_blobs", "finding_places", "finding_terms", "hour_sums", "image_sums"}
	if got := kept(); !slices.Equal(got, all) {
		t.Fatalf("%q, want %q", got, all)
	}

	// As an earlier build left them: one has a row.
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	run(t, db, `DROP TABLE decision_terms`)
	run(t, db, `CREATE TABLE decision_terms (term TEXT NOT NULL, at BIGINT NOT NULL, decision TEXT NOT NULL, PRIMARY KEY (term, at, decision))`)
	run(t, db, `DROP TABLE finding_terms`)
	run(t, db, `CREATE TABLE finding_terms (term TEXT NOT NULL, repository TEXT NOT NULL, PRIMARY KEY (term, repository))`)
	run(t, db, `INSERT INTO finding_terms (term, repository) VALUES ('cve:CVE-2026-1', 'r.example/app')`)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	s := openSQLite(t, path, clockAt(day))
	// The row may be moved at any time.
	var rows int
	err = s.Writer().QueryRowContext(t.Context(), `SELECT (SELECT COUNT(*) FROM finding_terms) + (SELECT COUNT(*) FROM finding_places)`).
		Scan(&rows)
	if err != nil || rows != 1 {
		t.Errorf("%d rows, %v; want 1", rows, err)
	}
	want := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return name == "finding_terms" })
	if got := kept(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// While instances of an earlier build may be at work on PostgreSQL, for a day after the schema was changed, decisions
// are written as these read them.
func TestDecisionsWhileAnEarlierBuildMayBeAtWork(t *testing.T) {
	t.Parallel()
	dsn := shared.database(t)
	c := clockAt(day)
	again := func() *audit.Store {
		s, err := audit.Open(t.Context(), audit.Config{PostgreSQL: dsn, Now: c.now})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}

	// A record with a decision of an earlier build, which has not been opened by this one.
	s := again()
	finish(t, s, record(1, attestor.Pass))
	asEarlier(t, s)
	run(t, s.Writer(), `DELETE FROM fills WHERE name = 'packed'`)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = again()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	finish(t, s, record(2, attestor.Pass))
	c.set(day.Add(23 * time.Hour))
	finish(t, s, record(3, attestor.Pass))
	c.set(day.Add(24 * time.Hour))
	finish(t, s, record(4, attestor.Pass))

	var plain, compressed int
	err := s.Writer().QueryRowContext(t.Context(), `SELECT COUNT(*) FILTER (WHERE body <> '' AND evidence <> '' AND packed IS NULL),
		COUNT(*) FILTER (WHERE body = '' AND evidence = '' AND packed IS NOT NULL) FROM decisions`).Scan(&plain, &compressed)
	if err != nil || plain != 3 || compressed != 1 {
		t.Errorf("%d decisions are plain, %d compressed, %v; want 3 and 1", plain, compressed, err)
	}
}
