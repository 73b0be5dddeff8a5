package audit_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
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
			r.Decision.Policy = &attestor.PolicyRef{Name: []string{"production", "staging"}[random.IntN(2)], Digest: digest(1), Mode: attestor.Enforce}
			if random.IntN(9) == 0 {
				r.Decision.Policy = nil
			}
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
			all := everything(t, s)
			for _, f := range periods() {
				_, want := recomputed(all, f)
				if d := gocmp.Diff(want, days(t, s, f), cmpopts.EquateEmpty()); d != "" {
					t.Errorf("%s, %v: days (-want +got):\n%s", when, f.Values(), d)
				}
			}
			for _, since := range []time.Time{
				{}, day.AddDate(0, 0, -3).Truncate(24 * time.Hour), day.Add(-77 * time.Hour), day.AddDate(0, 0, -30), day.AddDate(0, 0, 2),
			} {
				f := audit.Filter{Since: since}
				selected, _ := recomputed(all, f)
				if d := gocmp.Diff(factsOf(selected), facts(t, s, f)); d != "" {
					t.Errorf("%s, since %v: facts (-want +got):\n%s", when, since, d)
				}
				for _, n := range []int{0, 1, 7} {
					if d := gocmp.Diff(firstOf(selected, n), first(t, s, f, n), cmpopts.EquateEmpty()); d != "" {
						t.Errorf("%s, since %v: first %d (-want +got):\n%s", when, since, n, d)
					}
				}
			}
			for _, f := range []audit.Filter{
				{}, {Since: day.AddDate(0, 0, -3).Truncate(24 * time.Hour)}, {Since: day.AddDate(0, 0, 1).Truncate(24 * time.Hour)},
				{Repository: "us-docker.pkg.dev/acme/prod/service-1"}, {Repository: "service-2"}, {Repository: "us-docker.pkg.dev/acme/**"},
				{Visible: func(r string) bool { return r == "us-docker.pkg.dev/acme/prod/service-3" }},
			} {
				want, _ := recomputed(all, f)
				if d := gocmp.Diff(want, lines(t, s, f), cmpopts.EquateEmpty()); d != "" {
					t.Errorf("%s, %v: lines (-want +got):\n%s", when, f.Values(), d)
				}
				countedAndSelected(t, s, f, want)
			}
		}

		check("recorded")
		finish(t, s, scattered(300)[:50]...) // repeats count once
		check("repeated")

		// An override, its revocation, and the pass that comes after it.
		overridden := scattered(301)[300]
		overridden.Decision.BreakGlass = &attestor.BreakGlass{Reason: "INC-1 outage", By: "oncall@example.com"}
		overridden.Decision.Verdict = attestor.Deny
		overridden.Decision.Time = day.Add(time.Minute)
		overridden.Decision.Attestations = []attestor.Attestation{{Attestor: "projects/p/attestors/a", Digest: overridden.Decision.Image.Digest}}
		finish(t, s, overridden)
		check("overridden")
		revocation, err := s.BeginRevocation(t.Context(), attestor.RevocationRecord{
			ID: "revocation-1", Time: day.Add(time.Hour), Kind: attestor.RevokedByPerson, Image: overridden.Evidence.Image,
			Reason: "leaked credentials", Attestations: overridden.Decision.Attestations,
		})
		if err == nil {
			err = s.FinishRevocation(t.Context(), revocation)
		}
		if err != nil {
			t.Fatal(err)
		}
		check("revoked")
		passed := overridden
		passed.Decision.ID, passed.Decision.BreakGlass, passed.Decision.Verdict = "0199-000999", nil, attestor.Pass
		passed.Decision.Time = day.Add(2 * time.Hour)
		finish(t, s, passed)
		check("passed again")

		for _, before := range []time.Time{day.AddDate(0, 0, -4), day.AddDate(0, 0, -1), day.AddDate(0, 0, 9)} {
			if _, err := s.Prune(t.Context(), before); err != nil {
				t.Fatal(err)
			}
			check(fmt.Sprint("pruned before ", before))
		}

		// Sums of nothing do not stay.
		if n, err := s.Count(t.Context(), "image_sums WHERE images = 0"); n > 0 || err != nil {
			t.Errorf("%d sums of no image, %v", n, err)
		}
	})
}

// countedAndSelected: what is counted, and what is selected by its row before it is decoded, is what is iterated over.
func countedAndSelected(t *testing.T, s *audit.Store, f audit.Filter, want []tally.Line) {
	t.Helper()
	if n, err := s.CountImages(t.Context(), f); n != len(want) || err != nil {
		t.Errorf("%v: %d images counted, %v; want %d", f.Values(), n, err, len(want))
	}
	refused := func(r tally.Row) bool { return r.Verdict != attestor.Pass }
	var got []tally.Line
	for l, err := range s.ImagesOf(t.Context(), f, refused) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, l)
	}
	selected := slices.DeleteFunc(slices.Clone(want), func(l tally.Line) bool { return !refused(l.Row) })
	if d := gocmp.Diff(selected, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%v: selected lines (-want +got):\n%s", f.Values(), d)
	}
}

// factsOf are the sums of lines.
func factsOf(lines []tally.Line) map[string]tally.Numbers {
	out := map[string]tally.Numbers{}
	for _, l := range lines {
		for _, f := range append(tally.Facts(l), tally.GroupFact(l, l.Row.Repository)) {
			n := out[string(f.Kind)+f.Key]
			n.Add(f.Numbers, 1)
			out[string(f.Kind)+f.Key] = n
		}
	}
	return out
}

// facts are the sums that the record keeps.
func facts(t *testing.T, s *audit.Store, f audit.Filter) map[string]tally.Numbers {
	t.Helper()
	out := map[string]tally.Numbers{}
	for f, err := range s.Facts(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		n := out[string(f.Kind)+f.Key]
		n.Add(f.Numbers, 1)
		out[string(f.Kind)+f.Key] = n
	}
	return out
}

// firstOf are the lines of a report's table: by rank, and then the newest first.
func firstOf(lines []tally.Line, n int) []tally.Line {
	out := slices.Clone(lines)
	slices.SortStableFunc(out, func(a, b tally.Line) int {
		return cmp.Or(tally.Rank(a.Row)-tally.Rank(b.Row), b.Row.Time.Compare(a.Row.Time))
	})
	if n > 0 {
		out = out[:min(n, len(out))]
	}
	return out
}

func first(t *testing.T, s *audit.Store, f audit.Filter, n int) (out []tally.Line) {
	t.Helper()
	for l, err := range s.First(t.Context(), f, n) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

// Sums are kept for periods, repositories and callers only.
func TestOtherFiltersHaveNoSums(t *testing.T) {
	s := openSQLite(t, migratedFile(t), clockAt(day))
	for _, f := range []audit.Filter{{Policy: string(digest(1))}, {Search: "x"}, {Reason: "R"}, {Caller: "x"}, {BreakGlass: true}} {
		for _, err := range s.Days(t.Context(), f) {
			if attestor.KindOf(err) != attestor.Unsupported {
				t.Errorf("%v: days: %v", f.Values(), err)
			}
		}
		if audit.Countable(f) {
			t.Errorf("%v is countable", f.Values())
		}
	}
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

// everything is the whole record, the newest decision first. It is read once for many filters.
func everything(t *testing.T, s *audit.Store) (out []attestor.Record) {
	t.Helper()
	for r, err := range s.Records(t.Context(), audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// selects is the test's own reading of a filter's periods, policies, verdicts and repositories.
func selects(f audit.Filter, r attestor.Record) bool {
	d := r.Decision
	repository, _, _ := strings.Cut(d.Image.Reference, "@")
	matches := f.Repository == "" || strings.HasSuffix(repository, "/"+f.Repository)
	switch {
	case strings.HasSuffix(f.Repository, "/**"):
		matches = strings.HasPrefix(repository, strings.TrimSuffix(f.Repository, "**"))
	case strings.Contains(f.Repository, "/"):
		matches = repository == f.Repository
	}
	return matches && (f.Visible == nil || f.Visible(repository)) &&
		(f.Since.IsZero() || !d.Time.Before(f.Since)) && (f.Until.IsZero() || d.Time.Before(f.Until)) &&
		(f.Policy == "" || d.Policy != nil && d.Policy.Name == f.Policy) && (f.Verdict == "" || d.Verdict == f.Verdict)
}

// recomputed is what the decisions of a filter say.
func recomputed(all []attestor.Record, f audit.Filter) ([]tally.Line, []tally.DayCount) {
	seen := map[string]bool{}
	var lines []tally.Line
	days := map[string]*tally.DayCount{}
	for _, r := range all {
		if !selects(f, r) {
			continue
		}
		if name := r.Decision.Image.Reference; !seen[name] {
			seen[name] = true
			lines = append(lines, tally.Project(r))
		}

		c := tally.CountOf(r.Decision)
		key := c.Day.String() + c.Policy + " " + string(c.Verdict)
		if days[key] == nil {
			days[key] = &tally.DayCount{Day: c.Day, Policy: c.Policy, Verdict: c.Verdict, Findings: map[attestor.Severity]int{
				attestor.Critical: 0, attestor.High: 0, attestor.Medium: 0, attestor.Low: 0, attestor.Minimal: 0, attestor.Unspecified: 0,
			}}
		}
		d := days[key]
		d.Decisions, d.Enforced, d.Emulated = d.Decisions+c.Decisions, d.Enforced+c.Enforced, d.Emulated+c.Emulated
		for level, n := range c.Findings {
			d.Findings[level] += n
		}
	}

	var out []tally.DayCount
	for _, d := range days {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b tally.DayCount) int {
		return cmp.Or(a.Day.Compare(b.Day), cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Verdict, b.Verdict))
	})
	return lines, out
}

// lines are those that the record keeps.
func lines(t *testing.T, s *audit.Store, f audit.Filter) (out []tally.Line) {
	t.Helper()
	for l, err := range s.Images(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

// days are the sums that the record keeps.
func days(t *testing.T, s *audit.Store, f audit.Filter) (out []tally.DayCount) {
	t.Helper()
	for c, err := range s.Days(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// periods are filters whose decisions are counted: whole days, whole hours, any
// instants, within one hour, none; of everybody, of repositories, and of a caller.
func periods() []audit.Filter {
	midnight := day.Truncate(24 * time.Hour)
	times := []audit.Filter{
		{}, {Since: midnight.AddDate(0, 0, -3)}, {Until: midnight.AddDate(0, 0, -2)}, {Since: midnight.AddDate(0, 0, 2)},
		{Since: midnight.AddDate(0, 0, -7), Until: midnight.AddDate(0, 0, -2)}, {Since: midnight.Add(-31 * time.Hour)},
		{Since: midnight.Add(-99*time.Hour - 7*time.Minute), Until: midnight.Add(-25*time.Hour + time.Microsecond)},
		{Since: midnight.Add(-30*time.Hour - 50*time.Minute), Until: midnight.Add(-30*time.Hour - 10*time.Minute)},
		{Since: midnight.Add(-26*time.Hour - 50*time.Minute), Until: midnight.Add(-25*time.Hour - 10*time.Minute)},
		{Since: midnight.AddDate(0, 0, -2), Until: midnight.AddDate(0, 0, -4)},
	}
	var out []audit.Filter
	for _, p := range times {
		for _, f := range []audit.Filter{
			{}, {Policy: "staging"}, {Verdict: attestor.Deny}, {Policy: "production", Verdict: attestor.Pass}, {Policy: "none"},
			{Repository: "us-docker.pkg.dev/acme/prod/service-1"}, {Repository: "service-2", Policy: "staging"},
			{Repository: "us-docker.pkg.dev/acme/**"}, {Repository: "us-docker.pkg.dev/acme/prod/service-none"},
			{Visible: func(r string) bool { return r == "us-docker.pkg.dev/acme/prod/service-3" }},
			{Visible: func(string) bool { return false }},
			{
				Repository: "us-docker.pkg.dev/acme/prod/service-1",
				Visible:    func(r string) bool { return r != "us-docker.pkg.dev/acme/prod/service-1" },
			},
		} {
			f.Since, f.Until = p.Since, p.Until
			out = append(out, f)
		}
	}
	return out
}

// Decisions of versions before are added to the sums step by step. Until they are all
// there, the sums are an error and not too small, and pruning takes away only what was
// added.
func TestEarlierDecisionsAreAddedToTheSums(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, c *clock) {
		c.set(day)
		records := scattered(300)
		finish(t, s, records[:299]...)
		days(t, s, audit.Filter{}) // all are indexed

		for _, text := range []string{
			`DELETE FROM hour_sums`, `DELETE FROM day_sums`, `DELETE FROM image_sums`, `UPDATE images SET rank = -1`,
			`INSERT INTO sum_queue (id) SELECT id FROM decisions`,
		} {
			if _, err := s.Writer().ExecContext(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
		for _, err := range s.Days(t.Context(), audit.Filter{}) {
			if err != nil && attestor.KindOf(err) != attestor.Unavailable {
				t.Errorf("sums that are not complete: %v", err)
			}
		}
		if _, err := s.Prune(t.Context(), day.AddDate(0, 0, -4)); err != nil {
			t.Fatal(err)
		}

		finish(t, s, records[299]) // wakes the indexer
		for ctx := t.Context(); ctx.Err() == nil; {
			n, err := s.Count(ctx, "sum_queue")
			if err != nil {
				t.Fatal(err)
			}
			m, err := s.Count(ctx, "images WHERE rank = -1")
			if err != nil {
				t.Fatal(err)
			}
			if n+m == 0 {
				break
			}
		}
		all, want := recomputed(everything(t, s), audit.Filter{})
		if d := gocmp.Diff(factsOf(all), facts(t, s, audit.Filter{})); d != "" {
			t.Errorf("facts (-want +got):\n%s", d)
		}
		if d := gocmp.Diff(want, days(t, s, audit.Filter{})); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	})
}

// TestPruneLeavesTheImageOfADecisionThatStays: where the newest decision on an image is pruned, and an older one stays
// since it admits the image, the image is counted by that one.
func TestPruneLeavesTheImageOfADecisionThatStays(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		later := func(r attestor.Record, minutes int, id string) attestor.Record {
			r.Decision.ID, r.Decision.Time = id, r.Decision.Time.Add(time.Duration(minutes)*time.Minute)
			r.Decision.DryRun, r.Decision.BreakGlass, r.Decision.Attestations = true, nil, []attestor.Attestation{}
			return r
		}
		finish(
			t, s, record(1, attestor.Pass, stored), later(record(1, attestor.Deny), 60, "d-1"), later(record(1, attestor.Deny), 90, "d-2"),
			granted(2), later(record(2, attestor.Undecided), 60, "d-3"),
			record(3, attestor.Pass, stored), later(record(3, attestor.Deny), 10*24*60, "d-4"), // which is not pruned
			record(4, attestor.Deny), later(record(4, attestor.Deny), 60, "d-5"), // nothing admits it
		)
		days(t, s, audit.Filter{}) // all are indexed

		if got, err := s.Prune(t.Context(), day.Add(5*time.Hour)); err != nil || got.Decisions != 5 {
			t.Fatalf("pruned %+v, %v, want five decisions", got, err)
		}
		want, counts := recomputed(everything(t, s), audit.Filter{})
		if len(want) != 3 {
			t.Fatalf("%d images are left, want three", len(want))
		}
		if d := gocmp.Diff(want, lines(t, s, audit.Filter{}), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("lines (-want +got):\n%s", d)
		}
		if d := gocmp.Diff(factsOf(want), facts(t, s, audit.Filter{}), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("facts (-want +got):\n%s", d)
		}
		if d := gocmp.Diff(counts, days(t, s, audit.Filter{}), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("days (-want +got):\n%s", d)
		}
	})
}

// TestADamagedDecisionKeepsNoOtherFromTheIndex: one whose evidence somebody damaged before it was indexed counts by what
// it says itself.
func TestADamagedDecisionKeepsNoOtherFromTheIndex(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		finish(t, s, record(1, attestor.Pass))
		days(t, s, audit.Filter{}) // it is indexed
		damage(t, s, record(1, attestor.Pass).Decision.ID)
		if _, err := s.Writer().ExecContext(t.Context(), `INSERT INTO decision_queue (id) SELECT id FROM decisions`); err != nil {
			t.Fatal(err)
		}

		finish(t, s, record(2, attestor.Deny))
		if got := lines(t, s, audit.Filter{Since: day.Add(2 * time.Minute)}); len(got) != 1 || got[0].Row.ID != record(2, attestor.Deny).Decision.ID {
			t.Errorf("lines: %+v", got)
		}
	})
}

// damage makes the evidence of a decision such that it does not decode.
func damage(t *testing.T, s *audit.Store, id string) {
	t.Helper()
	_, err := s.Writer().ExecContext(t.Context(), `UPDATE decisions SET body = '{}', evidence = '{', packed = NULL WHERE id = $1`, id)
	if err != nil {
		t.Fatal(err)
	}
}
