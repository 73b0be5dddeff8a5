package audit_test

import (
	"context"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// TestGroundOf: only a pass or an override that names an attestation explains it. A denial, a dry run and a decision
// that has not ended do not, and neither does what is recorded of another attestation of the same image.
func TestGroundOf(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		signed := func(n int, occurrence string) func(*attestor.Record) {
			return func(r *attestor.Record) {
				r.Decision.Attestations = []attestor.Attestation{
					{Attestor: "projects/p/attestors/a", Occurrence: occurrence, Digest: digest(n)},
				}
			}
		}
		overridden := func(r *attestor.Record) { r.Decision.BreakGlass = &attestor.BreakGlass{} }
		dry := func(r *attestor.Record) { r.Decision.DryRun = true }
		child := func(r *attestor.Record) {
			r.Evidence.Index = true
			r.Evidence.Platforms[0].Digest = digest(400)
			r.Decision.Platforms = []attestor.PlatformSummary{{Child: attestor.Child{Platform: "linux/amd64", Digest: digest(400)}}}
		}
		finish(t, s, record(1, attestor.Pass, signed(1, "o/pass")), record(2, attestor.Deny, overridden, signed(2, "o/overridden")),
			record(3, attestor.Deny, signed(3, "o/denied")), record(4, attestor.Pass, dry, signed(4, "o/dry")),
			record(5, attestor.Pass, child, signed(400, "o/child")), record(6, attestor.Undecided, signed(6, "o/half")))
		if err := s.Begin(t.Context(), record(7, attestor.Pass)); err != nil {
			t.Fatal(err)
		}

		for _, tt := range []struct {
			name, occurrence string
			of               int
			want             audit.Ground
		}{
			{"of a pass", "o/pass", 1, audit.Recorded},
			{"of an override", "o/overridden", 2, audit.Recorded},
			{"of a child", "o/child", 400, audit.Recorded},
			{"of a denial", "o/denied", 3, audit.Unrecorded},
			{"of a dry run", "o/dry", 4, audit.Unrecorded},
			{"of a decision that failed", "o/half", 6, audit.Unrecorded},
			{"another one of the same image", "o/other", 1, audit.Unrecorded},
			{"the same name on another image", "o/pass", 2, audit.Unrecorded},
			{"never judged", "o/pass", 9, audit.Unrecorded},
			{"begun", "o/begun", 7, audit.Underway},
		} {
			got, err := s.GroundOf(t.Context(), attestor.Attestation{Occurrence: tt.occurrence, Digest: digest(tt.of)})
			if err != nil || got != tt.want {
				t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
			}
		}

		finish(t, s, record(7, attestor.Pass, signed(7, "o/begun")))
		if got, err := s.GroundOf(t.Context(), attestor.Attestation{Occurrence: "o/begun", Digest: digest(7)}); got != audit.Recorded {
			t.Errorf("once it ended: %q, %v", got, err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if got, err := s.GroundOf(ended, attestor.Attestation{Occurrence: "o/pass", Digest: digest(1)}); err == nil {
			t.Errorf("a record that cannot be read says %q", got)
		}
	})
}

// TestGroundOfWithoutARecord: who keeps nothing explains nothing, and does not say that nothing is there.
func TestGroundOfWithoutARecord(t *testing.T) {
	s := open(t, audit.Config{None: true, Now: clockAt(day).now})
	if got, err := s.GroundOf(t.Context(), attestor.Attestation{Digest: digest(1)}); attestor.KindOf(err) != attestor.Unsupported {
		t.Errorf("%q, %v", got, err)
	}
}
