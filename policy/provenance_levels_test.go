package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

const byGitHub = `signedBy: {keyless: {issuer: "https://token.actions.githubusercontent.com", subjectRegexp: ".*"}}`

// calling asks for a level of the vetted workflow in some versions.
func calling(level, versions string) string {
	return `  provenance: {slsaLevel: ` + level + `, ` + byGitHub + `, reusableWorkflows: [{workflow: "` + vetted + `", ` +
		versions + `}]}`
}

// statements are all the provenance that there is.
func statements(list ...attestor.Provenance) func(*attestor.Evidence) {
	return on(func(e *attestor.PlatformEvidence) { e.Provenance = list })
}

// statement is the exemplary one, changed.
func statement(p *policy.Policy, change ...func(*attestor.Provenance)) attestor.Provenance {
	s := passing(p).Platforms[0].Provenance[0]
	for _, c := range change {
		c(&s)
	}
	return s
}

func ofLevel(n int) func(*attestor.Provenance) {
	return func(p *attestor.Provenance) { p.SLSALevel = n }
}

// A reference is compared as it is written, and never as what its components lead to.
func TestReferencesOfWorkflowsAreTakenAsWritten(t *testing.T) {
	p := with(t, reusing)
	judged(t, p, passing(p, byWorkflow(calledAt(vetted+"@refs/tags/v1"))), attestor.Pass)
	for _, ref := range []string{
		"refs/tags/x/../v1", "refs/tags/./v1", "refs/tags//v1", "refs/heads/x/../../tags/v1", "refs/tags/v1/",
		"x/../refs/tags/v1", "../refs/tags/v1", "./refs/tags/v1", "/refs/tags/v1", "tags/v1", "refs", "",
	} {
		t.Run(ref, func(t *testing.T) {
			judged(t, p, passing(p, byWorkflow(calledAt(vetted+"@"+ref))), attestor.Deny, attestor.CodeProvenanceLevel)
		})
	}
}

// Commits alone vet a workflow, at whatever reference it was called, and a certificate without one has none of them.
func TestWorkflowsVettedByCommitAlone(t *testing.T) {
	one, two := strings.Repeat("1", 40), strings.Repeat("2", 64)
	p := with(t, calling("3", `commits: ["`+one+`", "`+two+`"]`))
	for commit, want := range map[string]attestor.Outcome{
		one: attestor.Pass, two: attestor.Pass, "": attestor.Deny, one[1:]: attestor.Deny,
		strings.Repeat("2", 40): attestor.Deny,
	} {
		v := p.Judge(passing(p, byWorkflow(func(p *attestor.Provenance) { p.Workflow.Commit = commit })))
		if v.Outcome() != want {
			t.Errorf("at the commit %q: %s, want %s", commit, v.Outcome(), want)
		}
	}
}

// A workflow raises what is below level 3, of statements that its own certificate is about. Everything else is worth
// what it says.
func TestWhatAWorkflowDoesNotRaise(t *testing.T) {
	four := with(t, calling("4", "refs: [refs/tags/v1]"))
	judged(t, four, passing(four, byWorkflow(ofLevel(4))), attestor.Pass)
	judged(t, four, passing(four, byWorkflow(ofLevel(3))), attestor.Deny, attestor.CodeProvenanceLevel)

	// Of level 3 by itself, it is by the builder that it names.
	for builder, want := range map[string]attestor.Outcome{"https://b.example": attestor.Pass, vetted: attestor.Deny} {
		p := with(t, strings.Replace(calling("3", "refs: [refs/tags/v1]"), "slsaLevel: 3,",
			`slsaLevel: 3, builders: ["`+builder+`"],`, 1))
		v := p.Judge(passing(p, byWorkflow(ofLevel(3), func(p *attestor.Provenance) { p.Builder = "https://b.example" })))
		if v.Outcome() != want {
			t.Errorf("of level 3, where %s is asked for: %s, want %s", builder, v.Outcome(), want)
		}
	}

	// Cloud Build's statements are signed by no workflow.
	p := with(t, reusing)
	judged(t, p, passing(p, byWorkflow(func(p *attestor.Provenance) { p.Source = "cloud-build" })),
		attestor.Deny, attestor.CodeProvenanceLevel)
}

// The message says why a statement is not of a level only where the policy names workflows that would be.
func TestWhyALevelIsTooLow(t *testing.T) {
	const low = "the provenance is of SLSA level 2; at least 3 is required"
	cloud := func(p *attestor.Provenance) { p.Source = "cloud-build" }
	plain := `  provenance: {slsaLevel: 3, ` + byGitHub + `}`
	for _, tt := range []struct {
		name, policy string
		change       func(*attestor.Provenance)
		want         string
	}{
		{"no workflow is asked for", plain, ofLevel(2), low},
		{"no workflow is asked for, and none signed", plain, func(p *attestor.Provenance) { p.Workflow = nil }, low},
		{"of Cloud Build", reusing, cloud, low},
		{"another workflow", reusing, calledAt("https://github.com/acme/x@refs/tags/v1"),
			low + `: the workflow "https://github.com/acme/x@refs/tags/v1" is not in spec.provenance.reusableWorkflows`},
	} {
		p := with(t, tt.policy)
		c := check(t, p.Judge(passing(p, byWorkflow(tt.change))), attestor.CheckProvenance)
		if len(c.Reasons) != 1 || c.Reasons[0].Message != tt.want {
			t.Errorf("%s: %+v, want %q", tt.name, c.Reasons, tt.want)
		}
	}
}

// A policy that does not ask for provenance has no workflows: its rules see what statements say.
func TestRulesSeeStatementsThatNobodyAsksFor(t *testing.T) {
	text := strings.Split(edited(t, `  rules: [{name: level, expression: "provenance.exists(p, p.slsaLevel == 2)", `+
		`message: "want level 2"}]`), "\n")
	text = slices.DeleteFunc(text, func(l string) bool { return strings.HasPrefix(l, "  provenance:") })
	p := one(t, strings.Join(text, "\n"))
	judged(t, p, passing(p, byWorkflow()), attestor.Pass)
	judged(t, p, passing(p, byWorkflow(ofLevel(1))), attestor.Deny, attestor.CodeRuleViolated)
}

// TestTheBuildLevelThatIsClaimed: the check claims the highest level among those statements and summaries alone that
// meet the policy, and none unless it passes.
func TestTheBuildLevelThatIsClaimed(t *testing.T) {
	const builder = `  provenance: {builders: ["https://builder.example/1"]}`
	two := strings.Replace(builder, "{", "{slsaLevel: 2, ", 1)
	waiver := func(code attestor.Code) string {
		return "  exceptions: [{check: provenance, subject: " + string(code) + ", owner: o, reason: r, expires: 2027-12-01}]"
	}
	stranger := func(p *attestor.Provenance) { p.Builder = "https://builder.example/2" }
	attached := func(p *attestor.Provenance) { p.Source = "cosign" }
	of := func(change ...[]func(*attestor.Provenance)) func(*policy.Policy) []func(*attestor.Evidence) {
		return func(p *policy.Policy) []func(*attestor.Evidence) {
			var list []attestor.Provenance
			for _, c := range change {
				list = append(list, statement(p, c...))
			}
			return []func(*attestor.Evidence){statements(list...)}
		}
	}
	is := func(change ...func(*attestor.Provenance)) []func(*attestor.Provenance) { return change }
	has := func(list ...func(*attestor.Evidence)) func(*policy.Policy) []func(*attestor.Evidence) {
		return func(*policy.Policy) []func(*attestor.Evidence) { return list }
	}
	levels := func(list ...string) func(*attestor.StageSummary) {
		return func(s *attestor.StageSummary) { s.Levels = append(list, "SCANNED") }
	}
	troubled := func(status attestor.Status, code attestor.Code) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) {
			e.Problems = append(e.Problems, problem(attestor.CheckProvenance, status, code))
		})
	}
	unread := troubled(attestor.StatusError, attestor.CodeProvenanceUnavailable)

	for _, tt := range []struct {
		name   string
		policy []string
		has    func(*policy.Policy) []func(*attestor.Evidence)
		status attestor.Status
		want   int
	}{
		{"of level 3", []string{two}, of(is(ofLevel(3))), attestor.StatusPass, 3},
		{"of level 2", []string{two}, of(is(ofLevel(2))), attestor.StatusPass, 2},
		{"of no level", []string{builder}, of(is(ofLevel(0))), attestor.StatusPass, 0},
		{"the highest, first", []string{two}, of(is(ofLevel(3)), is(ofLevel(2))), attestor.StatusPass, 3},
		{"the highest, last", []string{two}, of(is(ofLevel(2)), is(ofLevel(3))), attestor.StatusPass, 3},
		{"beside another builder's", []string{two}, of(is(ofLevel(2)), is(ofLevel(4), stranger)), attestor.StatusPass, 2},
		{"beside anybody's", []string{two}, of(is(ofLevel(2)), is(ofLevel(4), attached)), attestor.StatusPass, 2},
		{"raised by a workflow", []string{reusing}, has(byWorkflow()), attestor.StatusPass, 3},
		{"refused", []string{two}, of(is(ofLevel(4), stranger)), attestor.StatusDeny, 0},
		{"too low", []string{two}, of(is(ofLevel(1))), attestor.StatusDeny, 0},
		{"anybody's alone", []string{two}, of(is(ofLevel(4), attached)), attestor.StatusDeny, 0},
		{"excused", []string{two, waiver(attestor.CodeProvenanceBuilder)}, of(is(ofLevel(4), stranger)),
			attestor.StatusPass, 0},
		{"warned of", []string{two, "  checks: {provenance: warn}"}, of(is(ofLevel(4), stranger)), attestor.StatusWarn, 0},
		{"a statement that is refused besides", []string{reusing},
			has(byWorkflow(), troubled(attestor.StatusDeny, attestor.CodeProvenanceSource)), attestor.StatusDeny, 0},
		{"a statement that is warned of besides", []string{reusing, "  checks: {provenance: warn}"},
			has(byWorkflow(), troubled(attestor.StatusDeny, attestor.CodeProvenanceSource)), attestor.StatusWarn, 0},
		{"a statement that could not be read besides", []string{reusing}, has(byWorkflow(), unread), attestor.StatusPass, 3},

		{"a summary of level 3", []string{staged}, has(summarized(levels("SLSA_BUILD_LEVEL_3"))), attestor.StatusPass, 3},
		{"a summary of level 2", []string{staged}, has(summarized(levels("SLSA_BUILD_LEVEL_2"))), attestor.StatusPass, 2},
		{"a summary of no level", []string{strings.Replace(staged, "slsaLevel: 2, ", "", 1)}, has(summarized(levels())),
			attestor.StatusPass, 0},
		{"a summary that is too low", []string{staged}, has(summarized(levels("SLSA_BUILD_LEVEL_1"))),
			attestor.StatusDeny, 0},
		{"a summary, and another that was not read", []string{staged}, has(summarized(levels("SLSA_BUILD_LEVEL_3")), unread),
			attestor.StatusError, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t, tt.policy...)
			c := check(t, p.Judge(passing(p, tt.has(p)...)), attestor.CheckProvenance)
			if c.Status != tt.status || c.BuildLevel != tt.want {
				t.Errorf("%s, level %d, want %s and %d: %+v", c.Status, c.BuildLevel, tt.status, tt.want, c.Reasons)
			}
		})
	}
}

// A statement and a summary that both meet the policy count alike: the higher level is claimed, and what could not be
// read beside the statement does not matter.
func TestASummaryBesideAStatement(t *testing.T) {
	p := with(t, staged)
	built := statement(p, ofLevel(2))
	both := func(ev *attestor.Evidence) {
		summarized(func(*attestor.StageSummary) {})(ev)
		ev.Platforms[0].Provenance = append(ev.Platforms[0].Provenance, built)
	}
	unread := on(func(e *attestor.PlatformEvidence) {
		e.Problems = []attestor.Problem{
			problem(attestor.CheckProvenance, attestor.StatusError, attestor.CodeProvenanceUnavailable),
		}
	})
	for name, tt := range map[string]struct {
		has  []func(*attestor.Evidence)
		want int
	}{
		"both":                       {[]func(*attestor.Evidence){both}, 3},
		"both, and what is not read": {[]func(*attestor.Evidence){both, unread}, 2},
	} {
		c := check(t, p.Judge(passing(p, tt.has...)), attestor.CheckProvenance)
		if c.Status != attestor.StatusPass || c.BuildLevel != tt.want {
			t.Errorf("%s: %s, level %d, want level %d: %+v", name, c.Status, c.BuildLevel, tt.want, c.Reasons)
		}
	}
}

// Who signs the summaries of an earlier stage is among what has to be verified, where the policy asks for any.
func TestSummariesAreAskedFor(t *testing.T) {
	want := &attestor.ProvenanceNeeds{
		Builders: []string{"b"}, SignedBy: &attestor.SignedBy{Key: "/k"}, Summary: &attestor.SignedBy{Key: "stage.pub"},
	}
	line := `  provenance: {builders: [b], signedBy: {key: /k}, vsa: {verifiers: ["https://stage.example/v"], ` +
		`policies: ["https://stage.example/p"], signedBy: {key: stage.pub}, levels: [SCANNED]}}`
	if diff := cmp.Diff(want, with(t, line).Needs().Provenance); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	want.Summary = nil
	got := with(t, `  provenance: {builders: [b], signedBy: {key: /k}}`).Needs().Provenance
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("without a summary (-want +got):\n%s", diff)
	}
}

// Whoever may push to a branch changes the workflow: lint says so of each, and of nothing else.
func TestLintOfBranchesOfWorkflows(t *testing.T) {
	text := edited(t, strings.TrimSuffix(calling("3", `refs: ["refs/tags/v*", refs/heads/main, "refs/heads/r/*"]`), "]}")+
		`, {workflow: "`+strings.Replace(vetted, "build", "other", 1)+`", refs: [refs/tags/heads, refs/heads/x]}]}`)
	const path = "spec.provenance.reusableWorkflows"
	for at, branch := range map[string]string{
		path + "[0].refs[0]": "", path + "[0].refs[1]": "refs/heads/main", path + "[0].refs[2]": "refs/heads/r/*",
		path + "[1].refs[0]": "", path + "[1].refs[1]": "refs/heads/x",
	} {
		got := lintAt(t, text, at)
		if branch == "" && len(got) == 0 {
			continue
		}
		if len(got) != 1 || branch == "" || !strings.Contains(got[0], `"`+branch+`" is a branch`) {
			t.Errorf("%s: %q, want %q", at, got, branch)
		}
	}
}
