package policy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// TestPackageSettingsAndTheirTwins: a list that is empty, a name that no package can have and a signer that is nobody
// do not load, each as one fault of its own path; what is right beside them does.
func TestPackageSettingsAndTheirTwins(t *testing.T) {
	const empty = "the list is empty; name something, or leave the field out"
	const unsigned = "is missing: an SBOM speaks for an image only if its signer is named"
	const anybody = "  sbom: {required: false}"
	for _, tt := range []struct {
		lines []string
		path  string
		want  []string // what is wrong at that path
	}{
		{[]string{"  sbom: {required: false, signedBy: {key: s3://b}}"}, "spec.sbom.signedBy.key",
			[]string{`"s3://b" is neither a path nor gcpkms://…`}},
		{[]string{"  sbom: {required: false, signedBy: {key: gcpkms://b}}"}, "spec.sbom.signedBy.key", nil},
		{[]string{anybody, "  packages: {deny: [{name: x}]}"}, "spec.sbom.signedBy", nil},
		{[]string{anybody, "  packages: {allow: [{name: x, type: deb}]}"}, "spec.sbom.signedBy", []string{unsigned}},
		{[]string{anybody, "  packages: {licenses: {deny: [MIT]}}"}, "spec.sbom.signedBy", []string{unsigned}},

		{[]string{sbomRequired, "  packages: {deny: []}"}, "spec.packages.deny", []string{empty}},
		{[]string{sbomRequired, "  packages: {deny: []}"}, "spec.packages", nil}, // one fault is told once
		{[]string{sbomRequired, "  packages: {allow: []}"}, "spec.packages.allow", []string{empty}},
		{[]string{sbomRequired, "  packages: {allow: []}"}, "spec.packages", nil},
		{[]string{sbomRequired, "  packages: {licenses: {deny: []}}"}, "spec.packages.licenses.deny", []string{empty}},
		{[]string{sbomRequired, "  packages: {licenses: {deny: ['']}}"}, "spec.packages.licenses.deny[0]",
			[]string{"is empty"}},
		{[]string{sbomRequired, "  packages: {licenses: {deny: [MIT AND ISC]}}"}, "spec.packages.licenses.deny[0]",
			[]string{`"MIT AND ISC" is more than one license: give each by itself`}},
		{[]string{sbomRequired, "  packages: {licenses: {deny: [(MIT)]}}"}, "spec.packages.licenses.deny[0]",
			[]string{`"(MIT)" is more than one license: give each by itself`}},
		{[]string{sbomRequired, "  packages: {licenses: {deny: [MIT OR ISC]}}"}, "spec.packages.licenses.deny[0]",
			[]string{`"MIT OR ISC" is more than one license: give each by itself`}},
		{[]string{sbomRequired, "  packages: {licenses: {deny: [MIT-1]}}"}, "spec.packages.licenses.deny[0]",
			[]string{`"MIT-1" is not an SPDX license: "MIT-1" is not on the SPDX license list`}},

		{[]string{sbomRequired, "  packages: {deny: [{name: x, reason: ''}]}"}, "spec.packages.deny[0].reason",
			[]string{"is empty"}},
		{[]string{sbomRequired, "  packages: {deny: [{name: x, reason: r}]}"}, "spec.packages.deny[0].reason", nil},
		{[]string{sbomRequired, "  packages: {deny: [{name: ''}]}"}, "spec.packages.deny[0].name",
			[]string{"is empty"}},
		{[]string{sbomRequired, "  packages: {deny: [{name: x, type: ''}]}"}, "spec.packages.deny[0].type",
			[]string{"is empty"}},
		{[]string{sbomRequired, "  packages: {deny: [{name: x, versions: ['']}]}"}, "spec.packages.deny[0].versions[0]",
			[]string{"is empty"}},
		{[]string{sbomRequired, "  packages: {deny: [{name: /x}]}"}, "spec.packages.deny[0].name",
			[]string{`"/x" begins or ends with a slash`}},
		{[]string{sbomRequired, "  packages: {deny: [{name: x/}]}"}, "spec.packages.deny[0].name",
			[]string{`"x/" begins or ends with a slash`}},
		{[]string{sbomRequired, "  packages: {deny: [{name: a/x}]}"}, "spec.packages.deny[0].name", nil},
		{[]string{sbomRequired, "  packages: {allow: [{name: x, type: deb}, {name: 'y*', type: deb}]}"},
			"spec.packages.allow[1].name", []string{`"y*" has a wildcard; names are exact`}},

		{[]string{strings.Replace(staged, `["https://stage.example/v"]`, "[]", 1)}, "spec.provenance.vsa.verifiers",
			[]string{empty}},
		{[]string{strings.Replace(staged, "maxAge", "policies: [], maxAge", 1)}, "spec.provenance.vsa.policies",
			[]string{empty}},
		{[]string{strings.Replace(staged, "maxAge", "resources: [], maxAge", 1)}, "spec.provenance.vsa.resources",
			[]string{empty}},
		{[]string{strings.Replace(staged, "maxAge", "policies: [p, ''], maxAge", 1)}, "spec.provenance.vsa.policies[1]",
			[]string{"is empty"}},
		{[]string{strings.Replace(staged, "SCANNED", "''", 1)}, "spec.provenance.vsa.levels[0]", []string{"is empty"}},
		{[]string{strings.Replace(staged, "https://stage.example/v", "", 1)}, "spec.provenance.vsa.verifiers[0]",
			[]string{"is empty"}},
		{[]string{strings.Replace(staged, "stage.pub", "s3://b", 1)}, "spec.provenance.vsa.signedBy.key",
			[]string{`"s3://b" is neither a path nor gcpkms://…`}},
		{[]string{strings.Replace(staged, "slsaLevel: 2", "builders: [b]", 1)}, "spec.provenance.vsa",
			[]string{"needs policies beside builders or sources: name the verifier's policies that demand the same"}},

		{[]string{"    vex: {accept: [fixed], sources: [{name: a, signedBy: {key: k}, file: ''}]}"},
			"spec.vulnerabilities.vex.sources[0].file", []string{"is empty"}},
		{[]string{"    vex: {accept: [fixed], projects: [acme-one], order: []}"}, "spec.vulnerabilities.vex.order",
			[]string{empty}},
		{[]string{"    vex: {accept: [fixed], projects: [acme-one], order: [acme-one, acme-one]}"},
			"spec.vulnerabilities.vex.order[1]", []string{`duplicate "acme-one"`}},
		{[]string{"    vex: {accept: [fixed], projects: [acme-one], order: [acme-one]}"},
			"spec.vulnerabilities.vex.order[0]", nil},
		{[]string{"  sbom: {required: true, signedBy: {key: ' '}}"}, "spec.sbom.signedBy.key", []string{"is empty"}},
		{[]string{"  sbom: {required: true, signedBy: {key: ''}}"}, "spec.sbom.signedBy.key", []string{"is empty"}},
		{[]string{"  sbom: {required: true, signedBy: {key: ''}}"}, "spec.sbom.signedBy", nil}, // one fault is told once
		{[]string{"  sbom: {required: true, signedBy: {keyless: {issuer: i, subjectRegexp: ''}}}"},
			"spec.sbom.signedBy.keyless.subjectRegexp", []string{"is empty"}},
		{[]string{"  sbom: {required: true, signedBy: {key: k, trustedRoot: ''}}"}, "spec.sbom.signedBy.trustedRoot",
			[]string{"is empty"}},
		{[]string{"  sbom: {required: true, signedBy: {keyless: {issuer: '', subject: s}}}"},
			"spec.sbom.signedBy.keyless.issuer", []string{"is empty"}},
		{[]string{"  sbom: {required: true, signedBy: {keyless: {issuer: i, subject: ''}}}"},
			"spec.sbom.signedBy.keyless.subject", []string{"is empty"}},
	} {
		_, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(edited(t, tt.lines...))})
		if got := faultsOf(t, err, tt.path); !slices.Equal(got, tt.want) {
			t.Errorf("%q, %s: %q, want %q", tt.lines, tt.path, got, tt.want)
		}
		if tt.want == nil && err != nil && !strings.Contains(err.Error(), "empty") {
			t.Errorf("%q does not load: %v", tt.lines, err)
		}
	}
}

// faultsOf lists what is wrong at a path.
func faultsOf(t *testing.T, err error, path string) (out []string) {
	t.Helper()
	if err == nil {
		return nil
	}
	list, ok := errors.AsType[policy.Errors](err)
	if !ok {
		t.Fatalf("%v is no list of faults", err)
	}
	for _, d := range list {
		if d.Path == path {
			out = append(out, d.Message)
		}
	}
	return out
}

// TestPackageDemands: what a policy asks of SBOMs, packages and licenses is said, by whom, and nothing where nothing is
// asked.
func TestPackageDemands(t *testing.T) {
	keyless := func(who string) string {
		return "  sbom: {required: true, signedBy: {keyless: {issuer: i, " + who + "}}}"
	}
	for _, tt := range []struct {
		lines []string
		want  []string
	}{
		{nil, nil},
		{[]string{sbomRequired}, []string{"sbom: one in SPDX or CycloneDX, signed by the key /keys/sbom.pub"}},
		{[]string{"  sbom: {required: true, formats: [spdx], signedBy: {key: k}}"},
			[]string{"sbom: one in spdx, signed by the key k"}},
		{[]string{"  sbom: {required: true, formats: [spdx, cyclonedx], signedBy: {key: k}}"},
			[]string{"sbom: one in spdx or cyclonedx, signed by the key k"}},
		{[]string{keyless("subject: me@acme.example")},
			[]string{"sbom: one in SPDX or CycloneDX, signed by me@acme.example"}},
		{[]string{keyless("subjectRegexp: .*@acme")}, []string{"sbom: one in SPDX or CycloneDX, signed by .*@acme"}},
		{[]string{sbomOptional}, []string{
			"sbom: not required; judged if signed by the key /keys/sbom.pub, in SPDX or CycloneDX"}},
		{[]string{"  sbom: {required: false}"}, []string{"sbom: not required, and believed only against an image"}},
		{[]string{sbomRequired, "  packages: {deny: [{name: a}, {name: b}]}"}, []string{
			"sbom: one in SPDX or CycloneDX, signed by the key /keys/sbom.pub", "packages: none of a, b"}},
		{[]string{sbomRequired, "  packages: {deny: [{name: a}]}"}, []string{
			"sbom: one in SPDX or CycloneDX, signed by the key /keys/sbom.pub", "packages: none of a"}},
		{[]string{sbomRequired, "  packages: {allow: [{name: a, type: deb}]}"}, []string{
			"sbom: one in SPDX or CycloneDX, signed by the key /keys/sbom.pub", "packages: only the 1 that are listed"}},
		{[]string{sbomRequired, "  packages: {licenses: {deny: [MIT, ISC], unknown: warn}}"}, []string{
			"sbom: one in SPDX or CycloneDX, signed by the key /keys/sbom.pub",
			"licenses: none of MIT, ISC; unknown ones: warn"}},
	} {
		got := slices.DeleteFunc(with(t, tt.lines...).Demands(), func(s string) bool {
			about, _, _ := strings.Cut(s, ":")
			return about != "sbom" && about != "packages" && about != "licenses"
		})
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.lines, got, tt.want)
		}
	}
}

// TestPackageCodes: a policy can refuse for exactly what it asks about.
func TestPackageCodes(t *testing.T) {
	unread := []attestor.Code{"SBOM_INVALID", "SBOM_OTHER_DIGEST", "SBOM_FORMAT", "SBOM_TOO_LARGE", "SBOM_TOO_MANY",
		"SBOM_UNAVAILABLE"}
	missing := []attestor.Code{"SBOM_MISSING", "SBOM_UNSIGNED"}
	for _, tt := range []struct {
		lines []string
		want  []attestor.Code
	}{
		{nil, nil},
		{[]string{sbomOptional}, unread},
		{[]string{sbomRequired}, slices.Concat(unread, missing)},
		{[]string{sbomOptional, "  packages: {deny: [{name: x}]}"}, append(slices.Clone(unread), "PACKAGE_DENIED")},
		{[]string{sbomOptional, "  packages: {allow: [{name: x, type: deb}]}"},
			append(slices.Clone(unread), "PACKAGE_NOT_ALLOWED")},
		{[]string{sbomOptional, "  packages: {licenses: {deny: [MIT]}}"},
			append(slices.Clone(unread), "LICENSE_DENIED", "LICENSE_UNKNOWN")},
		{[]string{sbomOptional, "  packages: {licenses: {deny: [MIT], unknown: ignore}}"},
			append(slices.Clone(unread), "LICENSE_DENIED")},
	} {
		got := slices.DeleteFunc(reachable(t, edited(t, tt.lines...)), func(c attestor.Code) bool {
			s := string(c)
			return !strings.HasPrefix(s, "SBOM") && !strings.HasPrefix(s, "PACKAGE") && !strings.HasPrefix(s, "LICENSE")
		})
		want := slices.Sorted(slices.Values(tt.want))
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", tt.lines, got, want)
		}
	}

	// With an exception, its end refuses too.
	excepted := reachable(t, edited(t,
		"  exceptions: [{check: user, subject: USER_ROOT, owner: o, reason: r, expires: 2099-01-01}]"))
	if !slices.Contains(excepted, attestor.CodeExceptionExpired) {
		t.Error("EXCEPTION_EXPIRED is not named, and an exception ends")
	}
}

// TestLintOfPackages: settings by which a check never judges, or lets pass what it does not know, are odd, and their
// opposites are not.
func TestLintOfPackages(t *testing.T) {
	const deny = "  packages: {deny: [{name: x}]}"
	for _, tt := range []struct {
		lines []string
		want  []string // the paths of what is odd about SBOMs and packages
	}{
		{nil, nil},
		{[]string{sbomRequired, deny}, nil},
		{[]string{sbomOptional}, nil},
		{[]string{sbomOptional, deny}, []string{"spec.sbom.required"}},
		{[]string{"  sbom: {required: false}", deny}, []string{"spec.sbom"}},
		{[]string{`  sbom: {required: true, signedBy: {keyless: {issuer: i, subjectRegexp: ".*"}}}`},
			[]string{"spec.sbom.signedBy.keyless.subjectRegexp"}},
		{[]string{`  sbom: {required: true, signedBy: {keyless: {issuer: i, subjectRegexp: "a@b"}}}`}, nil},
		{[]string{`  sbom: {required: true, signedBy: {keyless: {issuer: i, subjectRegexp: ".*@example.org"}}}`}, nil},
		{[]string{`  sbom: {required: true, signedBy: {keyless: {issuer: i, subjectRegexp: "https://.*"}}}`}, nil},
		{[]string{sbomRequired, "  packages: {licenses: {deny: [MIT], unknown: ignore}}"},
			[]string{"spec.packages.licenses.unknown"}},
		{[]string{sbomRequired, "  packages: {licenses: {deny: [MIT], unknown: warn}}"}, nil},
	} {
		var got []string
		for _, d := range setOf(t, edited(t, tt.lines...)).Lint(today()) {
			if strings.HasPrefix(d.Path, "spec.sbom") || strings.HasPrefix(d.Path, "spec.packages") {
				got = append(got, d.Path)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.lines, got, tt.want)
		}
	}
}

// TestWhyPackagesAreNotJudged: a check that was skipped says what was missing.
func TestWhyPackagesAreNotJudged(t *testing.T) {
	for _, tt := range []struct {
		sbom   string
		change func(*attestor.Evidence)
		want   string
	}{
		{"", without, "does not ask for an SBOM"},
		{sbomOptional, without, "no SBOM is attached"},
		{"  sbom: {required: false}", func(ev *attestor.Evidence) { without(ev); listing(sbomSigner)(ev) }, "names nobody"},
		{sbomOptional, func(ev *attestor.Evidence) { without(ev); listing("")(ev) },
			"no SBOM is signed by the key /keys/sbom.pub in an accepted format"},
	} {
		var lines []string
		if tt.sbom != "" {
			lines = append(lines, tt.sbom)
		}
		p := with(t, lines...)
		c := check(t, p.Judge(passing(p, tt.change)), attestor.CheckPackages)
		if c.Status != attestor.StatusSkipped || len(c.Reasons) != 1 || !strings.Contains(c.Reasons[0].Message, tt.want) {
			t.Errorf("%q: %s %+v, want it skipped: %s", tt.sbom, c.Status, c.Reasons, tt.want)
		}
	}
}

// TestAnSBOMAloneSpeaksForAnImage: a policy must require something. An SBOM that is required is enough, one that is not
// is nothing, and an exception from what nobody asks has no effect.
func TestAnSBOMAloneSpeaksForAnImage(t *testing.T) {
	alone := func(lines string) string {
		return "apiVersion: attestor/v1\nkind: GatePolicy\nmetadata: {name: p}\nspec:\n  mode: enforce\n" +
			"  images: [\"registry.example/acme/**\"]\n  base: {required: false}\n  user: {nonRoot: false}\n" +
			"  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH, scan: {required: false}}\n" +
			"  attestors: [projects/p/attestors/a]\n" + lines + "\n"
	}
	for lines, loads := range map[string]bool{
		sbomRequired: true, sbomOptional: false, "": false,
		sbomOptional + "\n  packages: {deny: [{name: x}]}": false,
	} {
		if _, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(alone(lines))}); (err == nil) != loads {
			t.Errorf("%q loads: %v, want it to load: %t", lines, err, loads)
		}
	}

	const waiver = "  exceptions: [{check: packages, subject: X, owner: o, reason: r, expires: 2099-01-01}]"
	for _, tt := range []struct {
		lines []string
		odd   bool
	}{{[]string{waiver}, true}, {[]string{waiver, sbomOptional}, false}, {[]string{waiver, sbomRequired}, false}} {
		odd := false
		for _, d := range setOf(t, edited(t, tt.lines...)).Lint(today()) {
			odd = odd || strings.Contains(d.Message, "does not ask for packages")
		}
		if odd != tt.odd {
			t.Errorf("%q: an exception for what is not asked: %t, want %t", tt.lines, odd, tt.odd)
		}
	}
}
