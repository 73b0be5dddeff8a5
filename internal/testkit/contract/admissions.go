package contract

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// admissions is watch.Admissions.
type admissions interface {
	Fill(ctx context.Context) (complete bool, err error)
	AdmittedWith(ctx context.Context, img attestor.Image) ([]attestor.Admission, error)
	StartRun(ctx context.Context, id string, caller attestor.CallerRef) (attestor.Run, error)
	Run(ctx context.Context, id string) (attestor.Run, error)
	Claim(ctx context.Context, run attestor.Run, after attestor.Admission, n int, visible func(string) bool) (
		claimed []attestor.Admission, last attestor.Admission, err error)
	Looked(ctx context.Context, run attestor.Run, looks []attestor.Rejudgement) error
	Left(ctx context.Context, run attestor.Run, visible func(string) bool) (int, error)
	MayRevoke(ctx context.Context, run attestor.Run, limit int) (may, stopped bool, err error)
	EndRun(ctx context.Context, run attestor.Run) (ended bool, err error)
}

// overrides is watch.Overrides.
type overrides interface {
	Overdue(ctx context.Context, after attestor.Override, n int) ([]attestor.Override, error)
	Grounds(ctx context.Context, o attestor.Override) (attestor.Grounds, error)
	CloseOverride(ctx context.Context, o attestor.Override, why attestor.Closing, by string) error
	Expired(ctx context.Context, id string, caller attestor.CallerRef, started time.Time) error
}

// A Watched is an empty record, with what adds to it. Its clock stands ten days
// after the first record that a suite makes up.
type Watched[T any] struct {
	Record T
	Add    func(t *testing.T, records ...attestor.Record)
}

// WatchedNow is the time of the clock of a [Watched].
func WatchedNow() time.Time { return epoch.AddDate(0, 0, 10) }

func everything(string) bool { return true }

// overriddenUntil makes a record an override that ends at a time.
func overriddenUntil(end *time.Time) func(*attestor.Record) {
	return func(r *attestor.Record) {
		r.Decision.Verdict = attestor.Deny
		r.Decision.BreakGlass = &attestor.BreakGlass{Reason: "INC-1 outage", By: "oncall@example", Expires: end}
	}
}

// Admissions is the suite of watch.Admissions.
func Admissions[A admissions](t *testing.T, open func(t *testing.T) Watched[A]) {
	caller := attestor.CallerRef{Subject: "scheduler@example", Issuer: "https://issuer.example"}
	start := func(t *testing.T, a admissions) attestor.Run {
		t.Helper()
		if complete, err := a.Fill(t.Context()); err != nil || !complete {
			t.Fatalf("Fill: %t, %v", complete, err)
		}
		run, err := a.StartRun(t.Context(), "run-1", caller)
		if err != nil {
			t.Fatal(err)
		}
		return run
	}
	passed := func(a attestor.Admission) attestor.Rejudgement {
		return attestor.Rejudgement{Admission: a, Time: WatchedNow(), Answered: true, Verdict: attestor.Pass}
	}

	t.Run("what is admitted", func(t *testing.T) {
		w := open(t)
		w.Add(t,
			recordOf(t, 0),
			recordOf(t, 1, func(r *attestor.Record) { r.Decision.DryRun = true }),
			recordOf(t, 2, func(r *attestor.Record) { r.Decision.Verdict = attestor.Deny }),
			recordOf(t, 3, func(r *attestor.Record) { r.Decision.Verdict = attestor.Undecided }),
			recordOf(t, 4, func(r *attestor.Record) { r.Decision.Attestations = nil }),
			recordOf(t, 5, overriddenUntil(nil)),
			recordOf(t, 6, overriddenUntil(nil), func(r *attestor.Record) { r.Decision.Attestations = nil }),
		)
		for n, want := range map[int]bool{0: true, 1: false, 2: false, 3: false, 4: false, 5: true, 6: false} {
			got, err := w.Record.AdmittedWith(t.Context(), imageOf(t, Repository, n))
			if err != nil || (len(got) == 1) != want {
				t.Errorf("image %d: %+v, %v; want an admission: %t", n, got, err, want)
			}
			if want && len(got) == 1 && got[0].BreakGlass != (n == 5) {
				t.Errorf("image %d: by an override alone: %t", n, got[0].BreakGlass)
			}
		}
	})

	t.Run("each once", func(t *testing.T) {
		w := open(t)
		var records []attestor.Record
		for n := range 50 {
			records = append(records, recordOf(t, n))
		}
		w.Add(t, append(records, recordOf(t, 7, func(r *attestor.Record) { // admitted again
			r.Decision.ID, r.Decision.Time = "contract-again", r.Decision.Time.Add(time.Hour)
		}))...)
		run := start(t, w.Record)
		if again, err := w.Record.StartRun(t.Context(), "run-2", caller); err != nil || again.ID != run.ID {
			t.Errorf("starting while a run goes on: %s, %v", again.ID, err)
		}
		if left, err := w.Record.Left(t.Context(), run, everything); err != nil || left != 50 {
			t.Errorf("%d left, %v", left, err)
		}

		// Two instances take turns.
		seen := map[string]int{}
		after := [2]attestor.Admission{}
		for turn := 0; len(seen) < 50 && turn < 100; turn++ {
			claimed, last, err := w.Record.Claim(t.Context(), run, after[turn%2], 7, everything)
			if err != nil {
				t.Fatal(err)
			}
			after[turn%2] = last
			var looks []attestor.Rejudgement
			for _, a := range claimed {
				seen[a.Image.String()]++
				looks = append(looks, passed(a))
			}
			for range 2 { // delivered twice
				if err := w.Record.Looked(t.Context(), run, looks); err != nil {
					t.Fatal(err)
				}
			}
		}
		for img, n := range seen {
			if n != 1 {
				t.Errorf("%s was claimed %d times", img, n)
			}
		}
		got, err := w.Record.Run(t.Context(), run.ID)
		left, leftErr := w.Record.Left(t.Context(), run, everything)
		if err != nil || leftErr != nil || len(seen) != 50 || got.Covered != 50 || left != 0 {
			t.Errorf("%d seen, run %+v, %d left; %v, %v", len(seen), got, left, err, leftErr)
		}
		for n, want := range []bool{true, false} {
			if ended, err := w.Record.EndRun(t.Context(), run); err != nil || ended != want {
				t.Errorf("ending it, the %d. time: %t, %v", n+1, ended, err)
			}
		}
		if next, err := w.Record.StartRun(t.Context(), "run-2", caller); err != nil || next.ID != "run-2" {
			t.Errorf("after its end: %s, %v", next.ID, err)
		}
	})

	t.Run("only the caller's", func(t *testing.T) {
		w := open(t)
		w.Add(t, recordOf(t, 0))
		run := start(t, w.Record)
		nobody := func(string) bool { return false }
		claimed, _, err := w.Record.Claim(t.Context(), run, attestor.Admission{}, 10, nobody)
		left, leftErr := w.Record.Left(t.Context(), run, nobody)
		if err != nil || leftErr != nil || len(claimed)+left != 0 {
			t.Errorf("%d claimed, %d left; %v, %v", len(claimed), left, err, leftErr)
		}
	})

	t.Run("what was found", func(t *testing.T) {
		w := open(t)
		w.Add(t, recordOf(t, 0), recordOf(t, 1), recordOf(t, 2))
		run := start(t, w.Record)
		claimed, _, err := w.Record.Claim(t.Context(), run, attestor.Admission{}, 10, everything)
		if err != nil || len(claimed) != 3 {
			t.Fatalf("%d claimed, %v", len(claimed), err)
		}
		slices.SortFunc(claimed, func(a, b attestor.Admission) int { return a.Time.Compare(b.Time) })

		denied := attestor.Rejudgement{
			Admission: claimed[0], Time: WatchedNow(), Answered: true, Verdict: attestor.Deny,
			Cause: attestor.CauseFinding, Decision: "judgement",
		}
		unknown := attestor.Rejudgement{Admission: claimed[1], Time: WatchedNow()}
		stale := passed(claimed[2])
		stale.Admission.Decision = "another decision"
		if err := w.Record.Looked(t.Context(), run, []attestor.Rejudgement{denied, unknown, stale}); err != nil {
			t.Fatal(err)
		}

		for n, want := range []string{"deny new-finding judgement", "pass  contract-000001", "pass  contract-000002"} {
			got, err := w.Record.AdmittedWith(t.Context(), imageOf(t, Repository, n))
			if err != nil || len(got) != 1 {
				t.Fatalf("%+v, %v", got, err)
			}
			a := got[0]
			if s := fmt.Sprintf("%s %s %s", a.Verdict, a.Cause, a.Changed); s != want {
				t.Errorf("image %d: %q, want %q", n, s, want)
			}
			if looked := a.Looked.Equal(WatchedNow()); looked != (n == 0) {
				t.Errorf("image %d: looked at %v", n, a.Looked)
			}
		}
		if got, err := w.Record.Run(t.Context(), run.ID); err != nil || got.Covered != 2 || got.Changed != 1 ||
			got.Failed != 1 {
			t.Errorf("run %+v, %v", got, err)
		}
	})

	t.Run("the limit of revocations", func(t *testing.T) {
		w := open(t)
		run := start(t, w.Record)
		for n, want := range []string{"true false", "true false", "false true", "false false"} {
			may, stopped, err := w.Record.MayRevoke(t.Context(), run, 2)
			if got := fmt.Sprint(may, stopped); err != nil || got != want {
				t.Errorf("the %d. revocation of at most 2: %s, %v; want %s", n+1, got, err, want)
			}
		}
		if got, err := w.Record.Run(t.Context(), run.ID); err != nil || got.Revoked != 2 || !got.Stopped {
			t.Errorf("run %+v, %v", got, err)
		}
		if next, err := w.Record.StartRun(t.Context(), "run-2", caller); err != nil || next.ID != "run-2" {
			t.Errorf("a run that was stopped goes on as %s, %v", next.ID, err)
		}
		_, err := w.Record.Run(t.Context(), "no run")
		wantKind(t, "an unknown run", err, attestor.NotFound)
	})
}

// Overrides is the suite of watch.Overrides.
func Overrides[O overrides](t *testing.T, open func(t *testing.T) Watched[O]) {
	ids := func(all []attestor.Override) (out []string) {
		for _, o := range all {
			out = append(out, o.Decision)
		}
		return out
	}
	at := func(days int) *time.Time { return new(epoch.AddDate(0, 0, days)) }

	t.Run("whatever their age", func(t *testing.T) {
		w := open(t)
		old := epoch.AddDate(-3, 0, 0)
		w.Add(t,
			recordOf(t, 0, overriddenUntil(&old)),
			recordOf(t, 1, overriddenUntil(at(10))), // now
			recordOf(t, 2, overriddenUntil(at(11))),
			recordOf(t, 3, overriddenUntil(nil)),
			recordOf(t, 4),
		)
		want := []string{"contract-000000", "contract-000001"}
		all, err := w.Record.Overdue(t.Context(), attestor.Override{}, 10)
		if err != nil || !slices.Equal(ids(all), want) {
			t.Fatalf("overdue %v, %v; want %v", ids(all), err, want)
		}
		if o := all[0]; o.By != "oncall@example" || o.Reason != "INC-1 outage" || len(o.Digests) != 1 ||
			len(o.Attestors) != 1 || !o.Overdue(WatchedNow()) {
			t.Errorf("read as %+v", o)
		}

		// In pages, and without those that were closed.
		first, err := w.Record.Overdue(t.Context(), attestor.Override{}, 1)
		if err != nil || len(first) != 1 {
			t.Fatalf("%v, %v", first, err)
		}
		if err := w.Record.CloseOverride(t.Context(), first[0], attestor.ClosedPassed, "contract-000009"); err != nil {
			t.Fatal(err)
		}
		rest, err := w.Record.Overdue(t.Context(), first[0], 10)
		if err != nil || !slices.Equal(ids(rest), want[1:]) {
			t.Errorf("after the first: %v, %v", ids(rest), err)
		}
		if err := w.Record.Expired(t.Context(), "run-1", attestor.CallerRef{}, WatchedNow()); err != nil {
			t.Error(err)
		}
	})

	t.Run("grounds", func(t *testing.T) {
		w := open(t)
		again := func(n int, id string, change ...func(*attestor.Record)) attestor.Record {
			return recordOf(t, n, append(change, func(r *attestor.Record) {
				r.Decision.ID, r.Decision.Time = id, r.Decision.Time.Add(time.Hour)
			})...)
		}
		index := func(r *attestor.Record) { // of which image 1 is a child
			child := r.Decision.Attestations[0]
			child.Digest, child.Occurrence = digestOf(1), "projects/p/occurrences/child"
			r.Decision.Attestations = append(r.Decision.Attestations, child)
			r.Evidence.Platforms[0].Digest = digestOf(1)
		}
		w.Add(t,
			recordOf(t, 0, overriddenUntil(at(1)), index), again(1, "pass of the child"),
			recordOf(t, 2, overriddenUntil(at(1))), again(2, "override in force", overriddenUntil(at(20))),
			recordOf(t, 3, overriddenUntil(at(1))), again(3, "override that is past its end", overriddenUntil(at(2))),
			recordOf(t, 4, overriddenUntil(at(1))),
			again(4, "dry run", func(r *attestor.Record) { r.Decision.DryRun = true }),
		)
		all, err := w.Record.Overdue(t.Context(), attestor.Override{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, o := range all {
			g, err := w.Record.Grounds(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			got[o.Decision] = fmt.Sprintf("%d %t %s", len(g.Keep), g.Passed, g.By)
		}
		for id, want := range map[string]string{
			"contract-000000": "1 true pass of the child",
			"contract-000002": "1 false override in force",
			"contract-000003": "0 false ",
			"contract-000004": "0 false ",
		} {
			if got[id] != want {
				t.Errorf("%s: %q, want %q", id, got[id], want)
			}
		}
	})
}
