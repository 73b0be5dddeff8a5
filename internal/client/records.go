package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/filter"
	"github.com/attestor-gate/attestor/internal/plain"
)

// listPage is how many decisions are asked for at once.
const listPage = "200"

// Decisions walks what the caller may read of the service's record, newest first.
// After an error it ends.
func (c *Client) Decisions(ctx context.Context, f filter.Filter) iter.Seq2[attestor.Decision, error] {
	query := url.Values{"pageSize": {listPage}}
	for name, v := range f.Values() {
		query.Set(name, v)
	}
	return paged[attestor.Decision](ctx, c, "/v1/decisions", "decisions", query)
}

// recordPage is how many records are asked for at once. A service sends fewer where they are large.
const recordPage = "50"

// Records walks what Decisions walks, each record whole and in the form of an export: {decision, evidence, policy}.
// After an error it ends.
func (c *Client) Records(ctx context.Context, f filter.Filter) iter.Seq2[json.RawMessage, error] {
	query := url.Values{"pageSize": {recordPage}}
	for name, v := range f.Values() {
		query.Set(name, v)
	}
	return paged[json.RawMessage](ctx, c, "/v1/records", "records", query)
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
	Images struct {
		Judged int                      `json:"judged"`
		Before map[attestor.Outcome]int `json:"before"`
		After  map[attestor.Outcome]int `json:"after"`
	} `json:"images"`
	Flips    []attestor.Flip     `json:"flips"`
	Upcoming []attestor.Upcoming `json:"upcoming"`

	Sample        int       `json:"sample"`
	Reached       time.Time `json:"reached"`
	NextPageToken string    `json:"nextPageToken"`
}

// A SimulationPage is what part of a simulation is asked for.
type SimulationPage struct {
	Since  string // of the grammar of instants; "" leaves it to the service
	Day    string // whose dates count; "": that of each decision
	Sample int    // of that many decisions one is judged; 0: all
	Token  string // of the page before
}

// simulatedPage is how many decisions the service judges at a time.
const simulatedPage = 2000

// Simulate has the service judge a page of its recorded decisions by the text of a policy, newest first. A service of
// an earlier version refuses it.
func (c *Client) Simulate(ctx context.Context, policy []byte, page SimulationPage) (Simulated, error) {
	body := map[string]any{"policy": string(policy), "pageSize": simulatedPage}
	for name, text := range map[string]string{"since": page.Since, "at": page.Day, "pageToken": page.Token} {
		if text != "" {
			body[name] = text
		}
	}
	if page.Sample > 1 {
		body["sample"] = page.Sample
	}

	resp, err := c.do(ctx, http.MethodPost, "/v1/simulate", nil, body)
	if err != nil {
		return Simulated{}, err
	}
	var out Simulated

	// A document that is no simulation would be one in which nothing changes.
	if resp.status != http.StatusOK || json.Unmarshal(resp.body, &out) != nil || out.Policy.Name == "" {
		return Simulated{}, resp.problem()
	}
	return out, nil
}

// decisionPath is the path of a decision, or an error of kind NotFound where the id cannot be a decision's.
func decisionPath(id string) (string, error) {
	if !segment(id) {
		return "", &attestor.Error{Kind: attestor.NotFound, Msg: "no such decision"}
	}
	return "/v1/decisions/" + url.PathEscape(id), nil
}

// segment reports whether id can be one segment of a path. RFC 3986, 3.3: "The path segments "." and "..", also known
// as dot-segments, are defined for relative reference within the path name hierarchy"; with one of them, or without an
// id, the path would be that of another resource, such as the list of all decisions.
func segment(id string) bool { return id != "" && id != "." && id != ".." }

// elsewhere is the error of an answer about another id than the one that was asked for.
func elsewhere(what, asked, got string) error {
	return &attestor.Error{
		Kind: attestor.Upstream,
		Msg: fmt.Sprintf("the service was asked for %s %q and answered with %q", what, plain.Clip(asked, 100),
			plain.Clip(got, 100)),
		Fix: "check --server, and any proxy in front of the service",
	}
}

// Record returns one recorded decision; a service gives no evidence away. An id that is not recorded is an error of
// kind NotFound.
func (c *Client) Record(ctx context.Context, id string) (attestor.Record, error) {
	path, err := decisionPath(id)
	if err != nil {
		return attestor.Record{}, err
	}

	var d attestor.Decision
	if err := c.read(ctx, http.MethodGet, path, nil, &d); err != nil {
		return attestor.Record{}, err
	}

	// Another decision would be explained as this one, and so would a document that is no decision.
	if d.ID != id {
		return attestor.Record{}, elsewhere("decision", id, d.ID)
	}
	return attestor.Record{Decision: d}, nil
}

// PolicyText is the text of the policy that judged a decision. A decision without a policy, and an id that is not
// recorded, are errors of kind NotFound.
func (c *Client) PolicyText(ctx context.Context, id string) ([]byte, error) {
	path, err := decisionPath(id)
	if err != nil {
		return nil, err
	}

	var p struct{ Digest, Text string }
	if err := c.read(ctx, http.MethodGet, path+"/policy", nil, &p); err != nil {
		return nil, err
	}

	// A service that has no text says so by its status.
	if p.Text == "" {
		return nil, &attestor.Error{Kind: attestor.Upstream, Msg: "the service answered with a policy without a text"}
	}
	return []byte(p.Text), nil
}

// Revocation reads the record of a revocation. An id that is not recorded is an error of kind NotFound.
func (c *Client) Revocation(ctx context.Context, id string) (attestor.RevocationRecord, error) {
	if !segment(id) {
		return attestor.RevocationRecord{}, &attestor.Error{Kind: attestor.NotFound, Msg: "no such revocation"}
	}

	var r attestor.RevocationRecord
	if err := c.read(ctx, http.MethodGet, "/v1/revocations/"+url.PathEscape(id), nil, &r); err != nil {
		return attestor.RevocationRecord{}, err
	}
	if r.ID != id {
		return attestor.RevocationRecord{}, elsewhere("revocation", id, r.ID)
	}
	return r, nil
}
