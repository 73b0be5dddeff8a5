package audit_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// TestCallsAtOnceStartOneRun: the limit of revocations is a run's.
func TestCallsAtOnceStartOneRun(t *testing.T) {
	onBoth(t, func(t *testing.T, s *audit.Store, _ *clock) {
		const calls = 8
		var runs [calls]attestor.Run
		var errs [calls]error
		start := make(chan struct{})
		var wg sync.WaitGroup
		for n := range calls {
			wg.Go(func() {
				<-start
				runs[n], errs[n] = s.StartRun(t.Context(), fmt.Sprintf("run-%d", n), attestor.CallerRef{Subject: "scheduler"})
			})
		}
		close(start)
		wg.Wait()

		for n := range calls {
			if errs[n] != nil || runs[n].ID == "" || runs[n].ID != runs[0].ID {
				t.Errorf("call %d: %+v, %v; the first one has %q", n, runs[n], errs[n], runs[0].ID)
			}
		}
	})
}
