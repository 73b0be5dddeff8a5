// Package server speaks HTTP for the gate: it decides who is asking, whether
// what they sent can be read, and how the answer is written. What the answer
// is, the Gate decides; what is remembered, the store behind [Decisions].
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/watch"
)

// An Authenticator finds out who sent a request. Its errors are
// [attestor.Error]s whose text tells the caller what is missing, and not what
// would have been accepted; anything else is answered as an internal error.
type Authenticator interface {
	Authenticate(r *http.Request) (attestor.Caller, error)
}

// Config holds what a Server is made of. Gate, Identity and Now are required;
// of the parts, each that is nil answers 501.
type Config struct {
	Gate     *attestor.Gate
	Identity Authenticator
	Now      func() time.Time

	Decisions    Decisions
	Policies     Policies
	Attestations Attestations
	Simulator    Simulator
	Posture      Posture

	// Watch says what makes the gate judge again: POST /v1/events and, with
	// Decisions, POST /v1/rejudge. New fills in what comes from this Config.
	Watch *watch.Config

	// Pages serves GET of everything that is not the API, to callers who may
	// read. Nil: those paths are 404. It gets the caller from [CallerFrom].
	Pages http.Handler

	// Ready lists what must work for decisions to be possible. It is asked at
	// most once a second, whoever calls.
	Ready func(ctx context.Context) []Condition

	// Memory says what the process holds and may hold (0: no limit), in bytes;
	// nil: as the Go runtime knows it, by GOMEMLIMIT.
	Memory func() (live, limit uint64)

	Limits   Limits               // zero fields take their defaults
	Logger   *slog.Logger         // nil: nothing is logged
	Registry *prometheus.Registry // nil: one of its own
	Tracer   trace.TracerProvider // nil: no spans
	HashKey  []byte               // keys the caller's hash in logs; empty: random, so that hashes differ after a restart
}

// A Server answers requests. It is safe for concurrent use.
type Server struct {
	c        Config
	echo     *echo.Echo
	routes   []route
	metrics  *metrics
	rates    *rates
	slots    *slots
	ready    readiness
	draining drain
	watcher  *watch.Watcher
	openapi  func() ([]byte, error)
}

// New returns a Server, or an error that names what is missing.
func New(c Config) (*Server, error) {
	if c.Gate == nil || c.Identity == nil || c.Now == nil {
		return nil, errors.New("making a server: gate, identity or clock is missing")
	}
	limits, err := c.Limits.complete()
	if err != nil {
		return nil, err
	}
	c.Limits = limits
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Memory == nil {
		c.Memory = memory
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if len(c.HashKey) == 0 {
		c.HashKey = make([]byte, 32)
		if _, err := rand.Read(c.HashKey); err != nil {
			return nil, err
		}
	}
	s := &Server{c: c, rates: newRates(limits, c.Now), slots: newSlots(limits), openapi: sync.OnceValues(openapiJSON)}
	if s.metrics, err = newMetrics(c.Registry); err != nil {
		return nil, err
	}
	if err := s.newWatcher(); err != nil {
		return nil, err
	}
	if err := c.Registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "attestor_http_in_flight", Help: "Requests that are being worked on.",
	}, func() float64 { return float64(len(s.slots.working)) })); err != nil {
		return nil, err
	}
	s.mount()
	return s, nil
}

// Handler answers every request, with its headers, limits and errors.
func (s *Server) Handler() http.Handler { return s.echo }
