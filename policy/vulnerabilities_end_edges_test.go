package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// TestEdgesOfEndOfLife: what speaks for a system counts only where it is proven, and what is not known is said, without
// refusing what nothing is said against.
func TestEdgesOfEndOfLife(t *testing.T) {
	const over, ahead = "2026-11-19", "2027-06-30"
	image, scan := attestor.SystemFromImage, attestor.SystemFromScan
	base := func(end string) string { return strings.Replace(endlessBase, "DATE", end, 1) }
	weak := func(e *attestor.PlatformEvidence) { e.Base.Evidence = attestor.Attested }
	unsupported := func(e *attestor.PlatformEvidence) { e.Scan.State = attestor.ScanUnsupported }
	rolling := func(s *attestor.System) { s.ID, s.Release, s.End, s.Rolling = "arch", "20260101", "", true }
	foreign := func(s *attestor.System) { s.ID, s.Release, s.End = "house-os", "", "" }
	aged := func(table string) func(*attestor.System) { return func(s *attestor.System) { s.Table = table } }
	const (
		deny             = "    endOfLife: deny"
		warn             = "    endOfLife: warn"
		allowUnsupported = "    scan: {maxAge: 30d, onUnsupported: allow}"
		excepted         = "  exceptions: [{check: vulnerabilities, subject: END_OF_LIFE, owner: o, reason: r, " +
			"expires: 2026-12-31}]"
	)

	for _, tt := range []struct {
		name   string
		lines  []string
		change []func(*attestor.PlatformEvidence)
		status attestor.Status
		code   attestor.Code // of the only reason about ends; "" for none
	}{
		{"a base that is proven too weakly is served longer", []string{base(ahead), "    required: false"},
			[]func(*attestor.PlatformEvidence){inScan(system(scan, over)), weak}, attestor.StatusDeny, attestor.CodeEndOfLife},
		{"a base that is proven is served longer", []string{base(ahead), "    required: false"},
			[]func(*attestor.PlatformEvidence){inScan(system(scan, over))}, attestor.StatusPass, ""},
		{"a base that ended, and a system in the image", []string{base(over)},
			[]func(*attestor.PlatformEvidence){inImage(system(image, ahead))}, attestor.StatusDeny, attestor.CodeEndOfLife},
		{"a base that ended, and no end in the image", []string{base(over)},
			[]func(*attestor.PlatformEvidence){inImage(system(image, ""))}, attestor.StatusPass, ""},
		{"a base that ended, and no end in the scan", []string{base(over)},
			[]func(*attestor.PlatformEvidence){inScan(system(scan, ""))}, attestor.StatusPass, ""},
		{"a base that ended, where it warns", []string{base(over), warn}, nil, attestor.StatusWarn, attestor.CodeEndOfLife},

		{"a rolling system with a release", []string{deny, allowUnsupported},
			[]func(*attestor.PlatformEvidence){inImage(system(image, "", rolling)), unsupported}, attestor.StatusDeny,
			attestor.CodeEndOfLife},
		{"a system that is not known, excepted", []string{deny, allowUnsupported, excepted},
			[]func(*attestor.PlatformEvidence){unsupported}, attestor.StatusSkipped, ""}, // nobody looked for findings
		{"a system that is not known, which the scanner supports", []string{deny, allowUnsupported},
			[]func(*attestor.PlatformEvidence){inImage(system(image, "", foreign))}, attestor.StatusPass,
			attestor.CodeEndOfLifeUnknown},

		{"a new table", []string{deny}, []func(*attestor.PlatformEvidence){inImage(system(image, ahead))},
			attestor.StatusPass, ""},
		{"a table of a year ago", []string{deny},
			[]func(*attestor.PlatformEvidence){inImage(system(image, ahead, aged("2025-11-20")))}, attestor.StatusPass, ""},
		{"a table of a day more", []string{deny},
			[]func(*attestor.PlatformEvidence){inImage(system(image, ahead, aged("2025-11-19")))}, attestor.StatusWarn,
			attestor.CodeEndOfLifeUnknown},
		{"a table without a date", []string{deny},
			[]func(*attestor.PlatformEvidence){inImage(system(image, ahead, aged("")))}, attestor.StatusPass, ""},
		{"an old table that nobody asks", nil,
			[]func(*attestor.PlatformEvidence){inImage(system(image, ahead, aged("2020-01-01")))}, attestor.StatusPass, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t, tt.lines...)
			changes := []func(*attestor.Evidence){atMidnight}
			for _, c := range tt.change {
				changes = append(changes, on(c))
			}
			c := check(t, p.Judge(passing(p, changes...)), attestor.CheckVulnerabilities)

			var about []attestor.Code
			for _, r := range c.Reasons {
				if r.Code == attestor.CodeEndOfLife || r.Code == attestor.CodeEndOfLifeUnknown {
					about = append(about, r.Code)
				}
			}
			if c.Status != tt.status || len(about) > 1 || tt.code == "" && len(about) != 0 ||
				tt.code != "" && (len(about) != 1 || about[0] != tt.code) {
				t.Errorf("%s, %v, want %s, %q", c.Status, about, tt.status, tt.code)
			}
		})
	}
}

// atMidnight moves evidence, with the scan that it has, to the beginning of today.
func atMidnight(ev *attestor.Evidence) { ev.Time = today().Truncate(24 * time.Hour) }

// TestEndOfLifeNamesItsSource: a reason says whose word it is, what to build on, and what is not known of which system.
func TestEndOfLifeNamesItsSource(t *testing.T) {
	image, scan := attestor.SystemFromImage, attestor.SystemFromScan
	foreign := func(s *attestor.System) { s.ID, s.Release, s.End = "house-os", "", "" }
	alone := func(s *attestor.System) { s.Successor = "" }
	unsupported := func(e *attestor.PlatformEvidence) {
		e.System, e.Scan.State = system(image, "", foreign), attestor.ScanUnsupported
	}
	for _, tt := range []struct {
		change func(*attestor.PlatformEvidence)
		says   string
		fix    string
	}{
		{inScan(system(scan, "2024-06-30")), ", by the scan (table of 2026-08-22)", "build on debian 13, or another"},
		{inImage(system(image, "2024-06-30", alone)), ", by the image's os-release (table of", "build on a release that is"},
		{inScan(system(scan, "", foreign)), "until when house-os 10 gets fixes is not known", "give the end of its base"},
		{unsupported, ", and the scanner does not support it", "give the end of its base"},
	} {
		p := with(t, "    endOfLife: deny", "    scan: {maxAge: 30d, onUnsupported: allow}")
		c := check(t, p.Judge(passing(p, on(tt.change))), attestor.CheckVulnerabilities)
		told := false
		for _, r := range c.Reasons {
			told = told || strings.Contains(r.Message, tt.says) && strings.HasPrefix(r.Fix, tt.fix)
		}
		if !told {
			t.Errorf("%+v, want a reason that says %q, and the fix %q", c.Reasons, tt.says, tt.fix)
		}
	}
}

// TestUnreadSystemsAreToldWhereTheyMatter: a failure to read the system is told with what to do, and not at all where
// the policy does not ask.
func TestUnreadSystemsAreToldWhereTheyMatter(t *testing.T) {
	for line, told := range map[string]bool{
		"    endOfLife: deny": true, "    endOfLife: warn": true, "    endOfLife: ignore": false,
	} {
		for _, fix := range []string{"", "make it smaller"} {
			p := with(t, line)
			c := check(t, p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) {
				e.Problems = []attestor.Problem{{Check: attestor.CheckVulnerabilities, Status: attestor.StatusError,
					Reason: attestor.Reason{Code: attestor.CodeSystemUnreadable, Message: "m", Fix: fix}}}
			}))), attestor.CheckVulnerabilities)

			var got []string
			for _, r := range c.Reasons {
				if r.Code == attestor.CodeSystemUnreadable {
					got = append(got, r.Fix)
				}
			}
			want := fix
			if want == "" {
				want = "ask again"
			}
			if told && (len(got) != 1 || got[0] != want) || !told && len(got) != 0 {
				t.Errorf("%s: told %q, want %q: %t", line, got, want, told)
			}
		}
	}
}
