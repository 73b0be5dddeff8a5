package attestor_test

import (
	"slices"
	"testing"

	"github.com/attestor-gate/attestor"
)

// answers are passing checks about base, user and vulnerabilities of a platform.
func answers(platform string) []attestor.Check {
	var checks []attestor.Check
	for _, name := range []string{attestor.CheckBase, attestor.CheckUser, attestor.CheckVulnerabilities} {
		checks = append(checks, attestor.Check{Name: name, Platform: platform, Status: attestor.StatusPass})
	}

	return checks
}

// missing lists the checks that a verdict found missing, as "name platform".
func missing(v attestor.Verdict) []string {
	var out []string
	for _, c := range v.Checks() {
		for _, r := range c.Reasons {
			if r.Code == attestor.CodeCheckMissing {
				out = append(out, c.Name+" "+c.Platform)
			}
		}
	}

	return out
}

// An answer about one platform says nothing about another one: a pass needs
// all three answers for each platform by its own name.
func TestEachPlatformNeedsItsOwnAnswers(t *testing.T) {
	ev := attestor.Evidence{
		Image: reference(t, repository+":v7").At(digest(1)), Index: true,
		Platforms: []attestor.PlatformEvidence{
			{Child: attestor.Child{Platform: "linux/amd64", Digest: digest(2)}},
			{Child: attestor.Child{Platform: "linux/arm64", Digest: digest(3)}},
		},
	}
	both := slices.Concat(answers("linux/amd64"), answers("linux/arm64"))
	without := func(i int) []attestor.Check { return slices.Delete(slices.Clone(both), i, i+1) }

	for _, tt := range []struct {
		name    string
		checks  []attestor.Check
		outcome attestor.Outcome
		missing []string
	}{
		{"both", both, attestor.Pass, nil},
		{"one platform, twice", slices.Concat(answers("linux/amd64"), answers("linux/amd64")), attestor.Deny,
			[]string{"base linux/arm64", "user linux/arm64", "vulnerabilities linux/arm64"}},
		{"no platform's", slices.Concat(answers("linux/amd64"), answers("")), attestor.Deny,
			[]string{"base linux/arm64", "user linux/arm64", "vulnerabilities linux/arm64"}},
		{"a third platform's", slices.Concat(answers("linux/amd64"), answers("linux/arm64/v8")), attestor.Deny,
			[]string{"base linux/arm64", "user linux/arm64", "vulnerabilities linux/arm64"}},
		{"the first platform's base is missing", without(0), attestor.Deny, []string{"base linux/amd64"}},
		{"the second platform's user is missing", without(4), attestor.Deny, []string{"user linux/arm64"}},
		{"the second platform's vulnerabilities are missing", without(5), attestor.Deny, []string{"vulnerabilities linux/arm64"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := attestor.NewVerdict(ev, enforcing().ref, enforcing().needs.Attest, tt.checks)
			if got := missing(v); v.Outcome() != tt.outcome || !slices.Equal(got, tt.missing) {
				t.Errorf("%s, missing %q; want %s, missing %q", v.Outcome(), got, tt.outcome, tt.missing)
			}
		})
	}
}
