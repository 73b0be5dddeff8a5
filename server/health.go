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

// A Condition is one thing that must work for decisions to be possible. Of
// Err, anyone sees what [attestor.Message] shows; the log has all of it.
type Condition struct {
	Name string
	Err  error // nil: it works
	// Aside conditions are said and do not make the service unready: decisions
	// go on, as by the policies from before while what is on disk is broken.
	Aside bool
}

// health answers as long as the process can answer at all.
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

// readiness answers 503 while something is missing, or the server stops.
func (s *Server) readiness(k *call) error {
	body := readyBody{Ready: true, Conditions: []conditionBody{}}
	for _, c := range s.ready.conditions(k.ctx, s.c.Ready, s.c.Now) {
		b := conditionBody{Name: c.Name, OK: c.Err == nil}
		if c.Err != nil {
			body.Ready = body.Ready && c.Aside
			b.Message = "does not work; the log says why"
			if attestor.KindOf(c.Err) != attestor.Internal {
				b.Message = attestor.Message(c.Err)
			}
			s.c.Logger.WarnContext(k.ctx, "not ready", slog.String("condition", c.Name), slog.Any("error", c.Err))
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

// readyFor is how long an answer about readiness holds, so that those who ask
// without an identity cannot make the gate call its dependencies at will.
const (
	readyFor     = time.Second
	readyTimeout = 10 * time.Second
)

type readiness struct {
	mu   sync.Mutex
	at   time.Time   // guarded by mu
	last []Condition // guarded by mu
}

func (r *readiness) conditions(ctx context.Context, ask func(context.Context) []Condition, now func() time.Time) []Condition {
	if ask == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := now(); r.at.IsZero() || at.Sub(r.at) >= readyFor || at.Before(r.at) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
		defer cancel()
		r.last, r.at = ask(ctx), now()
	}
	return r.last
}

// drain says that the server is stopping.
type drain struct{ flag atomic.Bool }

func (d *drain) begin()      { d.flag.Store(true) }
func (d *drain) begun() bool { return d.flag.Load() }
