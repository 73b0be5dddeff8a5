package contract

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// history is watch.History.
type history interface {
	Of(ctx context.Context, img attestor.Image, n int) ([]attestor.Decision, error)
	Passed(ctx context.Context, since time.Time, token string) (page []attestor.Decision, next string, err error)
	Overridden(ctx context.Context, since time.Time, token string) (page []attestor.Decision, next string, err error)
	Record(ctx context.Context, id string) (attestor.Record, error)
}

// History is the suite of watch.History. open returns one over an empty record,
// and what adds to it.
func History[H history](t *testing.T, open func(t *testing.T) (h H, add func(t *testing.T, records ...attestor.Record))) {
	t.Run("of an image", func(t *testing.T) {
		h, add := open(t)
		for n := range 5 {
			add(t, recordOf(t, n, func(r *attestor.Record) {
				if n == 3 { // of an index, whose child is the image
					r.Evidence.Index, r.Evidence.Platforms[0].Digest = true, digestOf(1)
				}
				if n == 4 {
					same := recordOf(t, 1)
					r.Decision.Image, r.Evidence.Image, r.Evidence.Platforms = same.Decision.Image, same.Evidence.Image, same.Evidence.Platforms
				}
			}))
		}

		for n, want := range map[int][]int{10: {4, 3, 1}, 2: {4, 3}} {
			got, err := h.Of(t.Context(), imageOf(t, Repository, 1), n)
			if err != nil || !slices.Equal(numbersOf(got), want) {
				t.Errorf("Of, at most %d: %v, %v; want %v", n, numbersOf(got), err, want)
			}
		}

		if got, err := h.Of(t.Context(), imageOf(t, Repository, 77), 10); err != nil || len(got) != 0 {
			t.Errorf("of an unknown image: %v, %v", numbersOf(got), err)
		}
	})

	t.Run("pages", func(t *testing.T) {
		h, add := open(t)
		const n = 1020
		var records []attestor.Record
		var passed, overridden []int
		for i := range n {
			records = append(records, recordOf(t, i, func(r *attestor.Record) {
				if i%2 == 0 {
					passed = append(passed, i)
					return
				}
				r.Decision.Verdict = attestor.Deny
				r.Decision.BreakGlass = &attestor.BreakGlass{Reason: "INC-1 outage", By: "oncall@example"}
				overridden = append(overridden, i)
			}))
		}

		add(t, records...)
		slices.Reverse(passed)
		slices.Reverse(overridden)

		// The clock moves while a run reads: the time of the first page holds.
		clock := epoch
		walk := func(list func(context.Context, time.Time, string) ([]attestor.Decision, string, error)) (all []int, first string) {
			for token := ""; ; {
				page, next, err := list(t.Context(), clock, token)
				if err != nil {
					t.Fatalf("after %d decisions: %v", len(all), err)
				}
				all = append(all, numbersOf(page)...)
				if first == "" {
					first = next
				}

				if token = next; token == "" {
					return all, first
				}
				clock = clock.Add(time.Hour)
			}
		}

		gotPassed, first := walk(h.Passed)
		if !slices.Equal(gotPassed, passed) || first == "" {
			t.Errorf("Passed lists %d over its pages (first token %q), want each of %d once, newest first", len(gotPassed), first, len(passed))
		}
		clock = epoch
		gotOverridden, _ := walk(h.Overridden)
		if !slices.Equal(gotOverridden, overridden) {
			t.Errorf("Overridden lists %d, want each of %d once, newest first", len(gotOverridden), len(overridden))
		}

		// A token is bound to its list.
		_, _, err := h.Overridden(t.Context(), epoch, first)
		wantKind(t, "Overridden with a token of Passed", err, attestor.Invalid)
		_, _, err = h.Passed(t.Context(), epoch, "0")
		wantKind(t, "Passed with a token of nobody", err, attestor.Invalid)

		late, _, err := h.Passed(t.Context(), epoch.Add((n-2)*time.Minute), "")
		if err != nil || !slices.Equal(numbersOf(late), []int{n - 2}) {
			t.Errorf("Passed since the last but one: %v, %v", numbersOf(late), err)
		}
	})

	t.Run("record", func(t *testing.T) {
		h, add := open(t)
		want := recordOf(t, 1)
		add(t, want)
		got, err := h.Record(t.Context(), want.Decision.ID)
		if err != nil {
			t.Fatal(err)
		}

		sameDecision(t, "Record", want.Decision, got.Decision)
		if len(got.Evidence.Platforms) != 1 {
			t.Error("the record comes without its evidence")
		}
		_, err = h.Record(t.Context(), "contract-999999")
		wantKind(t, "an unknown record", err, attestor.NotFound)
	})
}
