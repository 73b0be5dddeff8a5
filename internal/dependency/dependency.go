// Package dependency is a circuit breaker and a limit of concurrent calls for each
// service and host that the gate calls. It makes every call visible to operators. The
// meaning of an answer is left to the caller; only calls without an answer count here.
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
	"github.com/attestor-gate/attestor/internal/throttle"
	"github.com/attestor-gate/attestor/internal/when"
)

// Config says when a circuit opens. Registry is required.
type Config struct {
	Outages  int           // consecutive outages, without an answer between, that open the circuit; 0: 5
	Pause    time.Duration // how long the circuit stays open before one call tries again; 0: 10 s
	InFlight int           // concurrent calls of one dependency, beyond which calls wait; 0: 64

	// Rates are the calls a second that a service is asked for at most, by its name. A
	// service without one is asked as fast as it answers, and more slowly after it refused
	// a call because a quota was used up. All calls of a process count against one quota
	// of a service: that of the project of its credentials.
	Rates map[string]float64
	// Refused is called with each such refusal, and the time to wait if one was named; nil: it is not reported
	Refused func(after time.Duration)

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
	paced   *prometheus.GaugeVec

	mu       sync.Mutex
	pacers   map[string]*throttle.Pacer // by service; guarded by mu
	circuits map[string]*circuit        // by name; guarded by mu
}

// New returns Calls, or what is wrong with c.
func New(c Config) (*Calls, error) {
	if c.Registry == nil || c.Outages < 0 || c.Pause < 0 || c.InFlight < 0 {
		return nil, errors.New("guarding dependencies: the metrics registry is missing, or a limit is negative")
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
		c:        c,
		circuits: map[string]*circuit{},
		pacers:   map[string]*throttle.Pacer{},
		tracer:   c.Tracer.Tracer("github.com/attestor-gate/attestor/internal/dependency"),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestor_dependency_calls_total",
			Help: "Calls of a dependency by outcome: answered, outage, abandoned, refused (its circuit is open), " +
				"quota (it was used up).",
		}, []string{"dependency", "outcome"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "attestor_dependency_seconds", Help: "Time until a dependency answered, or did not.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"dependency"}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "attestor_circuits_open", Help: "Open circuits: dependencies that do not answer and are not called.",
		}, []string{"dependency"}),
	}

	out.paced = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "attestor_dependency_rate", Help: "Calls a second that a service is asked for at most; 0: as many as " +
			"it answers.",
	}, []string{"dependency"})

	return out, errors.Join(
		c.Registry.Register(out.paced),
		c.Registry.Register(out.calls),
		c.Registry.Register(out.latency),
		c.Registry.Register(out.open),
	)
}

// A target is what one call is about.
type target struct {
	name    string        // of the circuit: a host, or a service
	label   string        // of the metric: from a small fixed set
	span    string        // the name of the span
	timeout time.Duration // of the call
}

// maxCircuits bounds the memory for the names of hosts, which callers choose where
// every registry is allowed.
const maxCircuits = 1000

type circuit struct {
	breaker *gobreaker.CircuitBreaker[struct{}]
	turns   chan struct{}
}

// circuit finds or makes the circuit of a target. It is nil where there is no room for
// another: then the call is made without one, rather than counted against a
// stranger's.
func (c *Calls) circuit(t target) *circuit {
	c.mu.Lock()
	defer c.mu.Unlock()

	if k, ok := c.circuits[t.name]; ok {
		return k
	}
	if len(c.circuits) >= maxCircuits {
		for name, k := range c.circuits {
			// A circuit that is open, or in use, is kept: to forget it would close it.
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
		IsSuccessful:  func(err error) bool { o := outcomeOf(err); return o == answered || o == exhausted },
		IsExcluded:    func(err error) bool { return outcomeOf(err) == abandoned },
		OnStateChange: func(name string, from, to gobreaker.State) { c.changed(name, t.label, from, to) },
	})
	c.circuits[t.name] = k
	return k
}

// changed reports a change to operators. A trial that fails changes nothing for
// them: the circuit was open before and is open after it.
func (c *Calls) changed(name, label string, from, to gobreaker.State) {
	switch {
	case from == gobreaker.StateClosed && to == gobreaker.StateOpen:
		c.open.WithLabelValues(label).Inc()
		c.c.Logger.WarnContext(
			context.Background(),
			"circuit opened: a dependency does not answer and is not called",
			slog.String("dependency", name),
			slog.Int("limit", c.c.Outages),
		)
	case to == gobreaker.StateClosed:
		c.open.WithLabelValues(label).Dec()
		c.c.Logger.InfoContext(
			context.Background(),
			"circuit closed: a dependency answers again",
			slog.String("dependency", name),
		)
	}
}

// pacer finds or makes the pacer of a service.
func (c *Calls) pacer(service string) *throttle.Pacer {
	c.mu.Lock()
	defer c.mu.Unlock()

	p, ok := c.pacers[service]
	if !ok {
		p = throttle.NewPacer(c.c.Rates[service])
		c.pacers[service] = p
		c.paced.WithLabelValues(service).Set(p.Rate())
	}
	return p
}

// An outcome is the result of a call as the circuit counts it. Only an outage counts
// against a dependency: one that answers 404 or "denied" works.
type outcome string

const (
	answered  outcome = "answered"
	outage    outcome = "outage"
	abandoned outcome = "abandoned" // by the caller, before an outcome was known
	refused   outcome = "refused"   // not made, since the circuit is open
	exhausted outcome = "quota"     // answered, by a refusal since a quota was used up
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

// do makes a call, unless the circuit is open. f returns the outcome. The error is
// only for calls that were not made; f keeps its own error.
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

	// A full table costs protection, not availability.
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

	// While one call tries whether the dependency is back, the others wait for its
	// result.
	_, err := k.breaker.Execute(call)
	var waited time.Duration
	for errors.Is(err, gobreaker.ErrTooManyRequests) && waited < trialWait && when.Sleep(ctx, trialLook) == nil {
		_, err = k.breaker.Execute(call)
		waited += trialLook
	}

	// The call was not made. No other error of the breaker matters here: f has its
	// own, and a panic of f goes on to the caller.
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		end(refused)
		return c.refusal(t)
	}
	return nil
}

// A call that comes while another one tries whether the dependency is back waits a
// little for its result. If it were refused at once, a request that made both calls
// would fail, and cancel the trial, again and again.
const (
	trialWait = time.Second
	trialLook = 20 * time.Millisecond
)

// refusal is the error of a call that was not made.
func (c *Calls) refusal(t target) error {
	return &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeCircuitOpen,
		Msg: fmt.Sprintf(
			"circuit open: %s gave no answer (calls in a row: %d), and is not called for %s",
			t.name,
			c.c.Outages,
			c.c.Pause,
		),
		Fix: "try again after the time in Retry-After; if it persists, check " + t.name + " and the way to it",
	}
}

// lapsed distinguishes an outage from an impatient caller, where a context ended: a
// call that had half of its own time and got no answer is an outage.
func (t target) lapsed(err error, took time.Duration) outcome {
	if errors.Is(err, context.DeadlineExceeded) && took >= t.timeout/2 {
		return outage
	}
	return abandoned
}
