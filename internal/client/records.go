package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/filter"
)

// listPage is how many decisions are asked for at once.
const listPage = "200"

// Decisions walks what the caller may read of the service's record, newest first.
// After an error it ends.
func (c *Client) Decisions(ctx context.Context, f filter.Filter) iter.Seq2[attestor.Decision, error] {
	return func(yield func(attestor.Decision, error) bool) {
		query := url.Values{"pageSize": {listPage}}
		for name, v := range f.Values() {
			query.Set(name, v)
		}

		for {
			var page struct {
				Decisions     []attestor.Decision `json:"decisions"`
				NextPageToken string              `json:"nextPageToken"`
			}
			if err := c.read(ctx, http.MethodGet, "/v1/decisions", query, &page); err != nil {
				yield(attestor.Decision{}, err)
				return
			}

			for _, d := range page.Decisions {
				if !yield(d, nil) {
					return
				}
			}
			if page.NextPageToken == "" {
				return
			}
			query.Set("pageToken", page.NextPageToken)
		}
	}
}

// Record returns one recorded decision; a service gives no evidence away.
func (c *Client) Record(ctx context.Context, id string) (attestor.Record, error) {
	var d attestor.Decision
	err := c.read(ctx, http.MethodGet, "/v1/decisions/"+url.PathEscape(id), nil, &d)
	return attestor.Record{Decision: d}, err
}

// PolicyText is the text of the policy that judged a decision.
func (c *Client) PolicyText(ctx context.Context, id string) ([]byte, error) {
	var p struct{ Digest, Text string }
	err := c.read(ctx, http.MethodGet, "/v1/decisions/"+url.PathEscape(id)+"/policy", nil, &p)
	return []byte(p.Text), err
}
