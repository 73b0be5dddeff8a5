package attestor_test

import (
	"context"
	"slices"
	"testing"

	"github.com/attestor-gate/attestor"
)

func TestRecoverNeverInventsAPass(t *testing.T) {
	s := newStages(t)
	img := s.resolved.Image
	ev := attestor.Evidence{Image: img, Platforms: []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64", Digest: img.Digest()}}}}
	ref := s.policy.ref
	begun := attestor.Record{Evidence: ev, Decision: attestor.Decision{ID: "id", Verdict: attestor.Pass, Policy: &ref}}
	stands := attestor.Attestation{Attestor: "projects/p/attestors/a", Digest: img.Digest()}

	for _, tt := range []struct {
		name     string
		standing []attestor.Attestation
		status   attestor.Status // of the user check, judged again
		want     attestor.Outcome
	}{
		{"the attestation stands", []attestor.Attestation{stands}, attestor.StatusPass, attestor.Pass},
		{"none stands", nil, attestor.StatusPass, attestor.Undecided},
		{"by another attestor", []attestor.Attestation{{Attestor: "projects/p/attestors/b", Digest: img.Digest()}}, attestor.StatusPass, attestor.Undecided},
		{"for another digest", []attestor.Attestation{{Attestor: stands.Attestor, Digest: digest(9)}}, attestor.StatusPass, attestor.Undecided},
		{"the evidence does not pass", []attestor.Attestation{stands}, attestor.StatusDeny, attestor.Undecided},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.standing = attestor.Standing{Known: true, Valid: tt.standing, Invalid: []attestor.InvalidAttestation{
				{Attestation: attestor.Attestation{Occurrence: "projects/p/occurrences/forged",
					Note: "projects/p/notes/n"}, Why: "no key of the attestor verifies it"}}}
			s.policy.status["user"] = tt.status
			s.records = nil // nobody finished it yet
			d, err := gate(t, s).Recover(context.Background(), begun, s.policy)
			if err != nil || d.Verdict != tt.want {
				t.Errorf("got %s, %v, want %s", d.Verdict, err, tt.want)
			}
			if s.called("attest") != 0 {
				t.Error("something was signed")
			}

			attest := d.Checks[len(d.Checks)-1]
			if !slices.ContainsFunc(attest.Reasons, func(r attestor.Reason) bool {
				return r.Code == attestor.CodeAttestationForeign && r.Subject == "projects/p/occurrences/forged"
			}) {
				t.Errorf("the forged attestation is not reported: %+v", attest)
			}
			if d.Attestations == nil {
				t.Error("attestations would be null in JSON, where the API promises a list")
			}
		})
	}

	other := enforcing()
	other.ref.Digest = digest(7)
	if _, err := gate(t, s).Recover(context.Background(), begun, other); err == nil {
		t.Error("a record was recovered by another policy")
	}
}

// TestWhatIsNotTrustedIsReported: an attestation that does not verify neither
// helps nor hinders, and the Decision says that it is there.
