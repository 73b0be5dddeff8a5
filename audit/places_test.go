package audit_test

import (
	"database/sql"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/translog"
)

// inRepository is a decision on the nth image, in a repository of its own, with one finding of its own and one that all
// images have.
func inRepository(n int) attestor.Record {
	return record(n, attestor.Deny, func(r *attestor.Record) {
		ref := fmt.Sprintf("us-docker.pkg.dev/acme/prod/service-%d@%s", n, digest(n))
		img, err := attestor.ParseImage(ref)
		if err != nil {
			panic(err) // made of numbers
		}
		r.Decision.Image.Reference, r.Evidence.Image = ref, img
		f := r.Evidence.Platforms[0].Scan.Findings
		own := f[0]
		own.ID, own.Package = fmt.Sprintf("CVE-2026-%d", 5000+n), fmt.Sprintf("package-%d", n)
		r.Evidence.Platforms[0].Scan.Findings = append(f, own)
	})
}

// foundBy are the numbers of the decisions that searches for findings return: for the one that all have, and for each
// decision's own, by CVE and by package.
func foundBy(t *testing.T, s *audit.Store, n int) (common []int, own map[int][]int) {
	t.Helper()
	find := func(f audit.Filter) []int {
		page, err := s.List(t.Context(), f, 100, "")
		if err != nil || page.Next != "" {
			t.Fatalf("%v: %v, next %q", f.Values(), err, page.Next)
		}
		return numbers(page.Decisions)
	}
	own = map[int][]int{}
	for i := range n {
		own[i] = find(audit.Filter{CVE: fmt.Sprintf("CVE-2026-%d", 5000+i)})
		if by := find(audit.Filter{Package: fmt.Sprintf("package-%d", i)}); !slices.Equal(by, own[i]) {
			t.Errorf("%d: found %v by CVE, %v by package", i, own[i], by)
		}
	}
	return find(audit.Filter{CVE: "CVE-2026-1234"}), own
}

// wantFound checks that searches find each of n decisions by its findings, and no other.
func wantFound(t *testing.T, s *audit.Store, when string, n int) {
	t.Helper()
	common, own := foundBy(t, s, n)
	if !slices.Equal(common, downFrom(n)) {
		t.Errorf("%s: %v have the common finding, want all of %d", when, common, n)
	}
	for i, found := range own {
		if !slices.Equal(found, []int{i}) {
			t.Errorf("%s: the finding of %d alone is found in %v", when, i, found)
		}
	}
}

// A pair is a row of finding_terms.
type pair struct{ term, repository string }

// places are where findings are, by the tables of this version.
func places(t *testing.T, s *audit.Store) map[pair]bool {
	t.Helper()
	return pairsOf(t, s, `SELECT t.name, SUBSTR(r.name, 12) FROM finding_places f
		JOIN numbers t ON t.n = f.term JOIN numbers r ON r.n = f.repository`)
}

func pairsOf(t *testing.T, s *audit.Store, query string) map[pair]bool {
	t.Helper()
	rows, err := s.Writer().QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := map[pair]bool{}
	for rows.Next() {
		var p pair
		if err := rows.Scan(&p.term, &p.repository); err != nil {
			t.Fatal(err)
		}
		out[p] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// withEarlierFindings turns the places of findings into the form in which earlier builds had them, with their notes of
// blobs, and adds more of one repository.
func withEarlierFindings(t *testing.T, s *audit.Store, more int) {
	t.Helper()
	run(t, s.Writer(), `INSERT INTO finding_terms (term, repository) SELECT t.name, SUBSTR(r.name, 12)
		FROM finding_places f JOIN numbers t ON t.n = f.term JOIN numbers r ON r.n = f.repository`)
	run(t, s.Writer(), `INSERT INTO finding_terms (term, repository)
		SELECT 'findings:' || hash, 'us-docker.pkg.dev/acme/prod/service-0' FROM blobs`)
	run(t, s.Writer(), fmt.Sprintf(`WITH RECURSIVE others (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM others WHERE i < %d)
		INSERT INTO finding_terms (term, repository)
		SELECT 'cve:CVE-2020-' || CAST(i AS TEXT), 'us-docker.pkg.dev/acme/prod/other' FROM others WHERE i > 0`, more))
	for _, table := range []string{"finding_places", "finding_blobs", "numbers"} {
		run(t, s.Writer(), `DELETE FROM `+table)
	}
}

// What earlier builds wrote of findings is found where it is, while it is moved, and where it was moved to, whenever the
// process ends.
func TestFindingsOfEarlierBuilds(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		const n = 12
		stopIndexer(t, s)
		for i := range n {
			finish(t, s, inRepository(i))
		}
		if err := s.IndexForTest(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantFound(t, s, "as they were recorded", n)
		before := places(t, s)
		if len(before) != 4*n {
			t.Fatalf("%d places of findings, want %d", len(before), 4*n)
		}

		// More rows than one step moves.
		const more = 2 * audit.MoveBatch
		withEarlierFindings(t, s, more)
		wantFound(t, s, "as earlier builds had them", n)

		steps := 0
		for left := true; left; steps++ {
			var err error
			if left, err = s.MoveFindings(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantFound(t, s, fmt.Sprintf("after %d steps", steps+1), n)

			// Nothing is lost between the two tables.
			both := places(t, s)
			maps.Copy(both, pairsOf(t, s, `SELECT term, repository FROM finding_terms WHERE term NOT LIKE 'findings:%'`))
			if len(both) != len(before)+more {
				t.Fatalf("after %d steps there are %d places, want %d", steps+1, len(both), len(before)+more)
			}
		}
		if left, err := s.Count(t.Context(), "finding_terms"); err != nil || left != 0 || steps < 3 {
			t.Errorf("%d rows are left after %d steps, %v", left, steps, err)
		}
		after := places(t, s)
		for p := range before {
			if !after[p] {
				t.Errorf("%v is lost", p)
			}
		}

		// What is recorded on the same findings since is found as well.
		again := inRepository(3)
		again.Decision.ID = "0199-000099"
		finish(t, s, again)
		page, err := s.List(t.Context(), audit.Filter{CVE: "CVE-2026-5003"}, 10, "")
		if err != nil || len(page.Decisions) != 2 {
			t.Errorf("%d decisions with the finding, %v; want two", len(page.Decisions), err)
		}
	})
}

// A step that is cut leaves every finding in one table or the other.
func TestMovingFindingsIsCut(t *testing.T) {
	const n = 2
	s := openSQLite(t, migratedFile(t), clockAt(day))
	cut := &cutter{}
	if err := s.WrapWriter(t.Context(), cut.wrap); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		finish(t, s, inRepository(i))
	}
	if err := s.IndexForTest(t.Context()); err != nil {
		t.Fatal(err)
	}
	withEarlierFindings(t, s, 0)

	cuts := 0
	for at := 1; ; at++ {
		cut.arm(at, false)
		_, err := s.MoveFindings(t.Context())
		if !cut.disarm() {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		cuts++
		wantFound(t, s, fmt.Sprintf("cut at statement %d", at), n)
	}
	if left, err := s.Count(t.Context(), "finding_terms"); err != nil || left != 0 || cuts < 4 {
		t.Errorf("%d rows are left, %v, after %d cuts", left, err, cuts)
	}
	wantFound(t, s, "at the end", n)
}

// While instances of an earlier build may be at work on PostgreSQL, for a day after the schema was changed, findings
// and entries of the log are written as these read them.
func TestShortFormsWhileAnEarlierBuildMayBeAtWork(t *testing.T) {
	dsn := shared.database(t)
	c := clockAt(day)
	again := func() *audit.Store {
		s, err := audit.Open(t.Context(), audit.Config{PostgreSQL: dsn, Now: c.now, Log: signedLog(0), Timeout: 5 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}

	// A record of an earlier build, which has not been opened by this one.
	s := again()
	stopIndexer(t, s)
	finish(t, s, inRepository(0))
	if err := s.IndexForTest(t.Context()); err != nil {
		t.Fatal(err)
	}
	asEarlier(t, s)
	withEarlierFindings(t, s, 0)
	run(t, s.Writer(), `DELETE FROM fills WHERE name = 'short'`)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = again()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	stopIndexer(t, s)
	for i, after := range []time.Duration{0, 23 * time.Hour, 24 * time.Hour} {
		c.set(day.Add(after))
		finish(t, s, inRepository(i+1))
		if err := s.IndexForTest(t.Context()); err != nil {
			t.Fatal(err)
		}
		if more, err := s.MoveFindings(t.Context()); err != nil || more {
			t.Fatalf("%t, %v", more, err)
		}
		wantFound(t, s, after.String(), i+2)

		// The earlier build's search, and its way to read an entry.
		want := i < 2
		ofEarlier := pairsOf(t, s, `SELECT term, repository FROM finding_terms`)
		own := pair{fmt.Sprintf("cve:CVE-2026-%d", 5001+i), fmt.Sprintf("us-docker.pkg.dev/acme/prod/service-%d", i+1)}
		if ofEarlier[own] != want {
			t.Errorf("after %v an earlier build finds the decision's finding: %t, want %t", after, !want, want)
		}
		var entry []byte
		err := s.Writer().QueryRowContext(t.Context(), `SELECT entry FROM log_leaves WHERE id = $1`, fmt.Sprintf("0199-%06d", i+1)).
			Scan(&entry)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := translog.ParseEntry(entry); (err == nil) != want {
			t.Errorf("after %v an earlier build reads the entry: %v", after, err)
		}
	}
	if v, faults := verified(t, s); len(faults) != 0 || v.Records != 4 {
		t.Errorf("%+v: %v", v, faults)
	}
}

// A record of the schema before, with what a build of it wrote, is read, verifies, and is searched, before and after its
// findings are moved. It is what taking the last migration back leaves.
func TestRecordOfTheSchemaBefore(t *testing.T) {
	onOldRecords(t, func(t *testing.T, old oldRecord) {
		const n = 3
		c := clockAt(day)
		old.config.Now, old.config.Log, old.config.Timeout = c.now, signedLog(0), 5*time.Minute
		s, err := audit.Open(t.Context(), old.config)
		if err != nil {
			t.Fatal(err)
		}
		stopIndexer(t, s)
		for i := range n {
			finish(t, s, inRepository(i))
		}
		if err := s.IndexForTest(t.Context()); err != nil {
			t.Fatal(err)
		}
		asEarlier(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		old.execute(t, func(db *sql.DB) {
			p, err := goose.NewProvider(old.dialect, db, os.DirFS("migrations"))
			if err == nil {
				_, err = p.DownTo(t.Context(), 14)
			}
			if err != nil {
				t.Fatal(err)
			}
			var terms int
			err = db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM finding_terms`).Scan(&terms)
			if err != nil || terms != 4*n {
				t.Fatalf("%d places of findings in the schema before, %v; want %d", terms, err, 4*n)
			}
		})

		s = open(t, old.config)
		stopIndexer(t, s)
		wantFound(t, s, "as it was", n)
		finish(t, s, inRepository(n))
		c.set(day.Add(25 * time.Hour)) // on PostgreSQL, nobody writes the earlier forms any more
		finish(t, s, inRepository(n+1))
		for more := true; more; {
			if more, err = s.MoveFindings(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		wantFound(t, s, "once its findings are moved", n+2)
		if v, faults := verified(t, s); len(faults) != 0 || v.Records != n+2 {
			t.Errorf("%+v: %v", v, faults)
		}
	})
}

// Findings that are lost are entered when they are recorded again, and a blob that is pruned leaves no note.
func TestNotesOfFindings(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		stopIndexer(t, s)
		finish(t, s, inRepository(1))
		run(t, s.Writer(), `DELETE FROM blobs`)
		if err := s.IndexForTest(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Count(t.Context(), "finding_blobs"); err != nil || n != 0 {
			t.Errorf("%d notes of lost findings, %v", n, err)
		}

		again := inRepository(1)
		again.Decision.ID = "0199-000002"
		finish(t, s, again)
		page, err := s.List(t.Context(), audit.Filter{CVE: "CVE-2026-5001"}, 10, "")
		if err != nil || len(page.Decisions) != 2 {
			t.Errorf("%d decisions with the finding, %v; want two", len(page.Decisions), err)
		}
		if n, err := s.Count(t.Context(), "finding_blobs"); err != nil || n != 1 {
			t.Errorf("%d notes of findings, %v; want one", n, err)
		}

		c.set(day.AddDate(1, 0, 0))
		if _, err := s.Prune(t.Context(), day.AddDate(0, 6, 0)); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Count(t.Context(), "finding_blobs"); err != nil || n != 0 {
			t.Errorf("%d notes of findings that were pruned, %v", n, err)
		}
	})
}
