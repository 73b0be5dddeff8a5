package when_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor/internal/when"
)

// A wait takes its whole time, on a clock that only the test moves.
func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		if err := when.Sleep(t.Context(), time.Hour); err != nil || time.Since(begun) != time.Hour {
			t.Errorf("%v after %v, want an hour", err, time.Since(begun))
		}
	})
}

// Where the context ends first, the wait ends then, and says why.
func TestSleepEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()

		err := when.Sleep(ctx, time.Hour)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Minute {
			t.Errorf("%v after %v, want the deadline after a minute", err, time.Since(begun))
		}
	})
}
