package policy_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// Every part of a policy that can have a date, with evidence that it refuses, and the reason.
func datedParts() map[string]struct {
	lines  []string
	change func(*attestor.Evidence)
	code   attestor.Code
} {
	user := func(u attestor.User) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) { e.User = u })
	}
	finding := func(change func(*attestor.Vulnerability)) func(*attestor.Evidence) {
		return findings(vulnerability("CVE-2026-1", change))
	}
	scan := func(change func(*attestor.Scan)) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) { change(&e.Scan) })
	}
	base := func(change func(*attestor.Base)) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) { change(&e.Base) })
	}
	prov := func(change func(*attestor.Provenance)) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) { change(&e.Provenance[0]) })
	}
	const signer = "signedBy: {key: /keys/sbom.pub}"
	const sbomLine = "  sbom: {required: true, " + signer + "}"
	packaged := func(licenses ...string) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) {
			e.SBOMs[0].Packages = []attestor.Package{{Type: "deb", Name: "debian/openssl", Version: "3.0.15", Licenses: licenses}}
		})
	}
	inBase := attestor.Digest("sha256:" + strings.Repeat("b", 64))
	elsewhere := func(ev *attestor.Evidence) {
		ref, _ := attestor.ParseReference("registry.example/acme/dev/api@" + string(ev.Image.Digest()))
		ev.Image, _ = ref.Pinned()
	}
	type part = struct {
		lines  []string
		change func(*attestor.Evidence)
		code   attestor.Code
	}
	return map[string]part{
		"spec.scope.trustedDirectories": {[]string{`  scope: {trustedDirectories: {value: ` +
			`["registry.example/acme/prod/**"], ` + from + `}}`}, elsewhere, attestor.CodeOutOfScope},
		"spec.scope.maxUploadAge": {[]string{"  scope: {maxUploadAge: {value: 30d, " + from + "}}"},
			func(ev *attestor.Evidence) { ev.Uploaded = new(ev.Time.AddDate(0, 0, -40)) }, attestor.CodeUploadTooOld},
		"spec.base.required": {[]string{"    required: {value: true, " + from + "}"},
			base(func(b *attestor.Base) { *b = attestor.Base{} }), attestor.CodeBaseNotApproved},
		"spec.base.evidence": {[]string{"    evidence: {value: layers-exact, " + from + "}"},
			base(func(b *attestor.Base) { b.Evidence = attestor.Attested }), attestor.CodeBaseEvidenceTooWeak},
		"spec.base.approved[].maxBehind": {[]string{"      - {name: static, repository: " +
			"registry.example/base/static, tags: [latest], maxBehind: {value: 0d, until: 30d, " + from + "}}"},
			base(func(b *attestor.Base) { b.Current, b.Superseded = false, new(today().AddDate(0, 0, -20)) }), attestor.CodeBaseOutdated},
		"spec.base.approved[]": {[]string{"      - {name: static, repository: registry.example/base/static, " +
			"tags: [latest], signedBy: {key: /keys/base.pub}, " + from + "}"},
			func(ev *attestor.Evidence) {
				b := &ev.Platforms[0].Base
				b.SignedBy = ""
				ev.Platforms[0].Problems = []attestor.Problem{
					{Check: attestor.CheckBase, Status: attestor.StatusDeny, Reason: attestor.Reason{
						Code: attestor.CodeBaseUnsigned, Subject: b.Reference, Message: "unsigned"}}}
			}, attestor.CodeBaseUnsigned},
		"spec.user.nonRoot": {[]string{"  user: {nonRoot: {value: true, " + from + "}}"},
			user(attestor.User{Configured: "0:1", UID: new(int64(0)), GID: new(int64(1)), Source: "config"}),
			attestor.CodeUserRoot},
		"spec.user.names": {[]string{"  user: {nonRoot: true, names: {value: refuse, " + from + "}}"},
			user(attestor.User{Configured: "app:1", UID: new(int64(7)), GID: new(int64(1)), Source: "passwd"}),
			attestor.CodeUserNotNumeric},
		"spec.user.rootGroup": {[]string{"  user: {nonRoot: true, rootGroup: {value: deny, " + from + "}}"},
			user(attestor.User{Configured: "7:0", UID: new(int64(7)), GID: new(int64(0)), Source: "config"}),
			attestor.CodeGroupRoot},
		"spec.user.minimumUID": {[]string{"  user: {nonRoot: true, minimumUID: {value: 1000, " + from + "}}"},
			user(attestor.User{Configured: "7:1", UID: new(int64(7)), GID: new(int64(1)), Source: "config"}),
			attestor.CodeUserTooLow},

		"spec.vulnerabilities.maximumFixableSeverity": {[]string{"    maximumFixableSeverity: {value: LOW, " + from +
			"}"}, finding(func(v *attestor.Vulnerability) { v.Severity = attestor.High }),
			attestor.CodeFixableSeverityExceeded},
		"spec.vulnerabilities.maximumUnfixableSeverity": {[]string{"    maximumUnfixableSeverity: {value: LOW, until: CRITICAL, " + from + "}"},
			finding(func(v *attestor.Vulnerability) { v.Severity, v.Fixable = attestor.Critical, false }), attestor.CodeUnfixableSeverityExceeded},
		"spec.vulnerabilities.unspecifiedSeverity": {[]string{"    unspecifiedSeverity: {value: deny, " + from + "}"},
			finding(func(v *attestor.Vulnerability) { v.Severity = "" }), attestor.CodeUnspecifiedSeverity},
		"spec.vulnerabilities.baseFindings.maximumFixableSeverity": {[]string{
			"    baseFindings: {maximumFixableSeverity: {value: LOW, " + from + "}, maximumUnfixableSeverity: LOW}"},
			finding(func(v *attestor.Vulnerability) {
				v.Severity, v.DiffIDs = attestor.High, []attestor.Digest{inBase}
			}), attestor.CodeFixableSeverityExceeded},
		"spec.vulnerabilities.baseFindings.maximumUnfixableSeverity": {[]string{"    baseFindings: " +
			"{maximumFixableSeverity: LOW, maximumUnfixableSeverity: {value: LOW, " + from + "}}"},
			finding(func(v *attestor.Vulnerability) {
				v.Severity, v.Fixable, v.DiffIDs = attestor.High, false, []attestor.Digest{inBase}
			}), attestor.CodeUnfixableSeverityExceeded},
		"spec.vulnerabilities.blockedCves": {[]string{"    blockedCves: {value: [CVE-2026-1], " + from + "}"},
			finding(func(*attestor.Vulnerability) {}), attestor.CodeCVEBlocked},
		"spec.vulnerabilities.knownExploited": {[]string{"    knownExploited: {value: deny, " + from + "}"},
			finding(func(v *attestor.Vulnerability) { v.KnownExploited = new(true) }), attestor.CodeKnownExploited},
		"spec.vulnerabilities.maximumEPSS": {[]string{"    maximumEPSS: {value: 0.5, " + from + "}"},
			finding(func(v *attestor.Vulnerability) { v.EPSS = new(0.9) }), attestor.CodeEPSSExceeded},
		"spec.vulnerabilities.scan.required": {[]string{"    scan: {required: {value: true, " + from + "}}"},
			scan(func(s *attestor.Scan) { *s = attestor.Scan{State: attestor.ScanFailed} }), attestor.CodeScanFailed},
		"spec.vulnerabilities.scan.continuous": {[]string{"    scan: {continuous: {value: required, " + from + "}}"},
			scan(func(s *attestor.Scan) { s.Continuous = "INACTIVE" }), attestor.CodeScanInactive},
		"spec.vulnerabilities.scan.maxAge": {[]string{"    scan: {maxAge: {value: 7d, until: 30d, " + from + "}}"},
			scan(func(s *attestor.Scan) { s.Finished = new(today().AddDate(0, 0, -8)) }), attestor.CodeScanTooOld},
		"spec.vulnerabilities.scan.onUnsupported": {[]string{
			"    scan: {onUnsupported: {value: deny, until: warn, " + from + "}}"}, scan(func(s *attestor.Scan) {
			*s = attestor.Scan{State: attestor.ScanUnsupported}
		}), attestor.CodeScanUnsupported},
		"spec.vulnerabilities.scan.packageTypes": {
			[]string{"    scan: {packageTypes: {value: [OS, GO], until: [OS], " + from + "}}"},
			scan(func(s *attestor.Scan) { s.Analyses = []string{"OS"} }), attestor.CodeScanPackageTypeMissing},

		"spec.secrets.found": {[]string{"  secrets: {found: {value: deny, " + from + "}}"},
			scan(func(s *attestor.Scan) {
				s.Secrets = []attestor.Secret{{Kind: "GCP_API_KEY", Path: "/a", Status: attestor.SecretValid}}
			}), attestor.CodeSecretFound},
		"spec.vulnerabilities.endOfLife": {[]string{"    endOfLife: {value: deny, " + from + "}"},
			on(func(e *attestor.PlatformEvidence) { e.System = system(attestor.SystemFromImage, "2024-06-30") }), attestor.CodeEndOfLife},
		"spec.unknownFindings": {[]string{"  unknownFindings: {value: deny, " + from + "}"},
			finding(func(v *attestor.Vulnerability) { v.Severity = "WORST" }), attestor.CodeUnknownFinding},

		"spec.sbom.required": {[]string{"  sbom: {required: {value: true, " + from + "}, " + signer + "}"},
			on(func(e *attestor.PlatformEvidence) { e.SBOMs = nil }), attestor.CodeSBOMMissing},
		"spec.packages.deny": {
			[]string{sbomLine, "  packages: {deny: {value: [{name: openssl}], " + from + "}}"}, packaged("MIT"),
			attestor.CodePackageDenied},
		"spec.packages.allow": {
			[]string{sbomLine, "  packages: {allow: {value: [{name: curl, type: deb}], " + from + "}}"},
			packaged("MIT"), attestor.CodePackageNotAllowed},
		"spec.packages.licenses.deny": {[]string{sbomLine, "  packages: {licenses: {deny: {value: [MIT], " + from +
			"}}}"}, packaged("MIT"), attestor.CodeLicenseDenied},
		"spec.packages.licenses.unknown": {
			[]string{sbomLine, "  packages: {licenses: {deny: [ISC], unknown: {value: deny, " + from + "}}}"},
			packaged(), attestor.CodeLicenseUnknown},

		"spec.provenance": {[]string{"  provenance: {slsaLevel: 3, " + from + "}"},
			on(func(e *attestor.PlatformEvidence) { e.Provenance = nil }), attestor.CodeProvenanceMissing},
		"spec.provenance.slsaLevel": {[]string{"  provenance: {slsaLevel: {value: 3, until: 1, " + from + "}}"},
			prov(func(p *attestor.Provenance) { p.SLSALevel = 2 }), attestor.CodeProvenanceLevel},
		"spec.provenance.builders": {
			[]string{`  provenance: {builders: {value: ["https://builder.example/1"], ` + from + `}}`}, prov(
				func(p *attestor.Provenance) { p.Builder = "https://else.example" }), attestor.CodeProvenanceBuilder},
		"spec.provenance.sources": {
			[]string{`  provenance: {sources: {value: ["https://git.example/acme/*"], ` + from + `}}`},
			prov(func(p *attestor.Provenance) { p.SourceURI = "https://git.example/else/a" }),
			attestor.CodeProvenanceSource},
		"spec.rules[]": {[]string{`  rules: [{name: fresh, expression: '!("old" in image.labels)', ` +
			`message: old, ` + from + `}]`}, on(func(e *attestor.PlatformEvidence) {
			e.Config.Labels = map[string]string{"old": "1"}
		}), attestor.CodeRuleViolated},
		"spec": {[]string{"  " + from}, user(attestor.User{Configured: "0:1", UID: new(int64(0)),
			GID: new(int64(1)), Source: "config"}), attestor.CodeUserRoot},
	}
}

// Each part warns until its date, with the date and the owner, and refuses from its first instant on.
func TestEveryPartHasADate(t *testing.T) {
	parts := datedParts()
	for name, tt := range parts {
		t.Run(name, func(t *testing.T) {
			p := with(t, tt.lines...)
			bad := passing(p, tt.change)

			for when, moment := range map[string]time.Time{
				"long before": today(), "the last instant before": march().Add(-1),
				"the same instant elsewhere": march().Add(-1).In(time.FixedZone("", 9*3600)),
			} {
				v := p.Judge(at(bad, moment))
				if v.Outcome() != attestor.Pass {
					t.Errorf("%s: %s: %+v", when, v.Outcome(), v.Checks())
				}
				if diff := cmp.Diff([]attestor.Code{tt.code}, dated(t, v)); diff != "" {
					t.Errorf("%s (-want +got):\n%s", when, diff)
				}
			}

			for when, moment := range map[string]time.Time{"exactly then": march(), "long after": march().AddDate(1, 0, 0)} {
				v := p.Judge(at(bad, moment))
				if diff := cmp.Diff([]attestor.Code{tt.code}, refusals(v)); diff != "" || v.Outcome() != attestor.Deny || len(dated(t, v)) > 0 {
					t.Errorf("%s: %s (-want +got):\n%s", when, v.Outcome(), diff)
				}
			}

			if good := p.Judge(at(passing(p), today())); good.Outcome() != attestor.Pass || len(dated(t, good)) > 0 {
				t.Errorf("a good image: %s, %v", good.Outcome(), dated(t, good))
			}
		})
	}

	for _, name := range partsOf(reflect.TypeFor[policy.Document](), "") {
		if _, tried := parts[name]; !tried {
			t.Errorf("%s can have a date and is not tried", name)
		}
	}
}

// partsOf lists the fields that may be written with a date, and the mappings that have one.
func partsOf(typ reflect.Type, path string) []string {
	var out []string
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		name = strings.TrimPrefix(path+"."+name, ".")
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			if inner.Kind() == reflect.Slice {
				name += "[]"
			}
			inner = inner.Elem()
		}
		switch _, limit := f.Tag.Lookup("limit"); {
		case limit:
			out = append(out, strings.TrimSuffix(name, "[]"))
		case inner == reflect.TypeFor[policy.Effective]():
			out = append(out, path)
		case inner.Kind() == reflect.Struct && inner.PkgPath() == typ.PkgPath():
			out = append(out, partsOf(inner, name)...)
		}
	}
	return out
}
