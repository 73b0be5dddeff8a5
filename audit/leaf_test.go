package audit_test

import (
	"sync"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// logged finishes a record and returns where the log has it.
func logged(t *testing.T, s *audit.Store, r attestor.Record) int64 {
	t.Helper()
	entry, err := s.Finish(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if entry == nil {
		t.Fatalf("%s has no entry in the log", r.Decision.ID)
	}
	return entry.Index
}

func leaves(t *testing.T, s *audit.Store, kind string) int {
	t.Helper()
	var n int
	if err := s.Writer().QueryRow(`SELECT COUNT(*) FROM log_leaves WHERE kind = $1`, kind).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFinishedDecisionHasOneEntry(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		attested := record(1, attestor.Pass, attest)
		if err := s.Begin(t.Context(), attested); err != nil {
			t.Fatal(err)
		}
		if n := leaves(t, s, "decision"); n != 0 {
			t.Errorf("a decision that is only begun has %d entries", n)
		}

		first := logged(t, s, attested)
		second := logged(t, s, record(2, attestor.Deny))
		if second != first+1 {
			t.Errorf("the next decision has index %d after %d", second, first)
		}

		// A repeat, whose first answer may have been lost, gets the same entry.
		if again := logged(t, s, attested); again != first {
			t.Errorf("finished again: index %d, want %d", again, first)
		}
		if again := logged(t, s, record(2, attestor.Deny)); again != second {
			t.Errorf("finished again: index %d, want %d", again, second)
		}

		// What is refused leaves no entry.
		if _, err := s.Finish(t.Context(), record(2, attestor.Pass)); err == nil {
			t.Error("a finished decision was changed")
		}
		if n := leaves(t, s, "decision"); n != 2 {
			t.Errorf("%d entries, want 2", n)
		}
	})
}

// Decisions that come together share a transaction, and each gets the entry of its own.
func TestTogetherEachHasItsEntry(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		const n = 60
		finish(t, s, record(7, attestor.Pass))
		indexes := make([]int64, n)
		var wg sync.WaitGroup
		for i := range n {
			r := record(i, attestor.Pass)
			if i%3 == 0 {
				r = record(i, attestor.Pass, attest)
				if err := s.Begin(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			if i == 11 {
				finish(t, s, record(i, attestor.Deny)) // what comes now says something else, and fails
			}
			wg.Go(func() {
				entry, err := s.Finish(t.Context(), r)
				if (err != nil) != (i == 11) {
					t.Errorf("record %d: %v", i, err)
				}
				if err == nil {
					indexes[i] = entry.Index
				}
			})
		}
		wg.Wait()

		for i, index := range indexes {
			if i == 11 {
				continue
			}
			var id string
			if err := s.Writer().QueryRow(`SELECT id FROM log_leaves WHERE n = $1`, index).Scan(&id); err != nil {
				t.Fatal(err)
			}
			if want := record(i, attestor.Pass).Decision.ID; id != want {
				t.Errorf("entry %d is of %s, want %s", index, id, want)
			}
		}
		if got := leaves(t, s, "decision"); got != n {
			t.Errorf("%d entries, want %d", got, n)
		}
	})
}

// attest gives a record the attestation that a pass has.
func attest(r *attestor.Record) {
	r.Decision.Attestations = []attestor.Attestation{{Attestor: "projects/p/attestors/a", Digest: digest(1), Created: true}}
}
