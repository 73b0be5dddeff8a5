package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// outcomeCase is one change of what passes, and what must come of it.
type outcomeCase struct {
	name   string
	policy []string // lines of the strict policy
	change func(*attestor.Evidence)
	want   attestor.Outcome
	codes  []attestor.Code
}

func runOutcomes(t *testing.T, cases []outcomeCase) {
	t.Helper()
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t, tt.policy...)
			ev := passing(p)
			if tt.change != nil {
				tt.change(&ev)
			}
			v := p.Judge(ev)
			if v.Outcome() != tt.want {
				t.Errorf("%s, want %s: %+v", v.Outcome(), tt.want, v.Checks())
			}
			if tt.codes == nil {
				tt.codes = []attestor.Code{}
			}
			if diff := cmp.Diff(tt.codes, refusals(v)); diff != "" {
				t.Errorf("codes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestJudgeUser(t *testing.T) {
	user := func(u attestor.User) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) { e.User = u })
	}
	id := func(n int64) *int64 { return &n }
	problem := func(check string, status attestor.Status, code attestor.Code) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) {
			e.Problems = append(e.Problems, attestor.Problem{Check: check, Status: status, Reason: attestor.Reason{Code: code, Message: "m"}})
		})
	}
	const off = "  user: {nonRoot: false}"
	runOutcomes(t, []outcomeCase{
		{"numeric", nil, nil, attestor.Pass, nil},
		{"zero value", nil, user(attestor.User{}), attestor.Undecided, []attestor.Code{attestor.CodeUserLookupFailed}},
		{"root", nil, user(attestor.User{Configured: "root", UID: id(0), GID: id(1), Source: "config"}), attestor.Deny, []attestor.Code{attestor.CodeUserRoot}},
		{"0:0", nil, user(attestor.User{Configured: "0:0", UID: id(0), GID: id(0), Source: "config"}), attestor.Deny, []attestor.Code{attestor.CodeUserRoot}},
		{"not set", nil, user(attestor.User{UID: id(0), GID: id(1), Source: "config"}), attestor.Deny, []attestor.Code{attestor.CodeUserNotSet}},
		{"negative", nil, user(attestor.User{Configured: "-5", UID: id(-5), GID: id(1), Source: "config"}),
			attestor.Deny, []attestor.Code{attestor.CodeUserInvalid, attestor.CodeUserNotNumeric}},
		{"2^32", nil, user(attestor.User{Configured: "4294967296", UID: id(1 << 32), GID: id(1), Source: "config"}),
			attestor.Deny, []attestor.Code{attestor.CodeUserInvalid, attestor.CodeUserNotNumeric}},
		{"a name, refused", nil, user(attestor.User{Configured: "app", UID: id(1000), GID: id(1), Source: "passwd"}),
			attestor.Deny, []attestor.Code{attestor.CodeUserNotNumeric}},
		{"a name, resolved", []string{"  user: {nonRoot: true, names: resolve}"},
			user(attestor.User{Configured: "app", UID: id(1000), GID: id(1), Source: "passwd"}), attestor.Pass, nil},
		{"a name that claims to be numeric", nil, user(attestor.User{Configured: "app", UID: id(1000), GID: id(1),
			Source: "config"}), attestor.Deny, []attestor.Code{attestor.CodeUserNotNumeric}},
		{"an unknown source", nil, user(attestor.User{Configured: "1000", UID: id(1000), GID: id(1)}),
			attestor.Undecided, []attestor.Code{attestor.CodeUserLookupFailed}},
		{"too low", []string{"  user: {nonRoot: true, minimumUID: 1000}"},
			user(attestor.User{Configured: "999", UID: id(999), GID: id(1), Source: "config"}), attestor.Deny,
			[]attestor.Code{attestor.CodeUserTooLow}},
		{"just high enough", []string{"  user: {nonRoot: true, minimumUID: 1000}"},
			user(attestor.User{Configured: "1000", UID: id(1000), GID: id(1), Source: "config"}), attestor.Pass, nil},
		{"group not given, warned of", nil, user(attestor.User{Configured: "1000", UID: id(1000), Source: "config"}), attestor.Pass, nil},
		{"group not given, denied", []string{"  user: {nonRoot: true, rootGroup: deny}"},
			user(attestor.User{Configured: "1000", UID: id(1000), Source: "config"}), attestor.Deny,
			[]attestor.Code{attestor.CodeGroupRoot}},
		{"group 0, allowed", []string{"  user: {nonRoot: true, rootGroup: allow}"},
			user(attestor.User{Configured: "1000", UID: id(1000), Source: "config"}), attestor.Pass, nil},
		{"root, not asked", []string{off}, user(attestor.User{UID: id(0)}), attestor.Pass, nil},
		{"a problem, not asked", []string{off}, problem("user", attestor.StatusDeny, attestor.CodeUserInvalid), attestor.Pass, nil},
		{"a problem denies", nil, problem("user", attestor.StatusDeny, attestor.CodeUserRootDisguised), attestor.Deny,
			[]attestor.Code{attestor.CodeUserRootDisguised}},
		{"a problem of no status is an error", nil, problem("user", "", attestor.CodeUserLookupFailed),
			attestor.Undecided, []attestor.Code{attestor.CodeUserLookupFailed}},
		{"a problem that says pass is an error", nil, problem("user", attestor.StatusPass,
			attestor.CodeUserLookupFailed), attestor.Undecided, []attestor.Code{attestor.CodeUserLookupFailed}},
		{"a problem of platforms always counts", []string{off}, problem("platforms", attestor.StatusDeny,
			attestor.CodeForeignLayer), attestor.Deny, []attestor.Code{attestor.CodeForeignLayer}},
		{"a problem of an unknown check always counts", []string{off}, problem("else", attestor.StatusError,
			attestor.CodeTimedOut), attestor.Undecided, []attestor.Code{attestor.CodeTimedOut}},
	})
}

func TestJudgeBase(t *testing.T) {
	base := func(change func(*attestor.Base)) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) { change(&e.Base) })
	}
	behind := func(d time.Duration) func(*attestor.Base) {
		return func(b *attestor.Base) { b.Current, b.Superseded = false, new(today().Add(-d)) }
	}
	const day = 24 * time.Hour
	java := func(b *attestor.Base) {
		d := attestor.Digest("sha256:" + strings.Repeat("7", 64))
		*b = attestor.Base{Name: "java", Reference: "registry.example/base/java@" + string(d), Digest: d, Evidence: attestor.LayersExact, Layers: 1}
	}
	noBehind := []string{"      - {name: static, repository: registry.example/base/static, tags: [latest], signedBy: {key: /keys/base.pub}}"}
	runOutcomes(t, []outcomeCase{
		{"current", nil, nil, attestor.Pass, nil},
		{"none", nil, base(func(b *attestor.Base) { *b = attestor.Base{} }), attestor.Deny, []attestor.Code{attestor.CodeBaseNotApproved}},
		{"none, not asked", []string{"    required: false"}, base(func(b *attestor.Base) { *b = attestor.Base{} }), attestor.Pass, nil},
		{"no evidence", nil, base(func(b *attestor.Base) { b.Evidence = "" }), attestor.Deny, []attestor.Code{attestor.CodeBaseNotApproved}},
		{"an unknown level", nil, base(func(b *attestor.Base) { b.Evidence = "claimed" }), attestor.Deny, []attestor.Code{attestor.CodeBaseEvidenceTooWeak}},
		{"too weak", nil, base(func(b *attestor.Base) { b.Evidence = attestor.Attested }), attestor.Deny, []attestor.Code{attestor.CodeBaseEvidenceTooWeak}},
		{"strong enough", []string{"    evidence: attested"}, base(func(b *attestor.Base) { b.Evidence = attestor.Attested }), attestor.Pass, nil},
		{"another name", nil, base(func(b *attestor.Base) { b.Name = "other" }), attestor.Deny, []attestor.Code{attestor.CodeBaseNotApproved}},
		{"the name, but another repository", nil, base(func(b *attestor.Base) {
			b.Reference = strings.Replace(b.Reference, "base/static", "base/static-evil", 1)
		}), attestor.Deny, []attestor.Code{attestor.CodeBaseNotApproved}},
		{"no reference", nil, base(func(b *attestor.Base) { b.Reference = "" }), attestor.Deny, []attestor.Code{attestor.CodeBaseNotApproved}},
		{"superseded 14 days ago", nil, base(behind(14 * day)), attestor.Pass, nil},
		{"superseded more than 14 days ago", nil, base(behind(14*day + time.Second)), attestor.Deny, []attestor.Code{attestor.CodeBaseOutdated}},
		{"superseded a moment ahead, by another clock", nil, base(behind(-time.Minute)), attestor.Pass, nil},
		{"superseded in the future", nil, base(behind(-time.Hour)), attestor.Undecided, []attestor.Code{attestor.CodeBaseAgeUnknown}},
		{"never seen under the tag", nil, base(func(b *attestor.Base) { b.Current = false }), attestor.Undecided, []attestor.Code{attestor.CodeBaseAgeUnknown}},
		{"never seen under the tag, and no time allowed", noBehind, base(func(b *attestor.Base) { b.Current = false }),
			attestor.Deny, []attestor.Code{attestor.CodeBaseOutdated}},
		{"superseded just now, and no time allowed", noBehind, base(behind(0)), attestor.Deny, []attestor.Code{attestor.CodeBaseOutdated}},
		{"unsigned", nil, base(func(b *attestor.Base) { b.SignedBy = "" }), attestor.Deny, []attestor.Code{attestor.CodeBaseUnsigned}},
		{"signed by somebody else", nil, base(func(b *attestor.Base) { b.SignedBy = `key="/keys/other.pub"` }),
			attestor.Deny, []attestor.Code{attestor.CodeBaseUnsigned}},
		{"a listed digest", nil, base(java), attestor.Pass, nil},
		{"a digest that was listed", nil, base(func(b *attestor.Base) {
			java(b)
			b.Digest = attestor.Digest("sha256:" + strings.Repeat("8", 64))
			b.Reference, b.Listed, b.Current = "registry.example/base/java@"+string(b.Digest), true, true
		}), attestor.Deny, []attestor.Code{attestor.CodeBaseOutdated}},
		{"all faults at once", nil, base(func(b *attestor.Base) {
			behind(90 * day)(b)
			b.Evidence, b.SignedBy = attestor.Attested, ""
		}), attestor.Deny, []attestor.Code{attestor.CodeBaseEvidenceTooWeak, attestor.CodeBaseOutdated, attestor.CodeBaseUnsigned}},
	})
}

func TestJudgeProvenanceAndScope(t *testing.T) {
	prov := func(change func(*attestor.Provenance)) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) { change(&e.Provenance[0]) })
	}
	source := func(uri string) func(*attestor.Evidence) {
		return prov(func(p *attestor.Provenance) { p.SourceURI = uri })
	}
	wrongSource := []attestor.Code{attestor.CodeProvenanceSource}
	runOutcomes(t, []outcomeCase{
		{"none", nil, on(func(e *attestor.PlatformEvidence) { e.Provenance = nil }), attestor.Deny, []attestor.Code{attestor.CodeProvenanceMissing}},
		{"another builder", nil, prov(func(p *attestor.Provenance) { p.Builder += "0" }), attestor.Deny, []attestor.Code{attestor.CodeProvenanceBuilder}},
		{"a lower level", nil, prov(func(p *attestor.Provenance) { p.SLSALevel = 2 }), attestor.Deny, []attestor.Code{attestor.CodeProvenanceLevel}},
		{"cosign, though nobody is named", nil, prov(func(p *attestor.Provenance) { p.Source = "cosign" }),
			attestor.Deny, []attestor.Code{attestor.CodeProvenanceMissing}},
		{"cosign, somebody is named", []string{`  provenance: {slsaLevel: 3, signedBy: {key: /k}}`},
			prov(func(p *attestor.Provenance) { p.Source = "cosign" }), attestor.Pass, nil},
		{"an unknown source of statements", nil, prov(func(p *attestor.Provenance) { p.Source = "annotation" }),
			attestor.Deny, []attestor.Code{attestor.CodeProvenanceMissing}},
		{"one bad, one good", nil, on(func(e *attestor.PlatformEvidence) {
			e.Provenance = append([]attestor.Provenance{{Source: "cloud-build"}}, e.Provenance...)
		}), attestor.Pass, nil},
		{"git+https and a ref", nil, source("git+https://git.example/acme/app.git@refs/heads/main"), attestor.Pass, nil},
		{"another organisation", nil, source("https://git.example/acme-evil/app"), attestor.Deny, wrongSource},
		{"another scheme", nil, source("http://git.example/acme/app"), attestor.Deny, wrongSource},
		{"a longer path", nil, source("https://git.example/acme/app/more"), attestor.Deny, wrongSource},
		{"out by dots", nil, source("https://git.example/acme/.."), attestor.Deny, wrongSource},
		{"another host after a user", []string{`  provenance: {sources: ["https://git.example/**"]}`},
			source("https://git.example@evil.example/acme/app"), attestor.Deny, wrongSource},
		{"no source", nil, source(""), attestor.Deny, wrongSource},

		{"in another directory", nil, func(ev *attestor.Evidence) {
			*ev = passing(with(t))
			ev.Image = parseImage(t, "registry.example/acme/prod-evil/api")
		}, attestor.Deny, []attestor.Code{attestor.CodeOutOfScope}},
		{"uploaded 31 days ago", nil, func(ev *attestor.Evidence) { ev.Uploaded = new(today().AddDate(0, 0, -31)) },
			attestor.Deny, []attestor.Code{attestor.CodeUploadTooOld}},
		{"uploaded nobody knows when", nil, func(ev *attestor.Evidence) { ev.Uploaded = nil }, attestor.Undecided,
			[]attestor.Code{attestor.CodeUploadTimeUnknown}},
		{"uploaded nobody knows when, and why", nil, func(ev *attestor.Evidence) {
			ev.Uploaded = nil
			ev.Problems = []attestor.Problem{{Check: attestor.CheckScope, Status: attestor.StatusError,
				Reason: attestor.Reason{Code: attestor.CodeUploadTimeUnknown, Message: "not Artifact Registry"}}}
		}, attestor.Undecided, []attestor.Code{attestor.CodeUploadTimeUnknown}},
		{"uploaded nobody knows when, not asked",
			[]string{`  scope: {trustedDirectories: ["registry.example/acme/prod/**"]}`},
			func(ev *attestor.Evidence) { ev.Uploaded = nil }, attestor.Pass, nil},
	})
}

func parseImage(t testing.TB, repository string) attestor.Image {
	t.Helper()
	img, err := attestor.ParseImage(repository + "@sha256:" + strings.Repeat("1", 64))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestJudgeImageAsAWhole(t *testing.T) {
	runOutcomes(t, []outcomeCase{
		{"no time", nil, func(ev *attestor.Evidence) { ev.Time = time.Time{} }, attestor.Undecided,
			[]attestor.Code{attestor.CodeEvidenceMissing, attestor.CodeUploadTimeUnknown}},
		{"no image", nil, func(ev *attestor.Evidence) { *ev = attestor.Evidence{Time: today()} }, attestor.Undecided,
			[]attestor.Code{attestor.CodeEvidenceMissing}},
		{"not resolved, and why", nil, func(ev *attestor.Evidence) {
			*ev = attestor.Evidence{Time: today(), Problems: []attestor.Problem{{Check: attestor.CheckPlatforms,
				Status: attestor.StatusError, Reason: attestor.Reason{Code: attestor.CodeRegistryUnavailable}}}}
		}, attestor.Undecided, []attestor.Code{attestor.CodeRegistryUnavailable}},
		{"evidence of another manifest", nil, on(func(e *attestor.PlatformEvidence) {
			e.Digest = "sha256:" + attestor.Digest(strings.Repeat("9", 64))
		}), attestor.Undecided, []attestor.Code{attestor.CodeEvidenceMissing}},
		{"no platform", nil, func(ev *attestor.Evidence) { ev.Platforms = nil }, attestor.Deny, []attestor.Code{attestor.CodeCheckMissing}},
		{"another platform than the policy's", []string{"  platforms: [linux/arm64]"},
			on(func(e *attestor.PlatformEvidence) { e.Platform = "linux/amd64" }), attestor.Deny,
			[]attestor.Code{attestor.CodePlatformNotAllowed}},
		{"a variant of the policy's platform", []string{"  platforms: [linux/arm64]"},
			on(func(e *attestor.PlatformEvidence) { e.Platform = "linux/arm64/v8" }), attestor.Pass, nil},
		{"the default variant spelt out", []string{"  platforms: [linux/arm64/v8]"},
			on(func(e *attestor.PlatformEvidence) { e.Platform = "linux/arm64" }), attestor.Pass, nil},
		{"another spelling of it", []string{"  platforms: [linux/arm64/v8]"},
			on(func(e *attestor.PlatformEvidence) { e.Platform = "linux/arm64/8" }), attestor.Pass, nil},
		{"amd64's default variant", []string{"  platforms: [linux/amd64/v1]"},
			on(func(e *attestor.PlatformEvidence) { e.Platform = "linux/amd64" }), attestor.Pass, nil},
		{"arm without its default variant", []string{"  platforms: [linux/arm/v7]"},
			on(func(e *attestor.PlatformEvidence) { e.Platform = "linux/arm" }), attestor.Pass, nil},
		{"another variant than the policy's", []string{"  platforms: [linux/arm64/v8]"},
			on(func(e *attestor.PlatformEvidence) { e.Platform = "linux/arm64/v9" }), attestor.Deny,
			[]attestor.Code{attestor.CodePlatformNotAllowed}},
		{"an older variant than the policy's", []string{"  platforms: [linux/arm/v7]"},
			on(func(e *attestor.PlatformEvidence) { e.Platform = "linux/arm/v6" }), attestor.Deny,
			[]attestor.Code{attestor.CodePlatformNotAllowed}},
		{"a better variant than the policy's", []string{"  platforms: [linux/amd64/v1]"},
			on(func(e *attestor.PlatformEvidence) { e.Platform = "linux/amd64/v3" }), attestor.Deny,
			[]attestor.Code{attestor.CodePlatformNotAllowed}},
		{"a platform that begins alike", []string{"  platforms: [linux/arm]"}, on(func(e *attestor.PlatformEvidence) {
			e.Platform = "linux/arm64"
		}), attestor.Deny, []attestor.Code{attestor.CodePlatformNotAllowed}},
		{"a bad child is denied", nil, index(func(_, second *attestor.PlatformEvidence) {
			second.User = attestor.User{Configured: "0", UID: new(int64), GID: new(int64(1)), Source: "config"}
		}), attestor.Deny, []attestor.Code{attestor.CodeUserRoot}},
		{"a good index", nil, index(), attestor.Pass, nil},
	})
}

// Every answer names base, user and vulnerabilities of every platform, and
// what did not apply says why.
func TestJudgeListsSkippedChecks(t *testing.T) {
	p := one(t, `{apiVersion: attestor/v1, kind: GatePolicy, metadata: {name: few}, spec: {mode: enforce, images: ["registry.example/**"],
  scope: {trustedDirectories: ["registry.example/acme/**"]}, base: {required: false}, user: {nonRoot: false},
  vulnerabilities: {maximumFixableSeverity: ALLOW_ALL, maximumUnfixableSeverity: ALLOW_ALL, scan: {required: false}}, attestors: [projects/p/attestors/a]}}`)
	v := p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) { e.Scan = attestor.Scan{State: attestor.ScanNotFound} })))
	if v.Outcome() != attestor.Pass {
		t.Fatalf("%s: %+v", v.Outcome(), v.Checks())
	}
	skipped := map[string]attestor.Code{}
	for _, c := range v.Checks() {
		if c.Status == attestor.StatusSkipped {
			if len(c.Reasons) != 1 || c.Reasons[0].Message == "" {
				t.Errorf("%s is skipped without saying why: %+v", c.Name, c)
			}
			skipped[c.Name] = c.Reasons[0].Code
		}
	}
	want := map[string]attestor.Code{"base": attestor.CodeNotAsked, "user": attestor.CodeNotAsked,
		"provenance": attestor.CodeNotAsked, "vulnerabilities": attestor.CodeScanNotFound,
		"secrets": attestor.CodeNotAsked, "packages": attestor.CodeNotAsked}
	if diff := cmp.Diff(want, skipped); diff != "" {
		t.Error(diff)
	}
}

// Every refusal says what to do, and its code is on the closed list.
func TestReasonsHelp(t *testing.T) {
	known := map[attestor.Code]bool{}
	for _, c := range attestor.Codes() {
		known[c.Code] = true
	}
	p := with(t, `  rules: [{name: r, expression: 'image.labels["x"] == "y"', message: m}]`, "  user: {nonRoot: true, rootGroup: deny, minimumUID: 10}")
	bad := []func(*attestor.Evidence){
		findings(vulnerability("CVE-2021-44228"), vulnerability("CVE-1-1", func(v *attestor.Vulnerability) {
			v.Severity, v.KnownExploited, v.EPSS = attestor.Critical, new(true), new(0.9)
		}), vulnerability("CVE-1-2", func(v *attestor.Vulnerability) { v.Severity = "" }), vulnerability("CVE-1-3",
			func(v *attestor.Vulnerability) { v.Severity, v.Fixable = attestor.Critical, false })),
		on(func(e *attestor.PlatformEvidence) {
			e.User = attestor.User{Configured: "app", UID: new(int64(5))}
			e.Base.Current, e.Base.SignedBy, e.Base.Evidence = false, "", attestor.Attested
			e.Provenance = []attestor.Provenance{{Source: "cloud-build"}}
		}),
	}
	for _, state := range []attestor.ScanState{"", attestor.ScanNotFound, attestor.ScanPending, attestor.ScanRunning,
		attestor.ScanComplete, attestor.ScanFailed, attestor.ScanUnsupported, attestor.ScanUnavailable} {
		ev := passing(p, append(bad, on(func(e *attestor.PlatformEvidence) { e.Scan.State = state; e.Scan.Continuous = "" }))...)
		for _, c := range p.Judge(ev).Checks() {
			for _, r := range c.Reasons {
				if !known[r.Code] {
					t.Errorf("%s is not a known code", r.Code)
				}
				if r.Message == "" || r.Fix == "" && r.Code != attestor.CodeShortestWay && c.Status != attestor.StatusSkipped {
					t.Errorf("%s says too little: %+v", r.Code, r)
				}
			}
		}
	}
}

// A check that errs lists nothing but what keeps it from an answer, so that a
// caller who waits for a scan is told so.
func TestErrorListsOnlyErrors(t *testing.T) {
	p := with(t, "    scan: {packageTypes: [OS]}")
	ev := passing(p, findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.KnownExploited, v.EPSS, v.PackageType = nil, nil, "NPM" })),
		on(func(e *attestor.PlatformEvidence) { e.Scan.State = attestor.ScanRunning }))
	c := check(t, p.Judge(ev), attestor.CheckVulnerabilities)
	if len(c.Reasons) != 1 || c.Reasons[0].Code != attestor.CodeScanRunning {
		t.Errorf("%+v", c.Reasons)
	}
}

// What a policy says of itself goes into the verdict.
func TestJudgeNamesThePolicy(t *testing.T) {
	p := with(t, "  mode: dryRun")
	v := p.Judge(passing(p))
	if v.Policy() != p.Ref() || v.Policy().Mode != attestor.DryRun || v.Policy().Digest == "" {
		t.Errorf("%+v", v.Policy())
	}
	if _, err := attestor.Authorize("id", v); err == nil {
		t.Error("a pass under a policy in dry run can be signed")
	}
}

func TestZeroValuesDeny(t *testing.T) {
	good := passing(with(t))
	var zero policy.Policy
	if v := zero.Judge(good); v.Outcome() != attestor.Deny {
		t.Errorf("the zero policy: %s", v.Outcome())
	}
	if v := (*policy.Policy)(nil).Judge(good); v.Outcome() != attestor.Deny {
		t.Errorf("the nil policy: %s", v.Outcome())
	}
	if v := with(t).Judge(attestor.Evidence{}); v.Outcome() == attestor.Pass {
		t.Error("the zero evidence passes")
	}
	var set policy.Set
	if _, ok := set.Govern(prodImage); ok {
		t.Error("the zero set governs")
	}
	if _, ok := (*policy.Set)(nil).Named("strict"); ok {
		t.Error("the nil set has policies")
	}
	if _, ok := set.Named(""); ok {
		t.Error("the zero set has a policy without name")
	}
	if zero.BreakGlass().Allowed {
		t.Error("the zero policy allows break-glass")
	}
}

// The evidence is not changed by judging it.
func TestJudgeIsPure(t *testing.T) {
	p := with(t, "  platforms: [linux/amd64]")
	make := func() attestor.Evidence {
		return passing(p, index(), findings(vulnerability("CVE-1-2"), vulnerability("CVE-1-1")))
	}
	ev := make()
	first := p.Judge(ev)
	if diff := cmp.Diff(make(), ev, cmp.Comparer(func(a, b attestor.Image) bool { return a == b })); diff != "" {
		t.Errorf("judging changed the evidence:\n%s", diff)
	}
	if diff := cmp.Diff(first.Checks(), p.Judge(ev).Checks()); diff != "" {
		t.Errorf("the same evidence, another answer:\n%s", diff)
	}
	if !slices.Equal(first.Subjects(), p.Judge(ev).Subjects()) {
		t.Error("the same evidence, other subjects")
	}
}

// judged fails unless the evidence has an outcome, and refuses by exactly these codes.
func judged(t *testing.T, p *policy.Policy, ev attestor.Evidence, want attestor.Outcome, codes ...attestor.Code) {
	t.Helper()
	v := p.Judge(ev)
	if got := refusals(v); v.Outcome() != want || !slices.Equal(got, append([]attestor.Code{}, codes...)) {
		t.Errorf("%s %v, want %s %v", v.Outcome(), got, want, codes)
	}
}
