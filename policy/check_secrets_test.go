package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

func secret(status string, change ...func(*attestor.Secret)) attestor.Secret {
	s := attestor.Secret{Kind: "GCP_API_KEY", Status: status, Path: "/srv/app/config/key.json", Note: "projects/goog-analysis/notes/SECRET"}
	for _, c := range change {
		c(&s)
	}
	return s
}

func secrets(list ...attestor.Secret) func(*attestor.Evidence) {
	return on(func(e *attestor.PlatformEvidence) { e.Scan.Secrets = append(e.Scan.Secrets, list...) })
}

// TestSecrets: what is not known to be invalid is refused by a policy that says nothing, and only what the policy says lets it pass.
func TestSecrets(t *testing.T) {
	found, foreign := attestor.CodeSecretFound, attestor.CodeSecretUnknown
	exception := func(subject, more string) string {
		return `  exceptions: [{check: secrets, subject: "` + subject + `", ` + more + ` owner: o, reason: r, expires: "2026-12-31"}]`
	}
	at := func(path string) func(*attestor.Secret) { return func(s *attestor.Secret) { s.Path = path } }
	valid, invalid, unknown := attestor.SecretValid, attestor.SecretInvalid, attestor.SecretUnknown
	for _, tt := range []struct {
		name string
		line string // of the policy
		s    attestor.Secret
		want attestor.Code // "": it passes
	}{
		{"valid", "", secret(valid), found},
		{"known to be invalid", "", secret(invalid), ""},
		{"of unknown status", "", secret(unknown), found},
		{"of a status of a later version", "", secret("STATUS_4"), foreign},
		{"of no status, as no version writes it", "", secret(""), foreign},
		{"of no kind and place", "", attestor.Secret{Status: unknown}, found},
		{"of a kind of a later version", "", secret(valid, func(s *attestor.Secret) { s.Kind = "KIND_99" }), found},

		{"valid, warned of", "  secrets: {found: warn}", secret(valid), ""},
		{"of a status of a later version, where secrets are warned of", "  secrets: {found: warn}", secret("STATUS_4"), foreign},
		{"valid, ignored", "  secrets: {found: ignore}", secret(valid), ""},
		{"of a status of a later version, where secrets are ignored", "  secrets: {found: ignore}", secret("STATUS_4"), ""},
		{"of a status of a later version, where those are ignored", "  unknownFindings: ignore", secret("STATUS_4"), foreign},
		{"invalid, where invalid ones count", "  secrets: {statuses: [VALID, INVALID]}", secret(invalid), found},
		{"unknown, where only valid ones count", "  secrets: {statuses: [VALID]}", secret(unknown), ""},
		{"valid, where only valid ones count", "  secrets: {statuses: [VALID]}", secret(valid), found},
		{"of a status of a later version, where only valid ones count", "  secrets: {statuses: [VALID]}", secret("STATUS_4"), foreign},

		{"excepted by kind", exception("GCP_API_KEY", ""), secret(valid), ""},
		{"excepted by the kind's long name", exception("SECRET_KIND_GCP_API_KEY", ""), secret(valid), ""},
		{"excepted by another kind", exception("OPENAI_API_KEY", ""), secret(valid), found},
		{"excepted by the code", exception("SECRET_FOUND", ""), secret(valid), ""},
		{"excepted by kind and file", exception("GCP_API_KEY", `paths: ["/srv/*/config/*.json"],`), secret(valid), ""},
		{"excepted by a directory", exception("*", `paths: ["srv/app/**"],`), secret(valid), ""},
		{"excepted in another directory", exception("*", `paths: ["/srv/app/testdata/**"],`), secret(valid), found},
		{"excepted in a directory that the path leaves", exception("*", `paths: ["/srv/app/testdata/**"],`),
			secret(valid, at("/srv/app/testdata/../key.json")), found},
		{"excepted in a directory of which the name is the start only", exception("*", `paths: ["/srv/app/**"],`),
			secret(valid, at("/srv/app2/key.json")), found},
		{"excepted in a directory, found at no path", exception("*", `paths: ["/srv/app/**", "**"],`), secret(valid, at("")), found},
		{"excepted by the kind of another status", exception("SECRET_FOUND", ""), secret("STATUS_4"), foreign},
		{"excepted until yesterday", strings.Replace(exception("GCP_API_KEY", ""), "2026-12-31", "2026-11-19", 1), secret(valid), found},
		{"excepted in other images", exception("GCP_API_KEY", `images: ["registry.example/acme/other/**"],`), secret(valid), found},
		{"warned of as a whole", "  checks: {secrets: warn}", secret(valid), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var lines []string
			if tt.line != "" {
				lines = append(lines, tt.line)
			}
			p := with(t, lines...)
			v := p.Judge(passing(p, secrets(tt.s)))
			want, outcome := []attestor.Code{}, attestor.Pass
			if tt.want != "" {
				want, outcome = append(want, tt.want), attestor.Deny
			}
			if diff := cmp.Diff(want, refusals(v)); diff != "" || v.Outcome() != outcome {
				t.Errorf("%s, want %s (-want +got):\n%s", v.Outcome(), outcome, diff)
			}
		})
	}
}

// TestSecretsSayWhatIsKnown: that none is reported is said as that, and speaks for no image; that nobody asked is said too.
func TestSecretsSayWhatIsKnown(t *testing.T) {
	p := with(t)
	c := check(t, p.Judge(passing(p)), attestor.CheckSecrets)
	if len(c.Reasons) != 1 || c.Reasons[0].Code != attestor.CodeSecretsNotReported || c.Reasons[0].Severity != attestor.Informs ||
		!strings.Contains(c.Reasons[0].Message, "no secret is reported") {
		t.Errorf("none reported: %+v", c)
	}

	// Evidence of a version that did not ask, or of a scanner that has no secrets.
	c = check(t, p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) { e.Scan.SecretsListed = false }))), attestor.CheckSecrets)
	if c.Status != attestor.StatusSkipped || !strings.Contains(c.Reasons[0].Message, "was not asked") {
		t.Errorf("nobody asked: %+v", c)
	}

	c = check(t, p.Judge(passing(p, secrets(secret(attestor.SecretInvalid)))), attestor.CheckSecrets)
	if c.Status != attestor.StatusPass || len(c.Reasons) != 1 || c.Reasons[0].Severity != attestor.Informs ||
		!strings.Contains(c.Reasons[0].Message, "1 of 1 reported secrets are not judged") {
		t.Errorf("known to be invalid: %+v", c)
	}

	c = check(t, p.Judge(passing(p, secrets(secret(attestor.SecretValid)))), attestor.CheckSecrets)
	want := []attestor.Reason{{
		Code: attestor.CodeSecretFound, Severity: attestor.Refuses, Subject: "GCP_API_KEY /srv/app/config/key.json",
		Message: "a secret of kind GCP_API_KEY lies in /srv/app/config/key.json; it is valid",
		Fix:     "revoke it where it was issued, take it out of the build, and rebuild the image: a file that a later layer removes stays readable",
	}}
	if diff := cmp.Diff(want, c.Reasons); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A policy that asks for nothing else is not satisfied by what nobody reported, nor by a secret that it only warns of.
func TestSecretsSpeakForNothing(t *testing.T) {
	text := `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: a}
spec:
  mode: enforce
  images: ["registry.example/acme/**"]
  base: {required: false}
  user: {nonRoot: false}
  vulnerabilities: {maximumFixableSeverity: HIGH, maximumUnfixableSeverity: HIGH, scan: {required: false}}
  scope: {trustedDirectories: ["registry.example/acme/**"]}
  checks: {scope: warn}
  attestors: [projects/p/attestors/a]
`
	p := one(t, text)
	ev := p.Exemplary("registry.example/acme/api", today())
	ev.Platforms[0].Scan = attestor.Scan{State: attestor.ScanNotFound, SecretsListed: true, Secrets: []attestor.Secret{secret(attestor.SecretInvalid)}}
	if v := p.Judge(ev); v.Outcome() != attestor.Pass {
		t.Fatalf("the scope speaks for it: %+v", v.Checks())
	}

	// Without the directory, nothing does.
	if _, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(strings.NewReplacer(
		`  scope: {trustedDirectories: ["registry.example/acme/**"]}`+"\n", "", "  checks: {scope: warn}\n",
		"  secrets: {found: deny}\n").Replace(text))}); err == nil ||
		!strings.Contains(err.Error(), "demands nothing") {
		t.Errorf("a policy that asks for secrets only loads: %v", err)
	}
	asked := []attestor.Question{{Check: attestor.CheckSecrets}}
	for _, status := range []attestor.Status{attestor.StatusPass, attestor.StatusWarn, attestor.StatusSkipped} {
		v := attestor.NewVerdict(ev, attestor.PolicyRef{Name: "a"}, attestor.AttestNeeds{}, asked,
			[]attestor.Check{{Name: attestor.CheckSecrets, Platform: ev.Platforms[0].Platform, Status: status}})
		if v.Outcome() != attestor.Deny {
			t.Errorf("secrets: %s alone: %s", status, v.Outcome())
		}
	}
}

// Kinds of secrets look like codes; the linter must not take them for misspelt ones.
func TestLintOfSecrets(t *testing.T) {
	lint := func(lines ...string) string {
		set, err := policy.Parse(policy.Source{Name: "policy.yaml", Text: []byte(edited(t, lines...))})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, d := range set.Lint(today()) {
			if strings.Contains(d.Path, "exceptions") || strings.Contains(d.Path, "secrets") {
				out = append(out, d.Path+" "+d.Message)
			}
		}
		return strings.Join(out, "\n")
	}
	exception := func(subject string) string {
		return `  exceptions: [{check: secrets, subject: "` + subject + `", owner: o, reason: r, expires: "2027-12-31"}]`
	}
	for _, subject := range []string{"GCP_API_KEY", "SECRET_KIND_GCP_API_KEY", "KIND_NOT_OF_TODAY", "SECRET_FOUND"} {
		if got := lint(exception(subject)); got != "" {
			t.Errorf("%s: %s", subject, got)
		}
	}
	for subject, want := range map[string]string{"USER_ROOT": "never of secrets", "SECRETS_NOT_REPORTED": "refuses nothing"} {
		if got := lint(exception(subject)); !strings.Contains(got, want) {
			t.Errorf("%s: %s", subject, got)
		}
	}
	if got := lint("  secrets: {found: ignore}"); !strings.Contains(got, "valid key") {
		t.Errorf("ignored: %s", got)
	}
	if got := lint("  secrets: {statuses: [VALID]}"); !strings.Contains(got, "leaves out UNKNOWN") {
		t.Errorf("valid ones only: %s", got)
	}
}

func TestSecretsOfAPolicyThatCannotBe(t *testing.T) {
	exception := func(check, paths string) string {
		return `  exceptions: [{check: ` + check + `, subject: "*", paths: ` + paths + `, owner: o, reason: r, expires: "2027-12-31"}]`
	}
	for name, line := range map[string]string{
		"another word":              "  secrets: {found: allow}",
		"another status":            "  secrets: {statuses: [REVOKED]}",
		"no status":                 "  secrets: {statuses: []}",
		"ignored, with statuses":    "  secrets: {found: ignore, statuses: [VALID]}",
		"paths of a CVE":            exception("vulnerabilities", `["/app/**"]`),
		"no paths":                  exception("secrets", `[]`),
		"a path with dots":          exception("secrets", `["/app/../etc"]`),
		"a path with a part of **":  exception("secrets", `["/app/**.json"]`),
		"an empty path":             exception("secrets", `["/"]`),
		"unknownFindings: nobody's": "  unknownFindings: allow",
	} {
		if _, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(edited(t, line))}); err == nil {
			t.Errorf("%s loads", name)
		}
	}
}

// TestKindsThatNobodyJudges: they warn and are named, whatever the policy says, and never refuse.
func TestKindsThatNobodyJudges(t *testing.T) {
	unread := on(func(e *attestor.PlatformEvidence) {
		e.Scan.Unread = []attestor.UnreadKind{{Kind: "AI_SKILL_ANALYSIS", Count: 1}, {Kind: "NOTE_KIND_77", Count: 3}}
	})
	for _, line := range []string{"  unknownFindings: deny", "  unknownFindings: ignore"} {
		p := with(t, line)
		v := p.Judge(passing(p, unread))
		c := check(t, v, attestor.CheckVulnerabilities)
		want := []string{"KIND_NOT_JUDGED warns", "KIND_NOT_JUDGED warns"}
		if diff := cmp.Diff(want, severities(c)); diff != "" || v.Outcome() != attestor.Pass {
			t.Errorf("%s: %s (-want +got):\n%s", line, v.Outcome(), diff)
		}
		if !strings.Contains(c.Reasons[1].Message, "3 occurrences of kind NOTE_KIND_77") {
			t.Errorf("%+v", c.Reasons[1])
		}
	}

	p := with(t)
	c := check(t, p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) { e.Scan.KindsUnlisted = true }))), attestor.CheckVulnerabilities)
	if !slices.Equal(severities(c), []string{"KIND_NOT_JUDGED informs"}) {
		t.Errorf("not listed: %v", severities(c))
	}
}
