package engine_test

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/filter"
	"github.com/attestor-gate/attestor/report"
)

// varied are decisions over twelve days with everything that a report counts.
func varied(n int, end time.Time) []attestor.Record {
	random := rand.New(rand.NewPCG(3, 4))
	digestOf := func(i int) attestor.Digest { return attestor.Digest(fmt.Sprintf("sha256:%064x", i)) }
	out := make([]attestor.Record, n)
	for i := range out {
		repository, digest := fmt.Sprintf("registry.example/team-%d/app", random.IntN(3)), digestOf(random.IntN(20))
		img, err := attestor.ParseImage(repository + "@" + string(digest))
		if err != nil {
			panic(err)
		}

		verdict := []attestor.Outcome{attestor.Pass, attestor.Deny, attestor.Undecided}[random.IntN(3)]
		check := attestor.Check{Name: attestor.CheckUser, Status: attestor.Status(verdict), Reasons: []attestor.Reason{}}
		if verdict != attestor.Pass {
			check.Reasons = append(check.Reasons, attestor.Reason{
				Code: attestor.CodeUserRoot, Severity: attestor.Refuses, Message: "root", Fix: []string{"", "set USER", "rebuild"}[random.IntN(3)],
			})
		}
		if random.IntN(4) == 0 {
			check.Reasons = append(check.Reasons, attestor.Reason{
				Code: attestor.CodeUserLimits, Severity: attestor.Warns, Message: "later", EffectiveFrom: "2099-01-01", Owner: "platform",
			})
		}
		if random.IntN(4) == 0 {
			check.Exceptions = []attestor.AppliedException{{ID: "e", Subject: "s", Owner: "o", Reason: "r", Expires: "2099-01-01"}}
		}

		published := end.AddDate(0, 0, -random.IntN(120)-1)
		child := attestor.Child{Platform: "linux/amd64", Digest: digest}
		findings := []attestor.Vulnerability{{ID: "CVE-2026-1", Severity: attestor.High, Package: "p", Published: &published}}
		base := attestor.BaseSummary{Name: []string{"", "debian"}[random.IntN(2)], Current: random.IntN(2) == 0, Behind: fmt.Sprintf("%dd", random.IntN(40))}
		d := attestor.Decision{
			ID: fmt.Sprintf("d-%06d", i), Time: end.Add(-time.Duration(random.IntN(12*24*60)) * time.Minute), Verdict: verdict,
			Image:  attestor.DecidedImage{Requested: repository + ":v1", Reference: img.String(), Digest: digest},
			DryRun: random.IntN(3) == 0, Emulated: random.IntN(9) == 0,
			Policy: &attestor.PolicyRef{Name: fmt.Sprint("policy-", random.IntN(2)), Digest: digestOf(7), Mode: attestor.Enforce},
			Platforms: []attestor.PlatformSummary{{Child: child, Base: base, Scan: attestor.ScanSummary{
				State: attestor.ScanComplete, Counts: map[attestor.Severity]int{attestor.High: random.IntN(9)}, Fixable: random.IntN(5),
			}}},
			Checks: []attestor.Check{check}, Attestations: []attestor.Attestation{}, Labels: map[string]string{"team": fmt.Sprint(random.IntN(2))},
		}
		if random.IntN(10) == 0 {
			d.BreakGlass = &attestor.BreakGlass{Reason: "INC-1 outage", By: "oncall@example"}
		}
		out[i] = attestor.Record{Decision: d, Evidence: attestor.Evidence{
			Time: d.Time, Image: img, Requested: repository + ":v1",
			Platforms: []attestor.PlatformEvidence{{Child: child, Scan: attestor.Scan{State: attestor.ScanComplete, Findings: findings}}},
		}}
	}
	return out
}

// A report by what the record keeps is the report that its decisions make, read one
// by one.
func TestSummariesAgree(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(time.Minute)
	s, err := audit.Open(t.Context(), audit.Config{SQLite: filepath.Join(t.TempDir(), "record.db"), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, r := range varied(400, now) {
		if _, err := s.Finish(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}

	days := func(n int) time.Time { return now.Truncate(24*time.Hour).AddDate(0, 0, -n) }
	for name, tt := range map[string]struct {
		f, same filter.Filter // same is the filter whose decisions are summed up
		o       report.SummaryOptions
	}{
		"everything":  {},
		"since a day": {f: filter.Filter{Since: days(5)}, same: filter.Filter{Since: days(5)}},
		"since a time ago": {f: filter.Filter{Since: now.Add(-100 * time.Hour), Period: "since=100h&until="},
			same: filter.Filter{Since: now.Add(-100 * time.Hour).Truncate(24 * time.Hour)}},
		"since an instant": {f: filter.Filter{Since: days(5).Add(time.Hour)}, same: filter.Filter{Since: days(5).Add(time.Hour)}},
		"nothing":          {f: filter.Filter{Since: days(-5)}, same: filter.Filter{Since: days(-5)}},
		"a repository":     {f: filter.Filter{Repository: "registry.example/team-1/app"}, same: filter.Filter{Repository: "registry.example/team-1/app"}},
		"a pattern":        {f: filter.Filter{Repository: "registry.example/team-*/**"}, same: filter.Filter{Repository: "registry.example/team-*/**"}},
		"a policy":         {f: filter.Filter{Policy: "policy-1"}, same: filter.Filter{Policy: "policy-1"}},
		"until":            {f: filter.Filter{Until: days(3)}, same: filter.Filter{Until: days(3)}},
		"what a caller may read": {f: filter.Filter{Visible: func(r string) bool {
			return !strings.Contains(r, "team-2")
		}}, same: filter.Filter{Visible: func(r string) bool { return !strings.Contains(r, "team-2") }}},
		"by a label": {o: report.SummaryOptions{GroupBy: "team"}},
		"some rows":  {o: report.SummaryOptions{MaxRows: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.o.Now = now
			want, err := report.Summarise(s.Records(t.Context(), tt.same), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			got, err := engine.Summarise(t.Context(), s, tt.f, tt.o)
			if err != nil {
				t.Fatal(err)
			}

			// Whoever sees a part is told the day of its oldest decision, not its time.
			if tt.f.Visible != nil || tt.f.Repository != "" {
				want.Since, got.Since = want.Since.Truncate(24*time.Hour), got.Since.Truncate(24*time.Hour)
			}
			if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("-decisions +sums:\n%s", d)
			}
		})
	}
}

// A report in a form that people read has the first images only, and counts all.
func TestMarkdownCountsTheImagesThatItLeavesOut(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(time.Minute)
	records := varied(400, now)
	all, err := report.Summarise(newestFirst(records), report.SummaryOptions{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	some, err := report.Summarise(newestFirst(records), report.SummaryOptions{Now: now, MaxRows: 16})
	if err != nil {
		t.Fatal(err)
	}

	var want, got strings.Builder
	for s, b := range map[*report.Summary]*strings.Builder{&all: &want, &some: &got} {
		if err := report.Write(b, report.Markdown, report.Record(*s), report.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(want.String(), got.String()); d != "" {
		t.Errorf("-all rows +the first 16:\n%s", d)
	}
	if !strings.Contains(want.String(), "\nand ") {
		t.Error("the report leaves nothing out: the test needs more images")
	}
}

// newestFirst is the order in which a record is read.
func newestFirst(records []attestor.Record) iter.Seq2[attestor.Record, error] {
	sorted := slices.Clone(records)
	slices.SortFunc(sorted, func(a, b attestor.Record) int { return b.Decision.Time.Compare(a.Decision.Time) })
	return func(yield func(attestor.Record, error) bool) {
		for _, r := range sorted {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Callers who may read the same share a computation; who may read other repositories
// never does.
func TestSummariesAreSharedByRights(t *testing.T) {
	t.Parallel()
	caller := func(subject string, grants ...attestor.Grant) attestor.Caller {
		return attestor.Caller{Subject: subject, Issuer: "i", Grants: grants}
	}
	grant := func(a attestor.Action, patterns ...string) attestor.Grant {
		g := attestor.Grant{Actions: []attestor.Action{a}}
		for _, text := range patterns {
			p, err := attestor.ParsePattern(text)
			if err != nil {
				t.Fatal(err)
			}
			g.Images = append(g.Images, p)
		}
		return g
	}
	a, b := "registry.example/a/**", "registry.example/b/**"
	same := engine.Readable(caller("x", grant(attestor.ActionRead, a, b)))
	for name, c := range map[string]attestor.Caller{
		"another order": caller("y", grant(attestor.ActionRead, b, a)),
		"two grants":    caller("y", grant(attestor.ActionRead, b), grant(attestor.ActionRead, a, b)),
		"other rights":  caller("y", grant(attestor.ActionRead, a, b), grant(attestor.ActionRevoke, "**")),
	} {
		if got := engine.Readable(c); got != same {
			t.Errorf("%s: %q, want %q", name, got, same)
		}
	}
	for name, c := range map[string]attestor.Caller{
		"fewer":         caller("x", grant(attestor.ActionRead, a)),
		"more":          caller("x", grant(attestor.ActionRead, a, b, "registry.example/c/**")),
		"everything":    caller("x", grant(attestor.ActionRead, "**")),
		"nothing":       caller("x"),
		"another right": caller("x", grant(attestor.ActionSimulate, a, b)),
	} {
		if got := engine.Readable(c); got == same {
			t.Errorf("%s: shares a summary", name)
		}
	}
}
