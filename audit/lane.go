package audit

import (
	"context"
	"sync"
	"time"
)

// A lane lets as many through at once as the servers bear: one more for each
// round that went well, half as many when they say that it is too much, and
// nobody until the time that they named.
type lane struct {
	now  func() time.Time
	most int

	mu      sync.Mutex
	limit   int           // guarded by mu
	well    int           // successes since limit changed; guarded by mu
	running int           // guarded by mu
	closed  time.Time     // until then nobody enters; guarded by mu
	changed chan struct{} // closed and replaced at each change; guarded by mu
}

const firstWidth = 4

func newLane(most int, now func() time.Time) *lane {
	return &lane{now: now, most: most, limit: min(firstWidth, most), changed: make(chan struct{})}
}

// enter waits for a place.
func (l *lane) enter(ctx context.Context) error {
	for {
		l.mu.Lock()
		wait := l.closed.Sub(l.now())
		if wait <= 0 && l.running < l.limit {
			l.running++
			l.mu.Unlock()
			return ctx.Err()
		}
		changed := l.changed
		l.mu.Unlock()
		if err := until(ctx, wait, changed); err != nil {
			return err
		}
	}
}

// until waits for a change, or for wait to pass where it is positive.
func until(ctx context.Context, wait time.Duration, changed <-chan struct{}) error {
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

func (l *lane) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
	l.wake()
}

// wider counts a success.
func (l *lane) wider() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.well++; l.well >= l.limit && l.limit < l.most {
		l.limit++
		l.well = 0
		l.wake()
	}
}

// pause halves the lane, closes it for everybody, and waits. Of several that
// were told off at the same time, only the first halves it.
func (l *lane) pause(ctx context.Context, wait time.Duration) error {
	l.mu.Lock()
	now := l.now()
	if !l.closed.After(now) {
		l.limit = max(1, l.limit/2)
		l.well = 0
	}
	if at := now.Add(wait); at.After(l.closed) {
		l.closed = at
	}
	wait = l.closed.Sub(now)
	l.mu.Unlock()
	return until(ctx, wait, nil)
}

func (l *lane) width() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit
}

// wake must be called with mu held.
func (l *lane) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}
