package audit_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    attestor.Record
	}{
		{"refused", record(1, attestor.Deny, func(r *attestor.Record) {
			r.Decision.Checks[0].Exceptions = []attestor.AppliedException{
				{ID: "CVE-2025-9", Owner: "payments", Reason: "not reachable", Expires: "2026-12-31", Subject: "CVE-2025-9 in zlib"},
			}
			r.Decision.Checks = append(r.Decision.Checks, attestor.Check{Name: attestor.CheckAttest, Status: attestor.StatusSkipped, Reasons: []attestor.Reason{
				{Code: attestor.CodeNotAttested, Message: "the image did not pass"},
				{
					Code:    attestor.CodeAlreadyAttested,
					Message: "an earlier attestation by projects/p/attestors/a still admits this digest",
					Fix:     "attestor revoke IMAGE --reason TEXT",
				},
			}})
		})},
		{"passed", record(2, attestor.Pass, func(r *attestor.Record) {
			r.Decision.Checks = append(r.Decision.Checks, attestor.Check{Name: attestor.CheckAttest, Status: attestor.StatusPass})
			r.Decision.Attestations = []attestor.Attestation{
				{
					Attestor: "projects/p/attestors/a", Occurrence: "projects/p/occurrences/1", Digest: digest(2),
					PublicKeyID: "//cloudkms.googleapis.com/v1/k", Created: true,
				},
			}
		})},
		{"refused-later", record(6, attestor.Pass, func(r *attestor.Record) {
			r.Decision.Checks = append(r.Decision.Checks, attestor.Check{Name: attestor.CheckUser,
				Platform: "linux/amd64", Status: attestor.StatusWarn, Reasons: []attestor.Reason{{
					Code: attestor.CodeUserRoot, Severity: attestor.Warns, Message: "the image runs as root; a warning " +
						"until 2027-03-01, refused from then on (owner: platform-team)",
					EffectiveFrom: "2027-03-01", Owner: "platform-team",
				}}})
		})},
		{"undecided", record(3, attestor.Undecided)},
		{"break-glass", record(4, attestor.Deny, func(r *attestor.Record) {
			r.Decision.BreakGlass = &attestor.BreakGlass{Reason: "INC-4711: payments are down", By: "oncall@example.com", Expires: &day}
		})},
		{"no-policy", record(5, attestor.Deny, func(r *attestor.Record) {
			r.Decision.Policy, r.PolicyText, r.Decision.Image.Digest = nil, nil, ""
			r.Decision.Image.Reference = r.Decision.Image.Requested
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := audit.Explain(tt.r)
			path := filepath.Join("testdata", "explain-"+tt.name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}

			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestExplainBeginsWithARevocation: whoever reads one line of an explanation must not take an image for admitted that
// no longer is.
func TestExplainBeginsWithARevocation(t *testing.T) {
	revoked := func(kind attestor.RevocationKind) *attestor.RevocationRecord {
		return &attestor.RevocationRecord{
			ID: "r1", Time: day, Kind: kind, Reason: "found to be wrong", Caller: attestor.CallerRef{Subject: "security@example.com"},
			Judgment: "d9", Cause: attestor.CauseFinding,
		}
	}
	for _, tt := range []struct {
		name        string
		r           attestor.Record
		first, next string // lines
	}{
		{"a pass, by a person", record(2, attestor.Pass, func(r *attestor.Record) { r.Decision.Revoked = revoked(attestor.RevokedByPerson) }),
			"Passed, and revoked since: ", "REVOKED. Its attestations were revoked on "},
		{"a pass, by a judgement", record(2, attestor.Pass, func(r *attestor.Record) { r.Decision.Revoked = revoked(attestor.RevokedByJudgment) }),
			"Passed, and revoked since: ", "REVOKED. Its attestations were revoked on "},
		{"an override, at its end", record(4, attestor.Deny, func(r *attestor.Record) {
			r.Decision.BreakGlass = &attestor.BreakGlass{Reason: "INC-4711: payments are down", By: "oncall@example.com", Expires: &day}
			r.Decision.Revoked = revoked(attestor.RevokedAtEnd)
		}), "Refused, and revoked since: ", "REVOKED. Its attestations were revoked on "},
		{"a pass that stands", record(2, attestor.Pass), "Passed: ", ""},
	} {
		lines := strings.Split(audit.Explain(tt.r), "\n")
		if !strings.HasPrefix(lines[0], tt.first) || !strings.HasPrefix(lines[1], tt.next) || tt.next == "" && lines[1] != "" {
			t.Errorf("%s: begins\n%s\n%s", tt.name, lines[0], lines[1])
		}
	}
}

// TestExplainTellsOfAnOverride: until its attestations are revoked, an explanation says that an override admits the
// image, by whom, until when, and overdue if it is.
func TestExplainTellsOfAnOverride(t *testing.T) {
	const by = "Break-glass was used by oncall@example.com: “INC-4711: payments are down”."
	for _, tt := range []struct {
		name    string
		expires *time.Time
		state   *attestor.OverrideState
		want    string
	}{
		{"open", &day, &attestor.OverrideState{Open: true}, "The image is admitted by this override alone, until 21 November 2026 at 12:00:00 UTC."},
		{"open without an end", nil, &attestor.OverrideState{Open: true}, "The image is admitted by this override alone, until it is revoked."},
		{
			"overdue", &day, &attestor.OverrideState{Open: true, Overdue: true},
			"The override is overdue: it should have ended on 21 November 2026 at 12:00:00 UTC, and its attestations still admit the image.",
		},
		{"a record without its state", &day, nil, "The override ends on 21 November 2026 at 12:00:00 UTC."},
		{"closed by a pass", &day, &attestor.OverrideState{Closed: attestor.ClosedPassed, By: "d9"},
			"the image has passed in its own right since, in decision d9."},
		{"closed by another", &day, &attestor.OverrideState{Closed: attestor.ClosedOverridden, By: "d9"}, "the override of decision d9 has taken its place."},
		{"ended", &day, &attestor.OverrideState{Closed: attestor.ClosedExpired}, "The override has ended, and its attestations were deleted."},
		{"revoked", &day, &attestor.OverrideState{Closed: attestor.ClosedRevoked}, "The override's attestations were deleted before its end."},
	} {
		got := audit.Explain(record(4, attestor.Deny, func(r *attestor.Record) {
			r.Decision.BreakGlass = &attestor.BreakGlass{Reason: "INC-4711: payments are down", By: "oncall@example.com", Expires: tt.expires}
			r.Decision.OverrideState = tt.state
		}))
		if !strings.Contains(got, by+" ") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: lacks %q:\n%s", tt.name, tt.want, got)
		}
		open := tt.state != nil && tt.state.Open
		if strings.Contains(got, "admitted by this override alone") != (open && !tt.state.Overdue) ||
			strings.Contains(got, "overdue") != (open && tt.state.Overdue) {
			t.Errorf("%s: says more of it than there is:\n%s", tt.name, got)
		}
	}
}

func TestExplainIsHarmless(t *testing.T) {
	const attack = "-x'; rm -rf /; \x1b[2J\u202e\u009b$(id)`id`\n"
	got := audit.Explain(record(1, attestor.Deny, func(r *attestor.Record) {
		d := &r.Decision
		d.ID, d.Image.Requested, d.Image.Reference, d.Policy.Name, d.Caller.Subject = attack, attack, attack, attack, attack
		d.Checks[0].Reasons[0] = attestor.Reason{Code: attack, Subject: attack, Message: attack, Fix: attack}
		d.BreakGlass = &attestor.BreakGlass{Reason: attack, By: attack}
		d.Attestations = []attestor.Attestation{{Attestor: attack}}
	}))

	for _, r := range got {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%U reaches the terminal", r)
		}
	}

	for _, line := range strings.Split(got, "\n") {
		if rest, ok := strings.CutPrefix(line, "  attestor "); ok && !strings.Contains(rest, ` '-x'\''; rm -rf /; `) {
			t.Errorf("a command is not quoted: %s", line)
		}
	}

	if zero := audit.Explain(attestor.Record{}); !strings.Contains(zero, "efused") {
		t.Errorf("the zero record does not say that it refuses:\n%s", zero)
	}
}
