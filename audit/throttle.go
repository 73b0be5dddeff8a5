package audit

import (
	"net/http"
	"sync"
	"time"

	"github.com/attestor-gate/attestor/internal/throttle"
)

// A Throttle observes responses that ask the client to wait: 429, and 503 with a
// Retry-After header; and it is notified of quotas that are used up. It is safe for concurrent use.
type Throttle struct {
	now func() time.Time

	mu    sync.Mutex
	last  time.Time // of the last such response; guarded by mu
	until time.Time // the latest time that a Retry-After named; zero: none; guarded by mu
}

// NewThrottle returns a Throttle that reads the time from now.
func NewThrottle(now func() time.Time) *Throttle { return &Throttle{now: now} }

// Complain notes that a service limits how often it is asked; after is how long it
// asks to wait, 0 where it did not say.
func (t *Throttle) Complain(after time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()

	now := t.now()
	t.last = now
	if at := now.Add(after); after > 0 && at.After(t.until) {
		t.until = at
	}
}

// Wrap returns a transport that observes the responses of inner.
func (t *Throttle) Wrap(inner http.RoundTripper) http.RoundTripper { return observing{t, inner} }

// Since reports whether a server throttled at moment or later, and how long it
// asks to wait from now on; 0 where it did not say.
func (t *Throttle) Since(moment time.Time) (after time.Duration, complained bool) {
	t.mu.Lock()
	defer t.mu.Unlock()

	if t.last.Before(moment) {
		return 0, false
	}
	return max(t.until.Sub(t.now()), 0), true
}

func (t *Throttle) observe(resp *http.Response) {
	if after, asks := throttle.Asks(resp, t.now()); asks {
		t.Complain(after)
	}
}

type observing struct {
	t     *Throttle
	inner http.RoundTripper
}

func (n observing) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.inner.RoundTrip(r)
	if err == nil {
		n.t.observe(resp)
	}
	return resp, err
}

// tagTries is how often one page of tags is requested, at most.
const tagTries = 8

// A bounded transport fails a response body at MaxTagPage bytes.
type bounded struct{ inner http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.inner.RoundTrip(r)
	if err != nil {
		return nil, err
	}

	resp.Body = http.MaxBytesReader(nil, resp.Body, MaxTagPage)
	return resp, nil
}
