package attestor_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

// questions are those that the policies of these tests ask of every platform.
func questions() []attestor.Question {
	return []attestor.Question{{Check: attestor.CheckBase}, {Check: attestor.CheckUser}, {Check: attestor.CheckVulnerabilities}}
}

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
			if r.Code == attestor.CodeCheckMissing && strings.HasSuffix(r.Message, "about "+c.Name) {
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
			v := attestor.NewVerdict(ev, enforcing().ref, enforcing().needs.Attest, questions(), tt.checks)
			if got := missing(v); v.Outcome() != tt.outcome || !slices.Equal(got, tt.missing) {
				t.Errorf("%s, missing %q; want %s, missing %q", v.Outcome(), got, tt.outcome, tt.missing)
			}
		})
	}
}

func TestOutcomesAreWrittenAsOneOfThree(t *testing.T) {
	for outcome, want := range map[attestor.Outcome]string{
		attestor.Pass: "pass", attestor.Deny: "deny", attestor.Undecided: "error", "": "deny", "Pass": "deny", "passed": "deny",
	} {
		if got, err := outcome.MarshalText(); err != nil || string(got) != want {
			t.Errorf("%q is written as %q, %v; want %q", outcome, got, err, want)
		}
	}
}

// The subjects of a pass are the image alone, or the children and their index;
// the index only if no child of it was left out.
func TestSubjects(t *testing.T) {
	left := []attestor.Child{{Platform: "linux/arm64", Digest: digest(3)}}
	for name, tt := range map[string]struct {
		index, children bool
		left            []attestor.Child
		want            []attestor.Digest
	}{
		"an image":                             {false, true, nil, []attestor.Digest{digest(1)}},
		"an index":                             {true, true, nil, []attestor.Digest{digest(2), digest(1)}},
		"an index without children":            {true, false, nil, []attestor.Digest{digest(1)}},
		"an index that was judged in part":     {true, true, left, []attestor.Digest{digest(2)}},
		"an index in part, and without either": {true, false, left, nil},
	} {
		child := digest(1)
		if tt.index {
			child = digest(2)
		}

		ev := attestor.Evidence{
			Image: reference(t, repository+":v7").At(digest(1)), Index: tt.index, Left: tt.left,
			Platforms: []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64", Digest: child}}},
		}

		needs := enforcing().needs.Attest
		needs.Children = tt.children

		v := attestor.NewVerdict(ev, enforcing().ref, needs, questions(), answers("linux/amd64"))

		covers := slices.Contains(tt.want, digest(1)) && tt.index
		if !slices.Equal(v.Subjects(), tt.want) || v.CoversIndex() != covers || v.Policy() != enforcing().ref || v.Image() != ev.Image {
			t.Errorf("%s: subjects %v, covers the index %t, policy %+v, image %s", name, v.Subjects(), v.CoversIndex(), v.Policy(), v.Image())
		}
	}
}

// If every check was skipped, one check says so by its code.
func TestNothingCheckedIsSaid(t *testing.T) {
	checks := answers("linux/amd64")
	for i := range checks {
		checks[i].Status = attestor.StatusSkipped
	}

	v := attestor.NewVerdict(attestor.Evidence{
		Image:     reference(t, repository+":v7").At(digest(1)),
		Platforms: []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64", Digest: digest(1)}}},
	}, enforcing().ref, enforcing().needs.Attest, questions(), checks)

	last := v.Checks()[len(v.Checks())-1]
	if v.Outcome() != attestor.Deny || len(v.Checks()) != 4 || len(last.Reasons) != 1 || last.Reasons[0].Code != attestor.CodeNothingChecked {
		t.Errorf("%s: %+v", v.Outcome(), v.Checks())
	}
}

// Remarks about the policy, that a platform exists, and that no secret is reported,
// speak for no image: beside skipped checks they are a denial.
func TestWhatSpeaksForNoImage(t *testing.T) {
	ev := attestor.Evidence{
		Image:     reference(t, repository+":v7").At(digest(1)),
		Platforms: []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64", Digest: digest(1)}}},
	}
	for name, want := range map[string]attestor.Outcome{
		attestor.CheckPolicy: attestor.Deny, attestor.CheckPlatforms: attestor.Deny, attestor.CheckSecrets: attestor.Deny,
		attestor.CheckUser: attestor.Pass,
	} {
		checks := answers("linux/amd64")
		for i := range checks {
			checks[i].Status = attestor.StatusSkipped
		}

		checks = append(checks, attestor.Check{Name: name, Platform: "linux/amd64", Status: attestor.StatusPass})
		v := attestor.NewVerdict(ev, enforcing().ref, enforcing().needs.Attest, questions(), checks)
		if v.Outcome() != want {
			t.Errorf("%s alone passes: %s, want %s", name, v.Outcome(), want)
		}
	}
}

// A question that nobody answered is a denial that names it, whatever else was answered; so is a policy without one.
func TestUnansweredQuestionsDeny(t *testing.T) {
	ev := attestor.Evidence{
		Image: reference(t, repository+":v7").At(digest(1)),
		Platforms: []attestor.PlatformEvidence{
			{Child: attestor.Child{Platform: "linux/amd64", Digest: digest(1)}}, {Child: attestor.Child{Platform: "linux/arm64", Digest: digest(2)}},
		},
	}

	answered := append(append(answers("linux/amd64"), answers("linux/arm64")...), attestor.Check{Name: attestor.CheckScope, Status: attestor.StatusPass})
	scope := attestor.Question{Check: attestor.CheckScope, OfImage: true}

	for name, tt := range map[string]struct {
		asked   []attestor.Question
		outcome attestor.Outcome
		missing []string
	}{
		"all answered":  {append(questions(), scope), attestor.Pass, nil},
		"nothing asked": {nil, attestor.Deny, []string{"policy "}},
		"one more asked of every platform": {append(questions(), attestor.Question{Check: "sbom"}), attestor.Deny,
			[]string{"sbom linux/amd64", "sbom linux/arm64"}},
		"one more asked of the image": {append(questions(), attestor.Question{Check: "sbom", OfImage: true}), attestor.Deny, []string{"sbom "}},
		"answered of platforms, not of it": {append(questions(),
			attestor.Question{Check: attestor.CheckUser, OfImage: true}), attestor.Deny, []string{"user "}},
		"answered of it, not of its children": {append(questions(), attestor.Question{Check: attestor.CheckScope}),
			attestor.Deny, []string{"scope linux/amd64", "scope linux/arm64"}},
	} {
		v := attestor.NewVerdict(ev, enforcing().ref, enforcing().needs.Attest, tt.asked, answered)
		if got := missing(v); v.Outcome() != tt.outcome || !slices.Equal(got, tt.missing) {
			t.Errorf("%s: %s, missing %q; want %s, missing %q", name, v.Outcome(), got, tt.outcome, tt.missing)
		}
	}
}

// A verdict has its own checks: nobody changes it by changing the list that it
// was made from, nor is that list's memory written to.
func TestAVerdictKeepsItsOwnChecks(t *testing.T) {
	ev := attestor.Evidence{
		Image:     reference(t, repository+":v7").At(digest(1)),
		Platforms: []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64", Digest: digest(1)}}},
	}

	list := append(answers("linux/amd64")[:2], attestor.Check{Name: "spare"})

	v := attestor.NewVerdict(ev, enforcing().ref, enforcing().needs.Attest, questions(), list[:2])
	list[0].Status = attestor.StatusPass
	list[1].Name = "changed"
	v.Checks()[0].Name = "changed"

	if v.Outcome() != attestor.Deny || list[2].Name != "spare" || v.Checks()[0].Name != attestor.CheckBase || v.Checks()[1].Name != attestor.CheckUser {
		t.Errorf("%s, %+v; the list is %+v", v.Outcome(), v.Checks(), list)
	}
}
