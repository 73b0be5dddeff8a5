package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
)

func TestJudgeScanStates(t *testing.T) {
	scan := func(change func(*attestor.Scan)) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) { change(&e.Scan) })
	}
	state := func(s attestor.ScanState) func(*attestor.Evidence) {
		return scan(func(sc *attestor.Scan) { *sc = attestor.Scan{State: s} })
	}
	const optional = "    scan: {required: false}"
	runOutcomes(t, []outcomeCase{
		{"zero value", nil, state(""), attestor.Undecided, []attestor.Code{attestor.CodeScanStateUnknown}},
		{"zero value, not required", []string{optional}, state(""), attestor.Undecided, []attestor.Code{attestor.CodeScanStateUnknown}},
		{"a new state", nil, state("rescanning"), attestor.Undecided, []attestor.Code{attestor.CodeScanStateUnknown}},
		{"not found", nil, state(attestor.ScanNotFound), attestor.Undecided, []attestor.Code{attestor.CodeScanNotFound}},
		{"not found, not required", []string{optional}, state(attestor.ScanNotFound), attestor.Pass, nil},
		{"pending", nil, state(attestor.ScanPending), attestor.Undecided, []attestor.Code{attestor.CodeScanPending}},
		{"scanning", nil, state(attestor.ScanRunning), attestor.Undecided, []attestor.Code{attestor.CodeScanRunning}},
		{"failed", nil, state(attestor.ScanFailed), attestor.Deny, []attestor.Code{attestor.CodeScanFailed}},
		{"unsupported", nil, state(attestor.ScanUnsupported), attestor.Deny, []attestor.Code{attestor.CodeScanUnsupported}},
		{"unsupported, warned of", []string{"    scan: {onUnsupported: warn}"}, state(attestor.ScanUnsupported), attestor.Pass, nil},
		{"unsupported, allowed", []string{"    scan: {onUnsupported: allow}"}, state(attestor.ScanUnsupported), attestor.Pass, nil},
		{"unavailable", nil, state(attestor.ScanUnavailable), attestor.Undecided, []attestor.Code{attestor.CodeScanUnavailable}},
		{"unavailable, not required", []string{optional}, state(attestor.ScanUnavailable), attestor.Undecided, []attestor.Code{attestor.CodeScanUnavailable}},
		{"denied, with its own reason", nil, scan(func(s *attestor.Scan) {
			*s = attestor.Scan{State: attestor.ScanUnavailable, Problem: &attestor.Reason{Code: attestor.CodeScanPermissionDenied, Message: "m"}}
		}), attestor.Undecided, []attestor.Code{attestor.CodeScanPermissionDenied}},
		{"failed, with its own reason", nil, scan(func(s *attestor.Scan) {
			*s = attestor.Scan{State: attestor.ScanFailed, Problem: &attestor.Reason{Code: attestor.CodeScanNotTrusted, Message: "m"}}
		}), attestor.Deny, []attestor.Code{attestor.CodeScanNotTrusted}},
		{"by nobody", nil, scan(func(s *attestor.Scan) { s.Note = "" }), attestor.Deny, []attestor.Code{attestor.CodeScanNotTrusted}},
		{"under Google's note for something else", nil,
			scan(func(s *attestor.Scan) { s.Note = "projects/goog-analysis/notes/COMPLIANCE" }), attestor.Deny,
			[]attestor.Code{attestor.CodeScanNotTrusted}},
		{"under Google's note, in a region", nil, scan(func(s *attestor.Scan) {
			s.Note = "projects/goog-analysis/locations/us/notes/PACKAGE_VULNERABILITY"
		}), attestor.Pass, nil},
		{"under somebody's note", nil, scan(func(s *attestor.Scan) { s.Note = "projects/s/notes/n" }), attestor.Deny,
			[]attestor.Code{attestor.CodeScanNotTrusted}},
		{"under a trusted note", []string{"    scan: {trusted: [projects/s/notes/n]}"},
			scan(func(s *attestor.Scan) { s.Note = "projects/s/notes/n" }), attestor.Pass, nil},
		{"on demand, in any project", nil, scan(func(s *attestor.Scan) {
			s.Note = "projects/scans/locations/us/scans/1"
		}), attestor.Deny, []attestor.Code{attestor.CodeScanNotTrusted}},
		{"on demand, in a trusted project", []string{"    scan: {projects: [scans]}"},
			scan(func(s *attestor.Scan) { s.Note = "projects/scans/locations/us/scans/1" }), attestor.Pass, nil},
		{"inactive", nil, scan(func(s *attestor.Scan) { s.Continuous = "INACTIVE" }), attestor.Deny, []attestor.Code{attestor.CodeScanInactive}},
		{"not said to be active", nil, scan(func(s *attestor.Scan) { s.Continuous = "" }), attestor.Deny, []attestor.Code{attestor.CodeScanInactive}},
		{"not said to be active, optional", []string{"    scan: {continuous: optional}"},
			scan(func(s *attestor.Scan) { s.Continuous = "" }), attestor.Pass, nil},
		{"archived", nil, scan(func(s *attestor.Scan) { s.Archived = new(today()) }), attestor.Deny, []attestor.Code{attestor.CodeScanArchived}},
		{"30 days old", nil, scan(func(s *attestor.Scan) { s.Finished = new(today().Add(-30 * 24 * time.Hour)) }), attestor.Pass, nil},
		{"older than 30 days", nil, scan(func(s *attestor.Scan) {
			s.Finished = new(today().Add(-30*24*time.Hour - 1))
		}), attestor.Deny, []attestor.Code{attestor.CodeScanTooOld}},
		{"of a day to come", nil, scan(func(s *attestor.Scan) { s.Finished = new(today().Add(24*time.Hour + time.Second)) }),
			attestor.Deny, []attestor.Code{attestor.CodeScanTooOld}},
		{"by a clock that is fast", nil, scan(func(s *attestor.Scan) { s.Finished = new(today().Add(24 * time.Hour)) }), attestor.Pass, nil},
		{"of a day to come, no limit", []string{"    scan: {maxAge: 0}"}, scan(func(s *attestor.Scan) { s.Finished = new(today().AddDate(9, 0, 0)) }),
			attestor.Pass, nil},
		{"of no date", nil, scan(func(s *attestor.Scan) { s.Finished = nil }), attestor.Deny, []attestor.Code{attestor.CodeScanTooOld}},
		{"of no date, no limit", []string{"    scan: {maxAge: 0}"}, scan(func(s *attestor.Scan) { s.Finished = nil }), attestor.Pass, nil},
		{"a package type that was not analysed", []string{"    scan: {packageTypes: [OS, GO]}"},
			scan(func(s *attestor.Scan) { s.Analyses = []string{"OS"} }), attestor.Deny,
			[]attestor.Code{attestor.CodeScanPackageTypeMissing}},
		{"a failed scan that found something", nil, scan(func(s *attestor.Scan) {
			s.State, s.Findings = attestor.ScanRunning, []attestor.Vulnerability{vulnerability("CVE-2021-44228")}
		}), attestor.Deny, []attestor.Code{attestor.CodeCVEBlocked, attestor.CodeScanRunning}},
	})
}

// index turns the evidence into that of an index with two children.
func index(change ...func(first, second *attestor.PlatformEvidence)) func(*attestor.Evidence) {
	return func(ev *attestor.Evidence) {
		second := ev.Platforms[0]
		second.Child = attestor.Child{Platform: "linux/arm64", Digest: attestor.Digest("sha256:" + strings.Repeat("5", 64))}
		ev.Index = true
		ev.Platforms[0].Digest = attestor.Digest("sha256:" + strings.Repeat("4", 64))
		ev.Platforms = append(ev.Platforms, second)
		for _, c := range change {
			c(&ev.Platforms[0], &ev.Platforms[1])
		}
	}
}

func TestJudgeChildWithoutScan(t *testing.T) {
	without := func(_, second *attestor.PlatformEvidence) { second.Scan = attestor.Scan{State: attestor.ScanNotFound} }
	p := with(t)
	v := p.Judge(passing(p, index(without)))
	if v.Outcome() != attestor.Deny {
		t.Fatalf("%s: a child without a scan", v.Outcome())
	}
	var reason attestor.Reason
	for _, c := range v.Checks() {
		if c.Name == attestor.CheckVulnerabilities && c.Platform == "linux/arm64" {
			reason = c.Reasons[0]
		}
	}
	if reason.Code != attestor.CodeScanNotOfChild {
		t.Fatalf("%+v", reason)
	}
	for _, way := range []string{"spec.platforms: [linux/amd64]", "attestor import", "--to-project",
		"spec.vulnerabilities.scan.trusted", "waiver", "owner", "expires", "SCAN_NOT_OF_CHILD"} {
		if !strings.Contains(reason.Fix, way) {
			t.Errorf("the ways out do not mention %q: %s", way, reason.Fix)
		}
	}

	t.Run("the way out by platforms", func(t *testing.T) {
		p := with(t, "  platforms: [linux/amd64]")
		v := p.Judge(passing(p, index(without)))
		if v.Outcome() != attestor.Pass || v.CoversIndex() || len(v.Subjects()) != 1 {
			t.Errorf("%s, index %t, subjects %v", v.Outcome(), v.CoversIndex(), v.Subjects())
		}
	})
	t.Run("the way out by waiver", func(t *testing.T) {
		p := with(t, `  exceptions: [{check: vulnerabilities, subject: SCAN_NOT_OF_CHILD, platforms: [linux/arm64], owner: o, reason: r, expires: 2026-12-31}]`)
		if v := p.Judge(passing(p, index(without))); v.Outcome() != attestor.Pass || !v.CoversIndex() {
			t.Errorf("%s: %+v", v.Outcome(), v.Checks())
		}
		if v := p.Judge(passing(p, index(without, func(first, _ *attestor.PlatformEvidence) {
			first.Scan.State = attestor.ScanNotFound
		}))); v.Outcome() != attestor.Undecided {
			t.Errorf("%s: the waiver is for a child, and now nothing was scanned", v.Outcome())
		}
	})
	t.Run("nothing was scanned yet", func(t *testing.T) {
		v := p.Judge(passing(p, index(without, func(first, _ *attestor.PlatformEvidence) { first.Scan.State = attestor.ScanNotFound })))
		if diff := cmp.Diff([]attestor.Code{attestor.CodeScanNotFound}, refusals(v)); v.Outcome() != attestor.Undecided || diff != "" {
			t.Errorf("%s: %s", v.Outcome(), diff)
		}
	})
}

// Of two scanners each is believed under its own note, and its description is what messages say.
func TestJudgeByAnotherScanner(t *testing.T) {
	const own = "projects/other-scans/notes/RESULT"
	other := &attestor.ScannerInfo{Name: "Other Scan", Note: own, Enable: "ask Other Scan for it", Refresh: "otherscan renew"}
	scanned := func(change func(*attestor.Scan)) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) {
			e.Scan.Scanner, e.Scan.Note = other, own
			if change != nil {
				change(&e.Scan)
			}
		})
	}
	p := with(t)

	judged(t, p, passing(p, scanned(nil)), attestor.Pass)
	for _, note := range []string{
		"projects/goog-analysis/notes/PACKAGE_VULNERABILITY", "projects/other-scans/notes/OTHER", "projects/evil/notes/RESULT", "RESULT",
		"projects/other-scans/scans/RESULT", "projects/other-scans/notes/RESULT/notes/x", "",
	} {
		judged(t, p, passing(p, scanned(func(s *attestor.Scan) { s.Note = note })), attestor.Deny, attestor.CodeScanNotTrusted)
	}

	// A scanner without a note of its own is believed where the policy says so only.
	nameless := *other
	nameless.Note = ""
	judged(t, p, passing(p, scanned(func(s *attestor.Scan) { s.Scanner, s.Note = &nameless, "" })), attestor.Deny, attestor.CodeScanNotTrusted)
	judged(t, p, passing(p, scanned(func(s *attestor.Scan) { s.Scanner = &nameless })), attestor.Deny, attestor.CodeScanNotTrusted)

	for state, want := range map[attestor.ScanState]string{
		attestor.ScanNotFound: "ask Other Scan for it", attestor.ScanUnavailable: "Other Scan could not be asked",
	} {
		v := p.Judge(passing(p, scanned(func(s *attestor.Scan) { s.State = state })))
		if text := marshal(t, v.Checks()); !strings.Contains(text, want) || strings.Contains(text, "Container Analysis") || strings.Contains(text, "gcloud") {
			t.Errorf("%s: want %q in %s", state, want, text)
		}
	}
	v := p.Judge(passing(p, scanned(func(s *attestor.Scan) { s.Continuous = "INACTIVE" })))
	if fix := check(t, v, attestor.CheckVulnerabilities).Reasons[0].Fix; !strings.HasPrefix(fix, "otherscan renew ") {
		t.Errorf("an inactive scan: %q", fix)
	}

	// It looks at every child of an index, so that a child without a scan is not scanned yet.
	missing := func(_, second *attestor.PlatformEvidence) { second.Scan.State = attestor.ScanNotFound }
	judged(t, p, passing(p, scanned(nil), index(missing)), attestor.Undecided, attestor.CodeScanNotFound)
}

// Of an index the scanner looks at the first linux/amd64 child: another one has
// no scan of its own, if anything of the index was scanned; that one's scan is
// waited for.
func TestScansOfAnIndex(t *testing.T) {
	states := func(amdFirst bool, amd, arm attestor.ScanState) func(*attestor.Evidence) {
		return changes(index(func(first, second *attestor.PlatformEvidence) {
			first.Scan.State, second.Scan.State = amd, arm
		}), func(ev *attestor.Evidence) {
			if !amdFirst {
				slices.Reverse(ev.Platforms)
			}
		})
	}
	const complete, none, down = attestor.ScanComplete, attestor.ScanNotFound, attestor.ScanUnavailable
	child, wait := []attestor.Code{attestor.CodeScanNotOfChild}, []attestor.Code{attestor.CodeScanNotFound}
	runOutcomes(t, []outcomeCase{
		{"arm's is missing", nil, states(true, complete, none), attestor.Deny, child},
		{"arm's is missing, and arm comes first", nil, states(false, complete, none), attestor.Deny, child},
		{"amd's is missing", nil, states(true, none, complete), attestor.Undecided, wait},
		{"amd's is missing, and arm comes first", nil, states(false, none, complete), attestor.Undecided, wait},
		{"both are missing", nil, states(false, none, none), attestor.Undecided, wait},
		{"arm's is missing, amd's cannot be had", nil, states(true, down, none), attestor.Undecided,
			[]attestor.Code{attestor.CodeScanNotFound, attestor.CodeScanUnavailable}},
		{"arm's is missing, amd's failed", nil, states(true, attestor.ScanFailed, none), attestor.Deny,
			[]attestor.Code{attestor.CodeScanFailed, attestor.CodeScanNotOfChild}},
		{"no amd64 in the index", nil, changes(states(true, none, none),
			on(func(e *attestor.PlatformEvidence) { e.Platform = "linux/s390x" })), attestor.Deny, child},
		{"the scanner's own child was left out", nil, changes(states(true, none, complete), func(ev *attestor.Evidence) {
			ev.Platforms[0].Platform, ev.Left = "linux/amd64/v3", []attestor.Child{{Platform: "linux/amd64", Digest: ev.Platforms[0].Digest}}
		}), attestor.Deny, child},
		{"an image for arm64", nil, on(func(e *attestor.PlatformEvidence) { e.Platform, e.Scan.State = "linux/arm64", none }), attestor.Undecided, wait},
	})
}

// What a scan lacks is said in words of its own.
func TestWhatIsSaidOfScans(t *testing.T) {
	scan := func(change func(*attestor.Scan)) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) { change(&e.Scan) })
	}
	state := func(s attestor.ScanState, problem *attestor.Reason) func(*attestor.Evidence) {
		return scan(func(sc *attestor.Scan) { *sc = attestor.Scan{State: s, Problem: problem} })
	}
	const optional, warn, allow = "    scan: {required: false}", "    scan: {required: false, onUnsupported: warn}",
		"    scan: {required: false, onUnsupported: allow}"
	for name, tt := range map[string]struct {
		policy string
		change func(*attestor.Evidence)
		status attestor.Status
		code   attestor.Code
		says   string // in message and fix
		not    string
	}{
		"failed": {"", state(attestor.ScanFailed, nil), attestor.StatusDeny, attestor.CodeScanFailed, "the scan failed.", ""},
		"failed, and why": {"", state(attestor.ScanFailed, &attestor.Reason{Message: "layer 3"}),
			attestor.StatusDeny, attestor.CodeScanFailed, "the scan failed: layer 3.", ""},
		"failed, without words": {"", state(attestor.ScanFailed, &attestor.Reason{}), attestor.StatusDeny,
			attestor.CodeScanFailed, "the scan failed.", ""},
		"failed, by a code": {"",
			state(attestor.ScanFailed, &attestor.Reason{Code: attestor.CodeScanUnsupported, Message: "m"}),
			attestor.StatusDeny, attestor.CodeScanUnsupported, "m.", ""},
		"unavailable, without a code": {"", state(attestor.ScanUnavailable, &attestor.Reason{Message: "secret"}),
			attestor.StatusError, attestor.CodeScanUnavailable, "could not be asked", "secret"},
		"not found, not required": {optional, state(attestor.ScanNotFound, nil), attestor.StatusSkipped,
			attestor.CodeScanNotFound, "the policy does not require a scan", ""},
		"unsupported, warned of": {warn, state(attestor.ScanUnsupported, nil), attestor.StatusWarn,
			attestor.CodeScanUnsupported, "does not support this image", "does not require"},
		"unsupported, allowed": {allow, state(attestor.ScanUnsupported, nil), attestor.StatusSkipped,
			attestor.CodeScanUnsupported, "the policy does not require a scan", ""},
		"not continuous": {"", scan(func(s *attestor.Scan) { s.Continuous = "" }), attestor.StatusDeny,
			attestor.CodeScanInactive, "continuous analysis is not reported;", "other scanners"},
		"no longer continuous": {"", scan(func(s *attestor.Scan) { s.Continuous = "INACTIVE" }),
			attestor.StatusDeny, attestor.CodeScanInactive, "continuous analysis is INACTIVE;", "other scanners"},
		"not continuous, others count": {"    scan: {trusted: [projects/build-p/notes/n]}",
			scan(func(s *attestor.Scan) { s.Continuous = "" }), attestor.StatusDeny, attestor.CodeScanInactive,
			"scans by other scanners are never continuous", ""},
		"not continuous, by projects": {"    scan: {projects: [build-q]}",
			scan(func(s *attestor.Scan) { s.Continuous = "" }), attestor.StatusDeny, attestor.CodeScanInactive,
			"scans by other scanners are never continuous", ""},
		"nothing was analysed": {"    scan: {packageTypes: [OS]}",
			scan(func(s *attestor.Scan) { s.Analyses = nil }), attestor.StatusDeny,
			attestor.CodeScanPackageTypeMissing, "analysed were: none.", ""},
		"something else was analysed": {"    scan: {packageTypes: [OS]}",
			scan(func(s *attestor.Scan) { s.Analyses = []string{"GO", "NPM"} }), attestor.StatusDeny,
			attestor.CodeScanPackageTypeMissing, "analysed were: GO, NPM.", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var lines []string
			if tt.policy != "" {
				lines = append(lines, tt.policy)
			}
			p := with(t, lines...)
			c := check(t, p.Judge(passing(p, tt.change)), attestor.CheckVulnerabilities)
			if c.Status != tt.status || len(c.Reasons) == 0 || c.Reasons[0].Code != tt.code {
				t.Fatalf("%+v", c)
			}
			text := c.Reasons[0].Message + ". " + c.Reasons[0].Fix
			if !strings.Contains(text, tt.says) || tt.not != "" && strings.Contains(text, tt.not) {
				t.Errorf("%q; want %q in it, and not %q", text, tt.says, tt.not)
			}
		})
	}
}

// A scan is Google's by its note, another's by a note or a project that the
// policy names, and nobody's by anything shorter or longer.
func TestWhoseScanCounts(t *testing.T) {
	lines := []string{"    scan: {continuous: optional, trusted: [projects/build-p/notes/n], projects: [build-q]}"}
	untrusted := []attestor.Code{attestor.CodeScanNotTrusted}
	var cases []outcomeCase
	for note, trusted := range map[string]bool{
		"projects/goog-analysis/notes/PACKAGE_VULNERABILITY": true, "projects/goog-analysis/notes/SECRET": false,
		"projects/goog-analysis-2/notes/PACKAGE_VULNERABILITY": false, "folders/goog-analysis/notes/PACKAGE_VULNERABILITY": false,
		"projects/build-p/notes/n": true, "projects/build-p/notes/n2": false, "projects/build-q/notes/n": false, "projects/build-p/occurrences/n": false,
		"projects/build-q/locations/us/scans/s": true, "projects/build-q/scans/s": true,
		"projects/build-p/locations/us/scans/s": false, "folders/build-q/scans/s": false,
		"scans/s": false, "build-q/scans/s": false, "": false, "projects/build-q/scans": false, "notes": false,
	} {
		tt := outcomeCase{"note " + note, lines, on(func(e *attestor.PlatformEvidence) { e.Scan.Note = note }), attestor.Deny, untrusted}
		if trusted {
			tt.want, tt.codes = attestor.Pass, nil
		}
		cases = append(cases, tt)
	}
	runOutcomes(t, cases)
}
