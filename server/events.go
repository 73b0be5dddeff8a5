package server

import (
	"context"
	"net/http"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/watch"
)

// newWatcher makes the watcher, with the parts that the server has already.
func (s *Server) newWatcher() error {
	if s.c.Watch == nil {
		return nil
	}

	c := *s.c.Watch
	c.Admit = s.admitInOwnTrace
	if c.Now == nil {
		c.Now = s.c.Now
	}
	if c.Logger == nil {
		c.Logger = s.c.Logger
	}
	if c.Registry == nil {
		c.Registry = s.c.Registry
	}

	c.Reconsider = s.reconsider
	if c.Revoke == nil && s.c.Attestations != nil {
		c.Revoke = s.c.Attestations.Revoke
	}

	var err error
	s.watcher, err = watch.New(c)
	return err
}

// event answers POST /v1/events. Pub/Sub, "Push subscriptions": 204 acknowledges
// the message; any status but 102, 200, 201, 202 and 204 makes it send the message
// again.
func (s *Server) event(k *call) error {
	if err := s.watcher.Handle(k.ctx, k.caller, k.body, requestID(k.ctx)); err != nil {
		return err
	}
	return k.NoContent(http.StatusNoContent)
}

// reconsider judges an admitted image again. What is recorded of that is counted
// and logged as any decision is.
func (s *Server) reconsider(
	ctx context.Context, req attestor.Request, keep func(attestor.Decision) (bool, error),
) (attestor.Decision, error) {
	ctx, span := s.tracer().Start(ctx, "event", trace.WithNewRoot(), trace.WithLinks(trace.LinkFromContext(ctx)))
	defer span.End()

	recorded := false
	ctx, end := s.decisionSpan(ctx)
	d, err := s.c.Gate.Reconsider(ctx, req, func(d attestor.Decision) (bool, error) {
		var err error
		recorded, err = keep(d)
		return recorded, err
	})
	end(d, err)
	if err == nil && recorded {
		s.decided(ctx, req, d)
	}
	return d, err
}

// rejudge answers POST /v1/rejudge. It starts a run, or goes on with one.
func (s *Server) rejudge(k *call) error {
	if err := k.noFields(); err != nil {
		return err
	}

	report, err := s.watcher.Rejudge(k.ctx, watch.Request{Caller: k.caller, RequestID: requestID(k.ctx)})
	if err != nil {
		return err
	}
	return s.answer(k, http.StatusOK, report)
}

// expire answers POST /v1/expire.
func (s *Server) expire(k *call) error {
	if err := k.noFields(); err != nil {
		return err
	}

	report, err := s.watcher.Expire(k.ctx, watch.Request{Caller: k.caller, RequestID: requestID(k.ctx)})
	if err != nil {
		return err
	}
	return s.answer(k, http.StatusOK, report)
}

// noFields refuses a body that is neither missing nor {}.
func (k *call) noFields() error {
	if len(k.body) == 0 {
		return nil
	}
	var none struct{}
	return decodeStrict(k.body, &none)
}

// Expire ends the overrides that are past their end, for a process that calls
// itself in place of a scheduler.
func (s *Server) Expire(ctx context.Context, caller attestor.Caller) (watch.Expiry, error) {
	if s.watcher == nil {
		return watch.Expiry{}, &attestor.Error{Kind: attestor.Unsupported,
			Msg: "this gate is configured without events"}
	}
	return s.watcher.Expire(ctx, watch.Request{Caller: caller, RequestID: uuid.NewString()})
}
