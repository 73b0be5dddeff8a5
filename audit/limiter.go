package audit

import (
	"context"
	"sync"
	"time"
)

// A limiter bounds how many calls run at once by what the servers accept: the
// limit rises by one after each round of successes, and is halved when a server
// throttles (additive increase, multiplicative decrease). No call starts before
// the time that a throttling server named.
type limiter struct {
	now func() time.Time
	max int

	mu        sync.Mutex
	limit     int           // guarded by mu
	successes int           // since limit changed; guarded by mu
	running   int           // guarded by mu
	blocked   time.Time     // no call starts before it; guarded by mu
	changed   chan struct{} // closed and replaced at each change; guarded by mu
}

// initialLimit is low: a sweep that begins at its maximum would be throttled at
// once.
const initialLimit = 4

func newLimiter(most int, now func() time.Time) *limiter {
	return &limiter{now: now, max: most, limit: min(initialLimit, most), changed: make(chan struct{})}
}

// acquire waits until a call may start. An error means that ctx ended; after nil,
// release must be called.
func (l *limiter) acquire(ctx context.Context) error {
	for {
		// Before a place is taken: whoever gets an error releases none.
		if err := ctx.Err(); err != nil {
			return err
		}

		l.mu.Lock()
		wait := l.blocked.Sub(l.now())
		if wait <= 0 && l.running < l.limit {
			l.running++
			l.mu.Unlock()
			return nil
		}
		changed := l.changed
		l.mu.Unlock()

		// The channel was read under the lock: a change after that closes it, so
		// that none is missed.
		if err := waitFor(ctx, wait, changed); err != nil {
			return err
		}
	}
}

// waitFor waits for a change or, where wait is positive, until it has passed.
func waitFor(ctx context.Context, wait time.Duration, changed <-chan struct{}) error {
	var timer <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		timer = t.C
	}

	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer:
	case <-changed:
	}
	return nil
}

// release ends a call that acquire let start.
func (l *limiter) release() {
	l.mu.Lock()
	defer l.mu.Unlock()

	l.running--
	l.wake()
}

// succeeded counts a call that was not throttled.
func (l *limiter) succeeded() {
	l.mu.Lock()
	defer l.mu.Unlock()

	if l.successes++; l.successes >= l.limit && l.limit < l.max {
		l.limit++
		l.successes = 0
		l.wake()
	}
}

// throttled halves the limit, lets no call start for wait, and waits for as long.
func (l *limiter) throttled(ctx context.Context, wait time.Duration) error {
	l.mu.Lock()
	now := l.now()

	// Calls that ran side by side are throttled together: only the first of them
	// halves the limit, since one burst would reduce it to 1 otherwise.
	if !l.blocked.After(now) {
		l.limit = max(1, l.limit/2)
		l.successes = 0
	}

	if at := now.Add(wait); at.After(l.blocked) {
		l.blocked = at
	}
	wait = l.blocked.Sub(now)
	l.mu.Unlock()

	return waitFor(ctx, wait, nil)
}

func (l *limiter) current() int {
	l.mu.Lock()
	defer l.mu.Unlock()

	return l.limit
}

// wake lets every call that waits look again. mu must be held.
func (l *limiter) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}
