// Package standin stands in for the outside world of a gate, on this machine:
// a registry and Google's services, each call with a latency that can be set, a
// record of every call, and faults. The harness in bench and tests of the whole
// program run against it; it decides nothing, and no product code imports it.
package standin

import (
	"net/http"
	"slices"
	"sync"
	"time"
)

// maxCalls bounds the record of calls; the oldest are dropped.
const maxCalls = 200_000

// A Call is one finished call to an upstream.
type Call struct {
	// What is method, path and query: "GET /v2/app/manifests/v1", or the rpc as gRPC
	// sends it: "POST /grafeas.v1.Grafeas/CreateOccurrence".
	What string
	// Start is when the request arrived, before any latency; End when the
	// answer was written whole, or was cut off.
	Start, End time.Time
	// Status is the HTTP status; 0 where nothing was answered. gRPC answers 200
	// whatever came of the call: [emulator.Emulator.Calls] has its codes.
	Status int
	// Bytes of the answer's body.
	Bytes int64
	// Fault is what was injected; None where nothing was.
	Fault Effect
}

// Upstream is an HTTP handler in front of another: it adds latency, keeps a
// record and injects faults. It is safe for concurrent use.
type Upstream struct {
	next http.Handler

	mu      sync.Mutex
	latency time.Duration // guarded by mu, like the rest
	rules   []*rule
	calls   []Call
	count   int64
	bytes   int64
}

// NewUpstream puts an upstream in front of next.
func NewUpstream(next http.Handler) *Upstream { return &Upstream{next: next} }

// SetLatency is how long every call waits before anything else; 0 is not at all.
func (u *Upstream) SetLatency(d time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.latency = d
}

// Calls is a copy of the record, in order of completion: the last two hundred
// thousand calls.
func (u *Upstream) Calls() []Call {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.calls)
}

// Totals are how many calls were made and how many bytes the bodies of their
// answers had, since the start or [Upstream.ResetCalls].
func (u *Upstream) Totals() (calls, bytes int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.count, u.bytes
}

// ResetCalls empties the record and the totals.
func (u *Upstream) ResetCalls() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls, u.count, u.bytes = nil, 0, 0
}

// ServeHTTP answers one call.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := Call{What: r.Method + " " + r.URL.RequestURI(), Start: time.Now()}
	f, latency := u.pick(r)
	c.Fault = f.Effect
	out := &counter{ResponseWriter: w}
	defer func() { // a cut connection is a panic that net/http knows
		c.End, c.Status, c.Bytes = time.Now(), out.status, out.bytes
		u.add(c)
	}()

	if !wait(r.Context(), latency+f.Latency) {
		return
	}
	f.serve(out, r, u.next)
}

// pick is the latency of a call and its fault, and counts it.
func (u *Upstream) pick(r *http.Request) (Fault, time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()

	// Every rule counts what matches it, until one of them hits.
	for _, rule := range u.rules {
		if rule.hits(r) {
			return rule.Fault, u.latency
		}
	}
	return Fault{}, u.latency
}

func (u *Upstream) add(c Call) {
	u.mu.Lock()
	defer u.mu.Unlock()

	if len(u.calls) >= maxCalls {
		// A tenth at once: dropping one for each call would copy the record each time.
		u.calls = slices.Delete(u.calls, 0, maxCalls/10)
	}
	u.calls = append(u.calls, c)
	u.count++
	u.bytes += c.Bytes
}

// counter counts what is written, and passes everything else through.
type counter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (c *counter) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *counter) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(b)
	c.bytes += int64(n)
	return n, err
}

// Flush is what gRPC asks a ResponseWriter for.
func (c *counter) Flush() {
	if f, ok := c.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap is for [http.ResponseController].
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
