package audit_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/tally"
)

// scattered are decisions over ten days, on few images of several repositories, in
// no order of their times.
func scattered(n int) []attestor.Record {
	random := rand.New(rand.NewPCG(1, 2))
	verdicts := []attestor.Outcome{attestor.Pass, attestor.Deny, attestor.Undecided}
	out := make([]attestor.Record, n)
	for i := range out {
		out[i] = record(i, verdicts[random.IntN(3)], func(r *attestor.Record) {
			repo := fmt.Sprintf("us-docker.pkg.dev/acme/prod/service-%d", random.IntN(4))
			img, err := attestor.ParseImage(repo + "@" + string(digest(random.IntN(12))))
			if err != nil {
				panic(err)
			}
			r.Evidence.Image, r.Decision.Image.Reference, r.Decision.Image.Digest = img, img.String(), img.Digest()
			r.Decision.Time = day.Add(-time.Duration(random.IntN(10*24*60)) * time.Minute)
			r.Decision.DryRun = random.IntN(2) == 0
			r.Decision.Emulated = random.IntN(20) == 0
			r.Decision.Platforms[0].Scan.Counts = map[attestor.Severity]int{attestor.High: random.IntN(5), attestor.Critical: random.IntN(2)}
		})
	}
	return out
}

// What the record keeps for reports is what its decisions say, recomputed one by one:
// after they came in any order, and after some were pruned.
func TestSumsAreWhatTheDecisionsSay(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		c.set(day)
		for _, r := range scattered(300) {
			finish(t, s, r)
		}

		check := func(when string) {
			t.Helper()
			for _, f := range []audit.Filter{
				{}, {Since: day.AddDate(0, 0, -3).Truncate(24 * time.Hour)}, {Since: day.AddDate(0, 0, 1).Truncate(24 * time.Hour)},
				{Repository: "us-docker.pkg.dev/acme/prod/service-1"}, {Repository: "service-2"}, {Repository: "us-docker.pkg.dev/acme/**"},
				{Visible: func(r string) bool { return r == "us-docker.pkg.dev/acme/prod/service-3" }},
			} {
				wantLines, wantDays := recomputed(t, s, f)
				gotLines, gotDays := sums(t, s, f)
				if d := gocmp.Diff(wantLines, gotLines, cmpopts.EquateEmpty()); d != "" {
					t.Errorf("%s, %v: lines (-want +got):\n%s", when, f.Values(), d)
				}
				if d := gocmp.Diff(wantDays, gotDays); d != "" {
					t.Errorf("%s, %v: days (-want +got):\n%s", when, f.Values(), d)
				}
			}
		}

		check("recorded")
		finish(t, s, scattered(300)[:50]...) // repeats count once
		check("repeated")
		if _, err := s.Prune(t.Context(), day.AddDate(0, 0, -4)); err != nil {
			t.Fatal(err)
		}
		check("pruned")
	})
}

// Sums are kept for periods, repositories and callers only.
func TestOtherFiltersHaveNoSums(t *testing.T) {
	s := openSQLite(t, t.TempDir()+"/r.db", clockAt(day))
	for _, f := range []audit.Filter{{Until: day}, {Verdict: attestor.Deny}, {Policy: "p"}, {Search: "x"}, {Reason: "R"}} {
		for _, err := range s.Images(t.Context(), f) {
			if attestor.KindOf(err) != attestor.Unsupported {
				t.Errorf("%v: %v", f.Values(), err)
			}
		}
		if audit.Summable(f) {
			t.Errorf("%v is summable", f.Values())
		}
	}
}

// recomputed is what the decisions of a filter say.
func recomputed(t *testing.T, s *audit.Store, f audit.Filter) ([]tally.Line, []tally.DayCount) {
	t.Helper()
	seen := map[string]bool{}
	var lines []tally.Line
	days := map[string]*tally.DayCount{}
	for r, err := range s.Records(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		if name := r.Decision.Image.Reference; !seen[name] {
			seen[name] = true
			lines = append(lines, tally.Project(r))
		}

		c := tally.CountOf(r.Decision)
		key := c.Day.String() + string(c.Verdict)
		if days[key] == nil {
			days[key] = &tally.DayCount{Day: c.Day, Verdict: c.Verdict, Findings: map[attestor.Severity]int{
				attestor.Critical: 0, attestor.High: 0, attestor.Medium: 0, attestor.Low: 0, attestor.Minimal: 0, attestor.Unspecified: 0,
			}}
		}
		d := days[key]
		d.Decisions, d.InEarnest, d.Emulated = d.Decisions+c.Decisions, d.InEarnest+c.InEarnest, d.Emulated+c.Emulated
		for level, n := range c.Findings {
			d.Findings[level] += n
		}
	}

	var out []tally.DayCount
	for _, d := range days {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b tally.DayCount) int {
		return cmp.Or(a.Day.Compare(b.Day), cmp.Compare(a.Verdict, b.Verdict))
	})
	return lines, out
}

// sums are what the record keeps.
func sums(t *testing.T, s *audit.Store, f audit.Filter) (lines []tally.Line, days []tally.DayCount) {
	t.Helper()
	for l, err := range s.Images(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	for c, err := range s.Days(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		days = append(days, c)
	}
	return lines, days
}
