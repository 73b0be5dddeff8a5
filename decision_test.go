package attestor_test

import (
	"testing"
	"time"

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
	if !attestor.AllowAll.Allows(attestor.Unspecified) || !attestor.Ceiling("MEDIUM").Allows(attestor.Medium) ||
		attestor.Ceiling("MEDIUM").Allows(attestor.High) || attestor.BlockAll.Allows(attestor.Minimal) {
		t.Error("ceilings are wrong")
	}
}

func TestAnswers(t *testing.T) {
	enforce, dry := &attestor.PolicyRef{Mode: attestor.Enforce}, &attestor.PolicyRef{Mode: attestor.DryRun}
	pending := []attestor.Check{{Name: "vulnerabilities", Status: attestor.StatusError, Reasons: []attestor.Reason{{Code: attestor.CodeScanPending}}}}
	mixed := append([]attestor.Check{{Name: "platforms", Status: attestor.StatusError,
		Reasons: []attestor.Reason{{Code: attestor.CodeRegistryUnavailable}}}}, pending...)

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

// What a dependency asks for is what the caller is told, and the longest of
// several; a reason that time does not lift is told nothing.
func TestRetryAfterIsTheDependencys(t *testing.T) {
	busy := func(seconds int) attestor.Reason {
		return attestor.Reason{Code: attestor.CodeRegistryBusy, RetryAfter: seconds}
	}
	for _, tt := range []struct {
		name    string
		reasons []attestor.Reason
		http    int
		after   time.Duration
	}{
		{"named", []attestor.Reason{busy(3)}, 503, 3 * time.Second},
		{"not named", []attestor.Reason{busy(0)}, 503, 10 * time.Second},
		{"of two platforms", []attestor.Reason{busy(3), busy(120)}, 503, 2 * time.Minute},
		{"beside a scan", []attestor.Reason{busy(3), {Code: attestor.CodeScanPending}}, 503, 10 * time.Second},
		{"of what could not be looked up for it", []attestor.Reason{{Code: attestor.CodeUserLookupFailed, RetryAfter: 7}}, 503, 7 * time.Second},
		{"beside an outage", []attestor.Reason{busy(3), {Code: attestor.CodeRegistryDenied}}, 502, 0},
	} {
		d := attestor.Decision{
			Verdict: attestor.Undecided, Policy: &attestor.PolicyRef{Mode: attestor.Enforce},
			Checks: []attestor.Check{{Name: attestor.CheckPlatforms, Status: attestor.StatusError, Reasons: tt.reasons}},
		}

		if got := d.Answer(); got.HTTPStatus != tt.http || got.RetryAfter != tt.after || got.ExitCode != attestor.ExitError {
			t.Errorf("%s: got %+v, want %d after %v", tt.name, got, tt.http, tt.after)
		}

		d.Verdict = attestor.Deny
		if got := d.Answer(); got.HTTPStatus != 422 || got.RetryAfter != 0 {
			t.Errorf("%s, denied: got %+v; a denial does not ask to come again", tt.name, got)
		}
	}
}

func TestErrorRoundsUp(t *testing.T) {
	for after, want := range map[time.Duration]int{0: 0, time.Nanosecond: 1, time.Second: 1, 1500 * time.Millisecond: 2, 24 * time.Hour: 86400} {
		if got := (&attestor.Error{After: after}).RetryAfter(); got != want {
			t.Errorf("%v is %d seconds, want %d", after, got, want)
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
