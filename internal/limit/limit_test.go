package limit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/when"
)

func TestEveryQuestionEnds(t *testing.T) {
	tests := []struct {
		name  string
		limit limit.Call
		want  time.Duration
		says  string
	}{
		{"zero", 0, limit.Default, "10s"},
		{"negative", -1, limit.Default, "10s"},
		{"set", limit.Call(3 * time.Second), 3 * time.Second, "3s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				ctx, cancel := tt.limit.Start(t.Context())
				defer cancel()
				<-ctx.Done()

				if took := time.Since(start); took != tt.want || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
					t.Errorf("ended after %s with %v, want %s", took, ctx.Err(), tt.want)
				}
				if got := tt.limit.String(); got != tt.says {
					t.Errorf("it reads %q, want %q", got, tt.says)
				}
			})
		})
	}
}

// TestTheCallerEndsItsOwnQuestion: a question ends with its caller, unless others
// wait for the same answer.
func TestTheCallerEndsItsOwnQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, gone := context.WithCancel(t.Context())
		own, cancel := limit.Call(time.Second).Start(parent)
		defer cancel()
		shared, cancelShared := limit.Call(time.Second).StartShared(parent)
		defer cancelShared()

		gone()
		if !errors.Is(own.Err(), context.Canceled) {
			t.Errorf("the question outlives its caller: %v", own.Err())
		}
		if shared.Err() != nil {
			t.Errorf("the shared question ended with one of its callers: %v", shared.Err())
		}

		time.Sleep(time.Second)
		synctest.Wait()
		if !errors.Is(shared.Err(), context.DeadlineExceeded) {
			t.Errorf("the shared question does not end: %v", shared.Err())
		}
	})
}

func TestWithin(t *testing.T) {
	tests := []struct{ phase, call, want time.Duration }{
		{30 * time.Second, 10 * time.Second, 10 * time.Second},
		{30 * time.Second, 11 * time.Second, 10 * time.Second},
		{3 * time.Second, 10 * time.Second, time.Second},
		{time.Minute, 5 * time.Second, 5 * time.Second},
	}
	for _, tt := range tests {
		if got := limit.Within(when.Duration(tt.phase), when.Duration(tt.call)); got.Duration() != tt.want {
			t.Errorf("a call of %s in a phase of %s has %s, want %s", tt.call, tt.phase, got, tt.want)
		}
	}
}
