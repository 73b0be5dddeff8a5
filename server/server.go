// Package server is the gate's HTTP API. It identifies the caller, checks their
// rights, reads the request strictly and within limits, and encodes the answer.
// The Gate decides about images; the store behind [Decisions] keeps the answers.
//
// Every request takes the same steps, in the order of [Server.Handler]'s table of
// routes: memory, identity, rights, rate, query, body, queue. A step that fails
// answers with a [Problem], and nothing was decided. Only a decision that allows
// the image is answered 200, so that a client which looks at nothing but the
// status fails closed.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/watch"
)

// An Authenticator identifies the caller of a request. Its errors are
// [attestor.Error]s whose message says what is missing, and not what would have
// been accepted. Any other error is answered as an internal error.
type Authenticator interface {
	Authenticate(r *http.Request) (attestor.Caller, error)
}

// Config is the configuration of a Server. Gate, Identity and Now are required.
// The routes of a part that is nil answer 501.
type Config struct {
	Gate     *attestor.Gate
	Identity Authenticator
	Now      func() time.Time

	Decisions    Decisions
	Policies     Policies
	Attestations Attestations

	// Overrides lists the open overrides of an image, the newest first. nil: none are recorded, and answers do not say
	// whether there are any.
	Overrides func(ctx context.Context, img attestor.Image) ([]attestor.Override, error)

	Simulator Simulator
	Posture   Posture
	Log       *Log
	Outbox    *Outbox
	History   *History // nil: nothing is recorded

	// Watch configures the watcher of POST /v1/events and, with Decisions, POST
	// /v1/rejudge. New fills in the fields that this Config has too.
	Watch *watch.Config

	// Prune deletes what is older than the retention. Nil: POST /v1/prune answers 501.
	Prune func(ctx context.Context) (Pruned, error)

	// Pages serves GET of the paths that are not the API, to callers with the right
	// to read. Nil: those paths answer 404. [CallerFrom] returns the caller.
	Pages http.Handler
	// ProblemPage answers a browser with a problem as a page. Nil: it gets JSON, as programs do.
	ProblemPage func(http.ResponseWriter, Problem) error
	// Text is a decision as a table for a terminal, for clients that ask for text/plain. nil: they get JSON.
	Text func(attestor.Decision) ([]byte, error)

	// Ready lists the conditions for decisions to be possible. It is called at most
	// once a second, however many requests ask.
	Ready func(ctx context.Context) []Condition

	// Memory returns the memory in use and its limit (0: none), in bytes; nil: those
	// of the Go runtime and GOMEMLIMIT.
	Memory func() (live, limit uint64)

	Limits   Limits               // zero fields take their defaults
	Logger   *slog.Logger         // nil: nothing is logged
	Registry *prometheus.Registry // nil: a new one
	Tracer   trace.TracerProvider // nil: no spans
	HashKey  []byte               // of the caller's hash in logs; empty: random, so that a restart changes the hashes
}

// A Server answers requests. It is safe for concurrent use.
type Server struct {
	c           Config
	echo        *echo.Echo
	routes      []route
	metrics     *metrics
	timeouts    timeouts
	rates       *rates // of each caller
	teamRates   *rates // of each team
	slots       [classes]*slots
	lastDecided atomic.Int64 // when the last decision ended, in nanoseconds since 1970
	bodies      bodies
	ready       readiness
	draining    drain
	watcher     *watch.Watcher
	openapi     func() ([]byte, error)
}

// New returns a Server, or an error that names what is missing.
func New(c Config) (*Server, error) {
	if c.Gate == nil || c.Identity == nil || c.Now == nil {
		return nil, errors.New("making a server: gate, identity or clock is missing")
	}

	var err error
	if c.Limits, err = c.Limits.withDefaults(); err != nil {
		return nil, err
	}
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

	s := &Server{
		c:         c,
		timeouts:  newTimeouts(c.Limits.MaxWait),
		rates:     newRates("identity", "limits.callerRate", c.Limits.CallerRate, callerBurst, c.Now),
		slots:     newSlots(c.Limits),
		bodies:    bodies{held: map[string]int64{}},
		teamRates: newRates("team", "limits.teamRate", c.Limits.TeamRate, teamBurst, c.Now),
		openapi:   sync.OnceValues(openapiJSON),
	}
	if s.metrics, err = newMetrics(c.Registry); err != nil {
		return nil, err
	}
	if err := s.newWatcher(); err != nil {
		return nil, err
	}

	if err := c.Registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "attestor_http_in_flight", Help: "Requests that run now, without those in the queue.",
	}, func() float64 { return float64(s.running()) })); err != nil {
		return nil, err
	}

	s.mount()
	return s, nil
}

// running is how many requests run now.
func (s *Server) running() int {
	n := 0
	for _, c := range s.slots {
		n += c.inUse()
	}
	return n
}

// Handler serves every route, and answers 404 to everything else.
func (s *Server) Handler() http.Handler { return s.echo }
