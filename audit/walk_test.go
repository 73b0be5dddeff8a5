package audit_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// walked is what parts of a walk of at most size records have, each continued by the last token, and which of them are newest.
func walked(t *testing.T, s *audit.Store, f audit.Filter, size, sample int) (ids []string, newest map[string]bool) {
	t.Helper()
	token, newest := "", map[string]bool{}
	for part := 0; part == 0 || token != ""; part++ {
		if part > 1000 {
			t.Fatal("the parts do not end")
		}
		n, next := 0, ""
		for step, err := range s.Walk(t.Context(), f, token, sample) {
			if err != nil {
				t.Fatal(err)
			}
			if !step.Skipped {
				ids = append(ids, step.Record.Decision.ID)
				newest[step.Record.Decision.ID] = step.Newest
				n++
			}
			if n == size {
				next = step.Token
				break
			}
		}
		token = next
	}
	return ids, newest
}

// A walk in parts has each decision once, newest first, as a walk in one part does; of each image one decision is the newest.
func TestWalkInParts(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		mixture(t, s)
		for n := range 230 { // of 46 images; more than a batch
			finish(t, s, record(1000+n, attestor.Pass, func(r *attestor.Record) {
				r.Decision.Image.Reference = "us-docker.pkg.dev/p/secret/app@" + string(digest(5000+n%46))
				r.Decision.Image.Digest = digest(5000 + n%46)
			}))
		}

		f := audit.Filter{Visible: func(r string) bool { return strings.Contains(r, "secret") }}
		var want []string
		for r, err := range s.Records(t.Context(), f) {
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, r.Decision.ID)
		}
		if len(want) < 230 {
			t.Fatalf("there are %d decisions", len(want))
		}
		for _, size := range []int{50, 200, 229, 1000} {
			got, newest := walked(t, s, f, size, 0)
			if !slices.Equal(got, want) {
				t.Errorf("parts of %d: %d decisions, want %d", size, len(got), len(want))
			}
			images := 0
			for n := range 230 {
				if id := record(1000+n, attestor.Pass).Decision.ID; newest[id] != (n >= 184) {
					t.Errorf("parts of %d: decision %d is newest: %v", size, n, newest[id])
				} else if newest[id] {
					images++
				}
			}
			if images != 46 {
				t.Errorf("parts of %d: %d images", size, images)
			}
		}

		// A sample is a part of the whole, the same in each walk, and about as large as was asked for.
		sample, _ := walked(t, s, f, 7, 5)
		again, _ := walked(t, s, f, 1000, 5)
		if !slices.Equal(sample, again) || len(sample) < len(want)/10 || len(sample) > len(want)/2 {
			t.Errorf("a sample of one in five has %d and %d of %d", len(sample), len(again), len(want))
		}
		for _, id := range sample {
			if !slices.Contains(want, id) {
				t.Errorf("the sample has %s, which the whole has not", id)
			}
		}
	})
}

// What is recorded meanwhile is not in later parts, a token of another list is refused, and a caller who left ends the walk.
func TestWalkKeepsItsPeriod(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		for n := range 6 {
			finish(t, s, record(n, attestor.Pass))
		}
		f := audit.Filter{Since: day.Add(-time.Hour), Period: "1h"}
		token := ""
		for step, err := range s.Walk(t.Context(), f, "", 0) {
			if err != nil || !step.Since.Equal(f.Since) {
				t.Fatal(step.Since, err)
			}
			token = step.Token
			break
		}
		finish(t, s, record(900, attestor.Pass))

		f.Since = day.Add(24 * 365 * time.Hour) // "1h" at another time
		var got []string
		for step, err := range s.Walk(t.Context(), f, token, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if !step.Skipped {
				got = append(got, step.Record.Decision.ID)
			}
		}
		if len(got) != 5 || slices.Contains(got, record(900, attestor.Pass).Decision.ID) {
			t.Errorf("the rest is %q", got)
		}

		f.Period = "2h"
		for _, err := range s.Walk(t.Context(), f, token, 0) {
			if attestor.KindOf(err) != attestor.Invalid {
				t.Errorf("with a token of another period: %v", err)
			}
		}

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n, last := 0, error(nil)
		for _, err := range s.Walk(ctx, audit.Filter{}, "", 0) {
			if last = err; err == nil {
				n++
				cancel()
			}
		}
		if n != 1 || !errors.Is(last, context.Canceled) {
			t.Errorf("%d records after the caller left, then %v", n-1, last)
		}
	})
}
