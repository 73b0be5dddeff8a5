package contract

import (
	"sync"
	"testing"

	"github.com/attestor-gate/attestor"
)

// A Recording is an [attestor.Recorder] with the means to read what it keeps.
type Recording struct {
	attestor.Recorder
	// Finished returns what is recorded of a decision, and false for one that
	// was not finished.
	Finished func(t *testing.T, id string) (attestor.Decision, bool)
	// Again reads the same record as another process would; nil for a recorder
	// that is declared not to outlive its process.
	Again func(t *testing.T) Recording
}

// Recorder is the suite of [attestor.Recorder]. open returns an empty record.
func Recorder(t *testing.T, open func(t *testing.T) Recording) {
	want := func(t *testing.T, r Recording, want attestor.Record) {
		t.Helper()
		got, ok := r.Finished(t, want.Decision.ID)
		if !ok {
			t.Errorf("%s is not recorded", want.Decision.ID)
			return
		}
		sameDecision(t, want.Decision.ID, want.Decision, got)
	}

	finish := func(t *testing.T, r Recording, rec attestor.Record) {
		t.Helper()
		if _, err := r.Finish(t.Context(), rec); err != nil {
			t.Fatalf("Finish(%s): %v", rec.Decision.ID, err)
		}
	}

	t.Run("begun is not finished", func(t *testing.T) {
		r := open(t)
		begun := recordOf(t, 1, func(r *attestor.Record) { r.Decision.Attestations = nil })
		if err := r.Begin(t.Context(), begun); err != nil {
			t.Fatal(err)
		}

		// A reader would take it for an admission, and nothing was attested yet.
		if _, ok := r.Finished(t, begun.Decision.ID); ok {
			t.Error("what was only begun is answered as a decision")
		}

		done := recordOf(t, 1)
		finish(t, r, done)
		want(t, r, done)
	})

	t.Run("finished without having begun", func(t *testing.T) {
		r := open(t)
		denied := recordOf(t, 2, func(r *attestor.Record) {
			r.Decision.Verdict, r.Decision.Attestations = attestor.Deny, []attestor.Attestation{}
		})
		finish(t, r, denied)
		want(t, r, denied)
	})

	t.Run("finished is never changed", func(t *testing.T) {
		r := open(t)
		first := recordOf(t, 3)
		finish(t, r, first)
		finish(t, r, first) // a repeat is accepted: its first answer may have been lost

		other := recordOf(t, 3, func(r *attestor.Record) { r.Decision.Verdict = attestor.Deny })
		if _, err := r.Finish(t.Context(), other); err == nil {
			t.Error("another decision under the same id was recorded")
		}
		if err := r.Begin(t.Context(), other); err == nil {
			t.Error("a finished decision was begun again")
		}
		want(t, r, first)
	})

	t.Run("concurrently", func(t *testing.T) {
		r := open(t)
		var wg sync.WaitGroup
		for n := range 40 {
			rec := recordOf(t, n)
			wg.Go(func() {
				if err := r.Begin(t.Context(), rec); err != nil {
					t.Errorf("Begin(%s): %v", rec.Decision.ID, err)
				}
				if _, err := r.Finish(t.Context(), rec); err != nil {
					t.Errorf("Finish(%s): %v", rec.Decision.ID, err)
				}
			})
		}

		wg.Wait()
		for n := range 40 {
			want(t, r, recordOf(t, n))
		}
	})

	t.Run("nil means durable", func(t *testing.T) {
		r := open(t)
		finish(t, r, recordOf(t, 4))
		late := recordOf(t, 5)
		_, err := r.Finish(gone(t), late)
		recorded := err == nil
		if r.Again == nil {
			return
		}

		later := r.Again(t)
		want(t, later, recordOf(t, 4))
		if recorded {
			want(t, later, late)
		}

		changed := recordOf(t, 4, func(r *attestor.Record) { r.Decision.Verdict = attestor.Deny })
		if _, err := later.Finish(t.Context(), changed); err == nil {
			t.Error("after a restart a finished decision was changed")
		}
	})
}
