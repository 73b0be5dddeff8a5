package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// reasonsOf are the reasons of the check of packages with a code.
func reasonsOf(t *testing.T, v attestor.Verdict, code attestor.Code) (out []attestor.Reason) {
	t.Helper()
	for _, r := range check(t, v, attestor.CheckPackages).Reasons {
		if r.Code == code {
			out = append(out, r)
		}
	}
	return out
}

// scannedAs is a finding in a package of a scanner's kind.
func scannedAs(kind, name, version string) func(*attestor.Evidence) {
	return findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) {
		v.PackageType, v.Package, v.Version = kind, name, version
	}))
}

// TestKindsOfPackages: a scanner's kind of package is the types that its packages can have, and no others.
func TestKindsOfPackages(t *testing.T) {
	for _, tt := range []struct{ kind, is, isNot string }{
		{"GO", "golang", "npm"}, {"GO_STDLIB", "golang", "go"}, {"RUBYGEMS", "gem", "npm"}, {"RUST", "cargo", "npm"},
		{"NPM", "npm", "pypi"}, {"MAVEN", "maven", "npm"}, {"OS", "deb", "npm"}, {"OS", "rpm", "npm"},
		{"OS", "apk", "npm"}, {"OS", "alpm", "npm"}, {"OS", "ebuild", "npm"},
	} {
		found := scannedAs(tt.kind, "lib", "1")
		p := with(t, sbomRequired, "  packages: {deny: [{name: lib, type: "+tt.is+"}]}")
		judged(t, p, passing(p, found), attestor.Deny, attestor.CodePackageDenied)
		p = with(t, sbomRequired, "  packages: {deny: [{name: lib, type: "+tt.isNot+"}]}")
		judged(t, p, passing(p, found), attestor.Pass)

		p = with(t, sbomRequired, "  packages: {allow: [{name: lib, type: "+tt.is+"}]}")
		judged(t, p, passing(p, found), attestor.Pass)
		p = with(t, sbomRequired, "  packages: {allow: [{name: lib, type: "+tt.isNot+"}]}")
		judged(t, p, passing(p, found), attestor.Deny, attestor.CodePackageNotAllowed)
	}
}

// TestNamespaces: a distribution's own name may be left out of an allowed package, and nobody else's.
func TestNamespaces(t *testing.T) {
	for kind, allowed := range map[string]bool{
		"deb": true, "rpm": true, "apk": true, "alpm": true, "golang": false, "npm": false,
	} {
		p := with(t, sbomRequired, "  packages: {allow: [{name: lib, type: "+kind+"}]}")
		ev := passing(p, listing(sbomSigner, attestor.Package{Type: kind, Name: "vendor/lib", Version: "1"}))
		if allowed {
			judged(t, p, ev, attestor.Pass)
		} else {
			judged(t, p, ev, attestor.Deny, attestor.CodePackageNotAllowed)
		}
	}
}

// TestEpochs: an epoch is a number before a colon. What is not is a part of the version.
func TestEpochs(t *testing.T) {
	p := with(t, sbomRequired, `  packages: {deny: [{name: openssl, versions: ["1"]}]}`)
	for version, denied := range map[string]bool{
		"1": true, "0:1": true, "12:1": true, ":1": false, "v:1": false, "1:": false,
	} {
		ev := passing(p, listing(sbomSigner, attestor.Package{Type: "deb", Name: "debian/openssl", Version: version}))
		if denied {
			judged(t, p, ev, attestor.Deny, attestor.CodePackageDenied)
		} else {
			judged(t, p, ev, attestor.Pass)
		}
	}
}

// TestExceptionsNamePackages: a package of a distribution, and one whose type is not stated, is excepted by its bare
// name; every other by its whole name, since the last part alone is anybody's.
func TestExceptionsNamePackages(t *testing.T) {
	for _, tt := range []struct {
		pkg      attestor.Package
		excepted string
		passes   bool
	}{
		{attestor.Package{Type: "deb", Name: "debian/lib", Version: "1"}, "lib", true},
		{attestor.Package{Name: "vendor/lib", Version: "1"}, "lib", true},
		{attestor.Package{Type: "golang", Name: "vendor/lib", Version: "1"}, "lib", false},
		{attestor.Package{Type: "golang", Name: "vendor/lib", Version: "1"}, "vendor/lib", true},
		{attestor.Package{Type: "golang", Name: "vendor/lib", Version: "1"}, "vendor/other", false},
	} {
		p := with(t, sbomRequired, "  packages: {deny: [{name: lib}]}",
			"  exceptions: [{check: packages, subject: PACKAGE_DENIED, packages: ["+tt.excepted+
				"], owner: o, reason: r, expires: 2099-01-01}]")
		if ev := passing(p, listing(sbomSigner, tt.pkg)); tt.passes {
			judged(t, p, ev, attestor.Pass)
		} else {
			judged(t, p, ev, attestor.Deny, attestor.CodePackageDenied)
		}
	}
}

// TestOnePackageIsToldOnce: who says that a package is there, why it is denied and what is not known of it are told,
// once however often a document lists it.
func TestOnePackageIsToldOnce(t *testing.T) {
	p := with(t, sbomRequired, "  packages: {deny: [{name: openssl, reason: it is old}, {name: curl, type: deb}, "+
		"{name: debian/zlib}, {name: busybox}]}")
	openssl, curl := debian("openssl"), attestor.Package{Name: "curl", Version: "1"}
	for _, tt := range []struct {
		change    func(*attestor.Evidence)
		says, not string
	}{
		{listing(sbomSigner, openssl, openssl), "which the policy denies: it is old", "answers for"},
		{listing("", openssl), "which nobody answers for,", "stated"},
		{listing(sbomSigner, curl), "its type is not stated", ": it is old"},
		{scannedAs("OS", "openssl", "1"), "the scan lists openssl@1", "answers for"},
		{scannedAs("OS", "zlib", "1"), "its namespace is not stated", ": it is old"},
		{listing(sbomSigner, attestor.Package{Type: "apk", Name: "alpine/busybox", Version: "1"}), "denies", ": it is old"},
	} {
		got := reasonsOf(t, p.Judge(passing(p, tt.change)), attestor.CodePackageDenied)
		if len(got) != 1 || !strings.Contains(got[0].Message, tt.says) || strings.Contains(got[0].Message, tt.not) ||
			strings.HasSuffix(got[0].Message, ": ") {
			t.Errorf("%+v, want one reason that says %q and not %q", got, tt.says, tt.not)
		}
	}

	// One entry is enough for a list of what is allowed, for the scan too.
	p = with(t, sbomRequired, "  packages: {allow: [{name: curl, type: deb}]}")
	const untyped = "it has no package URL"
	for _, tt := range []struct {
		change func(*attestor.Evidence)
		typed  bool
	}{
		{listing(sbomSigner, curl), false}, {listing(sbomSigner, openssl), true}, {scannedAs("OS", "openssl", "1"), true},
	} {
		got := reasonsOf(t, p.Judge(passing(p, tt.change)), attestor.CodePackageNotAllowed)
		if len(got) != 1 || strings.Contains(got[0].Message, untyped) == tt.typed {
			t.Errorf("%+v, want one reason, whose type is stated: %t", got, tt.typed)
		}
	}
}

// TestSignersOfSBOMsAreNotNobody: where the policy names nobody, a document that nobody signed speaks for no image.
func TestSignersOfSBOMsAreNotNobody(t *testing.T) {
	p := with(t, "  sbom: {required: false}", "  packages: {deny: [{name: curl}]}")
	if got := statusOf(p.Judge(passing(p, without, listing("", debian("openssl"))))); got != attestor.StatusSkipped {
		t.Errorf("an unsigned document: %s", got)
	}
	judged(t, p, passing(p, without, listing("", debian("curl"))), attestor.Deny, attestor.CodePackageDenied)
}

// TestEdgesOfLicenses: the bounds of an expression, what comes after WITH, and identifiers that tools still write.
func TestEdgesOfLicenses(t *testing.T) {
	const unknown, denied, fine = attestor.CodeLicenseUnknown, attestor.CodeLicenseDenied, attestor.Code("")
	nested := func(opened, closed int, inner string) string {
		return strings.Repeat("(", opened) + inner + strings.Repeat(")", closed)
	}
	p := with(t, sbomRequired,
		"  packages: {licenses: {deny: [GPL-2.0-only, LGPL-2.1-only, GFDL-1.3-only, LicenseRef-acme]}}")
	for _, tt := range []struct {
		license string
		want    attestor.Code
	}{
		{strings.Repeat(" ", 2048-3) + "MIT", fine},
		{strings.Repeat(" ", 2048-2) + "MIT", unknown},
		{nested(16, 16, "MIT"), fine},
		{nested(17, 17, "MIT"), unknown},
		{nested(17, 16, ""), unknown},
		{"GPL-2.0-only WITH", unknown},
		{"MIT AND (ISC WITH)", unknown},
		{"(MIT OR ISC) OR GPL-2.0-only", fine},
		{"GPL-2.0-only OR (MIT OR ISC)", fine},
		{"(GPL-2.0-only AND ISC) OR LGPL-2.1-only", denied},
		{"LGPL-2.1", denied},
		{"LGPL-2.1+", fine},
		{"GFDL-1.3", denied},
		{"LicenseRef-acme", denied},
		{"LicenseRef-acme-with-tools", fine},
	} {
		if ev := passing(p, listing(sbomSigner, debian("curl", tt.license))); tt.want == fine {
			judged(t, p, ev, attestor.Pass)
		} else {
			judged(t, p, ev, attestor.Deny, tt.want)
		}
	}
}

// TestEdgesOfEarlierStages: what is no summary of the stage proves nothing, a level that is not asked for is not
// demanded, and of several that count the lowest is proven.
func TestEdgesOfEarlierStages(t *testing.T) {
	good := func(*attestor.StageSummary) {}
	levels := func(list ...string) func(*attestor.StageSummary) {
		return func(s *attestor.StageSummary) { s.Levels = list }
	}
	by := func(policy string, list ...string) func(*attestor.StageSummary) {
		return func(s *attestor.StageSummary) { s.Policy, s.Levels = policy, list }
	}
	of := func(change func(*attestor.Provenance)) func(*attestor.Evidence) {
		return func(ev *attestor.Evidence) {
			summarized(good)(ev)
			change(&ev.Platforms[0].Provenance[0])
		}
	}
	elsewhere := func(resource string) func(*attestor.StageSummary) {
		return func(s *attestor.StageSummary) { s.Resource = resource }
	}
	edit := func(old, new string) string { return strings.Replace(staged, old, new, 1) }
	resources := edit("maxAge: 2d", `maxAge: 2d, resources: ["registry.example/stage/**"]`)

	for name, tt := range map[string]struct {
		line   string
		change func(*attestor.Evidence)
		passes bool
	}{
		"a statement that has a summary": {staged, of(func(p *attestor.Provenance) { p.Source = "cosign" }), false},
		"a summary that was not read":    {staged, of(func(p *attestor.Provenance) { p.Summary = nil }), false},
		"no level of the build":          {edit("slsaLevel: 2, ", ""), summarized(levels("SCANNED")), true},
		"level 1":                        {edit("slsaLevel: 2", "slsaLevel: 1"), summarized(levels("SCANNED")), false},
		"level 1, proven": {edit("slsaLevel: 2", "slsaLevel: 1"),
			summarized(levels("SLSA_BUILD_LEVEL_1", "SCANNED")), true},
		"unevaluated, proven":              {edit("SCANNED", "SLSA_BUILD_LEVEL_UNEVALUATED"), summarized(good), true},
		"another repository":               {resources, summarized(elsewhere("oci://registry.example/stage/api")), true},
		"one that is not listed":           {resources, summarized(elsewhere("oci://registry.example/other/api")), false},
		"the image's, which is not":        {resources, summarized(good), false},
		"what names no repository":         {resources, summarized(elsewhere("https://registry.example/stage/api")), false},
		"what names none, and none listed": {staged, summarized(elsewhere("urn:nothing")), false},
		"what names none, where any is listed": {edit("maxAge: 2d", `maxAge: 2d, resources: ["**"]`),
			summarized(elsewhere("urn:nothing")), false},
		"any repository": {edit("maxAge: 2d", `maxAge: 2d, resources: ["**"]`),
			summarized(elsewhere("oci://registry.example/other/api")), true},
	} {
		t.Run(name, func(t *testing.T) {
			p := with(t, tt.line)
			if ev := passing(p, tt.change); tt.passes {
				judged(t, p, ev, attestor.Pass)
			} else {
				judged(t, p, ev, attestor.Deny, attestor.CodeProvenanceMissing)
			}
		})
	}

	p := with(t, edit("slsaLevel: 2, ", ""))
	low := by("https://stage.example/q", "SCANNED", "SLSA_BUILD_LEVEL_1")
	high := by("https://stage.example/p", "SCANNED", "SLSA_BUILD_LEVEL_3")
	later := func(change func(*attestor.StageSummary)) func(*attestor.StageSummary) {
		return func(s *attestor.StageSummary) { change(s); s.Time = s.Time.Add(time.Minute) }
	}
	for name, tt := range map[string]struct {
		change func(*attestor.Evidence)
		want   int
	}{
		"one":                 {summarized(high), 3},
		"the lower first":     {summarized(low, later(high)), 1},
		"the lower last":      {summarized(later(high), low), 1},
		"two of one level":    {summarized(high, by("https://stage.example/q", "SCANNED", "SLSA_BUILD_LEVEL_3")), 3},
		"one without a level": {summarized(high, by("https://stage.example/q", "SCANNED")), 0},
	} {
		c := check(t, p.Judge(passing(p, tt.change)), attestor.CheckProvenance)
		if c.Status != attestor.StatusPass || c.BuildLevel != tt.want {
			t.Errorf("%s: %s of level %d, want level %d", name, c.Status, c.BuildLevel, tt.want)
		}
	}
}
