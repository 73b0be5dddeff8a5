package attestor_test

import (
	"context"
	"testing"

	"github.com/attestor-gate/attestor"
)

// A caller who leaves while evidence is gathered gets no attestation: nobody
// waits for the answer, and the pipeline that gave up may have gone on without
// it. Nothing is begun, signed or recorded, even if all evidence is there.
func TestNothingIsSignedForACallerWhoHasLeft(t *testing.T) {
	for name, leaves := range map[string]bool{"stays": false, "leaves": true} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := newStages(t)
			s.resolving = func(context.Context) error {
				if leaves {
					cancel()
				}
				return nil
			}

			d, err := gate(t, s).Admit(ctx, attestor.Request{Image: reference(t, repository+":v7"), Caller: attestor.LocalCaller("me")})

			if leaves {
				if attestor.KindOf(err) != attestor.Unavailable || d.ID != "" {
					t.Errorf("answered %+v, %v", d, err)
				}
				if n := s.called("begin") + s.called("attest") + s.called("finish"); n != 0 {
					t.Errorf("%d of begin, attest and finish were called: %v", n, s.calls)
				}
				return
			}
			if err != nil || d.Verdict != attestor.Pass || s.called("attest") != 1 {
				t.Errorf("answered %+v, %v", d, err)
			}
		})
	}
}
