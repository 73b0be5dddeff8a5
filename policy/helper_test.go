package policy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

var update = flag.Bool("update", false, "write golden files")

// today is when tests judge: noon, as test files do.
func today() time.Time { return time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC) }

// strict asks for everything; tests replace lines of it.
const strict = `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: strict}
spec:
  mode: enforce
  images: ["registry.example/acme/**"]
  platforms: all
  scope: {trustedDirectories: ["registry.example/acme/prod/**"], maxUploadAge: 30d}
  base:
    required: true
    evidence: diffids-verified
    approved:
      - {name: static, repository: registry.example/base/static, tags: [latest], maxBehind: 14d, signedBy: {key: /keys/base.pub}}
      - {name: java, repository: registry.example/base/java, digests: ["sha256:7777777777777777777777777777777777777777777777777777777777777777"]}
  user: {nonRoot: true, names: refuse, rootGroup: warn, minimumUID: 1}
  vulnerabilities:
    maximumFixableSeverity: MEDIUM
    maximumUnfixableSeverity: HIGH
    unspecifiedSeverity: deny
    allowedCves: []
    blockedCves: [CVE-2021-44228]
    knownExploited: deny
    maximumEPSS: 0.5
    gracePeriod: {HIGH: 7d}
    vex: {accept: [not_affected, fixed], projects: [acme-security]}
    scan: {required: true, continuous: required, maxAge: 30d, onUnsupported: deny, packageTypes: all}
  provenance: {slsaLevel: 3, builders: ["https://builder.example/1"], sources: ["https://git.example/acme/*"]}
  exceptions: []
  rules: []
  attestors: [projects/acme-security/attestors/gate]
  attest: {children: true, dsse: false}
`

const prodImage = "registry.example/acme/prod/api"

// with replaces lines of the strict policy, each by what it begins with.
func with(t testing.TB, lines ...string) *policy.Policy {
	t.Helper()
	return one(t, edited(t, lines...))
}

func edited(t testing.TB, lines ...string) string {
	t.Helper()
	text := strings.Split(strict, "\n")

	for _, l := range lines {
		field, _, _ := strings.Cut(l, ":")
		i := slices.IndexFunc(text, func(s string) bool { return strings.HasPrefix(s, field+":") })
		if i < 0 {
			after := "  mode:" // a field that the strict policy does not have
			if strings.HasPrefix(l, "    ") {
				after = "  vulnerabilities:"
			}

			i = slices.IndexFunc(text, func(s string) bool { return strings.HasPrefix(s, after) })
			text = slices.Insert(text, i+1, l)
			continue
		}

		text[i] = l
	}
	return strings.Join(text, "\n")
}

func one(t testing.TB, text string) *policy.Policy {
	t.Helper()
	set, err := policy.Parse(policy.Source{Name: "policy.yaml", Text: []byte(text)})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}

	return set.All()[0]
}

// passing is evidence that the policy passes, changed.
func passing(p *policy.Policy, change ...func(*attestor.Evidence)) attestor.Evidence {
	ev := p.Exemplary(prodImage, today())
	for _, c := range change {
		c(&ev)
	}
	return ev
}

// on changes the first platform.
func on(change func(*attestor.PlatformEvidence)) func(*attestor.Evidence) {
	return func(ev *attestor.Evidence) { change(&ev.Platforms[0]) }
}

func findings(list ...attestor.Vulnerability) func(*attestor.Evidence) {
	return on(func(e *attestor.PlatformEvidence) { e.Scan.Findings = append(e.Scan.Findings, list...) })
}

// vulnerability is an unremarkable one, LOW and with a fix.
func vulnerability(id string, change ...func(*attestor.Vulnerability)) attestor.Vulnerability {
	v := attestor.Vulnerability{
		ID: id, Note: "projects/goog-vulnz/notes/" + id, Severity: attestor.Low, Package: "openssl", PackageType: "OS", Version: "3.0.11",
		FixedVersion: "3.0.15", Fixable: true, KnownExploited: new(false), EPSS: new(0.01),
	}
	for _, c := range change {
		c(&v)
	}
	return v
}

// refusals are the codes of the reasons that refuse, sorted.
func refusals(v attestor.Verdict) []attestor.Code {
	out := []attestor.Code{}
	for _, r := range (attestor.Decision{Checks: v.Checks()}).Refusals() {
		out = append(out, r.Code)
	}

	slices.Sort(out)
	return slices.Compact(out)
}

// said are all codes that the verdict's checks carry.
func said(v attestor.Verdict) []attestor.Code {
	var out []attestor.Code
	for _, c := range v.Checks() {
		for _, r := range c.Reasons {
			out = append(out, r.Code)
		}
	}
	return out
}

// check returns a check by name and platform.
func check(t testing.TB, v attestor.Verdict, name string) attestor.Check {
	t.Helper()
	for _, c := range v.Checks() {
		if c.Name == name {
			return c
		}
	}

	t.Fatalf("no check %s in %+v", name, v.Checks())
	return attestor.Check{}
}

func sha256Hex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}

	return string(text)
}
