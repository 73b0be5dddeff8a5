package audit

import (
	"net/http"
	"sync"
	"time"

	"github.com/attestor-gate/attestor/internal/throttle"
)

// A Throttle notes when a server asks to be asked later (429, or 503 with a
// Retry-After header), and until when. It is safe for concurrent use.
type Throttle struct {
	now func() time.Time

	mu    sync.Mutex
	last  time.Time // when it asked for that; guarded by mu
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
	now := t.now()
	after, asks := throttle.Asks(resp, now)
	if !asks {
		return
	}

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

// tagTries is how often one page of tags is asked for, at most.
const tagTries = 8

// bounded is a transport that reads no more than maxTagPage of an answer.
type bounded struct{ inner http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.inner.RoundTrip(r)
	if err != nil {
		return nil, err
	}

	resp.Body = http.MaxBytesReader(nil, resp.Body, maxTagPage)
	return resp, nil
}
