package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

const (
	sbomSigner   = "key=\"/keys/sbom.pub\"" // the text of the rule below
	sbomRequired = "  sbom: {required: true, signedBy: {key: /keys/sbom.pub}}"
	sbomOptional = "  sbom: {required: false, signedBy: {key: /keys/sbom.pub}}"
)

// listing is evidence of one document by a signer: sbomSigner, or "" for nobody.
func listing(signedBy string, packages ...attestor.Package) func(*attestor.Evidence) {
	return on(func(e *attestor.PlatformEvidence) {
		e.SBOMs = append(e.SBOMs, attestor.SBOM{
			Format: attestor.FormatSPDX, Version: "2.3", Place: "referrer sha256:1", SignedBy: signedBy, Packages: packages,
		})
	})
}

func without(ev *attestor.Evidence) { ev.Platforms[0].SBOMs = nil }

func debian(name string, licenses ...string) attestor.Package {
	return attestor.Package{Type: "deb", Name: "debian/" + name, Version: "1.0", Licenses: licenses}
}

// statusOf is the status of the check of packages.
func statusOf(v attestor.Verdict) attestor.Status {
	for _, c := range v.Checks() {
		if c.Name == attestor.CheckPackages {
			return c.Status
		}
	}
	return ""
}

// Only a document by the signer that the policy names speaks for an image; what is there instead is said.
func TestSBOMRequired(t *testing.T) {
	p := with(t, sbomRequired)
	notRead := func(code attestor.Code) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) { e.NotRead = []attestor.Reason{{Code: code, Message: "m"}} })
	}
	problem := func(code attestor.Code) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) {
			e.Problems = []attestor.Problem{{Check: attestor.CheckPackages, Status: code.Status(), Reason: attestor.Reason{Code: code, Message: "m"}}}
		})
	}

	judged(t, p, passing(p), attestor.Pass)
	judged(t, p, passing(p, without), attestor.Deny, attestor.CodeSBOMMissing)
	judged(t, p, passing(p, without, listing("")), attestor.Deny, attestor.CodeSBOMUnsigned)
	judged(t, p, passing(p, without, listing(`key="/keys/other.pub"`)), attestor.Deny, attestor.CodeSBOMUnsigned)
	judged(t, p, passing(p, without, listing(""), listing(sbomSigner)), attestor.Pass)
	judged(t, p, passing(p, without, notRead(attestor.CodeSBOMOtherDigest)), attestor.Deny, attestor.CodeSBOMMissing, attestor.CodeSBOMOtherDigest)
	judged(t, p, passing(p, notRead(attestor.CodeSBOMOtherDigest)), attestor.Pass)
	judged(t, p, passing(p, problem(attestor.CodeSBOMInvalid)), attestor.Deny, attestor.CodeSBOMInvalid)
	judged(t, p, passing(p, problem(attestor.CodeSBOMTooMany)), attestor.Undecided, attestor.CodeSBOMTooMany)
	judged(t, p, passing(p, without, problem(attestor.CodeSBOMUnavailable)), attestor.Undecided, attestor.CodeSBOMUnavailable)

	cyclone := with(t, "  sbom: {required: true, formats: [cyclonedx], signedBy: {key: /keys/sbom.pub}}")
	judged(t, cyclone, passing(cyclone), attestor.Pass)
	judged(t, cyclone, passing(cyclone, without, listing(sbomSigner)), attestor.Deny, attestor.CodeSBOMFormat, attestor.CodeSBOMMissing)
}

// Without a document that counts, a check of packages never passes: it refuses, or it says that it did not judge.
func TestNoSBOMIsNoEmptySBOM(t *testing.T) {
	for _, packages := range []string{
		"  packages: {deny: [{name: openssl}]}", "  packages: {allow: [{name: openssl, type: deb}]}", "  packages: {licenses: {deny: [MIT]}}",
	} {
		p := with(t, sbomOptional, packages)
		for name, change := range map[string]func(*attestor.Evidence){"none": without, "nobody's": func(ev *attestor.Evidence) {
			without(ev)
			listing("", debian("curl", "ISC"))(ev)
		}} {
			if got := statusOf(p.Judge(passing(p, change))); got != attestor.StatusSkipped {
				t.Errorf("%s, %s: %s", packages, name, got)
			}
		}
		if got := statusOf(p.Judge(passing(p))); got != attestor.StatusPass {
			t.Errorf("%s, an empty document by the signer: %s", packages, got)
		}
	}
}

// A denied package refuses the image whoever reports it: a document, an unsigned one, or the scan.
func TestDeniedPackages(t *testing.T) {
	pkg := func(kind, name, version string) attestor.Package {
		return attestor.Package{Type: kind, Name: name, Version: version}
	}
	found := func(kind, name, version string) func(*attestor.Evidence) {
		return findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.PackageType, v.Package, v.Version = kind, name, version }))
	}
	tests := []struct {
		deny   string
		change func(*attestor.Evidence)
		denied bool
	}{
		{"{name: openssl}", listing(sbomSigner, pkg("deb", "debian/openssl", "1")), true},
		{"{name: openssl}", listing("", pkg("deb", "debian/openssl", "1")), true},
		{"{name: openssl}", listing(sbomSigner, pkg("deb", "debian/openssl-dev", "1")), false},
		{"{name: debian/openssl}", listing(sbomSigner, pkg("deb", "debian/openssl", "1")), true},
		{"{name: ubuntu/openssl}", listing(sbomSigner, pkg("deb", "debian/openssl", "1")), false},
		{"{name: OpenSSL, type: deb}", listing(sbomSigner, pkg("deb", "debian/openssl", "1")), true},
		{"{name: openssl, type: rpm}", listing(sbomSigner, pkg("deb", "debian/openssl", "1")), false},
		{"{name: openssl, type: deb}", listing(sbomSigner, pkg("", "openssl", "1")), true}, // its type is not stated
		{`{name: openssl, versions: ["1"]}`, listing(sbomSigner, pkg("deb", "debian/openssl", "1")), true},
		{`{name: openssl, versions: ["1"]}`, listing(sbomSigner, pkg("deb", "debian/openssl", "2:1")), true},
		{`{name: openssl, versions: ["1"]}`, listing(sbomSigner, pkg("deb", "debian/openssl", "1.1")), false},
		{`{name: openssl, versions: ["1"]}`, listing(sbomSigner, pkg("deb", "debian/openssl", "")), true}, // nor its version
		{`{name: openssl, versions: ["*"]}`, listing(sbomSigner, pkg("deb", "debian/openssl", "9")), true},
		{"{name: log4j-core, type: maven}", listing(sbomSigner, pkg("maven", "org.apache.logging.log4j/log4j-core", "2.14.1")), true},
		{"{name: org.apache.logging.log4j/log4j-core}", found("MAVEN", "org.apache.logging.log4j:log4j-core", "2.14.1"), true},
		{"{name: typing_extensions, type: pypi}", listing(sbomSigner, pkg("pypi", "typing-extensions", "4")), true},
		{"{name: '@ctrl/tinycolor', type: npm}", listing(sbomSigner, pkg("npm", "@ctrl/tinycolor", "4.1.1")), true},
		{"{name: github.com/xtls/xray-core, type: golang}", listing(sbomSigner, pkg("golang", "github.com/XTLS/Xray-core", "v1")), true},
		{"{name: openssl, type: apk}", found("OS", "openssl", "3"), true},
		{"{name: openssl, type: golang}", found("OS", "openssl", "3"), false},
		{"{name: debian/openssl}", found("OS", "openssl", "3"), true}, // its namespace is not stated
		{"{name: debian/openssl, type: deb}", found("OS", "openssl", "3"), true},
		{"{name: debian/openssl}", found("OS", "openssl-dev", "3"), false},
		{"{name: debian/openssl}", listing("", pkg("", "openssl", "1")), true},
		{"{name: debian/openssl}", listing(sbomSigner, pkg("deb", "openssl", "1")), true},
		{"{name: debian/openssl, type: deb}", listing(sbomSigner, pkg("npm", "openssl", "1")), false},
		{"{name: debian/openssl}", listing(sbomSigner, pkg("npm", "openssl", "1")), false}, // npm has names without one
		{"{name: '@evil/left-pad'}", found("NPM", "left-pad", "1"), false},
		{`{name: openssl, versions: ["3"]}`, found("OS", "openssl", "3"), true},
		{`{name: openssl, versions: ["4"]}`, found("OS", "openssl", "3"), false},
	}
	for _, tt := range tests {
		t.Run(tt.deny, func(t *testing.T) {
			p := with(t, sbomRequired, "  packages: {deny: ["+tt.deny+"]}")
			if ev := passing(p, tt.change); tt.denied {
				judged(t, p, ev, attestor.Deny, attestor.CodePackageDenied)
			} else {
				judged(t, p, ev, attestor.Pass)
			}
		})
	}
}

// What is allowed has to be stated: a package whose type or version is not known is not.
func TestAllowedPackages(t *testing.T) {
	p := with(t, sbomRequired, `  packages: {allow: [{name: curl, type: deb, versions: ["1.0"]}, {name: github.com/acme/lib, type: golang}]}`)
	for _, tt := range []struct {
		pkg     attestor.Package
		allowed bool
	}{
		{debian("curl"), true},
		{attestor.Package{Type: "deb", Name: "debian/curl", Version: "1.1"}, false},
		{attestor.Package{Type: "deb", Name: "debian/curl"}, false},
		{attestor.Package{Type: "rpm", Name: "debian/curl", Version: "1.0"}, false},
		{attestor.Package{Name: "curl", Version: "1.0"}, false},
		{attestor.Package{Type: "golang", Name: "github.com/acme/lib", Version: "v9"}, true},
		{attestor.Package{Type: "golang", Name: "github.com/evil/lib", Version: "v9"}, false},
		{attestor.Package{Type: "golang", Name: "lib", Version: "v9"}, false},
		{attestor.Package{Type: "golang", Name: "github.com/Acme/lib", Version: "v9"}, false},
	} {
		if ev := passing(p, listing(sbomSigner, tt.pkg)); tt.allowed {
			judged(t, p, ev, attestor.Pass)
		} else {
			judged(t, p, ev, attestor.Deny, attestor.CodePackageNotAllowed)
		}
	}

	// The scan knows of packages that the document leaves out.
	judged(t, p, passing(p, findings(vulnerability("CVE-1-1"))), attestor.Deny, attestor.CodePackageNotAllowed)
	judged(t, p, passing(p, findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Package, v.Version = "curl", "1.0" }))), attestor.Pass)
}

// A license is denied if no choice leaves it out. SPDX 2.3, annex D: WITH binds closest, then AND, then OR.
func TestLicenses(t *testing.T) {
	const unknown, denied, fine = attestor.CodeLicenseUnknown, attestor.CodeLicenseDenied, attestor.Code("")
	p := with(t, sbomRequired, "  packages: {licenses: {deny: [GPL-2.0-only, AGPL-3.0-or-later, GPL-3.0-only WITH GCC-exception-3.1]}}")
	for _, tt := range []struct {
		licenses []string
		want     attestor.Code
	}{
		{[]string{"MIT"}, fine},
		{[]string{"GPL-2.0-only"}, denied},
		{[]string{"gpl-2.0-ONLY"}, denied},
		{[]string{"GPL-2.0"}, denied}, // deprecated for GPL-2.0-only
		{[]string{"GPL-2.0+"}, fine},  // deprecated for GPL-2.0-or-later
		{[]string{"AGPL-3.0+"}, denied},
		{[]string{"GPL-2.0-or-later"}, fine},
		{[]string{"GPL-2.0-only WITH Classpath-exception-2.0"}, denied},
		{[]string{"GPL-2.0-with-classpath-exception"}, denied},
		{[]string{"GPL-3.0-only"}, fine},
		{[]string{"GPL-3.0-only WITH GCC-exception-3.1"}, denied},
		{[]string{"MIT OR GPL-2.0-only"}, fine},
		{[]string{"MIT AND GPL-2.0-only"}, denied},
		{[]string{"MIT AND (GPL-2.0-only OR ISC)"}, fine},
		{[]string{"GPL-2.0-only OR ISC AND AGPL-3.0-or-later"}, denied},
		{[]string{"(GPL-2.0-only OR ISC) AND MIT"}, fine},
		{[]string{"(MIT or GPL-2.0-only) and Apache-2.0"}, fine},
		{[]string{"MIT", "GPL-2.0-only"}, denied}, // all that is stated holds
		{[]string{"a text", "GPL-2.0-only"}, denied},
		{[]string{"LicenseRef-acme"}, fine},
		{nil, unknown},
		{[]string{"Apache 2.0"}, unknown},
		{[]string{"MIT", "some license"}, unknown},
		{[]string{"MIT OR"}, unknown},
		{[]string{"(MIT"}, unknown},
		{[]string{"MIT ISC"}, unknown},
		{[]string{"MIT OR Nonsense-1.0"}, unknown},
		{[]string{attestor.LicenseText}, unknown},
		{[]string{strings.Repeat("(", 99) + "MIT" + strings.Repeat(")", 99)}, unknown},
	} {
		t.Run(fmt.Sprint(tt.licenses), func(t *testing.T) {
			if ev := passing(p, listing(sbomSigner, debian("curl", tt.licenses...))); tt.want == fine {
				judged(t, p, ev, attestor.Pass)
			} else {
				judged(t, p, ev, attestor.Deny, tt.want)
			}
		})
	}

	lax := with(t, sbomRequired, "  packages: {licenses: {deny: [GPL-2.0-only], unknown: warn}}")
	judged(t, lax, passing(lax, listing(sbomSigner, debian("curl"))), attestor.Pass)
	if got := statusOf(lax.Judge(passing(lax, listing(sbomSigner, debian("curl"))))); got != attestor.StatusWarn {
		t.Errorf("unknown: warn gives %s", got)
	}

	// What nobody answers for says nothing of licenses either way.
	judged(t, p, passing(p, listing("", debian("curl"))), attestor.Pass)
}

// An exception for one package leaves the others refused.
func TestPackageExceptions(t *testing.T) {
	p := with(t, sbomRequired, "  packages: {deny: [{name: openssl}, {name: curl}]}",
		"  exceptions: [{check: packages, subject: PACKAGE_DENIED, packages: [openssl], owner: o, reason: r, expires: 2099-01-01}]")
	judged(t, p, passing(p, listing(sbomSigner, debian("openssl"))), attestor.Pass)
	judged(t, p, passing(p, listing(sbomSigner, debian("openssl"), debian("curl"))), attestor.Deny, attestor.CodePackageDenied)

	// Whoever excepts a document that cannot be read has not excepted that there is none.
	p = with(t, sbomRequired, "  exceptions: [{check: packages, subject: SBOM_INVALID, owner: o, reason: r, expires: 2099-01-01}]")
	judged(t, p, passing(p, without, on(func(e *attestor.PlatformEvidence) {
		e.Problems = []attestor.Problem{{Check: attestor.CheckPackages, Status: attestor.StatusDeny, Reason: attestor.Reason{Code: attestor.CodeSBOMInvalid}}}
	})), attestor.Deny, attestor.CodeSBOMMissing)
}

// A rule reads the documents that count; one that an image without an SBOM would satisfy does not load.
func TestRulesReadSBOMs(t *testing.T) {
	const rule = `  rules: [{name: r, expression: '%s', message: m}]`
	none := fmt.Sprintf(rule, `sbom.packages.all(p, p.name != "debian/openssl")`)
	p := with(t, sbomRequired, none)
	judged(t, p, passing(p, listing(sbomSigner, debian("curl"))), attestor.Pass)
	judged(t, p, passing(p, listing(sbomSigner, debian("openssl"))), attestor.Deny, attestor.CodeRuleViolated)
	judged(t, p, passing(p, listing("", debian("openssl"))), attestor.Pass)

	claims := with(t, sbomRequired, fmt.Sprintf(rule, `sbom.claims.all(p, p.type != "deb" || p.version != "1.0" || size(p.licenses) > 0)`))
	judged(t, claims, passing(claims, listing("", debian("openssl"))), attestor.Deny, attestor.CodeRuleViolated)

	tested := with(t, sbomOptional, fmt.Sprintf(rule, `size(sbom.formats) > 0 && sbom.packages.all(p, p.name != "debian/openssl")`))
	judged(t, tested, passing(tested), attestor.Pass)
	judged(t, tested, passing(tested, without), attestor.Deny, attestor.CodeRuleViolated)

	for _, lines := range [][]string{{none}, {sbomOptional, none}} {
		if _, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(edited(t, lines...))}); err == nil {
			t.Errorf("%q loads", lines)
		}
	}
}

func TestPackageSettings(t *testing.T) {
	for want, lines := range map[string][]string{
		"spec.sbom.signedBy":                        {"  sbom: {required: true}"},
		"spec.sbom.formats":                         {"  sbom: {required: true, formats: [], signedBy: {key: /k}}"},
		"spec.sbom.formats[0]":                      {"  sbom: {required: true, formats: [syft], signedBy: {key: /k}}"},
		"spec.packages: needs spec.sbom":            {"  packages: {deny: [{name: x}]}"},
		"spec.packages: demands nothing":            {sbomRequired, "  packages: {}"},
		"spec.packages.deny[0].name: \"pkg:deb/x\"": {sbomRequired, "  packages: {deny: [{name: 'pkg:deb/x'}]}"},
		"spec.packages.deny[0].name: \"open*\"":     {sbomRequired, "  packages: {deny: [{name: 'open*'}]}"},
		"spec.packages.deny[0].versions[0]":         {sbomRequired, "  packages: {deny: [{name: x, versions: ['<2']}]}"},
		"spec.packages.deny[0].versions: ":          {sbomRequired, "  packages: {deny: [{name: x, versions: []}]}"},
		"spec.packages.deny[0].type":                {sbomRequired, "  packages: {deny: [{name: x, type: 'pkg:deb'}]}"},
		"spec.packages.allow[0]: type is missing":   {sbomRequired, "  packages: {allow: [{name: x}]}"},
		"spec.packages.licenses.deny[0]":            {sbomRequired, "  packages: {licenses: {deny: [GPL]}}"},
		"spec.packages.licenses.deny[1]":            {sbomRequired, "  packages: {licenses: {deny: [MIT, MIT OR ISC]}}"},
		"an SBOM speaks for an image only":          {"  sbom: {required: false}", "  packages: {licenses: {deny: [MIT]}}"},
	} {
		_, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(edited(t, lines...))})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", lines, err, want)
		}
	}
}

// A policy that does not ask for SBOMs has none looked for, so that its decisions ask no more than before.
func TestSBOMsAreLookedForOnlyWhereAskedFor(t *testing.T) {
	if n := with(t).Needs().SBOM; n != nil {
		t.Errorf("looked for without being asked for: %+v", n)
	}
	n := with(t, sbomOptional).Needs().SBOM
	if n == nil || n.SignedBy.Text() != sbomSigner {
		t.Errorf("asked for: %+v", n)
	}
}
