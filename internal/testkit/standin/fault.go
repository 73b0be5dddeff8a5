package standin

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/attestor-gate/attestor/internal/when"
)

// Effect is what a fault does to a call.
type Effect int

// The effects. Those from Reset on read the true answer whole before they spoil
// it, which suits a registry; for gRPC, whose status comes after the body, use
// the emulator's own faults, and here None, Refuse and Silence only.
const (
	// None answers truly, after Latency.
	None Effect = iota
	// Refuse ends the connection before anything is answered or done. A port
	// that nobody listens on is [Server.Down].
	Refuse
	// Silence never answers: it ends with the caller's patience.
	Silence
	// TooMany answers 429 with RetryAfter, and does nothing.
	TooMany
	// Fail answers Status, 500 by default, and does nothing.
	Fail
	// Reset breaks the connection half-way through the body.
	Reset
	// Corrupt flips a bit in the middle of the body, whose length and headers
	// stay as they were.
	Corrupt
	// Lose lets the call take effect, then ends the connection unanswered.
	Lose
)

func (e Effect) String() string {
	names := [...]string{"none", "refuse", "silence", "429", "fail", "reset", "corrupt", "lose"}
	if e < 0 || int(e) >= len(names) {
		return "Effect(" + strconv.Itoa(int(e)) + ")"
	}
	return names[e]
}

// Fault is a rule about calls.
type Fault struct {
	// Match picks among the calls; nil is all of them. It must not change the
	// request nor read its body.
	Match func(*http.Request) bool
	// Skip that many matching calls first.
	Skip int
	// Count is how many calls are hit then; 0 is all of them.
	Count int
	// Latency comes on top of the upstream's own; it ends early with the call.
	Latency time.Duration
	Effect  Effect
	// Status is what Fail answers; 0 is 500.
	Status int
	// RetryAfter is TooMany's header, in seconds or a date; "" sends none.
	RetryAfter string
}

type rule struct {
	Fault
	seen int
}

// hits counts a matching call; the caller holds the upstream's lock.
func (r *rule) hits(req *http.Request) bool {
	// A rule that is used up does not count on.
	if r.Match != nil && !r.Match(req) || r.Count > 0 && r.seen >= r.Skip+r.Count {
		return false
	}
	r.seen++
	return r.seen > r.Skip
}

// Inject adds a rule; of several that match a call the oldest is taken. The
// function it returns removes the rule and says how many calls it has hit.
func (u *Upstream) Inject(f Fault) (remove func() int) {
	r := &rule{Fault: f}
	u.mu.Lock()
	defer u.mu.Unlock()

	u.rules = append(u.rules, r)
	return func() int {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.rules = slices.DeleteFunc(u.rules, func(x *rule) bool { return x == r })
		return max(0, r.seen-r.Skip)
	}
}

// ClearFaults removes every rule; the latency stays.
func (u *Upstream) ClearFaults() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.rules = nil
}

// serve answers as the fault wants it. Connections are ended by a panic that
// net/http knows and logs nothing of.
func (f Fault) serve(w *counter, r *http.Request, next http.Handler) {
	switch f.Effect {
	case None:
		next.ServeHTTP(w, r)
	case Refuse:
		end(w)
	case Silence:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case TooMany:
		if f.RetryAfter != "" {
			w.Header().Set("Retry-After", f.RetryAfter)
		}
		answer(w, http.StatusTooManyRequests, "TOOMANYREQUESTS")
	case Fail:
		status := f.Status
		if status == 0 {
			status = http.StatusInternalServerError
		}
		answer(w, status, "UNKNOWN")
	case Reset, Corrupt, Lose:
		f.spoil(w, r, next)
	default:
		panic("standin: no such effect: " + f.Effect.String())
	}
}

// spoil hears the true answer first.
func (f Fault) spoil(w *counter, r *http.Request, next http.Handler) {
	// The true answer is complete before any of it is passed on.
	truth := &kept{header: http.Header{}, status: http.StatusOK}
	next.ServeHTTP(truth, r)
	if f.Effect == Lose {
		end(w)
		return
	}

	body := truth.body.Bytes()
	maps.Copy(w.Header(), truth.header)

	// The length is promised first, so that the client notices what is missing.
	if w.Header().Get("Content-Length") == "" {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}

	w.WriteHeader(truth.status)
	if f.Effect == Reset {
		_, _ = w.Write(body[:len(body)/2])
		w.Flush()
		end(w)
		return
	}

	// One bit, so that the length stays right and only a digest shows it.
	if len(body) > 0 {
		body[len(body)/2] ^= 0x01
	}
	_, _ = w.Write(body)
}

// end resets the connection, so that the caller sees an error and no end of
// file. HTTP/2 cannot be taken over: there the stream is reset.
func end(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0) // unsent bytes are dropped, and the close is a reset
	}
	_ = conn.Close()
}

// answer is an error as the distribution specification words it.
func answer(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"errors":[{"code":"` + code + `","message":"injected fault"}]}`))
}

// kept is an answer that nobody has seen yet.
type kept struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (k *kept) Header() http.Header         { return k.header }
func (k *kept) WriteHeader(status int)      { k.status = status }
func (k *kept) Write(b []byte) (int, error) { return k.body.Write(b) }

// wait is false where the caller gave up first.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	return when.Sleep(ctx, d) == nil
}
