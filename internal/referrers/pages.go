package referrers

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

// errPages is the error for a list of referrers that cannot be read whole. A part
// of it would be taken for the whole.
var errPages = errors.New("the registry's list of referrers cannot be followed to its end")

// paged joins the pages of a list of referrers, of which the registry library reads
// only the first. It stops once there are more referrers than are checked.
type paged struct {
	next http.RoundTripper
}

// referrersPage has the fields of an index that are needed to join pages.
type referrersPage struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Manifests     []json.RawMessage `json:"manifests"`
}

// isPage reports whether a response is a list of referrers that continues elsewhere.
func isPage(r *http.Request, resp *http.Response) bool {
	return r.Method == http.MethodGet && resp.StatusCode == http.StatusOK &&
		Asks(r, "referrers") && resp.Header.Get("Link") != ""
}

func (p *paged) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := p.next.RoundTrip(r)
	if err != nil || !isPage(r, resp) {
		return resp, err
	}

	// OCI distribution specification, "Listing Referrers": a Link header with
	// rel="next" says that the list goes on. The limit of bytes is that of all pages
	// together.
	var whole referrersPage
	left := int64(MaxManifest)
	next, err := whole.add(resp, r.URL, &left)
	for pages := 1; err == nil && next != nil && len(whole.Manifests) <= Max; pages++ {
		if pages == maxPages {
			return nil, fmt.Errorf("%w: it has more than %d pages", errPages, maxPages)
		}

		// The credentials go with it: nextPage has checked that it is the same list.
		again := r.Clone(r.Context())
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

// add appends one page and returns the address of the next one; nil after the last.
func (w *referrersPage) add(resp *http.Response, list *url.URL, left *int64) (*url.URL, error) {
	defer resp.Body.Close()

	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: one of its pages was answered with %d", errPages, resp.StatusCode)
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
		return nil, fmt.Errorf("%w: one of its pages is malformed", errPages)
	}
	w.SchemaVersion, w.MediaType = page.SchemaVersion, page.MediaType
	w.Manifests = append(w.Manifests, page.Manifests...)
	return nextPage(resp.Header.Get("Link"), list)
}

// nextPage reads a Link header, as RFC 8288 defines it and the distribution
// specification uses it. nil: there is no next page.
func nextPage(link string, list *url.URL) (*url.URL, error) {
	if link == "" {
		return nil, nil //nolint:nilnil // a list without a next page is no error
	}

	target, params, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
	if !ok || !strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
		return nil, fmt.Errorf("%w: its link is malformed", errPages)
	}

	// The next page is of the same list in the same registry. Any other link would take
	// the credentials to an address of its author's choice.
	next, err := list.Parse(target)
	if err != nil || next.Scheme != list.Scheme || next.Host != list.Host || next.Path != list.Path ||
		next.User != nil {
		return nil, fmt.Errorf("%w: its link leads elsewhere", errPages)
	}
	return next, nil
}
