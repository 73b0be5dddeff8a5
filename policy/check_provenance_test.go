package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

const (
	vetted = "https://github.com/acme/ci/.github/workflows/build.yml"

	// reusing asks for level 3 of one reusable workflow.
	reusing = `  provenance: {slsaLevel: 3, sources: ["https://github.com/acme/*"], ` +
		`signedBy: {keyless: {issuer: "https://token.actions.githubusercontent.com", subjectRegexp: ".*"}}, ` +
		`reusableWorkflows: [{workflow: "` + vetted + `", refs: ["refs/tags/v*", refs/heads/main], commits: ["1111111111111111111111111111111111111111"]}]}`
)

// byWorkflow is a statement that a run of the vetted workflow signed, changed.
func byWorkflow(change ...func(*attestor.Provenance)) func(*attestor.Evidence) {
	p := attestor.Provenance{
		Source: "cosign", Builder: vetted + "@refs/tags/v1", SLSALevel: 2, SourceURI: "https://github.com/acme/app",
		PredicateType: "https://slsa.dev/provenance/v1", KeyID: "somebody",
		Workflow: &attestor.Workflow{
			Issuer: "https://token.actions.githubusercontent.com", URI: vetted + "@refs/tags/v1",
			Commit: strings.Repeat("2", 40), Runner: "github-hosted",
			Caller: "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main",
		},
	}
	for _, c := range change {
		c(&p)
	}
	return on(func(e *attestor.PlatformEvidence) { e.Provenance = []attestor.Provenance{p} })
}

// calledAt has the workflow called at another address.
func calledAt(uri string) func(*attestor.Provenance) {
	return func(p *attestor.Provenance) { p.Workflow.URI, p.Builder = uri, uri }
}

func TestReusableWorkflows(t *testing.T) {
	p := with(t, reusing)
	for name, change := range map[string][]func(*attestor.Provenance){
		"at a tag":            nil,
		"at another tag":      {calledAt(vetted + "@refs/tags/v2.3")},
		"at a branch by name": {calledAt(vetted + "@refs/heads/main")},
		"at a commit": {calledAt(vetted + "@" + strings.Repeat("1", 40)),
			func(p *attestor.Provenance) { p.Workflow.Commit = strings.Repeat("1", 40) }},
		"at a tag of the commit": {calledAt(vetted + "@refs/tags/other"), func(p *attestor.Provenance) { p.Workflow.Commit = strings.Repeat("1", 40) }},
		"whatever builder it names": {func(p *attestor.Provenance) {
			p.Builder, p.SLSALevel = "", 1
		}},
	} {
		t.Run(name, func(t *testing.T) { judged(t, p, passing(p, byWorkflow(change...)), attestor.Pass) })
	}
}

// Each has one thing wrong, and is of level 2 or less.
func TestOtherWorkflowsAreNotOfLevel3(t *testing.T) {
	p := with(t, reusing)
	for name, tt := range map[string]struct {
		change func(*attestor.Provenance)
		why    string
	}{
		"a branch instead of a tag":  {calledAt(vetted + "@refs/heads/v1"), "refs/heads/v1"},
		"a branch of a similar name": {calledAt(vetted + "@refs/heads/main2"), "do not allow"},
		"a tag within another":       {calledAt(vetted + "@refs/tags/v1/evil"), "do not allow"},
		"a tag with dots":            {calledAt(vetted + "@refs/tags/v1/../../heads/x"), "do not allow"},
		"a short name":               {calledAt(vetted + "@v1"), "do not allow"},
		"no reference":               {calledAt(vetted), "is not in spec.provenance.reusableWorkflows"},
		"another file":               {calledAt(vetted + "-evil@refs/tags/v1"), "is not in"},
		"a file with an at sign":     {calledAt(vetted + "@evil.yml@refs/tags/v1"), "do not allow"},
		"another repository":         {calledAt("https://github.com/acme/ci-evil/.github/workflows/build.yml@refs/tags/v1"), "is not in"},
		"in capitals":                {calledAt("https://github.com/Acme/ci/.github/workflows/build.yml@refs/tags/v1"), "is not in"},
		"another commit": {func(p *attestor.Provenance) {
			calledAt(vetted + "@refs/tags/other")(p)
			p.Workflow.Commit = strings.Repeat("1", 39) + "2"
		}, "do not allow"},
		"its address in the statement alone": {func(p *attestor.Provenance) {
			p.Workflow.URI = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1"
		}, "is not in"},
		"not called":     {func(p *attestor.Provenance) { p.Workflow.Caller = p.Workflow.URI }, "not called"},
		"self-hosted":    {func(p *attestor.Provenance) { p.Workflow.Runner, p.SLSALevel = "self-hosted", 1 }, "not hosted by GitHub"},
		"another issuer": {func(p *attestor.Provenance) { p.Workflow.Issuer = "https://token.actions.evil.example" }, "GitHub Actions"},
		"no certificate": {func(p *attestor.Provenance) { p.Workflow = nil }, "no CI workflow"},
	} {
		t.Run(name, func(t *testing.T) {
			judged(t, p, passing(p, byWorkflow(tt.change)), attestor.Deny, attestor.CodeProvenanceLevel)
			r := check(t, p.Judge(passing(p, byWorkflow(tt.change))), attestor.CheckProvenance).Reasons
			if !slices.ContainsFunc(r, func(r attestor.Reason) bool { return strings.Contains(r.Message, tt.why) }) {
				t.Errorf("reasons %+v, want one with %q", r, tt.why)
			}
		})
	}

	// The source is judged all the same, and so is a policy that names no workflow.
	judged(t, p, passing(p, byWorkflow(func(p *attestor.Provenance) { p.SourceURI = "https://github.com/evil/app" })),
		attestor.Deny, attestor.CodeProvenanceSource)
	plain := with(t, `  provenance: {slsaLevel: 3, signedBy: {keyless: {issuer: "https://token.actions.githubusercontent.com", subjectRegexp: ".*"}}}`)
	judged(t, plain, passing(plain, byWorkflow()), attestor.Deny, attestor.CodeProvenanceLevel)
}

// A vetted workflow is a builder by its address, with its reference or without.
func TestBuildersNameReusableWorkflows(t *testing.T) {
	for builder, verdict := range map[string]attestor.Outcome{
		vetted: attestor.Pass, vetted + "@refs/tags/v1": attestor.Pass, vetted + "@refs/tags/v2": attestor.Deny,
		"https://github.com/acme/ci/.github/workflows": attestor.Deny,
	} {
		p := with(t, strings.Replace(reusing, "slsaLevel: 3,", `slsaLevel: 3, builders: ["`+builder+`"],`, 1))
		v := p.Judge(passing(p, byWorkflow()))
		if v.Outcome() != verdict {
			t.Errorf("%s: %s", builder, v.Outcome())
		}
	}

	// Without the workflow being vetted, its address is that of any version.
	p := with(t, `  provenance: {slsaLevel: 2, builders: ["`+vetted+`"], signedBy: {keyless: {issuer: `+
		`"https://token.actions.githubusercontent.com", subjectRegexp: ".*"}}}`)
	judged(t, p, passing(p, byWorkflow()), attestor.Deny, attestor.CodeProvenanceBuilder)
}

// Rules see the level that the policy counts.
func TestRulesSeeTheLevelThatCounts(t *testing.T) {
	rule := `  rules: [{name: level, expression: "provenance.exists(p, p.slsaLevel >= 3)", message: "want level 3"}]`
	p := with(t, reusing, rule)
	judged(t, p, passing(p, byWorkflow()), attestor.Pass)
	loose := with(t, strings.Replace(reusing, "slsaLevel: 3", "slsaLevel: 2", 1), rule)
	judged(t, loose, passing(loose, byWorkflow(calledAt(vetted+"@refs/heads/x"))), attestor.Deny, attestor.CodeRuleViolated)
}

// What could not be read beside a statement that meets the policy cannot void it, and
// what meets it only in part does not make up for it.
func TestUnreadProvenanceBesideAnother(t *testing.T) {
	p := with(t)
	unread := func(ev *attestor.Evidence) {
		ev.Platforms[0].Problems = append(ev.Platforms[0].Problems, attestor.Problem{
			Check: attestor.CheckProvenance, Status: attestor.StatusError,
			Reason: attestor.Reason{Code: attestor.CodeProvenanceUnavailable, Message: "down"},
		})
	}
	judged(t, p, passing(p, unread), attestor.Pass)

	v := p.Judge(passing(p, unread, on(func(e *attestor.PlatformEvidence) { e.Provenance = nil })))
	if v.Outcome() == attestor.Pass || check(t, v, attestor.CheckProvenance).Status != attestor.StatusError {
		t.Errorf("without a statement: %s", v.Outcome())
	}
	v = p.Judge(passing(p, unread, on(func(e *attestor.PlatformEvidence) { e.Provenance[0].SLSALevel = 2 })))
	if v.Outcome() == attestor.Pass {
		t.Errorf("with a statement of level 2: %s", v.Outcome())
	}
}

func TestReusableWorkflowsThatDoNotLoad(t *testing.T) {
	const github = `signedBy: {keyless: {issuer: "https://token.actions.githubusercontent.com", subject: s}}`
	for name, tt := range map[string]struct{ fields, want string }{
		"no signer": {`reusableWorkflows: [{workflow: "` + vetted + `", refs: [refs/tags/v1]}]`, "needs signedBy"},
		"a key":     {`signedBy: {key: /k.pub}, reusableWorkflows: [{workflow: "` + vetted + `", refs: [refs/tags/v1]}]`, "needs signedBy.keyless"},
		"another issuer": {`signedBy: {keyless: {issuer: "https://gitlab.com", subject: s}}, ` +
			`reusableWorkflows: [{workflow: "` + vetted + `", refs: [refs/tags/v1]}]`, "needs signedBy.keyless"},
		"any version": {github + `, reusableWorkflows: [{workflow: "` + vetted + `"}]`, "neither refs nor commits"},
		"a signer that means nothing": {`signedBy: !house {key: /k.pub}, reusableWorkflows: [{workflow: "` + vetted +
			`", refs: [refs/tags/v1]}]`, "signedBy: has the tag"},
		"no references": {github + `, reusableWorkflows: [{workflow: "` + vetted +
			`", refs: [], commits: ["` + strings.Repeat("1", 40) + `"]}]`, "refs: the list is empty"},
		"no commits": {github + `, reusableWorkflows: [{workflow: "` + vetted +
			`", refs: [refs/tags/v1], commits: []}]`, "commits: the list is empty"},
		"an empty commit": {github + `, reusableWorkflows: [{workflow: "` + vetted +
			`", refs: [refs/tags/v1], commits: [""]}]`, "is malformed"},
		"none":              {github + `, reusableWorkflows: []`, "list is empty"},
		"a reference in it": {github + `, reusableWorkflows: [{workflow: "` + vetted + `@refs/tags/v1", refs: [refs/tags/v1]}]`, "is malformed"},
		"a pattern": {github + `, reusableWorkflows: [{workflow: ` +
			`"https://github.com/acme/*/.github/workflows/build.yml", refs: [refs/tags/v1]}]`, "is malformed"},
		"another host": {github + `, reusableWorkflows: [{workflow: ` +
			`"https://evil.example/acme/ci/.github/workflows/build.yml", refs: [refs/tags/v1]}]`, "is malformed"},
		"no reference":      {github + `, reusableWorkflows: [{workflow: "` + vetted + `", refs: ["**"]}]`, "is not a reference"},
		"a short reference": {github + `, reusableWorkflows: [{workflow: "` + vetted + `", refs: [v1]}]`, "is not a reference"},
		"dots":              {github + `, reusableWorkflows: [{workflow: "` + vetted + `", refs: [refs/tags/../x]}]`, "dots"},
		"a short commit":    {github + `, reusableWorkflows: [{workflow: "` + vetted + `", commits: [abc123]}]`, "is malformed"},
		"the same twice": {github + `, reusableWorkflows: [{workflow: "` + vetted +
			`", refs: [refs/tags/a]}, {workflow: "` + vetted + `", refs: [refs/tags/b]}]`, "duplicate"},
	} {
		text := edited(t, "  provenance: {slsaLevel: 3, "+tt.fields+"}")
		_, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(text)})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
