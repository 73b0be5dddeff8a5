package server

import (
	"context"
	"net/http"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/filter"
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

	if c.History == nil && s.c.Decisions != nil {
		c.History = history{s.c.Decisions}
	}
	if c.Revoke == nil && s.c.Attestations != nil {
		c.Revoke = func(ctx context.Context, img attestor.Image, why string, by attestor.CallerRef, id string) error {
			r := attestor.Revocation{Image: img, Reason: why, Caller: by, RequestID: id}
			_, err := s.c.Attestations.Revoke(ctx, r)
			return err
		}
	}

	var err error
	s.watcher, err = watch.New(c)
	return err
}

// A history is a [watch.History] of a server's decisions.
type history struct{ d Decisions }

// watchPeriod is the Period of the watcher's lists. Their window moves with the
// clock, so that the tokens of a run are bound to this text and not to the instant
// at which a page is read.
const watchPeriod = "the watch's window"

// everything makes all decisions visible: the watcher acts for the gate and shows
// them to nobody.
func everything(string) bool { return true }

// watchPageSize is how many decisions the watcher reads at a time.
const watchPageSize = 100

func (h history) Of(ctx context.Context, img attestor.Image, n int) ([]attestor.Decision, error) {
	page, err := h.d.List(ctx, DecisionFilter{
		Filter: filter.Filter{Image: img.String(), Visible: everything}, PageSize: min(n, maxPageSize),
	})
	return page.Decisions, err
}

func (h history) Passed(ctx context.Context, since time.Time, token string) ([]attestor.Decision, string, error) {
	page, err := h.d.List(ctx, DecisionFilter{
		Filter:   filter.Filter{Verdict: attestor.Pass, Since: since, Period: watchPeriod, Visible: everything},
		PageSize: watchPageSize, PageToken: token,
	})
	return page.Decisions, page.NextPageToken, err
}

func (h history) Overridden(ctx context.Context, since time.Time, token string) ([]attestor.Decision, string, error) {
	page, err := h.d.List(ctx, DecisionFilter{
		Filter:   filter.Filter{BreakGlass: true, Since: since, Period: watchPeriod, Visible: everything},
		PageSize: watchPageSize, PageToken: token,
	})
	return page.Decisions, page.NextPageToken, err
}

func (h history) Record(ctx context.Context, id string) (attestor.Record, error) {
	return h.d.Decision(ctx, id)
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

// rejudge answers POST /v1/rejudge. The optional body continues an earlier run.
func (s *Server) rejudge(k *call) error {
	var body struct {
		PageToken string `json:"pageToken"`
	}
	if len(k.body) > 0 {
		if err := decodeStrict(k.body, &body); err != nil {
			return err
		}
	}

	if err := checkPageToken(body.PageToken); err != nil {
		return err
	}

	report, err := s.watcher.Rejudge(k.ctx, watch.Request{
		Caller: k.caller, RequestID: requestID(k.ctx), PageToken: body.PageToken,
	})
	if err != nil {
		return err
	}
	return s.answer(k, http.StatusOK, report)
}
