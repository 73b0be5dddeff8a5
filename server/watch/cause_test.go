package watch_test

import (
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/watch"
)

// TestOnlyAFindingThatRefusesIsACause: attestations are deleted for a new finding that refuses, and not for one that
// only warns beside a refusal of another kind, such as a scan that grew old.
func TestOnlyAFindingThatRefusesIsACause(t *testing.T) {
	policy := &attestor.PolicyRef{Name: "p", Digest: "sha256:1"}
	was := attestor.Decision{Policy: policy, Verdict: attestor.Pass}
	old := attestor.Reason{Code: attestor.CodeScanTooOld, Severity: attestor.Refuses}
	finding := func(cve string, severity attestor.ReasonSeverity) attestor.Reason {
		return attestor.Reason{Code: attestor.CodeKnownExploited, Subject: cve, Severity: severity}
	}

	for _, tt := range []struct {
		name    string
		reasons []attestor.Reason
		want    attestor.Cause
	}{
		{"a new finding refuses", []attestor.Reason{finding("CVE-2026-2", attestor.Refuses)}, attestor.CauseFinding},
		{"a new finding refuses beside an old scan", []attestor.Reason{old, finding("CVE-2026-2", attestor.Refuses)}, attestor.CauseFinding},
		{"a new finding warns beside an old scan", []attestor.Reason{old, finding("CVE-2026-2", attestor.Warns)}, attestor.CauseTime},
		{"a known finding refuses", []attestor.Reason{finding("CVE-2026-1", attestor.Refuses)}, attestor.CauseTime},
		{"a new secret", []attestor.Reason{{Code: attestor.CodeSecretFound, Subject: "GCP_API_KEY /b", Severity: attestor.Refuses}}, attestor.CauseFinding},
		{
			"a secret of a new status",
			[]attestor.Reason{{Code: attestor.CodeSecretUnknown, Subject: "GCP_API_KEY /b", Severity: attestor.Refuses}},
			attestor.CauseFinding,
		},
		{"a known secret", []attestor.Reason{{Code: attestor.CodeSecretFound, Subject: "GCP_API_KEY /a", Severity: attestor.Refuses}}, attestor.CauseTime},
		{
			"a new secret that is warned of beside an old scan",
			[]attestor.Reason{old, {Code: attestor.CodeSecretFound, Subject: "GCP_API_KEY /b", Severity: attestor.Warns}},
			attestor.CauseTime,
		},
		{"recorded before reasons had a severity", []attestor.Reason{finding("CVE-2026-2", "")}, attestor.CauseFinding},
	} {
		now := attestor.Decision{Policy: policy, Verdict: attestor.Deny, Checks: []attestor.Check{
			{Name: attestor.CheckVulnerabilities, Platform: "linux/amd64", Status: attestor.StatusDeny, Reasons: tt.reasons},
		}}
		if got, err := watch.CauseForTest(was, now, map[string]bool{"CVE-2026-1": true, "GCP_API_KEY /a": true}); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

// TestSecretsThatNobodyAskedFor: evidence of a version that did not ask for secrets shows none of them to be new, so that an upgrade
// deletes nothing.
func TestSecretsThatNobodyAskedFor(t *testing.T) {
	policy := &attestor.PolicyRef{Name: "p", Digest: "sha256:1"}
	was := attestor.Decision{Policy: policy, Verdict: attestor.Pass}
	now := attestor.Decision{Policy: policy, Verdict: attestor.Deny, Checks: []attestor.Check{{
		Name: attestor.CheckSecrets, Platform: "linux/amd64", Status: attestor.StatusDeny,
		Reasons: []attestor.Reason{{Code: attestor.CodeSecretFound, Subject: "GCP_API_KEY /a", Severity: attestor.Refuses}},
	}}}
	was1 := func(status string) []attestor.Secret {
		return []attestor.Secret{{Kind: "GCP_API_KEY", Path: "/a", Status: status}}
	}
	for _, tt := range []struct {
		scan attestor.Scan
		want attestor.Cause
	}{
		{attestor.Scan{SecretsListed: true}, attestor.CauseFinding},
		{attestor.Scan{}, attestor.CauseTime},
		{attestor.Scan{SecretsListed: true, Secrets: was1(attestor.SecretInvalid)}, attestor.CauseFinding}, // valid again
		{attestor.Scan{SecretsListed: true, Secrets: was1(attestor.SecretUnknown)}, attestor.CauseTime},
	} {
		evidence := attestor.Evidence{Platforms: []attestor.PlatformEvidence{{Scan: tt.scan}}}
		if got, err := watch.CauseForTest(was, now, watch.KnownForTest(evidence)); err != nil || got != tt.want {
			t.Errorf("%+v: %q, %v, want %q", tt.scan, got, err, tt.want)
		}
	}
}
