// Package throttle has the rule for servers that throttle: which responses ask the
// client to wait, for how long, and when to give up. Decisions and sweeps both
// follow it.
package throttle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/attestor-gate/attestor/internal/when"
)

const (
	firstPause = time.Second // where the server names no time; twice as long before each further try
	longest    = 2 * time.Minute
	mostAsked  = 24 * time.Hour // a longer Retry-After is read as this

	drainBytes = 4 << 10 // read of a refused answer, so that its connection is used again
)

// An Error reports a server that throttled: it answered 429, or 503 with a
// Retry-After header.
type Error struct {
	Host   string        // host[:port]
	Status int           // of its last answer
	After  time.Duration // its Retry-After, at most a day; 0 if it gave none
}

func (e *Error) Error() string {
	if e.After == 0 {
		return fmt.Sprintf("%s answered %d", e.Host, e.Status)
	}
	return fmt.Sprintf("%s answered %d and asks to wait %v", e.Host, e.Status, e.After)
}

// read returns the Error of a response, or nil if the server does not throttle.
func read(resp *http.Response, now time.Time) *Error {
	after, said := retryAfter(resp.Header.Get("Retry-After"), now)

	// RFC 6585, section 4: a 429 "MAY include a Retry-After header". RFC 9110,
	// section 15.6.4: so may a 503; without it, nothing says that waiting helps,
	// and the answer counts as an outage.
	if resp.StatusCode != http.StatusTooManyRequests && (resp.StatusCode != http.StatusServiceUnavailable || !said) {
		return nil
	}

	e := &Error{Status: resp.StatusCode, After: after}
	if resp.Request != nil {
		e.Host = resp.Request.URL.Host
	}
	return e
}

// Asks reports whether a response asks the client to wait, and for how long; 0 if
// it names no time. It does not read the body.
func Asks(resp *http.Response, now time.Time) (after time.Duration, asks bool) {
	e := read(resp, now)
	if e == nil {
		return 0, false
	}
	return e.After, true
}

// Check returns an [*Error], and closes the body, if the response asks the client
// to wait. It leaves any other response as it is.
func Check(resp *http.Response, now time.Time) error {
	e := read(resp, now)
	if e == nil {
		return nil
	}

	_, _ = io.CopyN(io.Discard, resp.Body, drainBytes)
	_ = resp.Body.Close() // nothing of it is used

	return e
}

// retryAfter reads the header's two forms, RFC 9110, section 10.2.3: a number
// of seconds, which "is a non-negative decimal integer", or a date. A date in
// the past means now. said is false for anything else.
func retryAfter(header string, now time.Time) (after time.Duration, said bool) {
	header = strings.TrimSpace(header)

	if header != "" && strings.Trim(header, "0123456789") == "" {
		seconds, err := strconv.ParseInt(header, 10, 64)
		if err != nil || seconds > int64(mostAsked/time.Second) { // also what no int64 holds
			return mostAsked, true
		}
		return time.Duration(seconds) * time.Second, true
	}

	at, err := http.ParseTime(header)
	if err != nil {
		return 0, false
	}

	// Of dates centuries apart, Sub returns the longest duration there is.
	return min(max(at.Sub(now), 0), mostAsked), true
}

// Pauses are the times between the tries of one request. The zero value is
// ready for use.
type Pauses struct{ next time.Duration }

// Next returns how long to wait: what the server asked for, or else twice as
// long as last time, beginning with a second. It is at most two minutes.
func (p *Pauses) Next(after time.Duration) time.Duration {
	pause := min(max(p.next, firstPause), longest)
	p.next = 2 * pause
	if after > 0 {
		return min(after, longest)
	}
	return pause
}

// Do calls f until it does not fail with an [*Error], tries times at most. It
// gives up at once, with that error, if ctx would end before the next try. f
// must be safe to repeat.
func Do[T any](ctx context.Context, tries int, f func() (T, error)) (T, error) {
	var pauses Pauses
	for try := 1; ; try++ {
		value, err := f()
		e, throttled := errors.AsType[*Error](err)
		if !throttled || try >= tries {
			return value, err
		}

		// Many clients may have been throttled at the same moment. Jitter spreads their
		// retries, and only ever adds to the time that the server asked for.
		pause := pauses.Next(e.After)
		pause += rand.N(pause/10 + time.Millisecond) //nolint:gosec // no secret

		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= pause {
			return value, err
		}
		if when.Sleep(ctx, pause) != nil {
			return value, err
		}
	}
}

// Transport waits, within a request's deadline, where a server asks for it, and
// makes a request Tries times at most. In the end such an answer is an
// [*Error]. Requests with a body are made once.
type Transport struct {
	Next  http.RoundTripper // required
	Tries int               // required
}

// RoundTrip implements [http.RoundTripper].
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	tries := t.Tries
	if r.Body != nil && r.Body != http.NoBody {
		tries = 1
	}

	return Do(r.Context(), tries, func() (*http.Response, error) {
		resp, err := t.Next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		if err := Check(resp, time.Now()); err != nil {
			return nil, err
		}
		return resp, nil
	})
}
