package attestor_test

import (
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// judged is the verdict of a policy whose mode is given, over an image with
// passing answers for its one platform.
func judged(t *testing.T, mode attestor.Mode, change func(*attestor.Evidence, *attestor.AttestNeeds)) attestor.Verdict {
	t.Helper()
	ev := attestor.Evidence{
		Image:     reference(t, repository+":v7").At(digest(1)),
		Platforms: []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64", Digest: digest(1)}}},
	}
	p := enforcing()
	p.ref.Mode = mode
	if change != nil {
		change(&ev, &p.needs.Attest)
	}

	return attestor.NewVerdict(ev, p.ref, p.needs.Attest, answers("linux/amd64"))
}

// Only a policy that enforces gives a right to attest, in both ways to one: the
// other modes, the zero one and an unknown one included, give none.
func TestOnlyAnEnforcingPolicyGivesARight(t *testing.T) {
	for mode, want := range map[attestor.Mode]bool{attestor.Enforce: true, attestor.DryRun: false, "": false, "Enforce": false} {
		v := judged(t, mode, nil)
		if v.Outcome() != attestor.Pass {
			t.Fatalf("mode %q: the verdict is %s, so that this would prove nothing", mode, v.Outcome())
		}
		grant, err := attestor.GrantBreakGlass(attestor.LocalCaller("me"), v.Image(), "INC-1: checkout is down",
			attestor.BreakGlassPolicy{Allowed: true}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}

		for way, authorize := range map[string]func() (attestor.Authorization, error){
			"a pass":      func() (attestor.Authorization, error) { return attestor.Authorize("id", v) },
			"break-glass": func() (attestor.Authorization, error) { return attestor.AuthorizeBreakGlass("id", v, grant) },
		} {
			a, err := authorize()
			if (err == nil) != want || (len(a.Images()) > 0) != want || a.IsBreakGlass() != (want && way == "break-glass") {
				t.Errorf("%s under mode %q: %d images, break-glass %t, %v", way, mode, len(a.Images()), a.IsBreakGlass(), err)
			}
		}
	}
}
