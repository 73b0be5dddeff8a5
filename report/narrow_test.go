package report_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit/pages"
	"github.com/attestor-gate/attestor/report"
)

// unbroken is a text without a place to break a line, wider than a telephone.
func unbroken(word string) string { return strings.Repeat(word, 100/len(word)) }

// longReport has every table of a report, and in each of its cells a text that is too wide for a telephone.
func longReport(t testing.TB) report.Summary {
	t.Helper()
	s := summary(t, 20)
	name := unbroken("payments")

	s.GroupedBy, s.Groups[0].Name, s.Owners[0].Name, s.Policies[0].Policy, s.Bases[0].Name = "team", name, name, name, name
	s.Fixes[0].Fix, s.Fixes[0].Code = "update "+name, attestor.Code(unbroken("CODE_OF_A_REASON_"))
	for len(s.Fixes) < 30 {
		s.Fixes = append(s.Fixes, report.FixCount{Fix: fmt.Sprintf("update %s %d", name, len(s.Fixes)), Code: s.Fixes[0].Code, Images: 2})
	}
	s.Reasons[0].Code, s.Reasons[0].Means = attestor.Code(unbroken("CODE_OF_A_REASON_")), name
	s.Owners[0].Fixes = s.Fixes[:1]
	s.Upcoming = []attestor.Upcoming{{
		EffectiveFrom: "2027-03-01", Owner: name, Images: 1_000_000,
		ByReason: map[attestor.Code]int{attestor.Code(unbroken("CODE_OF_A_REASON_")): 1_000_000},
	}}

	s.Exceptions = nil
	for _, state := range []string{"in use", "expired", "unused"} {
		s.Exceptions = append(s.Exceptions, report.ExceptionUse{ID: name, Owner: name, Reason: name, Expires: "2026-12-01", State: state, Images: 3})
	}
	s.Posture = report.Section(attestor.PostureReport{Profile: name, Services: 2, Verdict: attestor.Deny, Findings: []attestor.PostureFinding{
		{Service: name, Kind: "job", Rule: "CMEK", Owner: name, Status: attestor.StatusDeny, Message: name, Fix: name},
		{Service: name, Rule: unbroken("RULE"), Status: attestor.StatusWarn, Message: name},
	}}, map[string]string{"CMEK": name})
	return s
}

// longPages are pages with tables that the other pages of the site do not have, or not with texts that are too wide.
func longPages(t *testing.T, r *pages.Renderer) site {
	t.Helper()
	s, name := longReport(t), unbroken("payments")

	rec := estateRecord(3, 100)
	rec.Evidence.Platforms[0].Scan.Findings[0] = attestor.Vulnerability{
		ID: "GHSA-" + name, Severity: attestor.Critical, Package: name, Version: name, Fixable: true, FixedVersion: name,
	}

	simulation := simulated()
	simulation.Result.Upcoming = s.Upcoming

	image := oneImage(t)
	for i := range image.Decisions {
		image.Decisions[i].Labels = map[string]string{"kubernetes.namespace": name}
	}

	until := day.AddDate(0, 0, 3)
	bases := []pages.Base{{
		ApprovedBase: attestor.ApprovedBase{Name: name, Repository: "gcr.io/" + name}, Policies: []string{name},
		Tags: []pages.Tag{{Name: name, History: []attestor.TagPoint{{Digest: digest(1), From: day, Until: &until}}}},
	}}
	changes := []attestor.PolicyChange{
		{Time: day, Cause: attestor.PoliciesReloaded, Changes: []attestor.PolicyDiff{{Name: name, Before: digest(1), After: digest(2)}}},
		{Time: day, Log: &attestor.LogEntry{Changed: "its text is not what was recorded: " + name}},
	}
	policies := []pages.Policy{{Ref: attestor.PolicyRef{Name: name, Digest: digest(4), Mode: attestor.Enforce}, Images: []string{name}}}

	return site{
		"/long/report": func(w io.Writer) error {
			return report.Write(w, report.HTML, report.Record(s), report.Options{Page: true})
		},
		"/file/long": func(w io.Writer) error {
			return report.Write(w, report.HTML, report.Record(s), report.Options{Links: "https://gate.example.com"})
		},
		"/long/overview": func(w io.Writer) error {
			return r.Overview(w, pages.Overview{Figures: s.Figures(), Since: "2026-11-14T00:00:00Z", Now: day})
		},
		"/long/decision": func(w io.Writer) error { return r.Decision(w, pages.Decision{Record: rec}) },
		"/long/image":    func(w io.Writer) error { return r.Image(w, image) },
		"/long/simulate": func(w io.Writer) error { return r.Simulate(w, simulation) },
		"/long/policies": func(w io.Writer) error { return r.Policies(w, policies, changes) },
		"/long/bases":    func(w io.Writer) error { return r.Bases(w, bases) },
	}
}

// narrow says what is wrong with a page in a window as wide as a telephone. Everything that is folded is opened first.
func narrow(ctx context.Context, t *testing.T) []string {
	t.Helper()
	return evaluate[[]string](ctx, t, `(() => {
		document.querySelectorAll("details").forEach(d => { d.open = true });
		const wrong = [], root = document.documentElement;
		if (root.scrollWidth > root.clientWidth) {
			const wide = Array.from(document.querySelectorAll("main *")).filter(
				e => e.getBoundingClientRect().right > root.clientWidth || e.clientWidth && e.scrollWidth > root.clientWidth);
			wrong.push("the page is " + root.scrollWidth + " wide in " + root.clientWidth + ": " + wide.slice(-3).map(e => e.outerHTML.slice(0, 200)));
		}
		document.querySelectorAll("table, table tr, .scroll:has(table)").forEach(e => {
			const name = e.localName + "." + e.className + " " + e.textContent.trim().slice(0, 60);
			if (e.closest("thead")) return;
			if (e.scrollWidth > e.clientWidth) wrong.push(name + " is " + e.scrollWidth + " wide in " + e.clientWidth);
			if (e.getBoundingClientRect().right > root.clientWidth) wrong.push(name + " ends outside of the window");
		});
		return wrong;
	})()`)
}

var (
	anyTable = regexp.MustCompile(`(?s)<table([^>]*)>(.*?)</table>`)
	heading  = regexp.MustCompile(`<th role="columnheader"[^>]*>([^<]*)</th>`)
	anyCell  = regexp.MustCompile(`<td([^>]*)>`)
)

// Every table becomes stacked rows in a narrow window, where its headings are out of sight: each cell has a label, and
// roles say to a screen reader what the layout no longer does. A table that no page of the site has is not looked at in
// a browser: the list of those that there are is here.
func TestEveryTableStacks(t *testing.T) {
	seen := map[string]bool{}
	for path, write := range newSite(t) {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}

		for _, m := range anyTable.FindAllStringSubmatch(b.String(), -1) {
			var headings []string
			for _, h := range heading.FindAllStringSubmatch(m[2], -1) {
				headings = append(headings, h[1])
			}
			name := strings.Join(headings, ", ")
			seen[name] = true

			class, _, _ := strings.Cut(strings.TrimPrefix(m[1], ` class="`), `"`)
			kind, _, _ := strings.Cut(class, " ")
			if !slices.Contains([]string{"stack", "rows", "images"}, kind) || !strings.Contains(m[1], `role="table"`) || name == "" {
				t.Errorf("%s: table %q (%s) does not stack", path, name, m[1])
			}
			for _, cell := range anyCell.FindAllStringSubmatch(m[2], -1) {
				labelled := strings.Contains(cell[1], `data-l="`) && !strings.Contains(cell[1], `data-l=""`)
				drawn := strings.Contains(cell[1], "wide") || strings.Contains(cell[1], "colspan")
				if kind == "stack" && !labelled && !drawn || !strings.Contains(cell[1], `role="cell"`) {
					t.Errorf("%s: a cell of table %q has neither label nor role: %s", path, name, cell[1])
				}
			}
		}
	}

	for _, want := range []string{
		"Reason, What it means, Images, Times",
		"Policy, Decisions by day, Decisions, Passed, Would be refused, Undecided",
		"Day, Pass, Refused, Undecided, Share, critical findings, high findings, medium findings, low findings, minimal findings, unspecified findings",
		"Name, Verdicts, Images, Pass, Refused, Undecided, Fixable findings",
		"From, Images, Owner, Reasons",
		"Base, Images, Images, Outdated, Furthest behind, A rebuild may clear, Not passing",
		"Age, Findings, critical, high, medium, low, minimal, unspecified",
		"Owner, Fix first, Images, Pass, Refused, Undecided",
		"Until, What is excused, Owner, State, Images",
		"Fix, Part of what does not pass, Clears, Of images",
		"Fix, Clears, Of images",
		"Control, Owners, Refused, Warned, Not judged",
		"Owner, Service or job, Status, Found",
		"Finding, Severity, Package, Version, Fixed in",
		"Kubernetes namespace, Times, Last",
		"Policy, By day, Passed, Refused, Undecided",
		"Since, By, Policy, Before, After",
		"Digest, From, Until",
		"Decisions, As they were, By this policy",
	} {
		if !seen[want] {
			t.Errorf("no page of the site has the table %q", want)
		}
	}
	if t.Failed() {
		for name := range seen {
			t.Logf("there is %q", name)
		}
	}
}
