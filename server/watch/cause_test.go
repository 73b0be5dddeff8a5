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
		want    watch.Cause
	}{
		{"a new finding refuses", []attestor.Reason{finding("CVE-2026-2", attestor.Refuses)}, watch.CauseFinding},
		{"a new finding refuses beside an old scan", []attestor.Reason{old, finding("CVE-2026-2", attestor.Refuses)}, watch.CauseFinding},
		{"a new finding warns beside an old scan", []attestor.Reason{old, finding("CVE-2026-2", attestor.Warns)}, watch.CauseTime},
		{"a known finding refuses", []attestor.Reason{finding("CVE-2026-1", attestor.Refuses)}, watch.CauseTime},
		{"recorded before reasons had a severity", []attestor.Reason{finding("CVE-2026-2", "")}, watch.CauseFinding},
	} {
		now := attestor.Decision{Policy: policy, Verdict: attestor.Deny, Checks: []attestor.Check{
			{Name: attestor.CheckVulnerabilities, Platform: "linux/amd64", Status: attestor.StatusDeny, Reasons: tt.reasons},
		}}
		if got, err := watch.CauseForTest(was, now, map[string]bool{"CVE-2026-1": true}); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}
