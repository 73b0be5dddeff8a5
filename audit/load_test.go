package audit_test

import (
	"fmt"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// What is loaded in bulk is what would have been recorded one by one: it has its entries
// in the log, is found, and is in the sums.
func TestLoad(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		c.set(day)
		records := scattered(300)
		for i := range records {
			records[i].Decision.Attestations = nil
		}
		finish(t, s, records[:7]...)
		if n, err := s.Load(t.Context(), slices.Values(records[7:])); n != 293 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}

		v, err := s.Verify(t.Context(), audit.VerifyRequest{})
		if err != nil || v.Faults != 0 || v.Records != 300 {
			t.Errorf("%+v, %v, want 300 records", v, err)
		}
		for _, want := range []attestor.Record{records[3], records[9], records[299]} {
			got, err := s.Record(t.Context(), want.Decision.ID)
			if err != nil {
				t.Fatal(err)
			}
			if d := gocmp.Diff(want.Evidence.Platforms, got.Evidence.Platforms); d != "" {
				t.Errorf("%s (-want +got):\n%s", want.Decision.ID, d)
			}
		}
		all, want := recomputed(everything(t, s), audit.Filter{})
		if d := gocmp.Diff(want, days(t, s, audit.Filter{})); d != "" {
			t.Errorf("days (-want +got):\n%s", d)
		}
		if d := gocmp.Diff(factsOf(all), facts(t, s, audit.Filter{})); d != "" {
			t.Errorf("facts (-want +got):\n%s", d)
		}
		page, err := s.List(t.Context(), audit.Filter{Caller: records[0].Decision.Caller.Subject}, 1000, "")
		if err != nil || len(page.Decisions) != 300 {
			t.Errorf("%d decisions of the caller, %v", len(page.Decisions), err)
		}
	})
}

// What is loaded in bulk is byte for byte what the gate records of the same decisions one by one: in each table that has
// something of decisions, but for the salts of the log, and what is made of them.
func TestLoadIsWhatTheGateRecords(t *testing.T) {
	records := scattered(120)
	for i := range records {
		records[i].Decision.Attestations = nil
	}
	onBothConfigs(t, func(t *testing.T, config func(t *testing.T) audit.Config) {
		kept := func(fill func(s *audit.Store)) map[string][]string {
			c := config(t)
			c.Now = clockAt(day).now
			s := open(t, c)
			fill(s)
			if err := s.IndexAll(t.Context()); err != nil {
				t.Fatal(err)
			}
			v, err := s.Verify(t.Context(), audit.VerifyRequest{})
			if err != nil || v.Faults != 0 || v.Records != int64(len(records)) {
				t.Errorf("%+v, %v, want %d records", v, err, len(records))
			}

			out := map[string][]string{}
			for table, query := range map[string]string{
				"decisions": `SELECT * FROM decisions`, "decision_digests": `SELECT * FROM decision_digests`,
				"decision_terms": `SELECT * FROM decision_terms`, "decision_queue": `SELECT * FROM decision_queue`,
				"repositories": `SELECT * FROM repositories`, "images": `SELECT * FROM images`, "blobs": `SELECT * FROM blobs`,
				"hour_sums": `SELECT * FROM hour_sums`, "day_sums": `SELECT * FROM day_sums`,
				"image_sums": `SELECT * FROM image_sums WHERE images <> 0 OR n <> 0`, // without what was taken out again
				"log_leaves": `SELECT n, kind, id FROM log_leaves`, "log_head": `SELECT size FROM log_head`,

				// Numbers are given in any order.
				"finding_places": `SELECT t.name, r.name FROM finding_places f JOIN numbers t ON t.n = f.term JOIN numbers r ON r.n = f.repository`,
				"finding_blobs":  `SELECT f.hash, r.name FROM finding_blobs f JOIN numbers r ON r.n = f.repository`,
				"finding_terms":  `SELECT * FROM finding_terms`,
			} {
				out[table] = rowsOf(t, s, query)
			}
			return out
		}

		recorded := kept(func(s *audit.Store) { finish(t, s, records...) })
		loaded := kept(func(s *audit.Store) {
			if _, err := s.Load(t.Context(), slices.Values(records)); err != nil {
				t.Fatal(err)
			}
		})
		for _, table := range []string{"decisions", "decision_digests", "decision_terms", "images", "blobs", "image_sums", "finding_places", "finding_blobs"} {
			if len(recorded[table]) == 0 {
				t.Errorf("%s has nothing: the test proves less", table)
			}
		}
		if d := gocmp.Diff(recorded, loaded); d != "" {
			t.Errorf("(-recorded +loaded):\n%s", d)
		}
	})
}

// rowsOf are the rows of a query as text, sorted.
func rowsOf(t *testing.T, s *audit.Store, query string) []string {
	t.Helper()
	rows, err := s.Reader().QueryContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}

	out := []string{}
	for rows.Next() {
		values, dests := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			dests[i] = &values[i]
		}
		if err := rows.Scan(dests...); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%#v", values))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// What admits an image, and what was recorded before, cannot be loaded, and nothing of
// the batch is.
func TestLoadRefuses(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		c.set(day)
		finish(t, s, record(1, attestor.Deny))
		admits := record(3, attestor.Pass, func(r *attestor.Record) {
			r.Decision.Attestations = []attestor.Attestation{{Attestor: "projects/p/attestors/a", Digest: r.Decision.Image.Digest}}
		})
		for name, bad := range map[string]attestor.Record{"admits": admits, "recorded": record(1, attestor.Deny)} {
			n, err := s.Load(t.Context(), slices.Values([]attestor.Record{record(2, attestor.Deny), bad}))
			if n != 0 || err == nil {
				t.Errorf("%s: %d, %v", name, n, err)
			}
		}
		if n, err := s.Count(t.Context(), "decisions"); n != 1 || err != nil {
			t.Errorf("%d decisions, %v", n, err)
		}
	})
}
