package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
	"github.com/google/go-cmp/cmp"
)

// rounds is how many random policies and images each property is tried on.
const rounds = 600

func ceilings() []string {
	return []string{"BLOCK_ALL", "MINIMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL", "ALLOW_ALL"}
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// draft is a random policy that can be tightened one setting at a time: each
// setting is a position in its list, strictest first.
type draft struct {
	settings   []setting
	exceptions []string
}

type setting struct {
	line   string // with %s for the value
	values []string
	at     int
}

func newDraft(r *rand.Rand) *draft {
	d := &draft{}
	add := func(line string, values ...string) {
		d.settings = append(d.settings, setting{line, values, r.IntN(len(values))})
	}
	add("    maximumFixableSeverity: %s", ceilings()...)
	add("    maximumUnfixableSeverity: %s", ceilings()...)
	add("    unspecifiedSeverity: %s", "deny", "allow")
	add("    baseFindings: {maximumFixableSeverity: %s, maximumUnfixableSeverity: HIGH}", ceilings()...)
	add("    blockedCves: %s", "[CVE-1-1, CVE-1-2]", "[CVE-1-1]", "[]")
	add("    knownExploited: %s", "deny", "warn", "allow")
	add("    maximumEPSS: %s", "0", "0.2", "0.5", "1")
	add("    gracePeriod: {HIGH: %s, CRITICAL: 1d}", "0", "7d", "60d")
	add("    vex: {accept: [%s], projects: [acme-security]}", "fixed", "fixed, not_affected")
	add("    scan: {maxAge: 30d, onUnsupported: %s}", "deny", "warn")
	add("  user: {nonRoot: true, minimumUID: %s}", "10000", "1000", "1")
	add("    evidence: %s", "layers-exact", "diffids-verified", "attested")
	add("  secrets: {found: %s}", "deny", "warn", "ignore")
	add("  unknownFindings: %s", "deny", "warn", "ignore")
	add("  platforms: %s", "all") // its own line, so that edited() finds it
	for range r.IntN(4) {
		expires := pick(r, "2026-11-19", "2026-11-20", "2027-01-31")
		d.exceptions = append(d.exceptions, pick(r,
			fmt.Sprintf(`{check: vulnerabilities, subject: CVE-1-%d, owner: o, reason: r, expires: %s}`, 3+r.IntN(4), expires),
			fmt.Sprintf(`{check: vulnerabilities, subject: "*", platforms: [linux/arm64], owner: o, reason: r, expires: %s}`, expires),
			fmt.Sprintf(`{check: user, subject: USER_TOO_LOW, owner: o, reason: r, expires: %s}`, expires),
			fmt.Sprintf(`{check: base, subject: "*", images: ["registry.example/acme/prod/api"], owner: o, reason: r, expires: %s}`, expires)))
	}
	return d
}

func (d *draft) policy(t *testing.T) *policy.Policy {
	lines := []string{"  exceptions: [" + strings.Join(d.exceptions, ", ") + "]"}
	for _, s := range d.settings {
		lines = append(lines, fmt.Sprintf(s.line, s.values[s.at]))
	}
	return with(t, lines...)
}

// randomFinding draws from few values, so that limits are met often.
func randomFinding(r *rand.Rand) attestor.Vulnerability {
	return vulnerability(fmt.Sprintf("CVE-1-%d", 1+r.IntN(6)), func(v *attestor.Vulnerability) {
		v.Severity = pick(r, append(attestor.Severities(), "", "SEVERITY_9")...)
		v.Fixable = r.IntN(2) == 0
		v.Package = pick(r, "openssl", "zlib")
		v.EPSS = pick(r, nil, new(0.1), new(0.3), new(0.9))
		v.KnownExploited = pick(r, nil, new(false), new(false), new(true))
		v.Published = pick(r, nil, new(today().AddDate(0, 0, -3)), new(today().AddDate(0, 0, -40)))
		v.DiffIDs = pick(r, nil, []attestor.Digest{"sha256:" + attestor.Digest(strings.Repeat("b", 64))},
			[]attestor.Digest{"sha256:" + attestor.Digest(strings.Repeat("d", 64))})
		if r.IntN(4) == 0 {
			v.VEX = []attestor.VEX{{Status: pick(r, "fixed", "not_affected", "affected"), Project: pick(r, "acme-security", "other")}}
		}
	})
}

// randomEvidence is mostly good, so that passes are not rare.
func randomEvidence(r *rand.Rand, p *policy.Policy) attestor.Evidence {
	ev := passing(p)
	if r.IntN(4) == 0 {
		index()(&ev)
	}
	for i := range ev.Platforms {
		e := &ev.Platforms[i]
		for range r.IntN(3) {
			e.Scan.Findings = append(e.Scan.Findings, randomFinding(r))
		}
		if r.IntN(6) == 0 {
			e.Scan.Secrets = []attestor.Secret{{Kind: "GCP_API_KEY",
				Status: pick(r, attestor.SecretValid, attestor.SecretInvalid, attestor.SecretUnknown, "STATUS_4")}}
		}
		if r.IntN(6) == 0 {
			e.Scan.State = pick(r, attestor.ScanNotFound, attestor.ScanPending, attestor.ScanUnsupported, attestor.ScanFailed, attestor.ScanUnavailable, "")
		}
		if r.IntN(4) == 0 {
			id := pick(r, int64(0), 500, 5000, 65532)
			e.User = attestor.User{Configured: fmt.Sprint(id), UID: &id, Source: attestor.UserFromConfig}
		}
		if r.IntN(4) == 0 {
			e.Base.Evidence = pick(r, attestor.LayersExact, attestor.DiffIDsVerified, attestor.Attested, "")
		}
	}
	return ev
}

// never tries a change many times, and fails where an image that did not pass
// does so after it, or where the trial shows nothing since none ever passed.
func never(t *testing.T, change func(r *rand.Rand, p *policy.Policy, d *draft, ev *attestor.Evidence) *policy.Policy) {
	t.Helper()
	outcomes := map[attestor.Outcome]int{}
	changed := 0
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 7))
		d := newDraft(r)
		p := d.policy(t)
		ev := randomEvidence(r, p)
		before := p.Judge(ev)
		outcomes[before.Outcome()]++
		q := change(r, p, d, &ev)
		after := q.Judge(ev)
		if before.Outcome() != after.Outcome() {
			changed++
		}
		if before.Outcome() != attestor.Pass && after.Outcome() == attestor.Pass {
			t.Fatalf("seed %d: %s became a pass\nbefore %+v\n%s\nafter %+v\n%s", seed, before.Outcome(), before.Checks(), p.Text(), after.Checks(), q.Text())
		}
	}
	if outcomes[attestor.Pass] < rounds/20 || outcomes[attestor.Deny] < rounds/20 || outcomes[attestor.Undecided] < rounds/100 || changed == 0 {
		t.Errorf("the trial shows little: %v, %d changed", outcomes, changed)
	}
}

func TestPropertyRemovingAnException(t *testing.T) {
	never(t, func(r *rand.Rand, _ *policy.Policy, d *draft, _ *attestor.Evidence) *policy.Policy {
		if n := len(d.exceptions); n > 0 {
			d.exceptions = slices.Delete(slices.Clone(d.exceptions), 0, 1+r.IntN(n))
		}
		return d.policy(t)
	})
}

func TestPropertyTighteningASetting(t *testing.T) {
	never(t, func(r *rand.Rand, _ *policy.Policy, d *draft, _ *attestor.Evidence) *policy.Policy {
		s := &d.settings[r.IntN(len(d.settings))]
		s.at = r.IntN(s.at + 1)
		return d.policy(t)
	})
}

func TestPropertyAddingAFinding(t *testing.T) {
	never(t, func(r *rand.Rand, p *policy.Policy, _ *draft, ev *attestor.Evidence) *policy.Policy {
		e := &ev.Platforms[r.IntN(len(ev.Platforms))]
		e.Scan.Findings = slices.Insert(e.Scan.Findings, r.IntN(len(e.Scan.Findings)+1), randomFinding(r))
		return p
	})
}

// A scan that does not exist speaks for nothing, and neither does a finding beside it that is excused or only warns.
func TestPropertyAddingAHarmlessFindingToNothing(t *testing.T) {
	p := one(t, `{apiVersion: attestor/v1, kind: GatePolicy, metadata: {name: few}, spec: {mode: enforce, images: ["registry.example/**"],
  base: {required: false}, user: {nonRoot: false},
  vulnerabilities: {maximumFixableSeverity: BLOCK_ALL, maximumUnfixableSeverity: BLOCK_ALL, knownExploited: warn, gracePeriod: {HIGH: 30d},
    scan: {onUnsupported: allow}, allowedCves: [{id: CVE-1-1, owner: o, reason: r, expires: 2027-01-31}]}, attestors: [projects/p/attestors/a]}}`)
	ev := p.Exemplary("registry.example/other/api", today())
	ev.Platforms[0].Scan = attestor.Scan{State: attestor.ScanUnsupported}
	if v := p.Judge(ev); v.Outcome() != attestor.Deny {
		t.Fatalf("%s before", v.Outcome())
	}

	for name, finding := range map[string]attestor.Vulnerability{
		"excused": vulnerability("CVE-1-1"),
		"warned": vulnerability("CVE-1-2", func(v *attestor.Vulnerability) {
			v.Severity, v.Published = attestor.High, new(today().AddDate(0, 0, -1))
		}),
	} {
		ev.Platforms[0].Scan.Findings = []attestor.Vulnerability{finding}
		v := p.Judge(ev)
		c := check(t, v, attestor.CheckVulnerabilities)
		if v.Outcome() != attestor.Deny || c.Status != attestor.StatusSkipped || c.Reasons[0].Code != attestor.CodeScanUnsupported {
			t.Errorf("%s: %s: %+v", name, v.Outcome(), v.Checks())
		}
		if warned := name == "warned"; warned != slices.ContainsFunc(c.Reasons, func(r attestor.Reason) bool { return r.Severity == attestor.Warns }) {
			t.Errorf("%s: %+v", name, c.Reasons)
		}
	}
}

func TestPropertyOrderOfFindings(t *testing.T) {
	for seed := range uint64(rounds / 3) {
		r := rand.New(rand.NewPCG(seed, 7))
		p := newDraft(r).policy(t)
		ev := randomEvidence(r, p)
		for range 6 {
			ev.Platforms[0].Scan.Findings = append(ev.Platforms[0].Scan.Findings, randomFinding(r))
		}
		before := p.Judge(ev)
		list := ev.Platforms[0].Scan.Findings
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if diff := cmp.Diff(texts(before), texts(p.Judge(ev))); diff != "" {
			t.Fatalf("seed %d: the order of findings matters:\n%s", seed, diff)
		}
	}
}

// texts is the verdict with its reasons and exceptions in order of their text:
// of findings that differ only in what is not shown, either may come first.
func texts(v attestor.Verdict) []string {
	out := []string{string(v.Outcome())}
	for _, c := range v.Checks() {
		out = append(out, fmt.Sprintf("%s %s %s", c.Name, c.Platform, c.Status))
		for _, r := range c.Reasons {
			out = append(out, fmt.Sprintf("%s %s %+v", c.Name, c.Platform, r))
		}
		for _, e := range c.Exceptions {
			out = append(out, fmt.Sprintf("%s %s %+v", c.Name, c.Platform, e))
		}
	}
	slices.Sort(out)
	return out
}

// Time only takes away: what did not pass does not pass later on, as far as it
// is up to exceptions, grace and ages.
func TestPropertyWaiting(t *testing.T) {
	never(t, func(r *rand.Rand, p *policy.Policy, _ *draft, ev *attestor.Evidence) *policy.Policy {
		ev.Time = ev.Time.Add(time.Duration(r.IntN(60*24)) * time.Hour)
		return p
	})
}
