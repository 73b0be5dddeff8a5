package emulator

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor/internal/when"
)

// maxCalls bounds the call log; the oldest are dropped.
const maxCalls = 100_000

// Fault is a rule about calls of one method. Its effects come in the order of
// its fields.
type Fault struct {
	// Method is the rpc's name, with or without its service ("AsymmetricSign",
	// "grafeas.v1.Grafeas/CreateOccurrence"); "" is every method.
	Method string
	// Match, if set, picks among the requests. It must not change them.
	Match func(req proto.Message) bool
	// Skip that many calls first.
	Skip int
	// Count is how many calls are hit then; 0 is all of them.
	Count int
	// Latency is added before anything else; it ends early with the call.
	Latency time.Duration
	// Hang keeps the call from being answered until its context ends. With
	// AnswerLost it takes effect first.
	Hang bool
	// Code, if not OK, is the answer.
	Code codes.Code
	// Message of the error; "" is a plain one.
	Message string
	// Reason, if set, goes with the error: by it Google's services distinguish causes
	// that have the same code.
	Reason *errdetails.ErrorInfo
	// AnswerLost lets the call take effect before Hang and Code, as when a
	// connection breaks after the server has committed.
	AnswerLost bool
	// Corrupt damages a Cloud KMS answer.
	Corrupt Corruption
	// Mutate, if set, may change the answer in place.
	Mutate func(req, resp proto.Message)
}

// Call is one finished call.
type Call struct {
	// Method with its service: "google.cloud.kms.v1.KeyManagementService/AsymmetricSign".
	Method string
	// Start and End are wall-clock times, whatever Options.Now says, since they
	// measure.
	Start, End time.Time
	Code       codes.Code
}

type rule struct {
	Fault
	seen int
}

// faults holds the rules in force and the log of calls.
type faults struct {
	mu    sync.Mutex
	rules []*rule
	calls []Call
}

func newFaults() *faults { return &faults{} }

// Inject adds a rule; of several that match a call the oldest is taken. The
// function it returns removes the rule.
func (e *Emulator) Inject(f Fault) (remove func()) {
	r := &rule{Fault: f}
	e.faults.mu.Lock()
	defer e.faults.mu.Unlock()

	e.faults.rules = append(e.faults.rules, r)
	return func() {
		e.faults.mu.Lock()
		defer e.faults.mu.Unlock()
		e.faults.rules = slices.DeleteFunc(e.faults.rules, func(x *rule) bool { return x == r })
	}
}

// ClearFaults removes every rule.
func (e *Emulator) ClearFaults() {
	e.faults.mu.Lock()
	defer e.faults.mu.Unlock()
	e.faults.rules = nil
}

// Calls is a copy of the call log, in order of completion: the last hundred
// thousand calls of the given methods, named as in [Fault], or of all.
func (e *Emulator) Calls(methods ...string) []Call {
	e.faults.mu.Lock()
	defer e.faults.mu.Unlock()

	var out []Call
	for _, c := range e.faults.calls {
		if len(methods) == 0 ||
			slices.ContainsFunc(methods, func(m string) bool { return methodMatches(m, c.Method) }) {
			out = append(out, c)
		}
	}
	return out
}

// ResetCalls empties the call log.
func (e *Emulator) ResetCalls() {
	e.faults.mu.Lock()
	defer e.faults.mu.Unlock()
	e.faults.calls = nil
}

func methodMatches(pattern, method string) bool {
	return pattern == "" || pattern == method || strings.HasSuffix(method, "/"+pattern)
}

// pick is the fault for a call, if any, and counts it.
func (f *faults) pick(method string, req proto.Message) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()

	for _, r := range f.rules {
		if !methodMatches(r.Method, method) || r.Match != nil && !r.Match(req) {
			continue
		}

		// A rule that has had its calls lets later rules match.
		if r.Count > 0 && r.seen >= r.Skip+r.Count {
			continue
		}

		// Calls that are skipped count too.
		r.seen++
		if r.seen <= r.Skip {
			continue
		}
		return r.Fault, true
	}
	return Fault{}, false
}

func (f *faults) add(c Call) {
	f.mu.Lock()
	defer f.mu.Unlock()

	// Dropping a tenth at once keeps the copying rare.
	if len(f.calls) >= maxCalls {
		f.calls = slices.Delete(f.calls, 0, maxCalls/10)
	}
	f.calls = append(f.calls, c)
}

// intercept runs every call, gRPC and REST alike.
func (e *Emulator) intercept(
	ctx context.Context,
	req any,
	info *grpc.UnaryServerInfo,
	next grpc.UnaryHandler,
) (any, error) {
	// Every call is logged, those that a fault answers too: tests count attempts.
	start, method := time.Now(), strings.TrimPrefix(info.FullMethod, "/")
	resp, err := e.answer(ctx, method, req, next)
	e.faults.add(Call{Method: method, Start: start, End: time.Now(), Code: status.Code(err)})
	return resp, err
}

func (e *Emulator) answer(ctx context.Context, method string, req any, next grpc.UnaryHandler) (any, error) {
	msg, _ := req.(proto.Message)

	// Quotas come first: a call that they refuse counts for no fault.
	if err := e.withinQuotas(method, msg); err != nil {
		return nil, err
	}
	f, ok := e.faults.pick(method, msg)
	if !ok {
		return next(ctx, req)
	}

	// The effects come in the order of the fields of [Fault].
	if err := wait(ctx, f.Latency); err != nil {
		return nil, err
	}
	fail := f.Code != codes.OK || f.Hang
	if fail && !f.AnswerLost {
		return nil, f.fail(ctx)
	}

	// With AnswerLost the call takes effect, and its caller cannot know.
	resp, err := next(ctx, req)
	if err != nil {
		return nil, err
	}

	if fail {
		return nil, f.fail(ctx)
	}

	out, _ := resp.(proto.Message)

	// The answer was made for this call alone, and may be changed.
	f.Corrupt.apply(out)
	if f.Mutate != nil {
		f.Mutate(msg, out)
	}
	return resp, nil
}

func (f Fault) fail(ctx context.Context) error {
	if f.Hang {
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
	msg := f.Message
	if msg == "" {
		msg = "injected fault"
	}
	if f.Reason != nil {
		return withDetails(status.New(f.Code, msg), f.Reason)
	}
	return status.Error(f.Code, msg)
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if err := when.Sleep(ctx, d); err != nil {
		return status.FromContextError(err).Err()
	}
	return nil
}
