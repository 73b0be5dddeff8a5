package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// staged asks for a summary of an earlier stage.
const staged = `  provenance: {slsaLevel: 2, vsa: {verifiers: ["https://stage.example/v"], signedBy: {key: stage.pub}, levels: [SCANNED], maxAge: 2d}}`

// summarized are summaries of an earlier stage, an hour old and good but for their changes.
func summarized(changes ...func(*attestor.StageSummary)) func(*attestor.Evidence) {
	return func(ev *attestor.Evidence) {
		for i := range ev.Platforms {
			ev.Platforms[i].Provenance = nil
			for _, change := range changes {
				s := &attestor.StageSummary{
					SignedBy: (&attestor.SignedBy{Key: "stage.pub"}).Text(), Verifier: "https://stage.example/v",
					Policy: "https://stage.example/p", Resource: "oci://" + ev.Image.Repository(), Result: "PASSED",
					Levels: []string{"SLSA_BUILD_LEVEL_3", "SCANNED"}, Time: ev.Time.Add(-time.Hour),
				}
				change(s)
				ev.Platforms[i].Provenance = append(ev.Platforms[i].Provenance, attestor.Provenance{Source: attestor.ProvenanceFromSummary, Summary: s})
			}
		}
	}
}

// TestEarlierStage: a summary counts in place of a statement of the build if everything about it is as the policy says,
// and the newest of its verifier and policy decides.
func TestEarlierStage(t *testing.T) {
	p := with(t, staged)
	good := func(*attestor.StageSummary) {}
	failed := func(s *attestor.StageSummary) { s.Result, s.Levels = "FAILED", []string{"FAILED"} }
	at := func(d time.Duration, and func(*attestor.StageSummary)) func(*attestor.StageSummary) {
		return func(s *attestor.StageSummary) { and(s); s.Time = s.Time.Add(d) }
	}
	one := func(change func(*attestor.StageSummary)) func(*attestor.Evidence) { return summarized(change) }

	for name, tt := range map[string]struct {
		has  func(*attestor.Evidence)
		want attestor.Outcome
	}{
		"a good one":                {one(good), attestor.Pass},
		"another form of resource":  {one(func(s *attestor.StageSummary) { s.Resource = strings.TrimPrefix(s.Resource, "oci://") + ":v1" }), attestor.Pass},
		"the newest of two":         {summarized(at(-time.Hour, failed), good), attestor.Pass},
		"none":                      {summarized(), attestor.Deny},
		"refused":                   {one(failed), attestor.Deny},
		"refused since":             {summarized(good, at(time.Minute, failed)), attestor.Deny},
		"refused at the same time":  {summarized(good, failed), attestor.Deny},
		"another policy refused it": {summarized(good, func(s *attestor.StageSummary) { failed(s); s.Policy = "https://stage.example/q" }), attestor.Deny},
		"another signer":            {one(func(s *attestor.StageSummary) { s.SignedBy = (&attestor.SignedBy{Key: "other.pub"}).Text() }), attestor.Deny},
		"another verifier":          {one(func(s *attestor.StageSummary) { s.Verifier = "https://stage.example/v2" }), attestor.Deny},
		"another repository":        {one(func(s *attestor.StageSummary) { s.Resource += "-evil" }), attestor.Deny},
		"no resource":               {one(func(s *attestor.StageSummary) { s.Resource = "https://r.example/app" }), attestor.Deny},
		"a level that is missing":   {one(func(s *attestor.StageSummary) { s.Levels = []string{"SLSA_BUILD_LEVEL_3"} }), attestor.Deny},
		"a build level too low":     {one(func(s *attestor.StageSummary) { s.Levels = []string{"SLSA_BUILD_LEVEL_1", "SCANNED"} }), attestor.Deny},
		"too old":                   {one(func(s *attestor.StageSummary) { s.Time = s.Time.Add(-48 * time.Hour) }), attestor.Deny},
		"from the future":           {one(func(s *attestor.StageSummary) { s.Time = s.Time.Add(3 * time.Hour) }), attestor.Deny},
		"without a time":            {one(func(s *attestor.StageSummary) { s.Time = time.Time{} }), attestor.Deny},
		"an unknown result":         {one(func(s *attestor.StageSummary) { s.Result = "" }), attestor.Deny},
	} {
		t.Run(name, func(t *testing.T) {
			codes := []attestor.Code{attestor.CodeProvenanceMissing}
			if tt.want == attestor.Pass {
				codes = nil
			}
			judged(t, p, passing(p, tt.has), tt.want, codes...)
		})
	}
}

// TestEarlierStageFromTheFuture: a summary that a wrong clock dated ahead would hide every refusal that its verifier
// signs from now on, also where any age will do. One without a time hides nothing.
func TestEarlierStageFromTheFuture(t *testing.T) {
	p := with(t, strings.Replace(staged, ", maxAge: 2d", "", 1))
	dated := func(at func(now time.Time) time.Time) func(*attestor.Evidence) {
		return func(ev *attestor.Evidence) {
			failed := func(s *attestor.StageSummary) { s.Result, s.Levels = "FAILED", []string{"FAILED"} }
			ahead := func(s *attestor.StageSummary) { s.Time = at(ev.Time) }
			if ev.Time.Before(at(ev.Time)) {
				summarized(ahead, failed)(ev)
				return
			}
			summarized(ahead)(ev)
		}
	}

	judged(t, p, passing(p, dated(func(now time.Time) time.Time { return now.AddDate(1, 0, 0) })), attestor.Deny,
		attestor.CodeProvenanceMissing)
	judged(t, p, passing(p, dated(func(now time.Time) time.Time { return now.AddDate(-1, 0, 0) })), attestor.Pass)
	judged(t, p, passing(p, dated(func(time.Time) time.Time { return time.Time{} })), attestor.Pass)
}

// TestStageVSALoads: what could not be meant is refused when the policy is loaded.
func TestStageVSALoads(t *testing.T) {
	const head = "apiVersion: attestor/v1\nkind: GatePolicy\nmetadata: {name: p}\nspec:\n  mode: enforce\n  images: [\"**\"]\n" +
		"  base: {required: false}\n  user: {nonRoot: true}\n  attestors: [projects/p/attestors/a]\n" +
		"  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}\n"
	const rest = `verifiers: ["https://v.example"], signedBy: {key: k}`
	for vsa, want := range map[string]string{
		`{vsa: {` + rest + `, levels: [SLSA_BUILD_LEVEL_UNEVALUATED]}}`:                                                       "",
		`{vsa: {` + rest + `, levels: [SLSA_BUILD_LEVEL_1]}}`:                                                                 "",
		`{sources: ["https://github.com/acme/*"], vsa: {` + rest + `, levels: [SCANNED], policies: ["https://v.example/p"]}}`: "",
		`{sources: ["https://github.com/acme/*"], vsa: {` + rest + `, levels: [SCANNED]}}`:                                    "needs policies",
		`{vsa: {` + rest + `, levels: [FAILED]}}`:                                                                             "is not a level",
		`{vsa: {` + rest + `, levels: [SLSA_BUILD_LEVEL_4]}}`:                                                                 "is not a level",
		`{vsa: {` + rest + `, levels: []}}`:                                                                                   "empty",
		`{vsa: {verifiers: ["https://v.example"], levels: [SCANNED]}}`:                                                        "signedBy",
		`{vsa: {signedBy: {key: k}, levels: [SCANNED]}}`:                                                                      "verifiers",
	} {
		_, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(head + "  provenance: " + vsa + "\n")})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", vsa, err, want)
		}
	}
}
