package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/url"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/filter"
)

// Revocations walks the revocations of images that the caller may read, newest first: of f's period and repositories. A
// service of an earlier version has no such list. After an error it ends.
func (c *Client) Revocations(ctx context.Context, f filter.Filter) iter.Seq2[attestor.RecordedRevocation, error] {
	query := url.Values{"pageSize": {listPage}}
	for _, name := range []string{"since", "until", "repository"} {
		if v := f.Values()[name]; v != "" {
			query.Set(name, v)
		}
	}
	return paged[attestor.RecordedRevocation](ctx, c, "/v1/revocations", "revocations", query)
}

// PolicyChanges walks the recorded changes of policies, newest first. A service of an earlier version has no such list.
// After an error it ends.
func (c *Client) PolicyChanges(ctx context.Context) iter.Seq2[attestor.PolicyChange, error] {
	return paged[attestor.PolicyChange](ctx, c, "/v1/policy-changes", "changes", url.Values{"pageSize": {listPage}})
}

// paged walks the items of a list, page by page. A service that names a page again that it named before is asked no
// further: the list would have no end.
func paged[T any](ctx context.Context, c *Client, path, items string, query url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		query, named := maps.Clone(query), map[string]bool{}
		for {
			var page map[string]json.RawMessage
			if err := c.read(ctx, http.MethodGet, path, query, &page); err != nil {
				yield(none, err)
				return
			}

			// An answer without the list is not one without items: a proxy's page would be taken for an empty record.
			var list []T
			var token string
			err := json.Unmarshal(page[items], &list)
			if err == nil && page["nextPageToken"] != nil {
				err = json.Unmarshal(page["nextPageToken"], &token)
			}
			if err != nil {
				yield(none, &attestor.Error{
					Kind: attestor.Upstream, Msg: fmt.Sprintf("the service's answer has no list of %s", items),
					Fix: "check --server, and any proxy in front of the service", Err: err,
				})
				return
			}

			for _, one := range list {
				if !yield(one, nil) {
					return
				}
			}
			if token == "" {
				return
			}
			if named[token] {
				yield(none, &attestor.Error{
					Kind: attestor.Upstream, Msg: fmt.Sprintf("the service gave the same page of its %s twice", items),
					Fix: "try again; if it persists, report this as a defect of the gate",
				})
				return
			}
			named[token] = true
			query.Set("pageToken", token)
		}
	}
}
