package attestor_test

import (
	"testing"

	"github.com/attestor-gate/attestor"
)

func TestSeverityHasNoAccidentalOrder(t *testing.T) {
	for _, c := range []attestor.Ceiling{attestor.BlockAll, "MINIMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL"} {
		for _, s := range []attestor.Severity{attestor.Unspecified, "", "SOMETHING_NEW"} {
			if c.Allows(s) {
				t.Errorf("%s allows %q", c, s)
			}
		}
	}
	if !attestor.AllowAll.Allows(attestor.Unspecified) || !attestor.Ceiling("MEDIUM").Allows(attestor.Medium) || attestor.Ceiling("MEDIUM").Allows(attestor.High) || attestor.BlockAll.Allows(attestor.Minimal) {
		t.Error("ceilings are wrong")
	}
}

func TestAnswers(t *testing.T) {
	enforce, dry := &attestor.PolicyRef{Mode: attestor.Enforce}, &attestor.PolicyRef{Mode: attestor.DryRun}
	pending := []attestor.Check{{Name: "vulnerabilities", Status: attestor.StatusError, Reasons: []attestor.Reason{{Code: attestor.CodeScanPending}}}}
	mixed := append([]attestor.Check{{Name: "platforms", Status: attestor.StatusError, Reasons: []attestor.Reason{{Code: attestor.CodeRegistryUnavailable}}}}, pending...)
	for _, tt := range []struct {
		name       string
		d          attestor.Decision
		http, exit int
	}{
		{"pass", attestor.Decision{Verdict: attestor.Pass, Policy: enforce}, 200, 0},
		{"deny", attestor.Decision{Verdict: attestor.Deny, Policy: enforce}, 422, 1},
		{"error", attestor.Decision{Verdict: attestor.Undecided, Policy: enforce}, 502, 3},
		{"scan pending", attestor.Decision{Verdict: attestor.Undecided, Policy: enforce, Checks: pending}, 503, 3},
		{"pending and an outage", attestor.Decision{Verdict: attestor.Undecided, Policy: enforce, Checks: mixed}, 502, 3},
		{"dry run denied", attestor.Decision{Verdict: attestor.Deny, DryRun: true, Policy: enforce}, 200, 1},
		{"dry run undecided", attestor.Decision{Verdict: attestor.Undecided, DryRun: true, Policy: enforce}, 502, 3},
		{"dryRun policy denied", attestor.Decision{Verdict: attestor.Deny, DryRun: true, Policy: dry}, 200, 0},
		{"dryRun policy undecided", attestor.Decision{Verdict: attestor.Undecided, DryRun: true, Policy: dry}, 502, 3},
		{"no policy", attestor.Decision{Verdict: attestor.Deny}, 422, 1},
		{"no policy, dry run", attestor.Decision{Verdict: attestor.Deny, DryRun: true}, 200, 1},
		{"glass without a signature", attestor.Decision{Verdict: attestor.Deny, BreakGlass: &attestor.BreakGlass{}, Policy: enforce}, 422, 1},
	} {
		if got := tt.d.Answer(); got.HTTPStatus != tt.http || got.ExitCode != tt.exit {
			t.Errorf("%s: got %d and %d, want %d and %d", tt.name, got.HTTPStatus, got.ExitCode, tt.http, tt.exit)
		}
	}
}

func TestCodesAreClosedAndUnique(t *testing.T) {
	seen := map[attestor.Code]bool{}
	for _, c := range attestor.Codes() {
		if seen[c.Code] || c.Means == "" || c.Check == "" {
			t.Errorf("%+v is listed twice or incompletely", c)
		}
		seen[c.Code] = true
	}
}
