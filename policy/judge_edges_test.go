package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// found is a problem that was met while evidence was gathered.
func found(check string, status attestor.Status, code attestor.Code) attestor.Problem {
	return attestor.Problem{Check: check, Status: status, Reason: attestor.Reason{Code: code, Message: "m"}}
}

// whole adds problems of the image as a whole.
func whole(problems ...attestor.Problem) func(*attestor.Evidence) {
	return func(ev *attestor.Evidence) { ev.Problems = append(ev.Problems, problems...) }
}

func changes(list ...func(*attestor.Evidence)) func(*attestor.Evidence) {
	return func(ev *attestor.Evidence) {
		for _, c := range list {
			c(ev)
		}
	}
}

// A problem refuses in the check that it belongs to; one of a check that is not
// known refuses with the platforms. A problem is an error unless it says deny.
func TestProblemsRefuseWhereTheyBelong(t *testing.T) {
	p := with(t)
	for check, belongs := range map[string]string{
		attestor.CheckScope: attestor.CheckScope, attestor.CheckBase: attestor.CheckBase, attestor.CheckUser: attestor.CheckUser,
		attestor.CheckVulnerabilities: attestor.CheckVulnerabilities, attestor.CheckProvenance: attestor.CheckProvenance,
		attestor.CheckPlatforms: attestor.CheckPlatforms, "": attestor.CheckPlatforms, "new": attestor.CheckPlatforms,
	} {
		for status, want := range map[attestor.Status]attestor.Status{
			attestor.StatusDeny: attestor.StatusDeny, attestor.StatusError: attestor.StatusError,
			attestor.StatusWarn: attestor.StatusError, "": attestor.StatusError,
		} {
			v := p.Judge(passing(p, whole(found(check, status, attestor.CodeRegistryUnavailable))))
			var refused []string
			for _, c := range v.Checks() {
				if c.Status.Refuses() {
					refused = append(refused, c.Name+" "+string(c.Status))
				}
			}
			if !slices.Equal(refused, []string{belongs + " " + string(want)}) {
				t.Errorf("a problem of %q with status %q: refused are %v, want %s %s", check, status, refused, belongs, want)
			}
		}
	}
}

// What is wrong is said once: by the problem that was met, or by the judge.
func TestNothingIsSaidTwice(t *testing.T) {
	noBase := on(func(e *attestor.PlatformEvidence) { e.Base = attestor.Base{} })
	unsigned := on(func(e *attestor.PlatformEvidence) { e.Base.SignedBy = "" })
	noUser := on(func(e *attestor.PlatformEvidence) { e.User = attestor.User{Configured: "app"} })
	root := on(func(e *attestor.PlatformEvidence) { e.User.Configured, e.User.UID = "0", new(int64) })
	named := on(func(e *attestor.PlatformEvidence) { e.User.Configured, e.User.Source = "app", attestor.UserFromPasswd })
	noProvenance := on(func(e *attestor.PlatformEvidence) { e.Provenance = nil })
	late := func(ev *attestor.Evidence) { ev.Uploaded = nil }
	elsewhere := func(ev *attestor.Evidence) { ev.Image = parseImage(t, "registry.example/acme/test/api") }
	problem := func(check string, code attestor.Code) func(*attestor.Evidence) {
		return whole(found(check, attestor.StatusDeny, code))
	}
	runOutcomes(t, []outcomeCase{
		{"no base, and why", nil, changes(noBase, problem(attestor.CheckBase, attestor.CodeBaseUnresolved)),
			attestor.Deny, []attestor.Code{attestor.CodeBaseUnresolved}},
		{"unsigned, and why", nil, changes(unsigned, problem(attestor.CheckBase, attestor.CodeBaseUnsigned)),
			attestor.Deny, []attestor.Code{attestor.CodeBaseUnsigned}},
		{"unsigned, the signature cannot be read", nil,
			changes(unsigned, problem(attestor.CheckBase, attestor.CodeBaseSignatureUnknown)), attestor.Deny,
			[]attestor.Code{attestor.CodeBaseSignatureUnknown}},
		{"unsigned, and something else", nil,
			changes(unsigned, problem(attestor.CheckBase, attestor.CodeBaseUnresolved)), attestor.Deny,
			[]attestor.Code{attestor.CodeBaseUnresolved, attestor.CodeBaseUnsigned}},
		{"no uid, and why", nil, changes(noUser, problem(attestor.CheckUser, attestor.CodeUserNotNumeric)),
			attestor.Deny, []attestor.Code{attestor.CodeUserNotNumeric}},
		{"root, as was met", nil, changes(root, problem(attestor.CheckUser, attestor.CodeUserRoot)), attestor.Deny, []attestor.Code{attestor.CodeUserRoot}},
		{"root, disguised", nil, changes(root, problem(attestor.CheckUser, attestor.CodeUserRootDisguised)),
			attestor.Deny, []attestor.Code{attestor.CodeUserRootDisguised}},
		{"root, and something else", nil, changes(root, problem(attestor.CheckUser, attestor.CodeUserInvalid)),
			attestor.Deny, []attestor.Code{attestor.CodeUserInvalid, attestor.CodeUserRoot}},
		{"a name, as was met", nil, changes(named, problem(attestor.CheckUser, attestor.CodeUserNotNumeric)),
			attestor.Deny, []attestor.Code{attestor.CodeUserNotNumeric}},
		{"a name, and something else", nil, changes(named, problem(attestor.CheckUser, attestor.CodeLayersMismatch)),
			attestor.Deny, []attestor.Code{attestor.CodeLayersMismatch, attestor.CodeUserNotNumeric}},
		{"no provenance, and why", nil,
			changes(noProvenance, problem(attestor.CheckProvenance, attestor.CodeProvenanceUnavailable)),
			attestor.Deny, []attestor.Code{attestor.CodeProvenanceUnavailable}},
		{"uploaded nobody knows when, and elsewhere", nil, changes(late, elsewhere), attestor.Deny,
			[]attestor.Code{attestor.CodeOutOfScope, attestor.CodeUploadTimeUnknown}},
		{"uploaded nobody knows when, and why", nil,
			changes(late, whole(found(attestor.CheckScope, attestor.StatusError, attestor.CodeRegistryUnavailable))),
			attestor.Undecided, []attestor.Code{attestor.CodeRegistryUnavailable}},
		{"uploaded nobody knows when, with a problem of another check", nil,
			changes(late, problem(attestor.CheckBase, attestor.CodeBaseUnresolved)), attestor.Deny,
			[]attestor.Code{attestor.CodeBaseUnresolved, attestor.CodeUploadTimeUnknown}},
	})
}

// Evidence of an image is of that image's one manifest; of an index it may be
// of a part, which is said. A policy that names platforms judges those alone.
func TestWhatTheEvidenceIsOf(t *testing.T) {
	second := func(ev *attestor.Evidence) {
		e := ev.Platforms[0]
		e.Platform, e.Digest = "linux/arm64", attestor.Digest("sha256:"+strings.Repeat("5", 64))
		ev.Platforms = append(ev.Platforms, e)
	}
	left := func(ev *attestor.Evidence) { ev.Left = []attestor.Child{{Platform: "linux/s390x"}} }
	none := func(ev *attestor.Evidence) { ev.Platforms = nil }
	arm := []string{"  platforms: [linux/arm64]"}
	runOutcomes(t, []outcomeCase{
		{"a second manifest beside the image's", nil, second, attestor.Undecided, []attestor.Code{attestor.CodeEvidenceMissing}},
		{"no platform, and the policy names some", arm, none, attestor.Deny, []attestor.Code{attestor.CodePlatformNotAllowed}},
		{"no platform, and why", arm, changes(none,
			whole(found(attestor.CheckPlatforms, attestor.StatusError, attestor.CodeRegistryUnavailable))),
			attestor.Undecided, []attestor.Code{attestor.CodeRegistryUnavailable}},
		{"another platform, and a problem", arm,
			changes(on(func(e *attestor.PlatformEvidence) { e.Platform = "linux/amd64" }),
				whole(found(attestor.CheckPlatforms, attestor.StatusError, attestor.CodeRegistryUnavailable))),
			attestor.Deny, []attestor.Code{attestor.CodePlatformNotAllowed, attestor.CodeRegistryUnavailable}},
	})

	p := with(t)
	for name, tt := range map[string]struct {
		change func(*attestor.Evidence)
		want   attestor.Status // of the check of platforms; "": there is none
	}{
		"all children": {index(), ""}, "a child was left out": {changes(index(), left), attestor.StatusWarn},
	} {
		v := p.Judge(passing(p, tt.change))
		got := attestor.Status("")
		for _, c := range v.Checks() {
			if c.Name == attestor.CheckPlatforms {
				got = c.Status
				if len(c.Reasons) != 1 || !strings.Contains(c.Reasons[0].Message, "1 children were left out") {
					t.Errorf("%s: %+v", name, c.Reasons)
				}
			}
		}
		if got != tt.want || v.Outcome() != attestor.Pass {
			t.Errorf("%s: %s, platforms %q; want %q", name, v.Outcome(), got, tt.want)
		}
	}
}

// A policy without a scope skips that check and says why, but for a problem.
func TestScopeThatIsNotAskedFor(t *testing.T) {
	p := one(t, strings.Replace(strict, `  scope: {trustedDirectories: ["registry.example/acme/prod/**"], maxUploadAge: 30d}`+"\n", "", 1))
	for name, tt := range map[string]struct {
		change func(*attestor.Evidence)
		status attestor.Status
		says   string
	}{
		"nothing to say": {func(*attestor.Evidence) {}, attestor.StatusSkipped, "no scope beyond its images"},
		"a problem":      {whole(found(attestor.CheckScope, attestor.StatusError, attestor.CodeUploadTimeUnknown)), attestor.StatusError, "m"},
	} {
		c := check(t, p.Judge(passing(p, tt.change)), attestor.CheckScope)
		if c.Status != tt.status || len(c.Reasons) != 1 || !strings.Contains(c.Reasons[0].Message, tt.says) {
			t.Errorf("%s: %+v", name, c)
		}
	}

	strictly := with(t)
	c := check(t, strictly.Judge(attestor.Evidence{Time: today()}), attestor.CheckScope)
	if c.Status != attestor.StatusSkipped || !strings.Contains(c.Reasons[0].Message, "not resolved") {
		t.Errorf("an image that was not resolved: %+v", c)
	}
}

// Ages are told in whole units, and limits include their last moment.
func TestAgesAtTheirLimits(t *testing.T) {
	for _, tt := range []struct {
		limit, age time.Duration
		text       string // of the policy
		says       string // "": allowed
	}{
		{30 * 24 * time.Hour, 30 * 24 * time.Hour, "30d", ""},
		{30 * 24 * time.Hour, 30*24*time.Hour + time.Second, "30d", "uploaded 30 days ago, on 2026-10-21; at most 30d is allowed"},
		{time.Hour, 48*time.Hour - time.Minute, "1h", "uploaded 1d23h59m ago"},
		{time.Hour, 48 * time.Hour, "1h", "uploaded 2 days ago"},
		{time.Hour, 72*time.Hour - time.Second, "1h", "uploaded 2 days ago"},
	} {
		p := one(t, strings.Replace(strict, "maxUploadAge: 30d", "maxUploadAge: "+tt.text, 1))
		c := check(t, p.Judge(passing(p, func(ev *attestor.Evidence) { ev.Uploaded = new(today().Add(-tt.age)) })), attestor.CheckScope)
		switch {
		case tt.says == "" && c.Status != attestor.StatusPass:
			t.Errorf("%s: %+v", tt.age, c)
		case tt.says != "" && (c.Status != attestor.StatusDeny || !strings.Contains(c.Reasons[0].Message, tt.says)):
			t.Errorf("%s: %+v, want %q", tt.age, c, tt.says)
		}
	}
}

// A refusal of the base says which one was found, which are allowed, and the
// line that would do.
func TestWhatIsSaidOfTheBase(t *testing.T) {
	const allowed = "; allowed: static (registry.example/base/static), java (registry.example/base/java)"
	newest := attestor.Digest("sha256:" + strings.Repeat("9", 64))
	static := "registry.example/base/static@sha256:" + strings.Repeat("8", 64)
	for name, tt := range map[string]struct {
		base     attestor.Base
		code     attestor.Code
		msg, fix string
	}{
		"none": {attestor.Base{}, attestor.CodeBaseNotApproved, "no approved base was found in the image's layers" +
			allowed, "build FROM registry.example/base/static:latest"},
		"none, and a claim": {attestor.Base{Hints: []string{"debian:12", "alpine"}}, attestor.CodeBaseNotApproved,
			"no approved base was found in the image's layers" + allowed +
				"; the image's author claims debian:12, alpine", "build FROM registry.example/base/static:latest"},
		"another": {attestor.Base{Name: "other", Reference: "registry.example/other@" + string(newest), Newest: newest}, attestor.CodeBaseNotApproved,
			"the base registry.example/other@" + string(newest) + " (other) is not one of this policy's" + allowed,
			"build FROM registry.example/base/static:latest"},
		"superseded": {attestor.Base{Name: "static", Reference: static, Evidence: attestor.LayersExact,
			Newest: newest, Superseded: new(today().AddDate(0, 0, -90)), SignedBy: `key="/keys/base.pub"`},
			attestor.CodeBaseOutdated,
			"base static was superseded 90 days ago, on 2026-08-22; at most 14d is allowed",
			"rebuild on the current base: FROM registry.example/base/static@" + string(newest)},
		"not listed": {attestor.Base{Name: "java", Reference: "registry.example/base/java@" + string(newest),
			Digest: newest, Evidence: attestor.LayersExact}, attestor.CodeBaseOutdated,
			"base java is not one of the digests that the policy lists",
			"rebuild on the current base: FROM registry.example/base/java@sha256:" + strings.Repeat("7", 64)},
	} {
		p := with(t)
		c := check(t, p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) { e.Base = tt.base }))), attestor.CheckBase)
		if len(c.Reasons) == 0 || c.Reasons[0].Code != tt.code || c.Reasons[0].Message != tt.msg || c.Reasons[0].Fix != tt.fix {
			t.Errorf("%s: %+v\nwant %s %q, %q", name, c.Reasons, tt.code, tt.msg, tt.fix)
		}
	}
}

// A listed digest is listed as the matched one or as the one that was referred
// to, and a base for which no signature is asked may have any.
func TestListedDigests(t *testing.T) {
	listed, other := attestor.Digest("sha256:"+strings.Repeat("7", 64)), attestor.Digest("sha256:"+strings.Repeat("8", 64))
	java := func(reference, matched attestor.Digest, signed string) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) {
			e.Base = attestor.Base{Name: "java", Reference: "registry.example/base/java@" + string(reference),
				Digest: matched, Evidence: attestor.LayersExact, SignedBy: signed}
		})
	}
	outdated := []attestor.Code{attestor.CodeBaseOutdated}
	runOutcomes(t, []outcomeCase{
		{"both", nil, java(listed, listed, ""), attestor.Pass, nil},
		{"the matched one", nil, java(other, listed, ""), attestor.Pass, nil},
		{"the one referred to", nil, java(listed, other, ""), attestor.Pass, nil},
		{"neither", nil, java(other, other, ""), attestor.Deny, outdated},
		{"with a signature that nobody asked for", nil, java(listed, listed, `key="/k"`), attestor.Pass, nil},
	})
}

// Of several statements the nearest one is told of, whatever their order, and
// a source is matched by whole segments without what could lead elsewhere.
func TestNearestProvenanceAndItsSource(t *testing.T) {
	far := attestor.Provenance{Source: "cloud-build", SourceURI: "https://evil.example/x", Builder: "x"}
	p := with(t)
	for name, list := range map[string]func(near attestor.Provenance) []attestor.Provenance{
		"far, near": func(near attestor.Provenance) []attestor.Provenance { return []attestor.Provenance{far, near} },
		"near, far": func(near attestor.Provenance) []attestor.Provenance { return []attestor.Provenance{near, far} },
	} {
		v := p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) {
			near := e.Provenance[0]
			near.SLSALevel = 1
			e.Provenance = list(near)
		})))
		if got := refusals(v); !slices.Equal(got, []attestor.Code{attestor.CodeProvenanceLevel}) {
			t.Errorf("%s: %v", name, got)
		}
	}

	source := func(uri string) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) { e.Provenance[0].SourceURI = uri })
	}
	any := []string{`  provenance: {sources: ["https://git.example/**"]}`}
	exact := []string{`  provenance: {sources: ["https://git.example/acme/app"]}`}
	wrong := []attestor.Code{attestor.CodeProvenanceSource}
	runOutcomes(t, []outcomeCase{
		{"exact", exact, source("https://git.example/acme/app"), attestor.Pass, nil},
		{"exact, with a slash", exact, source("https://git.example/acme/app/"), attestor.Pass, nil},
		{"exact, with .git", exact, source("https://git.example/acme/app.git"), attestor.Pass, nil},
		{"exact, at a commit", exact, source("git+https://git.example/acme/app.git@refs/heads/main#abc"), attestor.Pass, nil},
		{"a longer name", exact, source("https://git.example/acme/app2"), attestor.Deny, wrong},
		{"a query", any, source("https://git.example/acme/app?x=y"), attestor.Deny, wrong},
		{"an escape", any, source("https://git.example/acme/%2e%2e"), attestor.Deny, wrong},
		{"a backslash", any, source(`https://git.example/acme\app`), attestor.Deny, wrong},
		{"an empty segment", any, source("https://git.example/acme//app"), attestor.Deny, wrong},
		{"a dot", any, source("https://git.example/./acme/app"), attestor.Deny, wrong},
		{"two dots", any, source("https://git.example/acme/../other/app"), attestor.Deny, wrong},
		{"no scheme", any, source("git.example/acme/app"), attestor.Deny, wrong},
		{"signed by somebody named, of an unknown source", []string{`  provenance: {slsaLevel: 3, signedBy: {key: /k}}`},
			on(func(e *attestor.PlatformEvidence) { e.Provenance[0].Source = "annotation" }), attestor.Deny,
			[]attestor.Code{attestor.CodeProvenanceMissing}},
	})
}

// Numbers at which a user is judged otherwise.
func TestUsersAtTheirLimits(t *testing.T) {
	user := func(configured string, uid int64, source attestor.UserSource) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) {
			e.User = attestor.User{Configured: configured, UID: &uid, GID: new(int64(1000)), Source: source}
		})
	}
	const largest = 1<<31 - 1
	low := []string{"  user: {nonRoot: true, names: resolve, rootGroup: warn, minimumUID: 100}"}
	tests := []outcomeCase{
		{"1", nil, user("1", 1, attestor.UserFromConfig), attestor.Pass, nil},
		{"the largest", nil, user(fmt.Sprint(largest), largest, attestor.UserFromConfig), attestor.Pass, nil},
		{"one more", nil, user(fmt.Sprint(largest+1), largest+1, attestor.UserFromConfig), attestor.Deny, []attestor.Code{attestor.CodeUserInvalid}},
		{"negative", nil, user("-1", -1, attestor.UserFromConfig), attestor.Deny, []attestor.Code{attestor.CodeUserInvalid, attestor.CodeUserNotNumeric}},
		{"the policy's minimum", low, user("100", 100, attestor.UserFromConfig), attestor.Pass, nil},
		{"one less", low, user("99", 99, attestor.UserFromConfig), attestor.Deny, []attestor.Code{attestor.CodeUserTooLow}},
		{"a name that is resolved", low, user("app", 1000, attestor.UserFromPasswd), attestor.Pass, nil},
		{"a name that nobody resolved", low, user("app", 1000, attestor.UserFromConfig), attestor.Deny, []attestor.Code{attestor.CodeUserNotNumeric}},
		{"a name where names are refused", nil, user("app", 1000, attestor.UserFromPasswd), attestor.Deny, []attestor.Code{attestor.CodeUserNotNumeric}},
		{"of a source of tomorrow", low, user("1000", 1000, "oracle"), attestor.Undecided, []attestor.Code{attestor.CodeUserLookupFailed}},
	}
	runOutcomes(t, tests)

	for configured, says := range map[string]string{"": "the image's user is not known", "app": `the uid of user "app" is not known`} {
		p := with(t)
		c := check(t, p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) { e.User = attestor.User{Configured: configured} }))), attestor.CheckUser)
		if c.Status != attestor.StatusError || !strings.Contains(c.Reasons[0].Message, says) {
			t.Errorf("user %q without a uid: %+v", configured, c)
		}
	}
}

// What denies stands before what warns, and a long list is cut with its number.
func TestReasonsAreOrderedAndBounded(t *testing.T) {
	p := with(t, "    knownExploited: warn")
	c := check(t, p.Judge(passing(p, findings(
		vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity, v.KnownExploited = attestor.Medium, new(true) }),
		vulnerability("CVE-1-2", func(v *attestor.Vulnerability) { v.EPSS = new(0.9) }),
	))), attestor.CheckVulnerabilities)
	if len(c.Reasons) < 2 || c.Reasons[0].Code != attestor.CodeEPSSExceeded || c.Reasons[1].Code != attestor.CodeKnownExploited {
		t.Errorf("%+v", c.Reasons)
	}

	for n, says := range map[int]string{1000: "", 1001: "and 1 more reasons", 1010: "and 10 more reasons"} {
		var list []attestor.Vulnerability
		for i := range n {
			list = append(list, vulnerability(fmt.Sprintf("CVE-2026-%05d", i), func(v *attestor.Vulnerability) { v.Severity = attestor.High }))
		}
		p := with(t)
		c := check(t, p.Judge(passing(p, findings(list...))), attestor.CheckVulnerabilities)
		cut := ""
		for _, r := range c.Reasons {
			if strings.Contains(r.Message, "more reasons") {
				cut = r.Message
			}
		}
		if !strings.HasPrefix(cut, says) || (cut == "") != (says == "") || len(c.Reasons) < min(n, 1000) || len(c.Reasons) > 1002 {
			t.Errorf("%d findings: %d reasons, %q; want %q", n, len(c.Reasons), cut, says)
		}
	}
}

// The grace period of a severity counts from publication, and only then.
func TestGraceAtItsLimits(t *testing.T) {
	high := func(published *time.Time) func(*attestor.Evidence) {
		return findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity, v.Published = attestor.High, published }))
	}
	above := []attestor.Code{attestor.CodeFixableSeverityExceeded}
	const week = 7 * 24 * time.Hour
	runOutcomes(t, []outcomeCase{
		{"published now", nil, high(new(today())), attestor.Pass, nil},
		{"published a week ago, less a second", nil, high(new(today().Add(time.Second - week))), attestor.Pass, nil},
		{"published a week ago", nil, high(new(today().Add(-week))), attestor.Deny, above},
		{"published in a second", nil, high(new(today().Add(time.Second))), attestor.Deny, above},
		{"published nobody says when", nil, high(nil), attestor.Deny, above},
		{"no grace for this severity", []string{"    gracePeriod: {CRITICAL: 7d}"}, high(new(today())), attestor.Deny, above},
	})
}

// An exception excuses what was met while evidence was gathered as it does what
// the judge finds.
func TestExceptionsExcuseProblems(t *testing.T) {
	problem := whole(found(attestor.CheckBase, attestor.StatusDeny, attestor.CodeBaseUnsigned))
	for name, tt := range map[string]struct {
		exceptions string
		want       attestor.Outcome
	}{
		"none":    {"  exceptions: []", attestor.Deny},
		"its own": {"  exceptions: [{check: base, subject: BASE_UNSIGNED, owner: o, reason: r, expires: 2026-12-31}]", attestor.Pass},
		"another": {"  exceptions: [{check: base, subject: BASE_OUTDATED, owner: o, reason: r, expires: 2026-12-31}]", attestor.Deny},
	} {
		p := with(t, tt.exceptions)
		if v := p.Judge(passing(p, problem)); v.Outcome() != tt.want {
			t.Errorf("%s: %s, want %s: %+v", name, v.Outcome(), tt.want, v.Checks())
		}
	}
}

// Evidence of no image is told of once, whatever else is in it.
func TestEvidenceOfNoImage(t *testing.T) {
	p := with(t)
	c := check(t, p.Judge(passing(p, func(ev *attestor.Evidence) { ev.Image = attestor.Image{} })), attestor.CheckPlatforms)
	if len(c.Reasons) != 1 || c.Reasons[0].Message != "the evidence names no image" {
		t.Errorf("%+v", c.Reasons)
	}
}
