package throttle_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/attestor-gate/attestor/internal/throttle"
)

// A quota answers limit calls in each window, which begins with its first call.
type quota struct {
	mu     sync.Mutex
	limit  int
	window time.Duration
	tells  bool // how long to wait

	began           time.Time
	used            int
	refused, served int
}

// ask reports how long the quota is used up.
func (q *quota) ask() (after time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()

	now := time.Now()
	if now.Sub(q.began) >= q.window {
		q.began, q.used = now, 0
	}
	if q.used >= q.limit {
		q.refused++
		if q.tells {
			return q.began.Add(q.window).Sub(now), false
		}
		return 0, false
	}
	q.used++
	q.served++
	return 0, true
}

// call makes one call until it is answered.
func call(ctx context.Context, p *throttle.Pacer, q *quota) error {
	for {
		if err := p.Turn(ctx); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
		after, ok := q.ask()
		if ok {
			p.Answered()
			return nil
		}
		p.Refused(after)
	}
}

// sweep makes calls, sixteen at once, and returns how long that took.
func sweep(t *testing.T, p *throttle.Pacer, q *quota, calls int) time.Duration {
	t.Helper()
	start := time.Now()
	next := make(chan struct{})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range next {
				if err := call(throttle.Background(t.Context()), p, q); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range calls {
		next <- struct{}{}
	}
	close(next)
	wg.Wait()
	return time.Since(start)
}

// TestASweepUsesItsQuota: 10,000 calls against 20 a second, counted by the minute. The ideal time is that in which the
// quota is used up in every minute.
func TestASweepUsesItsQuota(t *testing.T) {
	const calls, perMinute = 10_000, 1200
	ideal := time.Duration(calls) * time.Minute / perMinute
	for name, tt := range map[string]struct {
		ceiling float64
		tells   bool
		within  float64
	}{
		"a configured ceiling":                    {20, true, 1.05},
		"a ceiling, and no time is named":         {20, false, 1.05},
		"a rate that is learnt":                   {0, true, 1.15},
		"a rate that is learnt, no time named":    {0, false, 1.15},
		"a ceiling far above the quota is learnt": {200, true, 1.15},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, q := throttle.NewPacer(tt.ceiling), &quota{limit: perMinute, window: time.Minute, tells: tt.tells}
				took := sweep(t, p, q, calls)
				if q.served != calls || float64(took) > tt.within*float64(ideal) {
					t.Errorf("%d calls took %v, the ideal is %v, allowed are %.0f %%; %d were refused, the rate is %.1f/s",
						q.served, took, ideal, 100*tt.within, q.refused, p.Rate())
				}

				// The fewer calls are refused, the less of the quota of others is spent: a hundredth is plenty.
				if q.refused > calls/20 {
					t.Errorf("%d of %d calls were refused", q.refused, calls)
				}
			})
		})
	}
}

// TestInteractiveCallsGoFirst: the calls of one decision do not wait behind a sweep that uses the whole rate.
func TestInteractiveCallsGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := throttle.NewPacer(20), &quota{limit: 1300, window: time.Minute, tells: true}
		var wg sync.WaitGroup
		wg.Go(func() { sweep(t, p, q, 2000) })

		for range 10 {
			time.Sleep(5 * time.Second)
			start := time.Now()
			for range 6 {
				if err := call(t.Context(), p, q); err != nil {
					t.Error(err)
				}
			}
			if took := time.Since(start); took > 150*time.Millisecond {
				t.Errorf("six calls beside a sweep took %v, alone they take 120ms", took)
			}
		}
		wg.Wait()
	})
}

// TestNobodyWaitsWithoutCause: without a ceiling and a refusal no call waits.
func TestNobodyWaitsWithoutCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, start := throttle.NewPacer(0), time.Now()
		for range 10_000 {
			if err := p.Turn(throttle.Background(t.Context())); err != nil {
				t.Fatal(err)
			}
			p.Answered()
		}
		if took := time.Since(start); took != 0 || p.Rate() != 0 {
			t.Errorf("10,000 calls waited %v, at %v/s", took, p.Rate())
		}
	})
}

// TestATurnThatComesTooLate: who has no time to wait is told at once how long it would take.
func TestATurnThatComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, start := throttle.NewPacer(0), time.Now()
		p.Refused(40 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := p.Turn(ctx)
		e, ok := errors.AsType[*throttle.Error](err)
		if !ok || e.After != 40*time.Second || time.Since(start) != 0 {
			t.Errorf("%v after %v, want at once that it takes 40s", err, time.Since(start))
		}
		if after, refused := throttle.Refusal(throttle.Status("Cloud KMS", err)); !refused || after != 40*time.Second {
			t.Errorf("its status asks to wait %v, refused %t", after, refused)
		}

		// One who hangs up is not held.
		gone, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		if err := p.Turn(gone); !errors.Is(err, context.Canceled) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}

		// And who has the time is served after it.
		if err := p.Turn(t.Context()); err != nil || time.Since(start) != 40*time.Second {
			t.Errorf("%v after %v, want nothing after 40s", err, time.Since(start))
		}
	})
}

// TestRefusal: only a quota refuses for a time; a message that is too large does so for ever.
func TestRefusal(t *testing.T) {
	with := func(code codes.Code, details ...protoadapt.MessageV1) error {
		s, err := status.New(code, "m").WithDetails(details...)
		if err != nil {
			t.Fatal(err)
		}
		return s.Err()
	}
	retry := func(d time.Duration) *errdetails.RetryInfo {
		return &errdetails.RetryInfo{RetryDelay: durationpb.New(d)}
	}
	rate := &errdetails.ErrorInfo{Reason: "RATE_LIMIT_EXCEEDED", Domain: "googleapis.com"}
	for name, tt := range map[string]struct {
		err   error
		after time.Duration
		want  bool
	}{
		"nothing":              {nil, 0, false},
		"another error":        {errors.New("no"), 0, false},
		"another code":         {with(codes.Unavailable, retry(time.Second)), 0, false},
		"too large a message":  {status.Error(codes.ResourceExhausted, "grpc: received message larger than max"), 0, false},
		"another reason":       {with(codes.ResourceExhausted, &errdetails.ErrorInfo{Reason: "RESOURCE_QUOTA_EXCEEDED"}), 0, false},
		"a rate":               {with(codes.ResourceExhausted, rate), 0, true},
		"a rate, and a time":   {with(codes.ResourceExhausted, rate, retry(7*time.Second)), 7 * time.Second, true},
		"a time":               {with(codes.ResourceExhausted, retry(time.Second)), time.Second, true},
		"a time that has been": {with(codes.ResourceExhausted, retry(-time.Second)), 0, true},
		"a year":               {with(codes.ResourceExhausted, retry(365*24*time.Hour)), 24 * time.Hour, true},
		"a quota":              {with(codes.ResourceExhausted, &errdetails.QuotaFailure{}), 0, true},
	} {
		if after, refused := throttle.Refusal(tt.err); after != tt.after || refused != tt.want {
			t.Errorf("%s: refused %t for %v, want %t for %v", name, refused, after, tt.want, tt.after)
		}
	}
}
