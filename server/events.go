package server

import (
	"context"
	"net/http"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/watch"
)

// newWatcher completes the watcher's configuration by what the server has.
func (s *Server) newWatcher() error {
	if s.c.Watch == nil {
		return nil
	}
	c := *s.c.Watch
	c.Admit = s.admitApart
	if c.Now == nil {
		c.Now = s.c.Now
	}
	if c.Logger == nil {
		c.Logger = s.c.Logger
	}
	if c.Registry == nil {
		c.Registry = s.c.Registry
	}
	if c.History == nil && s.c.Decisions != nil {
		c.History = history{s.c.Decisions}
	}
	if c.Revoke == nil && s.c.Attestations != nil {
		c.Revoke = func(ctx context.Context, img attestor.Image, reason string, by attestor.CallerRef, requestID string) error {
			_, err := s.c.Attestations.Revoke(ctx, attestor.Revocation{Image: img, Reason: reason, Caller: by, RequestID: requestID})
			return err
		}
	}
	var err error
	s.watcher, err = watch.New(c)
	return err
}

// history is what a watcher wants of the record.
type history struct{ d Decisions }

// watchPeriod stands for the watch's window, which moves with the clock: the
// tokens of a run are bound to it, and not to the instant at which a page is
// asked for.
const watchPeriod = "the watch's window"

func everything(string) bool { return true }

func (h history) Of(ctx context.Context, img attestor.Image, n int) ([]attestor.Decision, error) {
	page, err := h.d.List(ctx, DecisionFilter{Image: img.String(), PageSize: min(n, maxPageSize), Visible: everything})
	return page.Decisions, err
}

func (h history) Passed(ctx context.Context, since time.Time, token string) ([]attestor.Decision, string, error) {
	page, err := h.d.List(ctx, DecisionFilter{Verdict: attestor.Pass, Since: since, Period: watchPeriod, PageSize: 100, PageToken: token, Visible: everything})
	return page.Decisions, page.NextPageToken, err
}

func (h history) Overridden(ctx context.Context, since time.Time, token string) ([]attestor.Decision, string, error) {
	page, err := h.d.List(ctx, DecisionFilter{BreakGlass: true, Since: since, Period: watchPeriod, PageSize: 100, PageToken: token, Visible: everything})
	return page.Decisions, page.NextPageToken, err
}

func (h history) Record(ctx context.Context, id string) (attestor.Record, error) {
	return h.d.Decision(ctx, id)
}

// event answers POST /v1/events: 204 acknowledges the message, everything else
// asks for it again.
func (s *Server) event(k *call) error {
	if err := s.watcher.Handle(k.ctx, k.caller, k.body, requestID(k.ctx)); err != nil {
		return err
	}
	return k.NoContent(http.StatusNoContent)
}

// rejudge answers POST /v1/rejudge. It has a body only to go on where an
// earlier run ended.
func (s *Server) rejudge(k *call) error {
	var body struct {
		PageToken string `json:"pageToken"`
	}
	if len(k.body) > 0 {
		if err := decodeStrict(k.body, &body); err != nil {
			return err
		}
	}
	if len(body.PageToken) > maxPageToken {
		return &attestor.Error{Kind: attestor.Invalid, Msg: "pageToken is too long"}
	}
	report, err := s.watcher.Rejudge(k.ctx, watch.Request{Caller: k.caller, RequestID: requestID(k.ctx), PageToken: body.PageToken})
	if err != nil {
		return err
	}
	return s.answer(k, http.StatusOK, report)
}
