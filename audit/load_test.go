package audit_test

import (
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
