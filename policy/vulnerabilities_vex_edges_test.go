package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// findingWith has statements of documents about one finding, changed.
func findingWith(change func(*attestor.Vulnerability), list ...attestor.VEXStatement) func(*attestor.Evidence) {
	return on(func(e *attestor.PlatformEvidence) {
		v := critical()
		change(&v)
		e.Scan.Findings, e.VEX = []attestor.Vulnerability{v}, list
	})
}

// TestVEXIsAboutOnePackage: what excuses must name the finding's package, type and version; what speaks against it is
// about the finding as far as can be told.
func TestVEXIsAboutOnePackage(t *testing.T) {
	p := vexPolicy(t, "")
	same := func(*attestor.Vulnerability) {}
	untyped := func(v *attestor.Vulnerability) { v.PackageType = "" }
	unversioned := func(v *attestor.Vulnerability) { v.Version = "" }
	against := func(kind, name, version string) attestor.VEXStatement {
		return says(affected, by(vendorsText), inPackage(kind, name, version))
	}
	older := func(st *attestor.VEXStatement) { st.Time = st.Time.Add(-time.Hour) }

	for _, tt := range []struct {
		name    string
		finding func(*attestor.Vulnerability)
		list    []attestor.VEXStatement
		excused bool
	}{
		{"another package of the same version is affected", same, []attestor.VEXStatement{
			says(), against("deb", "zlib1g", "3.0.11")}, true},
		{"the package is affected", same, []attestor.VEXStatement{says(), against("deb", "openssl", "3.0.11")}, false},
		{"the package with its namespace is affected", same, []attestor.VEXStatement{
			says(), against("deb", "debian/openssl", "3.0.11")}, false},
		{"a package of another type is affected", same, []attestor.VEXStatement{
			says(), against("golang", "openssl", "3.0.11")}, true},
		{"a package of a type that nobody knows is affected", same, []attestor.VEXStatement{
			says(), against("house", "openssl", "3.0.11")}, false},
		{"a package without type is affected", same, []attestor.VEXStatement{says(), against("", "zlib1g", "1")}, false},
		{"a package without name is affected", same, []attestor.VEXStatement{says(), against("deb", "", "1")}, false},
		{"it is affected, and the scanner states no type", untyped, []attestor.VEXStatement{
			says(), against("golang", "openssl", "3.0.11")}, false},
		{"it is affected, and the scanner states no version", unversioned, []attestor.VEXStatement{
			says(), against("deb", "openssl", "1")}, false},
		{"neither states a version", unversioned, []attestor.VEXStatement{says(inPackage("deb", "openssl", ""))}, false},
		{"older than what excuses, and read after it", same, []attestor.VEXStatement{says(), says(affected, older)}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if ev := passing(p, findingWith(tt.finding, tt.list...)); tt.excused {
				judged(t, p, ev, attestor.Pass)
			} else {
				judged(t, p, ev, attestor.Deny, attestor.CodeFixableSeverityExceeded)
			}
		})
	}
}

// TestVEXTypesOfPackages: a statement names a package by its package URL's type, a finding by the scanner's kind.
func TestVEXTypesOfPackages(t *testing.T) {
	p := vexPolicy(t, "")
	for _, tt := range []struct{ purl, kind, other string }{
		{"deb", "OS", "GO"}, {"rpm", "OS", "GO"}, {"apk", "OS", "GO"}, {"alpm", "OS", "GO"},
		{"golang", "GO", "OS"}, {"golang", "GO_STDLIB", "NPM"}, {"npm", "NPM", "PYPI"}, {"maven", "MAVEN", "NPM"},
		{"pypi", "PYPI", "NPM"}, {"composer", "COMPOSER", "NPM"}, {"nuget", "NUGET", "NPM"}, {"swift", "SWIFT", "NPM"},
		{"gem", "RUBYGEMS", "GEM"}, {"cargo", "RUST", "NPM"}, {"cargo", "CARGO", "NPM"},
	} {
		of := func(kind string) attestor.Evidence {
			return passing(p, findingWith(func(v *attestor.Vulnerability) { v.PackageType = kind },
				says(inPackage(tt.purl, "openssl", "3.0.11"))))
		}
		judged(t, p, of(tt.kind), attestor.Pass)
		judged(t, p, of(tt.other), attestor.Deny, attestor.CodeFixableSeverityExceeded)
	}
}

// TestVEXOfOneProject: of two notes of one project the stricter one is its opinion, whatever the order of projects.
func TestVEXOfOneProject(t *testing.T) {
	const accept = "    vex: {accept: [not_affected], projects: [acme-one, acme-two]"
	for _, tt := range []struct {
		order    string
		opinions [][2]string // project, status
		excused  bool
	}{
		{"", [][2]string{{"acme-one", "not_affected"}}, true},
		{"", [][2]string{{"acme-one", "not_affected"}, {"acme-two", "not_affected"}}, true},
		{"", [][2]string{{"acme-one", "not_affected"}, {"acme-two", "affected"}}, false},
		{"", [][2]string{{"acme-one", "not_affected"}, {"acme-one", "affected"}}, false},
		{"", [][2]string{{"acme-one", "affected"}, {"acme-one", "not_affected"}}, false},
		{", order: [acme-one, acme-two]", [][2]string{{"acme-one", "not_affected"}, {"acme-one", "affected"}}, false},
		{", order: [acme-one, acme-two]", [][2]string{{"acme-two", "affected"}, {"acme-one", "not_affected"}}, true},
		{", order: [acme-one, acme-two]", [][2]string{{"acme-two", "not_affected"}, {"acme-one", "affected"}}, false},
	} {
		p := with(t, accept+tt.order+"}")
		ev := passing(p, findingWith(func(v *attestor.Vulnerability) {
			for _, o := range tt.opinions {
				v.VEX = append(v.VEX, attestor.VEX{Project: o[0], Status: o[1]})
			}
		}))
		if tt.excused {
			judged(t, p, ev, attestor.Pass)
		} else {
			judged(t, p, ev, attestor.Deny, attestor.CodeFixableSeverityExceeded)
		}
	}
}

// TestVEXDoubtIsSaidWhereThereIsOne: a finding that nobody excuses has no doubt, and one that is excused by documents
// of which some were not read is not excused.
func TestVEXDoubtIsSaidWhereThereIsOne(t *testing.T) {
	p := vexPolicy(t, "")
	messages := func(change ...func(*attestor.Evidence)) string {
		var all []string
		for _, r := range check(t, p.Judge(passing(p, change...)), attestor.CheckVulnerabilities).Reasons {
			if r.Code == attestor.CodeFixableSeverityExceeded {
				all = append(all, r.Message)
			}
		}
		return strings.Join(all, "\n")
	}
	if got := messages(claimed(says(affected))); got == "" || strings.Contains(got, "outweighs") {
		t.Errorf("nobody excuses it: %q", got)
	}
	if got := messages(claimed(says(affected), says(by(vendorsText)))); !strings.Contains(got,
		"VEX: ours says affected, which outweighs not_affected by vendor") {
		t.Errorf("one excuses it: %q", got)
	}

	unread := on(func(e *attestor.PlatformEvidence) {
		e.Problems = append(e.Problems, attestor.Problem{
			Check: attestor.CheckVulnerabilities, Status: attestor.StatusError,
			Reason: attestor.Reason{Code: attestor.CodeVEXUnavailable, Message: "down"},
		})
	})
	c := check(t, p.Judge(passing(p, claimed(says()), unread)), attestor.CheckVulnerabilities)
	if c.Status != attestor.StatusError || len(c.Exceptions) != 0 {
		t.Errorf("some were not read: %s, excused %+v", c.Status, c.Exceptions)
	}
	if !slices.ContainsFunc(c.Reasons, func(r attestor.Reason) bool { return r.Code == attestor.CodeVEXUnavailable }) {
		t.Errorf("it is not told that some were not read: %+v", c.Reasons)
	}
}

// TestVEXExcusesNoWarningBesideUnreadDocuments: what only warns is not excused either while somebody else's documents,
// which may say otherwise, could not be read.
func TestVEXExcusesNoWarningBesideUnreadDocuments(t *testing.T) {
	p := with(t, `    vex: {accept: [not_affected], sources: [`+ours+`, `+vendors+`]}`, "    knownExploited: warn")
	exploited := func(v *attestor.Vulnerability) { v.Severity, v.KnownExploited = attestor.Low, new(true) }
	unread := on(func(e *attestor.PlatformEvidence) {
		e.Problems = append(e.Problems, attestor.Problem{
			Check: attestor.CheckVulnerabilities, Status: attestor.StatusError,
			Reason: attestor.Reason{Code: attestor.CodeVEXUnavailable, Message: "down"},
		})
	})

	c := check(t, p.Judge(passing(p, findingWith(exploited, says()))), attestor.CheckVulnerabilities)
	if c.Status != attestor.StatusPass || len(c.Exceptions) != 1 {
		t.Errorf("all were read: %s, excused %+v", c.Status, c.Exceptions)
	}
	c = check(t, p.Judge(passing(p, findingWith(exploited, says()), unread)), attestor.CheckVulnerabilities)
	if c.Status != attestor.StatusError || len(c.Exceptions) != 0 {
		t.Errorf("some were not read: %s, excused %+v", c.Status, c.Exceptions)
	}
}
