package server

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/attestor-gate/attestor"
)

// Limits bound what a request, a caller and all callers together may use.
// Zero fields take the default; nothing can be switched off.
type Limits struct {
	Body        int64         // bytes of a request's body; 1 MiB
	Header      int           // bytes of a request's header; 32 KiB
	MaxWait     time.Duration // cap on a request's wait; 45 s
	Concurrent  int           // requests that work at once; 64
	Queue       int           // requests that wait for their turn; 128
	QueueWait   time.Duration // and for how long; 5 s
	CallerRate  float64       // requests a second that one caller may send; 20; +Inf for no limit
	CallerBurst int           // and at once; 60
	ReadHeader  time.Duration // 5 s
	Read        time.Duration // header and body; 20 s
	Write       time.Duration // from the header's end to the answer's; MaxWait and 2 min
	Idle        time.Duration // a connection without a request; 90 s
	LameDuck    time.Duration // how long a stopping server still accepts, saying it is not ready; 0: not at all
	Drain       time.Duration // how long requests may take to finish after that; 30 s. At two thirds, those that still wait are told to come again
}

func (l Limits) complete() (Limits, error) {
	d := Limits{
		Body: 1 << 20, Header: 32 << 10, MaxWait: 45 * time.Second, Concurrent: 64, Queue: 128, QueueWait: 5 * time.Second,
		CallerRate: 20, CallerBurst: 60, ReadHeader: 5 * time.Second, Read: 20 * time.Second, Idle: 90 * time.Second, Drain: 30 * time.Second,
	}
	for _, v := range []float64{float64(l.Body), float64(l.Header), float64(l.MaxWait), float64(l.Concurrent), float64(l.Queue), float64(l.QueueWait),
		l.CallerRate, float64(l.CallerBurst), float64(l.ReadHeader), float64(l.Read), float64(l.Write), float64(l.Idle), float64(l.LameDuck), float64(l.Drain)} {
		if v < 0 || math.IsNaN(v) {
			return Limits{}, errors.New("making a server: a limit is negative or no number")
		}
	}
	or(&l.Body, d.Body)
	or(&l.Header, d.Header)
	or(&l.MaxWait, d.MaxWait)
	or(&l.Concurrent, d.Concurrent)
	or(&l.Queue, d.Queue)
	or(&l.QueueWait, d.QueueWait)
	or(&l.CallerRate, d.CallerRate)
	or(&l.CallerBurst, d.CallerBurst)
	or(&l.ReadHeader, d.ReadHeader)
	or(&l.Read, d.Read)
	or(&l.Write, l.MaxWait+2*time.Minute)
	or(&l.Idle, d.Idle)
	or(&l.Drain, d.Drain)
	return l, nil
}

func or[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// slots let a number of requests work at once, and another number wait.
type slots struct {
	working  chan struct{}
	waiting  chan struct{}
	patience time.Duration
}

func newSlots(l Limits) *slots {
	return &slots{working: make(chan struct{}, l.Concurrent), waiting: make(chan struct{}, l.Queue), patience: l.QueueWait}
}

// take waits for a turn. What it returns must be called when the work is done.
func (s *slots) take(ctx context.Context) (func(), error) {
	done := func() { <-s.working }
	select {
	case s.working <- struct{}{}:
		return done, nil
	default:
	}
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		return nil, busy("the queue is full")
	}
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	select {
	case s.working <- struct{}{}:
		return done, nil
	case <-timer.C:
		return nil, busy("no turn came in time")
	case <-ctx.Done():
		return nil, &attestor.Error{Kind: attestor.Unavailable, Msg: "the request was given up while it waited for its turn", Err: ctx.Err()}
	}
}

func busy(why string) error {
	return &limited{after: 2 * time.Second, err: &attestor.Error{Kind: attestor.TooMany, Msg: "the gate is busy: " + why, Fix: "try again after the time in Retry-After"}}
}

// limited is an error that says when to try again.
type limited struct {
	after time.Duration
	err   error
}

func (l *limited) Error() string { return l.err.Error() }
func (l *limited) Unwrap() error { return l.err }

// maxCallers bounds the memory that callers' rates take.
const maxCallers = 10_000

// rates hold one token bucket for each caller.
type rates struct {
	mu      sync.Mutex
	limit   rate.Limit
	burst   int
	now     func() time.Time
	buckets map[string]*rate.Limiter // guarded by mu
	rest    *rate.Limiter            // shared by whoever finds no room
}

func newRates(l Limits, now func() time.Time) *rates {
	limit := rate.Limit(l.CallerRate)
	if math.IsInf(l.CallerRate, 1) {
		limit = rate.Inf
	}
	return &rates{limit: limit, burst: l.CallerBurst, now: now, buckets: map[string]*rate.Limiter{}, rest: rate.NewLimiter(limit, l.CallerBurst)}
}

// allow takes one token of the caller's, or says when there will be one.
func (r *rates) allow(caller string) error {
	now := r.now()
	reservation := r.bucket(caller, now).ReserveN(now, 1)
	delay := reservation.DelayFrom(now)
	if delay == 0 {
		return nil
	}
	reservation.CancelAt(now)
	return &limited{after: delay, err: &attestor.Error{Kind: attestor.TooMany, Msg: "this identity sends too many requests", Fix: "try again after the time in Retry-After"}}
}

func (r *rates) bucket(caller string, now time.Time) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b, ok := r.buckets[caller]; ok {
		return b
	}
	if len(r.buckets) >= maxCallers {
		for k, b := range r.buckets { // a full bucket is as good as a new one
			if b.TokensAt(now) >= float64(r.burst) {
				delete(r.buckets, k)
			}
		}
	}
	if len(r.buckets) >= maxCallers {
		return r.rest
	}
	b := rate.NewLimiter(r.limit, r.burst)
	r.buckets[caller] = b
	return b
}
