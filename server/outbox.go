package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/event"
)

// An Outbox has the events that were not delivered yet.
type Outbox struct {
	// List returns at most n events, the oldest first, after the given one; after the zero
	// Delivery, from the first on.
	List func(ctx context.Context, f event.Filter, after event.Delivery, n int) ([]event.Delivery, error)
	// Counts counts the events of each receiver.
	Counts func(ctx context.Context) ([]event.Counts, error)
	// Redrive has dead letters sent again, and returns how many.
	Redrive func(ctx context.Context, f event.Filter) (int64, error)
}

// An outboxPage is part of a list of events.
type outboxPage struct {
	Receivers     []event.Counts   `json:"receivers"`
	Events        []event.Delivery `json:"events"`
	NextPageToken string           `json:"nextPageToken,omitempty"`
}

// maxOutboxPage bounds a page. An event has a few kilobytes.
const maxOutboxPage = 200

// outboxRoutes are those of the outbox. Events are about every repository, with what
// callers wrote: they are for callers who may read everything.
func (s *Server) outboxRoutes() []route {
	const part = "events with receivers"
	return []route{
		{
			method: "GET", path: "/v1/outbox", any: []attestor.Action{attestor.ActionRead}, class: reads,
			query: []string{"state", "receiver", "event", pageSize, pageToken},
			part:  part, enabled: s.c.Outbox != nil, handle: s.listOutbox,
		},
		{
			method: "POST", path: "/v1/outbox/redrive", any: []attestor.Action{attestor.ActionRejudge},
			media: []string{jsonType}, bodiless: true, part: part, enabled: s.c.Outbox != nil, handle: s.redrive,
		},
	}
}

// everywhere returns an error unless the caller has a right for every repository.
func (k *call) everywhere(a attestor.Action) error {
	if k.caller.MayEverywhere(a) {
		return nil
	}
	return &attestor.Error{
		Kind: attestor.Forbidden, Msg: "this is about every repository, and this identity does not have the right " +
			string(a) + " for all",
		Fix: "ask an administrator of the gate for the right " + string(a) + ` on images ["**"]`,
	}
}

// listOutbox answers GET /v1/outbox.
func (s *Server) listOutbox(k *call) error {
	if err := k.everywhere(attestor.ActionRead); err != nil {
		return err
	}
	f, after, n, err := k.outboxFilter()
	if err != nil {
		return err
	}

	out := outboxPage{}
	if out.Receivers, err = s.c.Outbox.Counts(k.ctx); err != nil {
		return err
	}
	if out.Events, err = s.c.Outbox.List(k.ctx, f, after, n); err != nil {
		return err
	}

	// A full page may be the last one; the next is then empty.
	if len(out.Events) == n {
		out.NextPageToken = outboxToken(out.Events[n-1])
	}
	out.Receivers = append([]event.Counts{}, out.Receivers...) // never null in JSON
	out.Events = append([]event.Delivery{}, out.Events...)
	return s.answer(k, http.StatusOK, out)
}

// outboxFilter reads the query.
func (k *call) outboxFilter() (f event.Filter, after event.Delivery, n int, err error) {
	f = event.Filter{Receiver: k.query["receiver"], Event: k.query["event"], Dead: k.query["state"] == "dead"}
	if state := k.query["state"]; state != "" && state != "dead" && state != "pending" {
		return f, after, 0, &attestor.Error{
			Kind: attestor.Invalid, Msg: "state is neither pending nor dead", Fix: "send one of them, or leave state " +
				"out for pending",
		}
	}

	n = maxOutboxPage
	if size := k.query[pageSize]; size != "" {
		if n, err = strconv.Atoi(size); err != nil || n < 1 {
			return f, after, 0, &attestor.Error{
				Kind: attestor.Invalid, Msg: "pageSize is not a positive number",
				Fix: "send a number from 1 to " + strconv.Itoa(maxOutboxPage) + ", or leave pageSize out",
			}
		}
		n = min(n, maxOutboxPage)
	}
	if token := k.query[pageToken]; token != "" {
		if after, err = readOutboxToken(token); err != nil {
			return f, after, 0, err
		}
	}
	return f, after, n, nil
}

// An outboxPlace is the content of a token: the event after which a page begins.
type outboxPlace struct {
	At       int64  `json:"t"` // microseconds
	Receiver string `json:"r"`
	Event    string `json:"e"`
}

func outboxToken(d event.Delivery) string {
	b, err := json.Marshal(outboxPlace{d.Written.UnixMicro(), d.Receiver, d.Event.ID})
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func readOutboxToken(token string) (event.Delivery, error) {
	if err := checkPageToken(token); err != nil {
		return event.Delivery{}, err
	}
	var p outboxPlace
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || json.Unmarshal(b, &p) != nil || p.Event == "" {
		return event.Delivery{}, &attestor.Error{
			Kind: attestor.Invalid, Msg: "pageToken is not one of this list",
			Fix: "send the nextPageToken of the previous page",
		}
	}
	return event.Delivery{Receiver: p.Receiver, Written: time.UnixMicro(p.At), Event: event.Event{ID: p.Event}}, nil
}

// redrive answers POST /v1/outbox/redrive.
func (s *Server) redrive(k *call) error {
	if err := k.everywhere(attestor.ActionRejudge); err != nil {
		return err
	}
	var body struct {
		Receiver string `json:"receiver"`
		Event    string `json:"event"`
	}
	if len(k.body) > 0 {
		if err := decodeStrict(k.body, &body); err != nil {
			return err
		}
	}

	n, err := s.c.Outbox.Redrive(k.ctx, event.Filter{Receiver: body.Receiver, Event: body.Event})
	if err != nil {
		return err
	}
	return s.answer(k, http.StatusOK, struct {
		Redriven int64 `json:"redriven"`
	}{n})
}
