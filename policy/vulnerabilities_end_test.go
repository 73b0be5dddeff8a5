package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
)

// system is a distribution, with its end. The evidence is of 2026-11-20.
func system(source, end string, change ...func(*attestor.System)) *attestor.System {
	s := &attestor.System{ID: "debian", Version: "10", Release: "10", Source: source, End: end, Successor: "debian 13", Table: "2026-08-22"}
	for _, c := range change {
		c(s)
	}
	return s
}

func inImage(s *attestor.System) func(*attestor.PlatformEvidence) {
	return func(e *attestor.PlatformEvidence) { e.System = s }
}

func inScan(s *attestor.System) func(*attestor.PlatformEvidence) {
	return func(e *attestor.PlatformEvidence) { e.Scan.System = s }
}

// TestEndOfLife: a system past its end is refused wherever it is known from, unless the policy says otherwise; nothing that is not known
// lets an unsupported one pass.
func TestEndOfLife(t *testing.T) {
	const over, today, ahead = "2026-11-19", "2026-11-20", "2027-06-30"
	image, scan := attestor.SystemFromImage, attestor.SystemFromScan
	rolling := func(s *attestor.System) { s.ID, s.Release, s.End, s.Rolling = "wolfi", "", "", true }
	foreign := func(s *attestor.System) { s.ID, s.Release, s.End = "house-os", "", "" }
	unsupported := func(e *attestor.PlatformEvidence) { e.Scan.State = attestor.ScanUnsupported }
	const allowUnsupported = "    scan: {maxAge: 30d, onUnsupported: allow}"
	base := func(end string) string {
		return strings.Replace(endlessBase, "DATE", end, 1)
	}
	weakBase := func(e *attestor.PlatformEvidence) { e.Base.Evidence = "" }
	for _, tt := range []struct {
		name   string
		lines  []string
		change []func(*attestor.PlatformEvidence)
		want   []attestor.Code
	}{
		{"not named, over by the scan", nil, []func(*attestor.PlatformEvidence){inScan(system(scan, over))}, []attestor.Code{attestor.CodeEndOfLife}},
		{"not named, over by a layer that was read anyway", nil, []func(*attestor.PlatformEvidence){
			inImage(system(image, over))}, []attestor.Code{attestor.CodeEndOfLife}},
		{"not named, over by the scan, served by the image's own word", nil, []func(*attestor.PlatformEvidence){
			inScan(system(scan, over)), inImage(system(image, ahead))}, []attestor.Code{attestor.CodeEndOfLife}},
		{"not named, served by the scan, over by the image's own word", nil, []func(*attestor.PlatformEvidence){
			inScan(system(scan, ahead)), inImage(system(image, over))}, []attestor.Code{attestor.CodeEndOfLife}},
		{"not named, its last day", nil, []func(*attestor.PlatformEvidence){inScan(system(scan, today))}, nil},
		{"not named, served", nil, []func(*attestor.PlatformEvidence){inScan(system(scan, ahead))}, nil},
		{"not named, not known", nil, nil, nil},
		{"not named, no end announced", nil, []func(*attestor.PlatformEvidence){inScan(system(scan, ""))}, nil},

		{"denied", []string{"    endOfLife: deny"}, []func(*attestor.PlatformEvidence){inImage(system(image, over))}, []attestor.Code{attestor.CodeEndOfLife}},
		{"warned of", []string{"    endOfLife: warn"}, []func(*attestor.PlatformEvidence){inImage(system(image, over))}, nil},
		{"ignored", []string{"    endOfLife: ignore"}, []func(*attestor.PlatformEvidence){inImage(system(image, over)), inScan(system(scan, over))}, nil},
		{"rolling", []string{"    endOfLife: deny"}, []func(*attestor.PlatformEvidence){inImage(system(image, "", rolling))}, nil},
		{"unknown", []string{"    endOfLife: deny"}, []func(*attestor.PlatformEvidence){inImage(system(image, "", foreign))}, nil},
		{"rolling, over by the scan", []string{"    endOfLife: deny"}, []func(*attestor.PlatformEvidence){inImage(
			system(image, "", rolling)), inScan(system(scan, over))}, []attestor.Code{attestor.CodeEndOfLife}},
		{"unknown, and the scanner does not support it", []string{"    endOfLife: deny", allowUnsupported},
			[]func(*attestor.PlatformEvidence){inImage(system(image, "", foreign)), unsupported},
			[]attestor.Code{attestor.CodeEndOfLife}},
		{"rolling, and the scanner does not support it", []string{"    endOfLife: deny", allowUnsupported},
			[]func(*attestor.PlatformEvidence){inImage(system(image, "", rolling)), unsupported},
			[]attestor.Code{attestor.CodeEndOfLife}},
		{"nothing known, and the scanner does not support it", []string{"    endOfLife: deny", allowUnsupported},
			[]func(*attestor.PlatformEvidence){unsupported}, []attestor.Code{attestor.CodeEndOfLife}},
		{"served, and the scanner does not support it", []string{"    endOfLife: deny", allowUnsupported},
			[]func(*attestor.PlatformEvidence){inImage(system(image, ahead)), unsupported}, nil},

		{"over, and the base is served longer", []string{base(ahead)}, []func(*attestor.PlatformEvidence){inScan(system(scan, over))}, nil},
		{"over, and a base that is not proven is served longer", []string{base(ahead), "    required: false"},
			[]func(*attestor.PlatformEvidence){inScan(system(scan, over)), weakBase},
			[]attestor.Code{attestor.CodeEndOfLife}},
		{"served, and the base's publisher has ended", []string{base(over), "    endOfLife: deny"}, []func(
			*attestor.PlatformEvidence){inImage(system(image, ahead))}, []attestor.Code{attestor.CodeEndOfLife}},
		{"not named, served, and the base's publisher has ended", []string{base(over)},
			[]func(*attestor.PlatformEvidence){inScan(system(scan, ahead))}, []attestor.Code{attestor.CodeEndOfLife}},
		{"not named, not known, and the base's publisher has ended", []string{base(over)}, nil, nil},
		{"not known, and the base's publisher has ended", []string{base(over), "    endOfLife: deny"}, nil, []attestor.Code{attestor.CodeEndOfLife}},

		{"excepted", []string{`  exceptions: [{check: vulnerabilities, subject: END_OF_LIFE, owner: o, reason: r, ` +
			`expires: "2026-12-31"}]`}, []func(*attestor.PlatformEvidence){inScan(system(scan, over))}, nil},
		{"excepted by its name", []string{`  exceptions: [{check: vulnerabilities, subject: debian 10, owner: o, ` +
			`reason: r, expires: "2026-12-31"}]`},
			[]func(*attestor.PlatformEvidence){inScan(system(scan, over))}, nil},
		{"another is excepted", []string{`  exceptions: [{check: vulnerabilities, subject: debian 9, owner: o, ` +
			`reason: r, expires: "2026-12-31"}]`}, []func(*attestor.PlatformEvidence){inScan(system(scan, over))},
			[]attestor.Code{attestor.CodeEndOfLife}},
		{"excepted until yesterday", []string{`  exceptions: [{check: vulnerabilities, subject: END_OF_LIFE, ` +
			`owner: o, reason: r, expires: "2026-11-19"}]`},
			[]func(*attestor.PlatformEvidence){inScan(system(scan, over))}, []attestor.Code{attestor.CodeEndOfLife}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t, tt.lines...)
			var changes []func(*attestor.Evidence)
			for _, c := range tt.change {
				changes = append(changes, on(c))
			}
			v := p.Judge(passing(p, changes...))
			want, outcome := tt.want, attestor.Deny
			if len(want) == 0 {
				want, outcome = []attestor.Code{}, attestor.Pass
			}
			if diff := cmp.Diff(want, refusals(v)); diff != "" || v.Outcome() != outcome {
				t.Errorf("%s, want %s (-want +got):\n%s", v.Outcome(), outcome, diff)
			}
		})
	}
}

// endlessBase is the approved base of the strict policy, with an end.
const endlessBase = `      - {name: static, repository: registry.example/base/static, tags: [latest], ` +
	`maxBehind: 14d, endOfLife: DATE, signedBy: {key: /keys/base.pub}}`

// TestEndOfLifeSaysWhatIsKnown: date, successor and source; and what is not known.
func TestEndOfLifeSaysWhatIsKnown(t *testing.T) {
	reason := func(change func(*attestor.PlatformEvidence), lines ...string) attestor.Reason {
		t.Helper()
		p := with(t, lines...)
		c := check(t, p.Judge(passing(p, on(change))), attestor.CheckVulnerabilities)
		if len(c.Reasons) == 0 {
			t.Fatalf("no reason: %+v", c)
		}
		return c.Reasons[0]
	}
	got := reason(inImage(system(attestor.SystemFromImage, "2024-06-30")), "    endOfLife: deny")
	want := attestor.Reason{
		Code: attestor.CodeEndOfLife, Severity: attestor.Refuses, Subject: "debian 10",
		Message: "debian 10 has got no fixes for everybody since 2024-06-30, by the image's os-release (table of 2026-08-22)",
		Fix:     "build on debian 13, or another release that is served; where fixes are bought, give the end in spec.base.approved[].endOfLife",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	for _, tt := range []struct {
		s    *attestor.System
		says string
		want attestor.ReasonSeverity
	}{
		{nil, "which operating system is in the image is not known", attestor.Informs},
		{&attestor.System{ID: "wolfi", Rolling: true, Source: attestor.SystemFromImage, Table: "2026-08-22"}, "wolfi has no releases", attestor.Informs},
		{&attestor.System{ID: "debian", Version: "99", Source: attestor.SystemFromImage, Table: "2026-08-22"},
			"until when debian 99 gets fixes is not known to the table of 2026-08-22", attestor.Informs},
		{system(attestor.SystemFromImage, "2030-06-30", func(s *attestor.System) { s.Table = "2025-11-19" }),
			"the table of ends of life is of 2025-11-19", attestor.Warns},
	} {
		got := reason(inImage(tt.s), "    endOfLife: deny")
		if got.Code != attestor.CodeEndOfLifeUnknown || got.Severity != tt.want || !strings.Contains(got.Message, tt.says) || got.Fix == "" {
			t.Errorf("%+v: %+v", tt.s, got)
		}
	}
}

// TestSystemThatCouldNotBeRead: a failure to read it is an error where the policy would refuse by it, and never a pass that nobody notices.
func TestSystemThatCouldNotBeRead(t *testing.T) {
	problem := on(func(e *attestor.PlatformEvidence) {
		e.Problems = []attestor.Problem{{Check: attestor.CheckVulnerabilities, Status: attestor.StatusError,
			Reason: attestor.Reason{Code: attestor.CodeSystemUnreadable, Message: "m"}}}
	})
	for line, want := range map[string]attestor.Outcome{
		"    endOfLife: deny": attestor.Undecided, "    endOfLife: warn": attestor.Pass, "    endOfLife: ignore": attestor.Pass,
	} {
		p := with(t, line)
		v := p.Judge(passing(p, problem))
		if v.Outcome() != want {
			t.Errorf("%s: %s, want %s", line, v.Outcome(), want)
		}
		c := check(t, v, attestor.CheckVulnerabilities)
		if warned := strings.Contains(line, "warn") && c.Status == attestor.StatusWarn; strings.Contains(line, "warn") && !warned {
			t.Errorf("%s: %+v", line, c)
		}
	}
}

// TestEndOfLifeNeedsTheSystem: layers are read for it only where the policy names it, and evidence without it cannot answer.
func TestEndOfLifeNeedsTheSystem(t *testing.T) {
	for line, want := range map[string]bool{"": false, "    endOfLife: ignore": false, "    endOfLife: warn": true, "    endOfLife: deny": true} {
		var lines []string
		if line != "" {
			lines = append(lines, line)
		}
		if got := with(t, lines...).Needs().System; got != want {
			t.Errorf("%q: the system is needed: %t, want %t", line, got, want)
		}
	}
}
