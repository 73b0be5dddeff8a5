// Package dependency decides whether something outside the gate is called at
// all: not while it does not answer, and not more often at once than is good
// for the rest. It shows operators every call. What an answer means is left to
// whoever asked; that it did not come at all is what is judged here.
package dependency

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/attestor-gate/attestor"
)

// Config says when a dependency is left alone. Registry is required.
type Config struct {
	Outages  int           // outages one after another, with no answer between, that open the circuit; 5
	Pause    time.Duration // for how long it is left alone then, before one call tries; 10 s
	InFlight int           // calls of one dependency at once; further ones wait for their turn; 64

	Registry *prometheus.Registry
	Tracer   trace.TracerProvider // nil: no spans
	Logger   *slog.Logger         // nil: nothing is logged
}

// Calls keeps a circuit for each dependency. It is safe for concurrent use.
type Calls struct {
	c       Config
	tracer  trace.Tracer
	calls   *prometheus.CounterVec
	latency *prometheus.HistogramVec
	open    *prometheus.GaugeVec

	mu       sync.Mutex
	circuits map[string]*circuit // by name; guarded by mu
}

// New returns Calls, or what is wrong with c.
func New(c Config) (*Calls, error) {
	if c.Registry == nil || c.Outages < 0 || c.Pause < 0 || c.InFlight < 0 {
		return nil, errors.New("guarding dependencies: there is no registry of metrics, or a limit is negative")
	}
	if c.Outages == 0 {
		c.Outages = 5
	}

	if c.Pause == 0 {
		c.Pause = 10 * time.Second
	}
	if c.InFlight == 0 {
		c.InFlight = 64
	}

	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Tracer == nil {
		c.Tracer = noop.NewTracerProvider()
	}

	out := &Calls{
		c: c, circuits: map[string]*circuit{}, tracer: c.Tracer.Tracer("github.com/attestor-gate/attestor/internal/dependency"),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestor_dependency_calls_total", Help: "Calls of a dependency by what became of them: answered, outage, abandoned, refused (its circuit is open).",
		}, []string{"dependency", "outcome"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "attestor_dependency_seconds", Help: "Time until a dependency answered, or did not.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"dependency"}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "attestor_circuits_open", Help: "Circuits that are open: dependencies that do not answer and are left alone.",
		}, []string{"dependency"}),
	}

	return out, errors.Join(
		c.Registry.Register(out.calls),
		c.Registry.Register(out.latency),
		c.Registry.Register(out.open),
	)
}

// A target is what one call is about.
type target struct {
	name    string        // of the circuit: a host, or a service
	label   string        // of the metric: from a small fixed set
	span    string        // what is done
	timeout time.Duration // what a caller gives it
}

// maxCircuits bounds the memory that the names of hosts take, which callers
// choose where every registry is allowed.
const maxCircuits = 1000

type circuit struct {
	breaker *gobreaker.CircuitBreaker[struct{}]
	turns   chan struct{}
}

// circuit is nil where there is no room for another: that call is made without
// one, rather than share a stranger's.
func (c *Calls) circuit(t target) *circuit {
	c.mu.Lock()
	defer c.mu.Unlock()

	if k, ok := c.circuits[t.name]; ok {
		return k
	}
	if len(c.circuits) >= maxCircuits {
		for name, k := range c.circuits {
			if len(k.turns) == 0 && k.breaker.State() == gobreaker.StateClosed {
				delete(c.circuits, name)
			}
		}
	}

	if len(c.circuits) >= maxCircuits {
		return nil
	}
	k := &circuit{turns: make(chan struct{}, c.c.InFlight)}
	k.breaker = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name: t.name, Timeout: c.c.Pause,
		ReadyToTrip:   func(n gobreaker.Counts) bool { return int64(n.ConsecutiveFailures) >= int64(c.c.Outages) },
		IsSuccessful:  func(err error) bool { return outcomeOf(err) == answered },
		IsExcluded:    func(err error) bool { return outcomeOf(err) == abandoned },
		OnStateChange: func(name string, from, to gobreaker.State) { c.changed(name, t.label, from, to) },
	})
	c.circuits[t.name] = k
	return k
}

func (c *Calls) changed(name, label string, from, to gobreaker.State) {
	switch {
	case from == gobreaker.StateClosed && to == gobreaker.StateOpen:
		c.open.WithLabelValues(label).Inc()
		c.c.Logger.WarnContext(
			context.Background(),
			"a dependency does not answer and is left alone",
			slog.String("dependency", name),
			slog.Int("limit", c.c.Outages),
		)
	case to == gobreaker.StateClosed:
		c.open.WithLabelValues(label).Dec()
		c.c.Logger.InfoContext(context.Background(), "a dependency answers again", slog.String("dependency", name))
	}
}

// An outcome is what became of a call. Only an outage counts against a
// dependency: whoever answers 404 or "denied" is there.
type outcome string

const (
	answered  outcome = "answered"
	outage    outcome = "outage"
	abandoned outcome = "abandoned" // by whoever asked, before it could be known
	refused   outcome = "refused"   // never made
)

func (o outcome) Error() string { return string(o) }

func outcomeOf(err error) outcome {
	if err == nil {
		return answered
	}
	if o, ok := errors.AsType[outcome](err); ok {
		return o
	}
	return outage // a panic, which the breaker reports in its own way
}

// do makes a call, unless the circuit is open. f says what became of it. The
// error is of do itself; f keeps its own.
func (c *Calls) do(ctx context.Context, t target, f func(ctx context.Context) outcome) error {
	ctx, span := c.tracer.Start(
		ctx,
		t.span,
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("dependency", t.label)),
	)
	defer span.End()

	end := func(o outcome) {
		c.calls.WithLabelValues(t.label, string(o)).Inc()
		if o != answered {
			span.SetStatus(codes.Error, string(o))
		}
	}

	call := func() (struct{}, error) {
		start := time.Now()
		o := f(ctx)
		c.latency.WithLabelValues(t.label).Observe(time.Since(start).Seconds())
		end(o)
		if o == answered {
			return struct{}{}, nil
		}
		return struct{}{}, o
	}

	k := c.circuit(t)
	if k == nil {
		_, _ = call()
		return nil
	}

	select {
	case k.turns <- struct{}{}:
	case <-ctx.Done():
		end(abandoned)
		return fmt.Errorf("waiting for a turn to ask %s: %w", t.name, ctx.Err())
	}
	defer func() { <-k.turns }()

	_, err := k.breaker.Execute(call)
	for waited := time.Duration(0); errors.Is(err, gobreaker.ErrTooManyRequests) && waited < trialWait; waited += trialLook {
		if !wait(ctx, trialLook) {
			break
		}
		_, err = k.breaker.Execute(call)
	}

	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		end(refused)
		return c.refusal(t)
	}
	return nil
}

// A call that comes while another one tries whether the dependency answers
// waits a little for what that finds: refused at once, it would have whoever
// made both give up, and take the trial with it, again and again.
const (
	trialWait = time.Second
	trialLook = 20 * time.Millisecond
)

// wait reports whether d passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()

	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// refusal is what a Decision says of a call that was not made.
func (c *Calls) refusal(t target) error {
	return &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeCircuitOpen,
		Msg: fmt.Sprintf("%s did not answer %d times, and is left alone for %s", t.name, c.c.Outages, c.c.Pause),
		Fix: "try again after the time in Retry-After; if it stays so, see to " + t.name,
	}
}

// lapsed tells an outage from somebody's impatience, where a context ended: a
// call that had half of its own time and got no answer is one.
func (t target) lapsed(err error, took time.Duration) outcome {
	if errors.Is(err, context.DeadlineExceeded) && took >= t.timeout/2 {
		return outage
	}
	return abandoned
}
