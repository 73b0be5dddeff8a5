package contract

import (
	"context"
	"slices"
	"testing"

	"github.com/attestor-gate/attestor"
)

// history is watch.History.
type history interface {
	Of(ctx context.Context, img attestor.Image, n int) ([]attestor.Decision, error)
	Decision(ctx context.Context, id string) (attestor.Decision, error)
	Record(ctx context.Context, id string) (attestor.Record, error)
}

// History is the suite of watch.History. open returns one over an empty record,
// and what adds to it.
func History[H history](t *testing.T, open func(t *testing.T) (h H, add func(t *testing.T,
	records ...attestor.Record))) {
	t.Run("of an image", func(t *testing.T) {
		h, add := open(t)
		for n := range 5 {
			add(t, recordOf(t, n, func(r *attestor.Record) {
				if n == 3 { // of an index, whose child is the image
					r.Evidence.Index, r.Evidence.Platforms[0].Digest = true, digestOf(1)
				}
				if n == 4 {
					same := recordOf(t, 1)
					r.Decision.Image, r.Evidence.Image, r.Evidence.Platforms = same.Decision.Image, same.Evidence.Image,
						same.Evidence.Platforms
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
		decision, err := h.Decision(t.Context(), want.Decision.ID)
		if err != nil {
			t.Fatal(err)
		}
		sameDecision(t, "Decision", want.Decision, decision)

		_, err = h.Record(t.Context(), "contract-999999")
		wantKind(t, "an unknown record", err, attestor.NotFound)
		_, err = h.Decision(t.Context(), "contract-999999")
		wantKind(t, "an unknown decision", err, attestor.NotFound)
	})
}
