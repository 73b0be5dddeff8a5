package audit

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// A Throttle notes when a server says that it is asked too much (429), and
// until when it wants to be left alone. It is safe for concurrent use.
type Throttle struct {
	now func() time.Time

	mu    sync.Mutex
	last  time.Time // of a 429; guarded by mu
	until time.Time // zero: it did not say; guarded by mu
}

// NewThrottle returns one by the given clock.
func NewThrottle(now func() time.Time) *Throttle { return &Throttle{now: now} }

// Wrap returns a transport that notes what passes through inner.
func (t *Throttle) Wrap(inner http.RoundTripper) http.RoundTripper { return noting{t, inner} }

// Since reports whether a server complained after a moment, and how long it
// wants to be left alone from now on; 0 where it did not say.
func (t *Throttle) Since(moment time.Time) (after time.Duration, complained bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last.Before(moment) {
		return 0, false
	}
	return max(t.until.Sub(t.now()), 0), true
}

func (t *Throttle) note(resp *http.Response) {
	if resp.StatusCode != http.StatusTooManyRequests {
		return
	}
	now := t.now()
	after := retryAfter(resp, now)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = now
	if at := now.Add(after); after > 0 && at.After(t.until) {
		t.until = at
	}
}

type noting struct {
	t     *Throttle
	inner http.RoundTripper
}

func (n noting) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.inner.RoundTrip(r)
	if err == nil {
		n.t.note(resp)
	}
	return resp, err
}

// retryAfter reads the header in both of its forms; 0 where it does not say.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	v := resp.Header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(v, 10, 32); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, longest)
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return min(at.Sub(now), longest)
	}
	return 0
}

// patient is a transport that waits where a server asks for it, and reads no
// more than maxTagPage of an answer. It is for requests without a body.
type patient struct{ inner http.RoundTripper }

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	pause := firstPause
	for tries := 1; ; tries++ {
		resp, err := p.inner.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusTooManyRequests || r.Body != nil || tries == maxTries {
			resp.Body = http.MaxBytesReader(nil, resp.Body, maxTagPage)
			return resp, nil
		}
		wait := retryAfter(resp, time.Now())
		if wait == 0 {
			wait = pause
		}
		_ = resp.Body.Close() // nothing of it is wanted
		if err := sleep(r.Context(), wait); err != nil {
			return nil, err
		}
		pause = min(2*pause, longest)
	}
}

func sleep(ctx context.Context, wait time.Duration) error {
	if err := until(ctx, wait, nil); err != nil {
		return err
	}
	return ctx.Err()
}
