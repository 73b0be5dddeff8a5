package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"time"

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

// recordPage is how many records are asked for at once. A service sends fewer where they are large.
const recordPage = "50"

// Records walks what Decisions walks, each record whole and in the form of an export: {decision, evidence, policy}. After
// an error it ends.
func (c *Client) Records(ctx context.Context, f filter.Filter) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		query := url.Values{"pageSize": {recordPage}}
		for name, v := range f.Values() {
			query.Set(name, v)
		}

		for {
			var page struct {
				Records       []json.RawMessage `json:"records"`
				NextPageToken string            `json:"nextPageToken"`
			}
			if err := c.read(ctx, http.MethodGet, "/v1/records", query, &page); err != nil {
				yield(nil, err)
				return
			}

			for _, r := range page.Records {
				if !yield(r, nil) {
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

// A Simulated is what a service answers about a policy: recorded decisions, judged again.
type Simulated struct {
	Policy attestor.PolicyRef `json:"policy"`
	Since  time.Time          `json:"since"`
	Judged int                `json:"judged"`
	Counts struct {
		Before map[attestor.Outcome]int `json:"before"`
		After  map[attestor.Outcome]int `json:"after"`
	} `json:"counts"`
	Flips []attestor.Flip `json:"flips"`
}

// Simulate has the service judge its recorded decisions since then by the text of a policy. since is of the grammar of
// instants; "" leaves it to the service.
func (c *Client) Simulate(ctx context.Context, policy []byte, since string) (Simulated, error) {
	body := map[string]any{"policy": string(policy)}
	if since != "" {
		body["since"] = since
	}

	resp, err := c.do(ctx, http.MethodPost, "/v1/simulate", nil, body)
	if err != nil {
		return Simulated{}, err
	}
	var out Simulated
	if resp.status != http.StatusOK || json.Unmarshal(resp.body, &out) != nil {
		return Simulated{}, resp.problem()
	}
	return out, nil
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

// Revocation reads the record of a revocation.
func (c *Client) Revocation(ctx context.Context, id string) (r attestor.RevocationRecord, err error) {
	err = c.read(ctx, http.MethodGet, "/v1/revocations/"+url.PathEscape(id), nil, &r)
	return r, err
}
