package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"

	"github.com/attestor-gate/attestor/internal/event"
)

// Events walks the events of a service's outbox, the oldest first. After an error it ends.
func (c *Client) Events(ctx context.Context, f event.Filter) iter.Seq2[event.Delivery, error] {
	query := url.Values{"state": {"pending"}}
	if f.Dead {
		query.Set("state", "dead")
	}
	for name, value := range map[string]string{"receiver": f.Receiver, "event": f.Event} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return paged[event.Delivery](ctx, c, "/v1/outbox", "events", query)
}

// Redrive has dead letters of a service's outbox sent again, and returns how many.
func (c *Client) Redrive(ctx context.Context, f event.Filter) (int64, error) {
	body := map[string]string{}
	for name, value := range map[string]string{"receiver": f.Receiver, "event": f.Event} {
		if value != "" {
			body[name] = value
		}
	}

	resp, err := c.do(ctx, http.MethodPost, "/v1/outbox/redrive", nil, body)
	if err != nil {
		return 0, err
	}

	// An answer without the number is none that says that nothing was to be sent.
	var out struct{ Redriven *int64 }
	if resp.status != http.StatusOK || json.Unmarshal(resp.body, &out) != nil || out.Redriven == nil {
		return 0, resp.problem()
	}

	return *out.Redriven, nil
}
