package signed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxPages bounds how many pages a list of referrers may have.
const maxPages = 16

// errPages is what a list of referrers ends with that cannot be read whole: a
// part would be taken for all there is.
var errPages = errors.New("the registry's list of referrers cannot be followed to its end")

// paged joins the pages of a list of referrers, of which the registry library
// reads the first only. It stops where there are more than will be looked at.
type paged struct {
	next  http.RoundTripper
	bytes int64 // of all pages together
	most  int   // referrers
}

// referrersPage is as much of an index as has to be joined.
type referrersPage struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Manifests     []json.RawMessage `json:"manifests"`
}

func (p *paged) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := p.next.RoundTrip(r)
	if err != nil || r.Method != http.MethodGet || resp.StatusCode != http.StatusOK || !strings.Contains(r.URL.Path, "/referrers/") || resp.Header.Get("Link") == "" {
		return resp, err
	}
	var whole referrersPage
	left := p.bytes
	next, err := whole.add(resp, r.URL, &left)
	for pages := 1; err == nil && next != nil && len(whole.Manifests) <= p.most; pages++ {
		if pages == maxPages {
			return nil, fmt.Errorf("%w: it has more than %d pages", errPages, maxPages)
		}
		again := r.Clone(r.Context()) // with its credentials: it is the same list
		again.URL = next
		var page *http.Response
		if page, err = p.next.RoundTrip(again); err == nil {
			next, err = whole.add(page, r.URL, &left)
		}
	}
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(whole)
	if err != nil {
		return nil, err
	}
	resp.Header.Del("Link")
	resp.Header.Del("Content-Length")
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	return resp, nil
}

// add appends one page, and returns where the next one is; nil: it was the last.
func (w *referrersPage) add(resp *http.Response, list *url.URL, left *int64) (*url.URL, error) {
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: a page of it answered %d", errPages, resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, *left+1))
	if err != nil {
		return nil, fmt.Errorf("reading referrers: %w", err)
	}
	if *left -= int64(len(b)); *left < 0 {
		return nil, errTooLarge
	}
	var page referrersPage
	if err := json.Unmarshal(b, &page); err != nil {
		return nil, fmt.Errorf("%w: a page of it is malformed", errPages)
	}
	w.SchemaVersion, w.MediaType = page.SchemaVersion, page.MediaType
	w.Manifests = append(w.Manifests, page.Manifests...)
	return nextPage(resp.Header.Get("Link"), list)
}

// nextPage reads RFC 8288 as the distribution specification uses it. A page is
// of the same list of the same registry, or credentials would follow a link.
func nextPage(link string, list *url.URL) (*url.URL, error) {
	if link == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	target, params, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
	if !ok || !strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
		return nil, fmt.Errorf("%w: its link is malformed", errPages)
	}
	next, err := list.Parse(target)
	if err != nil || next.Scheme != list.Scheme || next.Host != list.Host || next.Path != list.Path || next.User != nil {
		return nil, fmt.Errorf("%w: its link leads elsewhere", errPages)
	}
	return next, nil
}
