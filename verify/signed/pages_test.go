package signed_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// inPages makes a registry list referrers one at a time; the last of them in
// the order of their digests is on the last page. link may spoil the link to
// page n, and serve the page itself.
func (s *host) inPages(link func(n int, url string) string, page func(n int, w http.ResponseWriter) bool) (pages int) {
	s.t.Helper()
	index, err := remote.Referrers(s.Repo.Digest(string(s.image.Digest())))
	s.Must(err)
	m, err := index.IndexManifest()
	s.Must(err)
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}

		n, _ := strconv.Atoi(r.URL.Query().Get("page"))
		if page != nil && page(n, w) {
			return true
		}

		if next := n + 1; next < len(m.Manifests) || link != nil {
			url := fmt.Sprintf("%s?page=%d", r.URL.Path, next)
			if link != nil {
				url = link(next, url)
			}
			w.Header().Set("Link", "<"+url+`>; rel="next"`)
		}

		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		one := v1.IndexManifest{SchemaVersion: 2, MediaType: "application/vnd.oci.image.index.v1+json"}
		if n < len(m.Manifests) {
			one.Manifests = m.Manifests[n : n+1]
		}

		_ = json.NewEncoder(w).Encode(one)
		return true
	})

	return len(m.Manifests)
}

// A list of referrers that comes in pages is read to its end, and what cannot
// be read to its end is not known.
func TestReferrersInPages(t *testing.T) {
	key := newKey(t)
	signedOn := func(h *host) {
		for i := range 5 {
			h.refer(h.image, "application/spdx+json", fmt.Appendf(nil, `{"spdx":%d}`, i))
		}
		h.refer(h.image, bundleMedia, key.bundle(statement(h.image, signPredicate)))
	}

	t.Run("to its end", func(t *testing.T) {
		h := plain(t)
		signedOn(h)
		if n := h.inPages(nil, nil); n != 6 {
			t.Fatalf("%d pages, want 6", n)
		}

		got, err := h.check(h.image, key.rule())
		if err != nil || !strings.HasPrefix(got, "key sha256:") {
			t.Errorf("got %q, %v", got, err)
		}

		got, err = h.check(h.image, newKey(t).rule())
		refused(t, got, err, "does not verify")
	})

	for _, tt := range []struct {
		name string
		link func(n int, url string) string
		page func(n int, w http.ResponseWriter) bool
	}{
		{"without end", func(_ int, url string) string { return url }, func(n int, w http.ResponseWriter) bool {
			if n > 0 {
				w.Header().Set("Link", `</v2/base/debian/referrers/x?page=1>; rel="next"`)
			}
			return false
		}},
		{"to another host", func(int, string) string { return "https://evil.example/v2/base/debian/referrers/x" }, nil},
		{"to another path", func(int, string) string { return "/v2/other/referrers/x" }, nil},
		{"to another scheme", func(_ int, url string) string { return "https:" + url }, nil},
		{"to nowhere", func(int, string) string { return "%" }, nil},
		{"a page fails", nil, func(n int, w http.ResponseWriter) bool {
			if n == 1 {
				w.WriteHeader(http.StatusForbidden)
			}
			return n == 1
		}},
		{"a page is missing", nil, func(n int, w http.ResponseWriter) bool {
			if n == 1 {
				w.WriteHeader(http.StatusNotFound)
			}
			return n == 1
		}},
		{"a page is malformed", nil, func(n int, w http.ResponseWriter) bool {
			if n == 1 {
				_, _ = w.Write([]byte(`{"manifests":`))
			}
			return n == 1
		}},
		{"too large together", func(_ int, url string) string { return url }, func(n int, w http.ResponseWriter) bool {
			w.Header().Set("Link", fmt.Sprintf(`<?page=%d>; rel="next"`, n+1))
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			_, _ = w.Write([]byte(`{"manifests":[` + strings.Repeat(" ", 1<<20) + `]}`))
			return true
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := plain(t)
			h.refer(h.image, "application/spdx+json", []byte(`{}`))
			h.refer(h.image, "application/spdx+json", []byte(`{"a":1}`))
			h.inPages(tt.link, tt.page)
			got, err := h.check(h.image, key.rule())
			unknown(t, got, err, "could not be checked")
		})
	}
}
