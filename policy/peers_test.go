package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// The ways in which other gates let images through by mistake, each shown to
// be closed here as far as it is a policy's to close. What lies in reading
// images and scans is tested where that is done.

// Voucher: a group without checks answers success.
func TestPeerEmptyCheckSet(t *testing.T) {
	_, err := policy.Parse(policy.Source{Name: "p.yaml",
		Text: []byte(`{apiVersion: attestor/v1, kind: GatePolicy, metadata: {name: empty}, spec: {mode: enforce,
  images: ["registry.example/**"], base: {required: false}, user: {nonRoot: false},
  vulnerabilities: {maximumFixableSeverity: ALLOW_ALL, maximumUnfixableSeverity: ALLOW_ALL, scan: {required: false}}, attestors: [projects/p/attestors/a]}}`)})
	if err == nil || !strings.Contains(err.Error(), "demands nothing") {
		t.Errorf("a policy that demands nothing loads: %v", err)
	}
	for name, text := range map[string]string{"nothing": "", "a comment": "# nothing",
		"null": "null", "an empty mapping": "{}",
		"an empty spec": "{apiVersion: attestor/v1, kind: GatePolicy, metadata: {name: a}, spec: {}}"} {
		if _, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(text)}); err == nil {
			t.Errorf("%s loads", name)
		}
	}
	if _, err := policy.Parse(); err == nil {
		t.Error("no policy at all loads")
	}
}

// Kritis: a misspelt field, an unrelated file or a missing threshold is a
// policy that allows everything.
func TestPeerMisspeltPolicyAllowsEverything(t *testing.T) {
	for name, text := range map[string]string{
		"misspelt threshold": strings.Replace(strict, "maximumFixableSeverity", "maximumFixableSeverty", 1),
		"its documentation": "apiVersion: kritis.grafeas.io/v1beta1\nkind: VulnzSigningPolicy\n" +
			"metadata: {name: p}\nspec: {packageVulnerabilityPolicy: {maximumFixableSeverity: LOW}}\n",
		"another kind":       strings.Replace(strict, "kind: GatePolicy", "kind: ConfigMap", 1),
		"no threshold":       strings.Replace(strict, "    maximumUnfixableSeverity: HIGH\n", "", 1),
		"lower case":         strings.Replace(strict, "maximumFixableSeverity: MEDIUM", "maximumFixableSeverity: medium", 1),
		"keys in other case": strings.Replace(strict, "  user:", "  User:", 1),
	} {
		if _, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(text)}); err == nil {
			t.Errorf("%s loads", name)
		}
	}
}

// Kritis: SEVERITY_UNSPECIFIED is less than any threshold.
func TestPeerUnspecifiedSeverityAtLow(t *testing.T) {
	p := with(t, "    maximumFixableSeverity: LOW", "    maximumUnfixableSeverity: LOW")
	for _, severity := range []attestor.Severity{"", attestor.Unspecified, "SEVERITY_UNSPECIFIED", "low"} {
		v := p.Judge(passing(p, findings(vulnerability("CVE-2025-6020", func(v *attestor.Vulnerability) { v.Severity = severity }))))
		if v.Outcome() != attestor.Deny {
			t.Errorf("severity %q: %s", severity, v.Outcome())
		}
	}
}

// Kritis: one unfixable package moves the whole CVE to the looser limit.
func TestPeerOneFixableOneUnfixablePackage(t *testing.T) {
	p := with(t)
	v := p.Judge(passing(p, findings(
		vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity = attestor.High }),
		vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity, v.Package, v.Fixable = attestor.High, "libssl", false }),
	)))
	if got := refusals(v); len(got) != 1 || got[0] != attestor.CodeFixableSeverityExceeded {
		t.Errorf("%s %v", v.Outcome(), got)
	}
}

// Voucher, OSS Grafeas: an image that was never scanned has no findings, and
// passes. Here the absence of findings speaks for nothing.
func TestPeerUnscannedImage(t *testing.T) {
	p := with(t)
	for _, s := range []attestor.Scan{{}, {State: attestor.ScanNotFound}, {State: attestor.ScanUnsupported},
		{State: attestor.ScanFailed}, {State: "FINISHED_SUCCESS"},
		{State: attestor.ScanPending, Continuous: "ACTIVE"}} {
		if v := p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) { e.Scan = s }))); v.Outcome() == attestor.Pass {
			t.Errorf("a scan of state %q passes", s.State)
		}
	}
}

// Voucher, Conforma: repositories are compared as prefixes of texts.
func TestPeerRepositoryPrefix(t *testing.T) {
	set, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(strings.Replace(strict, "registry.example/acme/**", "registry.example/team/**", 1))})
	if err != nil {
		t.Fatal(err)
	}
	for _, repository := range []string{"registry.example/team-evil/x", "registry.example/teamx",
		"registry.example.evil/team/x", "evil/registry.example/team/x", ""} {
		if _, ok := set.Govern(repository); ok {
			t.Errorf("%q is governed", repository)
		}
	}
	if _, ok := set.Govern("registry.example/team/x"); !ok {
		t.Error("the team's own image is not governed")
	}
}

// Voucher: HasSuffix(digest, "") lets an empty checksum match any image.
func TestPeerEmptyChecksum(t *testing.T) {
	p := with(t)
	for name, change := range map[string]func(*attestor.PlatformEvidence){
		"child": func(e *attestor.PlatformEvidence) { e.Digest = "" },
		"base": func(e *attestor.PlatformEvidence) {
			e.Base.Digest, e.Base.Reference = "", "registry.example/base/static@"
		},
		"base 2": func(e *attestor.PlatformEvidence) { e.Base.Reference = "registry.example/base/static" },
	} {
		if v := p.Judge(passing(p, on(change))); v.Outcome() == attestor.Pass {
			t.Errorf("%s: an empty digest passes", name)
		}
	}
}

// Voucher: only linux/amd64 is looked at, and the index is attested.
// policy-controller: of two children for one platform the last one counts.
func TestPeerIndexWithABadChild(t *testing.T) {
	p := with(t)
	bad := attestor.User{Configured: "0", UID: new(int64), Source: attestor.UserFromConfig}
	for name, change := range map[string]func(first, second *attestor.PlatformEvidence){
		"the other platform is root":  func(_, second *attestor.PlatformEvidence) { second.User = bad },
		"the first of two is root":    func(first, second *attestor.PlatformEvidence) { first.User, second.Platform = bad, first.Platform },
		"the second of two is root":   func(first, second *attestor.PlatformEvidence) { second.User, second.Platform = bad, first.Platform },
		"the other was never scanned": func(_, second *attestor.PlatformEvidence) { second.Scan = attestor.Scan{} },
	} {
		if v := p.Judge(passing(p, index(change))); v.Outcome() == attestor.Pass {
			t.Errorf("%s: passes", name)
		}
	}
}

// Docker Scout: a base is what labels say. Here hints are for messages only.
func TestPeerBaseByLabel(t *testing.T) {
	p := with(t)
	v := p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) {
		e.Base = attestor.Base{Hints: []string{"org.opencontainers.image.base.name=registry.example/base/static:latest"}}
		e.Config.Labels = map[string]string{"org.opencontainers.image.base.name": "registry.example/base/static:latest"}
	})))
	if v.Outcome() != attestor.Deny {
		t.Error(v.Outcome())
	}
}

// Kyverno: expired exceptions are honoured on some paths. There is one path
// here, and every check takes it.
func TestPeerExpiredExceptionOnEveryPath(t *testing.T) {
	p := with(t, `    allowedCves: [{id: CVE-1-1, owner: o, reason: r, expires: 2026-11-19}]`,
		`  rules: [{name: r, expression: "false", message: m}]`,
		"  sbom: {required: true, signedBy: {key: /keys/sbom.pub}}",
		"  exceptions: ["+strings.Join([]string{
			exceptionFor("scope"), exceptionFor("base"), exceptionFor("user"), exceptionFor("vulnerabilities"),
			exceptionFor("secrets"), exceptionFor("provenance"), exceptionFor("packages"), exceptionFor("rule:r"),
		}, ", ")+"]")
	ev := passing(p, rootUser, findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity = attestor.Critical })),
		on(func(e *attestor.PlatformEvidence) {
			e.Base, e.Provenance, e.SBOMs, e.Scan.Secrets = attestor.Base{}, nil, nil, []attestor.Secret{{Kind: "GCP_API_KEY", Status: attestor.SecretValid}}
		}),
		func(ev *attestor.Evidence) { ev.Uploaded = new(today().AddDate(-1, 0, 0)) })
	for _, c := range p.Judge(ev).Checks() {
		switch {
		case c.Name == attestor.CheckPolicy:
		case c.Status != attestor.StatusDeny:
			t.Errorf("%s: %s under an expired exception", c.Name, c.Status)
		case len(c.Exceptions) == 0 || !c.Exceptions[0].Expired:
			t.Errorf("%s does not show the expired exception", c.Name)
		}
	}
}

func exceptionFor(check string) string {
	return fmt.Sprintf(`{check: %q, subject: "*", owner: o, reason: r, expires: 2026-11-19}`, check)
}

// Snyk: an exception with an unreadable date never expires.
func TestPeerUnreadableDate(t *testing.T) {
	for _, date := range []string{"", "never", "2026-13-01", "2026-02-29", "31.12.2026", "2026-12-31T00:00:00Z", "20261231", "null", "2026-1-1"} {
		text := edited(t, fmt.Sprintf(`    allowedCves: [{id: CVE-1-1, owner: o, reason: r, expires: %s}]`, date))
		if _, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(text)}); err == nil {
			t.Errorf("expires: %s loads", date)
		}
	}
}

// Kritis's webhook admits what no policy speaks of.
func TestPeerNoPolicyIsNoPass(t *testing.T) {
	set, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(strict)})
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := set.Govern("registry.example/other/api"); ok || p != nil {
		t.Errorf("an image that no policy covers is governed by %v", p)
	}
}
