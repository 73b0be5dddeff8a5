package attestor_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/google/go-cmp/cmp"
)

// verdictOf has one platform judged: base and vulnerabilities were skipped, and the user check is c.
func verdictOf(c attestor.Check, more ...attestor.Check) attestor.Verdict {
	ev := attestor.Evidence{Platforms: []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64"}}}}
	c.Platform = "linux/amd64"
	if c.Name == "" {
		c.Name = attestor.CheckUser
	}

	checks := append([]attestor.Check{
		c,
		{Name: attestor.CheckBase, Platform: "linux/amd64", Status: attestor.StatusSkipped},
		{Name: attestor.CheckVulnerabilities, Platform: "linux/amd64", Status: attestor.StatusSkipped},
	}, more...)
	return attestor.NewVerdict(ev, attestor.PolicyRef{}, attestor.AttestNeeds{}, questions(), checks)
}

func codes(reasons []attestor.Reason) []attestor.Code {
	var out []attestor.Code
	for _, r := range reasons {
		out = append(out, r.Code)
	}
	return out
}

// TestSeverityOfReasons is the whole table: what a check's status, the code and the judge's own word make of a reason.
func TestSeverityOfReasons(t *testing.T) {
	const denies, advises, explains = attestor.CodeUserRoot, attestor.CodeGroupRoot, attestor.CodeNotAsked
	refuses, warns, informs := attestor.Refuses, attestor.Warns, attestor.Informs

	// With a USER_ROOT that refuses beside it where the check refuses, so that none is promoted.
	for _, tt := range []struct {
		status                attestor.Status
		code                  attestor.Code
		unsaid, asked, future attestor.ReasonSeverity // nothing said; warns said; a word of another version
	}{
		{attestor.StatusDeny, denies, refuses, warns, refuses},
		{attestor.StatusDeny, advises, warns, warns, refuses},
		{attestor.StatusDeny, explains, informs, warns, refuses},
		{attestor.StatusDeny, "NEW", refuses, warns, refuses},
		{attestor.StatusError, denies, refuses, warns, refuses},
		{attestor.StatusError, advises, warns, warns, refuses},
		{attestor.StatusError, "NEW", refuses, warns, refuses},
		{"", denies, refuses, warns, refuses},
		{"later", denies, refuses, warns, refuses},
		{attestor.StatusWarn, denies, warns, warns, warns},
		{attestor.StatusWarn, advises, warns, warns, warns},
		{attestor.StatusWarn, explains, informs, warns, informs},
		{attestor.StatusPass, denies, informs, warns, informs},
		{attestor.StatusPass, advises, warns, warns, warns},
		{attestor.StatusSkipped, denies, informs, warns, informs},
		{attestor.StatusSkipped, explains, informs, warns, informs},
	} {
		for said, want := range map[attestor.ReasonSeverity]attestor.ReasonSeverity{
			"": tt.unsaid, warns: tt.asked, "forbids": tt.future, informs: informs,
		} {
			c := attestor.Check{Status: tt.status, Reasons: []attestor.Reason{{Code: tt.code, Severity: said}}}
			if tt.status.Refuses() {
				c.Reasons = append(c.Reasons, attestor.Reason{Code: denies})
			}
			if got := c.WithSeverities().Reasons[0].Severity; got != want {
				t.Errorf("%q under status %q, said %q: got %q, want %q", tt.code, tt.status, said, got, want)
			}
			if c.Reasons[0].Severity != said {
				t.Errorf("%q under status %q: the caller's check was changed", tt.code, tt.status)
			}
		}
	}
}

// A policy may make a remark its refusal: without another reason it is one.
func TestARemarkThatRefusesAlone(t *testing.T) {
	alone := attestor.Check{Status: attestor.StatusDeny, Reasons: []attestor.Reason{{Code: attestor.CodeGroupRoot}}}
	if got := codes(alone.DecidingReasons()); !slices.Equal(got, []attestor.Code{attestor.CodeGroupRoot}) {
		t.Errorf("alone: %v", got)
	}

	beside := attestor.Check{Status: attestor.StatusDeny, Reasons: []attestor.Reason{
		{Code: attestor.CodeUserNotSet}, {Code: attestor.CodeGroupRoot}, {Code: attestor.CodeShortestWay},
	}}

	if got := codes(beside.DecidingReasons()); !slices.Equal(got, []attestor.Code{attestor.CodeUserNotSet}) {
		t.Errorf("beside a refusal: %v", got)
	}

	both := beside
	both.Reasons = slices.Clone(beside.Reasons)
	both.Reasons[1].Severity = attestor.Refuses
	if got := codes(both.DecidingReasons()); !slices.Equal(got, []attestor.Code{attestor.CodeUserNotSet, attestor.CodeGroupRoot}) {
		t.Errorf("rootGroup: deny beside a refusal: %v", got)
	}

	if got := codes(attestor.Decision{Checks: []attestor.Check{alone, beside,
		{Status: attestor.StatusWarn, Reasons: beside.Reasons}}}.Refusals()); len(got) != 2 {
		t.Errorf("refusals of the decision: %v", got)
	}
}

// A judge whose status and severities contradict each other has a defect: the image is refused, and every encoder sees
// a reason.
func TestContradictionsRefuse(t *testing.T) {
	for _, tt := range []struct {
		name    string
		check   attestor.Check
		outcome attestor.Outcome
		codes   []attestor.Code
	}{
		{"a denial without a reason", attestor.Check{Status: attestor.StatusDeny}, attestor.Deny, []attestor.Code{attestor.CodeCheckMissing}},
		{"an error without a reason", attestor.Check{Status: attestor.StatusError}, attestor.Undecided, []attestor.Code{attestor.CodeCheckMissing}},
		{"an unknown status without a reason", attestor.Check{Status: "fine"}, attestor.Undecided, []attestor.Code{attestor.CodeCheckMissing}},
		{"a denial with remarks only", attestor.Check{Status: attestor.StatusDeny, Reasons: []attestor.Reason{
			{Code: attestor.CodeUserRoot, Severity: attestor.Warns}, {Code: attestor.CodeShortestWay, Severity: attestor.Informs},
		}}, attestor.Deny, []attestor.Code{attestor.CodeCheckMissing}},
		{"a pass with a refusal", attestor.Check{Status: attestor.StatusPass, Reasons: []attestor.Reason{
			{Code: attestor.CodeUserRoot, Severity: attestor.Refuses},
		}}, attestor.Deny, []attestor.Code{attestor.CodeUserRoot}},
		{"a warning with a refusal", attestor.Check{Status: attestor.StatusWarn, Reasons: []attestor.Reason{
			{Code: attestor.CodeGroupRoot, Severity: attestor.Refuses},
		}}, attestor.Deny, []attestor.Code{attestor.CodeGroupRoot}},
		{"a skipped check with a refusal", attestor.Check{Status: attestor.StatusSkipped, Reasons: []attestor.Reason{
			{Code: attestor.CodeNotAsked, Severity: attestor.Refuses},
		}}, attestor.Deny, []attestor.Code{attestor.CodeNotAsked}},
	} {
		// Another check passed, so that only the contradiction can refuse.
		v := verdictOf(tt.check, attestor.Check{Name: attestor.CheckScope, Status: attestor.StatusPass})
		got := codes(attestor.Decision{Checks: v.Checks()}.Refusals())
		if v.Outcome() != tt.outcome || !slices.Equal(got, tt.codes) {
			t.Errorf("%s: %s because of %v, want %s because of %v", tt.name, v.Outcome(), got, tt.outcome, tt.codes)
		}
	}

	fine := verdictOf(attestor.Check{Status: attestor.StatusPass})
	if fine.Outcome() != attestor.Pass || len((attestor.Decision{Checks: fine.Checks()}).Refusals()) != 0 {
		t.Errorf("the twin without a contradiction: %s", fine.Outcome())
	}
}

// A check that was made and did not refuse speaks for the image; one that was skipped does not, nor do remarks about
// the policy's exceptions or the image's existence.
func TestNothingCheckedIsWhereEveryCheckWasSkipped(t *testing.T) {
	group := []attestor.Reason{{Code: attestor.CodeGroupRoot}}
	warns := func(check string, code attestor.Code) []attestor.Check {
		return []attestor.Check{{Name: check, Status: attestor.StatusWarn, Reasons: []attestor.Reason{{Code: code}}}}
	}

	skipped := attestor.Check{Status: attestor.StatusSkipped}
	for _, tt := range []struct {
		name string
		user attestor.Check
		more []attestor.Check
		want attestor.Outcome
	}{
		{"the user check passed", attestor.Check{Status: attestor.StatusPass}, nil, attestor.Pass},
		{"the user check warned", attestor.Check{Status: attestor.StatusWarn, Reasons: group}, nil, attestor.Pass},
		{"a rule warned", skipped, []attestor.Check{{Name: "rule:r", Status: attestor.StatusWarn}}, attestor.Pass},
		{"every check was skipped", skipped, nil, attestor.Deny},
		{"skipped with a warning", attestor.Check{Status: attestor.StatusSkipped, Reasons: []attestor.Reason{
			{Code: attestor.CodeGroupRoot, Severity: attestor.Warns},
		}}, nil, attestor.Deny},
		{"a stale exception", skipped, warns(attestor.CheckPolicy, attestor.CodeExceptionStale), attestor.Deny},
		{"children that were left out", skipped, warns(attestor.CheckPlatforms, attestor.CodeEvidenceMissing), attestor.Deny},
		{"an unknown status", attestor.Check{Status: "fine"}, nil, attestor.Undecided},
	} {
		v := verdictOf(tt.user, tt.more...)
		nothing := slices.Contains(codes(attestor.Decision{Checks: v.Checks()}.Refusals()), attestor.CodeNothingChecked)
		if v.Outcome() != tt.want || nothing != (tt.want == attestor.Deny) {
			t.Errorf("%s: %s, NOTHING_CHECKED %v, want %s", tt.name, v.Outcome(), nothing, tt.want)
		}
	}
}

// randomCheck says no severity, or one that its status permits: every judge of the gate does either.
func randomCheck(r *rand.Rand) attestor.Check {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	c := attestor.Check{
		Name:   pick(attestor.CheckScope, "rule:a", attestor.CheckProvenance, attestor.CheckPolicy),
		Status: attestor.Status(pick("pass", "pass", "pass", "warn", "warn", "skipped", "skipped", "deny", "error", "", "later")),
	}

	all := attestor.Codes()
	for range r.IntN(4) {
		reason := attestor.Reason{Code: all[r.IntN(len(all))].Code}
		switch said := r.IntN(4); {
		case said == 0:
			reason.Severity = attestor.Warns
		case said == 1:
			reason.Severity = attestor.Informs
		case said == 2 && c.Status.Refuses():
			reason.Severity = attestor.Refuses
		}
		c.Reasons = append(c.Reasons, reason)
	}

	return c
}

// outcomeBefore is the sum as it was before reasons had severities: by status alone, a warning not counting as made.
func outcomeBefore(checks []attestor.Check) (outcome attestor.Outcome, nothing bool) {
	made := false
	outcome = attestor.Pass

	for _, c := range checks {
		switch {
		case c.Status == attestor.StatusDeny:
			outcome = attestor.Deny
		case c.Status.Refuses() && outcome == attestor.Pass:
			outcome = attestor.Undecided
		}
		made = made || c.Status == attestor.StatusPass
	}

	if outcome == attestor.Pass && !made {
		return attestor.Deny, true
	}
	return outcome, false
}

// TestPropertySeverities: whatever the checks are, severities do not change the sum, except that warnings now speak for
// the image; a check refuses exactly where one of its reasons does; and reading a Decision back changes nothing.
func TestPropertySeverities(t *testing.T) {
	seen := map[attestor.Outcome]int{}
	lifted := 0

	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 16))
		user := randomCheck(r)
		user.Name = attestor.CheckUser
		more := make([]attestor.Check, r.IntN(4))

		for i := range more {
			more[i] = randomCheck(r)
		}

		v := verdictOf(user, more...)
		seen[v.Outcome()]++

		before, nothing := outcomeBefore(append(more, user))
		warned := slices.ContainsFunc(append(more, user), func(c attestor.Check) bool {
			return c.Status == attestor.StatusWarn && c.Name != attestor.CheckPolicy
		})

		onlyPolicy := !slices.ContainsFunc(append(more, user), func(c attestor.Check) bool {
			return (c.Status == attestor.StatusPass || c.Status == attestor.StatusWarn) && c.Name != attestor.CheckPolicy
		})

		switch {
		case nothing && warned:
			lifted++
			before = attestor.Pass
		case before == attestor.Pass && onlyPolicy: // a remark about the policy speaks for no image
			before = attestor.Deny
		}

		if v.Outcome() != before {
			t.Fatalf("seed %d: %s, before %s: %+v", seed, v.Outcome(), before, v.Checks())
		}

		for _, c := range v.Checks() {
			if len(c.DecidingReasons()) > 0 != c.Status.Refuses() {
				t.Fatalf("seed %d: status and severities disagree: %+v", seed, c)
			}
			for _, reason := range c.Reasons {
				if reason.Severity != attestor.Refuses && reason.Severity != attestor.Warns && reason.Severity != attestor.Informs {
					t.Fatalf("seed %d: a reason without severity: %+v", seed, c)
				}
			}
		}

		d := attestor.Decision{Checks: v.Checks()}
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}

		var back attestor.Decision
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}

		if diff := cmp.Diff(d.Checks, back.Checks); diff != "" {
			t.Fatalf("seed %d (-written +read):\n%s", seed, diff)
		}
	}

	if seen[attestor.Pass] < 100 || seen[attestor.Deny] < 100 || seen[attestor.Undecided] < 100 || lifted < 10 {
		t.Errorf("the trial shows little: %v, %d lifted", seen, lifted)
	}
}

// TestOldDecisionsAreRead: what was recorded before reasons had a severity gets it from code and status.
func TestOldDecisionsAreRead(t *testing.T) {
	const old = `{"checks": [
	  {"name": "user", "status": "deny", "reasons": [{"code": "USER_NOT_SET", "message": "m"}, {"code": "GROUP_ROOT", "message": "m"}]},
	  {"name": "user", "status": "deny", "reasons": [{"code": "GROUP_ROOT", "message": "m"}]},
	  {"name": "vulnerabilities", "status": "deny", "reasons": [{"code": "CVE_BLOCKED", "message": "m"}, {"code": "SHORTEST_WAY", "message": "m"}]},
	  {"name": "vulnerabilities", "status": "error", "reasons": [{"code": "A_CODE_OF_LATER", "message": "m"}]},
	  {"name": "vulnerabilities", "status": "warn", "reasons": [{"code": "KNOWN_EXPLOITED", "message": "m"}]},
	  {"name": "base", "status": "skipped", "reasons": [{"code": "NOT_ASKED", "message": "m"}]},
	  {"name": "attest", "status": "pass", "reasons": [{"code": "ATTESTATION_FOREIGN", "message": "m"}]},
	  {"name": "scope", "status": "deny", "reasons": []},
	  {"name": "scope", "status": "deny", "reasons": null}]}`

	var d attestor.Decision
	if err := json.Unmarshal([]byte(old), &d); err != nil {
		t.Fatal(err)
	}

	var got []string
	for _, c := range d.Checks {
		for _, r := range c.Reasons {
			got = append(got, fmt.Sprintf("%s %s", r.Code, r.Severity))
		}
	}

	want := []string{
		"USER_NOT_SET refuses", "GROUP_ROOT warns", "GROUP_ROOT refuses", "CVE_BLOCKED refuses", "SHORTEST_WAY informs",
		"A_CODE_OF_LATER refuses", "KNOWN_EXPLOITED warns", "NOT_ASKED informs", "ATTESTATION_FOREIGN warns",
	}

	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if d.Checks[7].Reasons == nil || d.Checks[8].Reasons != nil {
		t.Error("an empty list and none are told apart")
	}

	if err := json.Unmarshal([]byte(`{"checks": [{"name": 1}]}`), &d); err == nil {
		t.Error("an invalid check was read")
	}
}

// Evidence holds facts: its bytes, and so its hash, are what they were before reasons had a severity.
func TestEvidenceHasNoSeverities(t *testing.T) {
	ev := attestor.Evidence{
		Problems: []attestor.Problem{{
			Check: attestor.CheckUser, Status: attestor.StatusDeny, Reason: attestor.Reason{Code: attestor.CodeUserInvalid, Message: "m"},
		}},
		Platforms: []attestor.PlatformEvidence{{Scan: attestor.Scan{Problem: &attestor.Reason{Code: attestor.CodeScanFailed, Message: "m"}}}},
	}

	before, err := json.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}

	attestor.NewVerdict(ev, attestor.PolicyRef{}, attestor.AttestNeeds{}, questions(), []attestor.Check{
		{Name: attestor.CheckUser, Status: attestor.StatusDeny, Reasons: []attestor.Reason{ev.Problems[0].Reason, *ev.Platforms[0].Scan.Problem}},
	})

	after, err := json.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}

	if string(before) != string(after) || strings.Contains(string(after), `"refuses"`) {
		t.Errorf("the evidence was changed: %s", after)
	}
}

// TestDecisionsOfTheGateHaveSeverities: the gate's own checks are sealed as a policy's are.
func TestDecisionsOfTheGateHaveSeverities(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(s *stages)
		dryRun bool
		want   []string
	}{
		"no policy": {func(s *stages) { s.policy = nil }, false, []string{"NO_POLICY refuses"}},
		"a dry run": {func(*stages) {}, true, []string{"NOT_ATTESTED informs"}},
		"a signing failure": {func(s *stages) {
			s.attest = &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeSigningFailed, Msg: "m"}
		}, false, []string{"SIGNING_FAILED refuses"}},
		"a denial": {func(s *stages) { s.policy.status["user"] = attestor.StatusDeny }, false,
			[]string{"CHECK_MISSING refuses", "NOT_ATTESTED informs"}},
	} {
		s := newStages(t)
		tt.change(s)
		r := attestor.Request{Image: reference(t, repository+":v7"), Caller: attestor.LocalCaller("me")}
		r.DryRun = tt.dryRun
		d, err := gate(t, s).Admit(t.Context(), r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}

		var got []string
		for _, c := range d.Checks {
			for _, reason := range c.Reasons {
				got = append(got, fmt.Sprintf("%s %s", reason.Code, reason.Severity))
			}
		}

		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
