package server

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestor-gate/attestor"
)

// A Condition is a dependency that decisions need. /ready shows
// [attestor.Message] of Err to everyone; the log has the whole error.
type Condition struct {
	Name string
	Err  error // nil: it works
	// Informational conditions are reported and do not fail readiness: decisions are possible
	// in spite of them, as by the loaded policies while those on disk are invalid.
	Informational bool
}

// health answers 200. A process that does not answer should be restarted, whatever
// its dependencies do.
func (s *Server) health(k *call) error {
	return s.answer(k, http.StatusOK, map[string]string{"status": "ok"})
}

type conditionBody struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Message string `json:"message,omitempty"`
}

type readyBody struct {
	Ready      bool            `json:"ready"`
	Conditions []conditionBody `json:"conditions"`
}

// readiness answers 503 while a condition fails or the server is stopping.
func (s *Server) readiness(k *call) error {
	body := readyBody{Ready: true, Conditions: []conditionBody{}}
	conditions, fresh := s.ready.conditions(k.ctx, s.c.Ready, s.c.Now)
	for _, c := range conditions {
		b := conditionBody{Name: c.Name, OK: c.Err == nil}
		if c.Err != nil {
			body.Ready = body.Ready && c.Informational
			b.Message = "failed; the gate's log has the error"
			if attestor.KindOf(c.Err) != attestor.Internal {
				b.Message = attestor.Message(c.Err)
			}

			// The log says what the answer says: a gate that decides without the condition is ready. It says it once for each
			// look, however often strangers ask.
			attrs := []any{slog.String("condition", c.Name), slog.Any("error", c.Err)}
			switch {
			case !fresh:
			case c.Informational:
				s.c.Logger.WarnContext(k.ctx, "ready, although a condition does not hold", attrs...)
			default:
				s.c.Logger.WarnContext(k.ctx, "not ready", attrs...)
			}
		}
		body.Conditions = append(body.Conditions, b)
	}

	if s.draining.begun() {
		body.Ready = false
		body.Conditions = append(body.Conditions, conditionBody{Name: "serving", Message: "this instance is stopping"})
	}
	if !body.Ready {
		setRetryAfter(k.Response().Header(), unavailableRetryAfter)
		return s.answer(k, http.StatusServiceUnavailable, body)
	}
	return s.answer(k, http.StatusOK, body)
}

const (
	// readyFor is how long the conditions are kept. /ready needs no identity, and
	// must not let strangers make the gate call its dependencies as often as they like.
	readyFor     = time.Second
	readyTimeout = 10 * time.Second
)

type readiness struct {
	mu   sync.Mutex
	at   time.Time   // guarded by mu
	last []Condition // guarded by mu
}

// conditions returns what was found of late, and whether this call found it.
func (r *readiness) conditions(
	ctx context.Context,
	ask func(context.Context) []Condition,
	now func() time.Time,
) (found []Condition, fresh bool) {
	if ask == nil {
		return nil, false
	}

	// Whoever comes while the conditions are read waits for them, and causes no
	// second call. The context is not the first caller's: if they leave, the others
	// still get an answer.
	r.mu.Lock()
	defer r.mu.Unlock()

	if at := now(); r.at.IsZero() || at.Sub(r.at) >= readyFor || at.Before(r.at) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
		defer cancel()
		r.last, r.at = ask(ctx), now()
		fresh = true
	}
	return r.last, fresh
}

// A drain is set once the server is stopping.
type drain struct{ flag atomic.Bool }

func (d *drain) begin()      { d.flag.Store(true) }
func (d *drain) begun() bool { return d.flag.Load() }
