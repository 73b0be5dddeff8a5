package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"

	"google.golang.org/api/option"
	transport "google.golang.org/api/transport/http"
)

// watched makes clients of Cloud Run refuse a list that lacks regions. The API lists them in unreachable, which the
// types of this version have for services only: a list of another kind would lose the word, and look complete.
func watched(ctx context.Context, opts []option.ClientOption) ([]option.ClientOption, error) {
	const scope = "https://www.googleapis.com/auth/cloud-platform"
	c, _, err := transport.NewClient(ctx, append([]option.ClientOption{option.WithScopes(scope)}, opts...)...)
	if err != nil {
		return nil, err
	}

	next := c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	seen := *c
	seen.Transport = &completeLists{next: next, turned: map[string]tokens{}}

	// The capacity is cut, so that append does not write into the caller's array.
	return append(opts[:len(opts):len(opts)], option.WithHTTPClient(&seen)), nil
}

// completeLists ends a request whose answer names regions that are missing from it, or a page that was there before:
// the API's client would ask for that again and again.
type completeLists struct {
	next http.RoundTripper

	mu     sync.Mutex
	turned map[string]tokens // by the path of a list
}

// maxRunPage bounds one answer of Cloud Run.
const maxRunPage = 64 << 20

// RoundTrip implements [http.RoundTripper].
func (c *completeLists) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}

	// One byte beyond the bound shows that the answer is too long.
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxRunPage+1))
	if closed := resp.Body.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, err
	}
	if len(text) > maxRunPage {
		return nil, fmt.Errorf("an answer of Cloud Run has more than %d MiB", maxRunPage>>20)
	}

	// What is no JSON is the client's to refuse.
	var page struct {
		Unreachable   []string `json:"unreachable"`
		NextPageToken string   `json:"nextPageToken"`
	}
	if json.Unmarshal(text, &page) == nil {
		if err := cmp.Or(unreachable(page.Unreachable), c.turn(r, page.NextPageToken)); err != nil {
			return nil, err
		}
	}

	// The client decodes the same bytes that were checked.
	resp.Body = io.NopCloser(bytes.NewReader(text))
	return resp, nil
}

// turn notes that a list goes on with a page; "" where it ends.
func (c *completeLists) turn(r *http.Request, next string) error {
	if next == "" {
		return nil
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turned[r.URL.Path] == nil || r.URL.Query().Get("pageToken") == "" {
		c.turned[r.URL.Path] = tokens{} // the list begins
	}
	return c.turned[r.URL.Path].to(next)
}
