package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
	"github.com/google/go-cmp/cmp"
)

// recorded is a decision by p about ev, as the record would hold it.
func recorded(p *policy.Policy, id string, ev attestor.Evidence) attestor.Record {
	v := p.Judge(ev)
	ref := p.Ref()
	return attestor.Record{
		Decision: attestor.Decision{ID: id, Time: ev.Time, Verdict: v.Outcome(), Checks: v.Checks(), Policy: &ref,
			Image: attestor.DecidedImage{Requested: ev.Requested, Reference: ev.Image.String(), Digest: ev.Image.Digest()}},
		Evidence: ev, PolicyText: p.Text(),
	}
}

func seq(records ...attestor.Record) iter.Seq2[attestor.Record, error] {
	return func(yield func(attestor.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func setOf(t testing.TB, text string) *policy.Set {
	t.Helper()
	set, err := policy.Parse(policy.Source{Name: "new.yaml", Text: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}

	return set
}

func simulate(t testing.TB, set *policy.Set, records ...attestor.Record) policy.Report {
	t.Helper()
	report, err := policy.Simulate(set, seq(records...))
	if err != nil {
		t.Fatal(err)
	}

	return report
}

func TestSimulateFlips(t *testing.T) {
	old := with(t)
	team := func(name string) func(*attestor.Evidence) {
		return func(ev *attestor.Evidence) { ev.Labels = map[string]string{"team": name} }
	}

	named := func(repository string) func(*attestor.Evidence) {
		return func(ev *attestor.Evidence) { ev.Image = parseImage(t, repository) }
	}

	medium := findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity = attestor.Medium }))
	later := func(ev *attestor.Evidence) {
		ev.Time = ev.Time.Add(time.Hour)
		ev.Platforms[0].Scan.Finished = &ev.Time
	}

	report := simulate(t, setOf(t, edited(t, "    maximumFixableSeverity: LOW", "  user: {nonRoot: false}")),
		recorded(old, "1", passing(old)),
		recorded(old, "2", passing(old, medium, team("payments"))),
		recorded(old, "3", passing(old, medium, team("payments"), later)),
		recorded(old, "4", passing(old, medium, team("search"), named("registry.example/acme/prod/search"))),
		recorded(old, "5", passing(old, rootUser, named("registry.example/acme/prod/root"))),
		recorded(old, "6", passing(old, rootUser, medium, named("registry.example/acme/prod/both"))),
	)

	if report.Records != 6 || report.Judged != 6 || report.Outside != 0 {
		t.Errorf("%+v", report)
	}
	if diff := cmp.Diff(map[attestor.Outcome]int{attestor.Pass: 4, attestor.Deny: 2}, report.Before); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[attestor.Outcome]int{attestor.Pass: 2, attestor.Deny: 4}, report.After); diff != "" {
		t.Error(diff)
	}

	var got []string
	for _, f := range report.Flips {
		got = append(got, fmt.Sprintf("%s %s %s %s>%s %d %s", f.Decision,
			strings.TrimPrefix(f.Image[:strings.Index(f.Image, "@")], "registry.example/acme/prod/"), f.Owner,
			f.Before, f.After, f.Times, f.Reasons[0].Code))
	}

	want := []string{
		"3 api payments pass>deny 2 FIXABLE_SEVERITY_EXCEEDED",
		"5 root registry.example/acme/prod deny>pass 1 USER_ROOT",
		"4 search search pass>deny 1 FIXABLE_SEVERITY_EXCEEDED",
	}

	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"payments": 1, "search": 1, "registry.example/acme/prod": 1}, report.ByOwner); diff != "" {
		t.Error(diff)
	}
	if report.ByReason[attestor.CodeFixableSeverityExceeded] != 2 || report.ByReason[attestor.CodeUserRoot] != 1 {
		t.Errorf("%v", report.ByReason)
	}
	if s := report.Summary(); !strings.Contains(s, "3 images would be answered otherwise: 1 from deny to pass, 2 from pass to deny") {
		t.Error(s)
	}
}

// Evidence that was gathered for less than is asked about now is no answer.
func TestSimulateMissingEvidence(t *testing.T) {
	few := one(t, strings.NewReplacer(`"registry.example/**"`, `"registry.example/acme/**"`).Replace(minimal))
	for name, line := range map[string]string{
		"base":            `base: {required: true, approved: [{name: b, repository: registry.example/b, tags: [t]}]}`,
		"scope":           `scope: {maxUploadAge: 1d}, base: {required: false}`,
		"provenance":      `provenance: {slsaLevel: 3}, base: {required: false}`,
		"vulnerabilities": `base: {required: false}`,
	} {
		text := strings.Replace(string(few.Text()), "base: {required: false}", line, 1)
		ev := few.Exemplary(prodImage, today())
		ev.Uploaded = nil
		ev.Platforms[0].Scan.Findings = []attestor.Vulnerability{vulnerability("CVE-1-1")}
		if name == "vulnerabilities" {
			text = strings.Replace(text, "maximumUnfixableSeverity: LOW", "maximumUnfixableSeverity: BLOCK_ALL, scan: {trusted: [projects/p/notes/n]}", 1)
			ev.Platforms[0].Scan.Findings[0].Severity = attestor.Critical
			ev.Platforms[0].Scan.Findings[0].Fixable = false
		}

		r := recorded(few, "1", ev)
		r.Decision.Verdict = attestor.Pass
		report := simulate(t, setOf(t, text), r)
		if len(report.Flips) != 1 || report.Flips[0].After != attestor.Undecided || report.Flips[0].Reasons[0].Code != attestor.CodeEvidenceMissing {
			t.Errorf("%s: %+v", name, report)
		}
	}

	t.Run("without the text of its policy", func(t *testing.T) {
		p := with(t)
		r := recorded(p, "1", passing(p, on(func(e *attestor.PlatformEvidence) { e.Base = attestor.Base{} })))
		r.PolicyText = nil
		report := simulate(t, setOf(t, edited(t, "    maximumEPSS: 0.4")), r)
		if report.After[attestor.Undecided] != 1 {
			t.Errorf("%+v", report)
		}
	})

	t.Run("the same needs are covered", func(t *testing.T) {
		p := with(t)
		report := simulate(t, setOf(t, edited(t, "    maximumEPSS: 0.4")), recorded(p, "1", passing(p)))
		if report.After[attestor.Pass] != 1 {
			t.Errorf("%+v", report)
		}
	})
}

func TestSimulateOutside(t *testing.T) {
	p := with(t)
	r := recorded(p, "1", passing(p))
	other := simulate(t, setOf(t, strings.NewReplacer("registry.example/acme/**", "registry.example/other/**",
		"name: strict", "name: other").Replace(strict)), r)
	if other.Outside != 1 || other.Judged != 0 {
		t.Errorf("a policy that is not about the image: %+v", other)
	}

	narrowed := simulate(t, setOf(t, strings.Replace(strict, "registry.example/acme/**", "registry.example/acme/live/**", 1)), r)
	if len(narrowed.Flips) != 1 || narrowed.Flips[0].Reasons[0].Code != attestor.CodeNoPolicy {
		t.Errorf("the policy that governed the image no longer covers it: %+v", narrowed)
	}
}

// A policy for fewer platforms judges those, and no longer the others.
func TestSimulateFewerPlatforms(t *testing.T) {
	p := with(t)
	r := recorded(p, "1", passing(p, index(func(_, second *attestor.PlatformEvidence) { second.Scan = attestor.Scan{State: attestor.ScanNotFound} })))
	report := simulate(t, setOf(t, edited(t, "  platforms: [linux/amd64]")), r)
	if report.Before[attestor.Deny] != 1 || report.After[attestor.Pass] != 1 {
		t.Errorf("%+v", report)
	}
}

func TestReadRecords(t *testing.T) {
	p := with(t)
	r := recorded(p, "1", passing(p, findings(vulnerability("CVE-1-1"))))
	line, err := json.Marshal(map[string]any{"decision": r.Decision, "evidence": r.Evidence, "policy": string(r.PolicyText)})
	if err != nil {
		t.Fatal(err)
	}

	report, err := policy.Simulate(setOf(t, strict), policy.ReadRecords(strings.NewReader(string(line)+"\n"+string(line)+"\n")))
	if err != nil || report.Judged != 2 || len(report.Flips) != 0 {
		t.Errorf("%+v %v", report, err)
	}

	for name, text := range map[string]string{
		"cut short": string(line[:len(line)/2]), "no JSON": "decision\n", "something else": `{"id": "1"}`, "no evidence": `{"decision": {"id": "1"}}`,
	} {
		if _, err := policy.Simulate(setOf(t, strict), policy.ReadRecords(strings.NewReader(string(line)+"\n"+text))); err == nil {
			t.Errorf("%s: read", name)
		}
	}

	broken := errors.New("the disk is gone")
	if _, err := policy.Simulate(setOf(t, strict), func(yield func(attestor.Record, error) bool) {
		yield(attestor.Record{}, broken)
	}); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// BenchmarkSimulate judges 100,000 recorded decisions again, each with ten
// findings, under a changed policy.
func BenchmarkSimulate(b *testing.B) {
	p := with(b)
	var list []attestor.Vulnerability

	for i := range 10 {
		list = append(list, vulnerability(fmt.Sprintf("CVE-1-%d", i)))
	}

	list[9].Severity = attestor.Medium
	var distinct []attestor.Record

	for i := range 100 {
		distinct = append(distinct, recorded(p, fmt.Sprint(i), passing(p, findings(list...), func(ev *attestor.Evidence) {
			ev.Image = parseImage(b, fmt.Sprintf("registry.example/acme/prod/api%d", i))
		})))
	}

	set := setOf(b, edited(b, "    maximumFixableSeverity: LOW"))
	for b.Loop() {
		report, err := policy.Simulate(set, func(yield func(attestor.Record, error) bool) {
			for i := range 100_000 {
				if !yield(distinct[i%len(distinct)], nil) {
					return
				}
			}
		})
		if err != nil || len(report.Flips) != 100 {
			b.Fatalf("%d flips, %v", len(report.Flips), err)
		}
	}
}

// BenchmarkJudge judges one image: without findings, with as many as an image
// has, and with as many as a scan can hold.
func BenchmarkJudge(b *testing.B) {
	p := with(b)
	for _, n := range []int{0, 100, 25_000} {
		list := make([]attestor.Vulnerability, n)
		for i := range list {
			list[i] = vulnerability(fmt.Sprintf("CVE-1-%d", i))
		}

		ev := passing(p, findings(list...))
		b.Run(fmt.Sprint(n, "-findings"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if p.Judge(ev).Outcome() != attestor.Pass {
					b.Fatal("no pass")
				}
			}
		})
	}
}

func TestSimulateCountsAnImageOnce(t *testing.T) {
	const image = "us-docker.pkg.dev/acme/prod/api@sha256:aaaa"
	r := policy.Report{Judged: 2, Flips: []attestor.Flip{
		{Image: image, Before: attestor.Pass, After: attestor.Deny},
		{Image: image, Before: attestor.Undecided, After: attestor.Deny},
	}}
	if got := r.Summary(); !strings.Contains(got, "1 image ") {
		t.Errorf("got %s", got)
	}
}

// TestSimulateSkipsOldRevocations: an export of an earlier version tells a revocation as a denial that no policy made.
// Nothing was judged there: the image counts by its last verdict.
func TestSimulateSkipsOldRevocations(t *testing.T) {
	p := with(t)
	r := recorded(p, "1", passing(p))
	revocation := attestor.Record{Decision: attestor.Decision{
		ID: "2", Time: r.Decision.Time.Add(time.Hour), Image: r.Decision.Image, Verdict: attestor.Deny, Attestations: r.Decision.Attestations,
		Checks: []attestor.Check{{
			Name: attestor.CheckAttest, Status: attestor.StatusDeny,
			Reasons: []attestor.Reason{{Code: attestor.CodeRevoked, Severity: attestor.Refuses, Message: "leaked credentials"}},
		}},
	}}
	for _, records := range [][]attestor.Record{{r, revocation}, {revocation, r}} {
		report := simulate(t, setOf(t, strict), records...)
		if report.Records != 1 || report.Judged != 1 || report.Images.Before[attestor.Pass] != 1 ||
			report.Images.After[attestor.Pass] != 1 || len(report.Flips) != 0 {
			t.Errorf("%+v", report)
		}
	}
	if report := simulate(t, setOf(t, strict), revocation); report.Records != 0 {
		t.Errorf("a revocation alone: %+v", report)
	}
}
