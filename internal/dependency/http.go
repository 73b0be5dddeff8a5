package dependency

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/attestor-gate/attestor/internal/throttle"
)

// Hosts describes the calls over HTTP.
type Hosts struct {
	// Label gives a host the label of its metrics, from a small fixed set.
	Label func(host string) string
	// Ours reports an error of the gate's own rules, such as a host that is not
	// allowed: it does not count against the dependency.
	Ours func(error) bool
	// Timeout of a request; see [Calls.Unary].
	Timeout time.Duration
}

// Transport guards requests by host. A request is answered when its header is
// there, unless with 502, 503 or 504. 500 is an answer: it may be about one image.
// So is 503 with a Retry-After: the host works and says when to come back.
func (c *Calls) Transport(next http.RoundTripper, h Hosts) http.RoundTripper {
	return &transport{calls: c, next: next, hosts: h}
}

type transport struct {
	calls *Calls
	next  http.RoundTripper
	hosts Hosts
}

func (t *transport) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	host := r.URL.Host
	about := target{
		name:    host,
		label:   t.hosts.Label(host),
		span:    r.Method + " " + t.hosts.Label(host),
		timeout: t.hosts.Timeout,
	}

	refusal := t.calls.do(r.Context(), about, func(ctx context.Context) outcome {
		start := time.Now()
		resp, err = t.next.RoundTrip(r) //nolint:bodyclose // the caller's to close
		switch {
		case err == nil:
			trace.SpanFromContext(ctx).SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
			return outcomeOfAnswer(resp)
		case t.hosts.Ours(err):
			return abandoned
		case r.Context().Err() != nil:
			return about.lapsed(r.Context().Err(), time.Since(start))
		}
		return outage
	})
	if refusal != nil {
		return nil, refusal
	}
	return resp, err
}

// outcomeOfAnswer distinguishes a host that answers from a proxy that answers for it.
func outcomeOfAnswer(resp *http.Response) outcome {
	if _, asks := throttle.Asks(resp, time.Now()); asks {
		return answered
	}

	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return outage
	}
	return answered
}
