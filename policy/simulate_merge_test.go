package policy_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// Parts that are joined say what the whole says: however it is divided, and also where the parts went through JSON, as those
// of a service and of a file do.
func TestPartsMakeTheWhole(t *testing.T) {
	t.Parallel()
	old := with(t)
	set := setOf(t, edited(t, "    maximumFixableSeverity: LOW", "  user: {nonRoot: false}"))
	medium := findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity = attestor.Medium }))

	// Newest first: each image has three decisions, and its newest one is the first of them.
	var records []attestor.Record
	newest := map[string]bool{}
	for n := range 30 {
		image := fmt.Sprintf("registry.example/acme/prod/app%d", n%10)
		edits := []func(*attestor.Evidence){func(ev *attestor.Evidence) {
			ev.Image = parseImage(t, image)
			ev.Time = ev.Time.Add(-time.Duration(n) * time.Minute)
			ev.Platforms[0].Scan.Finished = &ev.Time
		}}
		if n%3 == 0 {
			edits = append(edits, medium)
		}
		if n%4 == 0 {
			edits = append(edits, rootUser)
		}
		r := recorded(old, fmt.Sprint(n), passing(old, edits...))
		records = append(records, r)
		newest[r.Decision.ID] = n < 10
	}

	whole := simulate(t, set, records...)
	if whole.Images.Judged != 10 || whole.Judged != 30 || len(whole.Flips) < 5 {
		t.Fatalf("the whole is %+v", whole)
	}
	for _, size := range []int{1, 7, 10, 29, 30, 31} {
		merged := policy.NewMerger(policy.Report{})
		for from := 0; from < len(records); from += size {
			part := policy.NewSimulation(set, time.Time{})
			for _, r := range records[from:min(from+size, len(records))] {
				part.Add(r, newest[r.Decision.ID])
			}
			if len(part.Report().Flips) > 0 && part.Size() <= 0 {
				t.Error("flips have no size")
			}
			merged.Add(part.Report())

			// An interruption between two parts.
			b, err := json.Marshal(merged.Report())
			if err != nil {
				t.Fatal(err)
			}
			var kept policy.Report
			if err := json.Unmarshal(b, &kept); err != nil {
				t.Fatal(err)
			}
			merged = policy.NewMerger(kept)
		}
		if d := cmp.Diff(whole, merged.Report()); d != "" {
			t.Errorf("parts of %d: %s", size, d)
		}
	}
}

// An image counts once, by its newest decision, in whatever order the records come.
func TestImagesCountByTheirNewestDecision(t *testing.T) {
	t.Parallel()
	old := with(t)
	set := setOf(t, edited(t, "  user: {nonRoot: false}", "  user: {nonRoot: true}"))
	at := func(minutes int, edits ...func(*attestor.Evidence)) attestor.Record {
		edits = append(edits, func(ev *attestor.Evidence) { ev.Time = ev.Time.Add(time.Duration(minutes) * time.Minute) })
		return recorded(old, fmt.Sprint(minutes), passing(old, edits...))
	}
	was, is := at(1, rootUser), at(2)
	for name, records := range map[string][]attestor.Record{"newest first": {is, was}, "oldest first": {was, is}} {
		got := simulate(t, set, records...)
		if got.Judged != 2 || got.Images.Judged != 1 || got.Images.After[attestor.Pass] != 1 || got.After[attestor.Deny] != 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
