package client_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/client"
	"github.com/attestor-gate/attestor/internal/filter"
)

// A list is read page by page, with the same question each time; a page that
// cannot be read ends it with an error.
func TestDecisionsArePaged(t *testing.T) {
	var asked []url.Values
	broken := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query())
		page := map[string]any{"decisions": []attestor.Decision{{ID: "1"}, {ID: "2"}}, "nextPageToken": "more"}
		if r.URL.Query().Get("pageToken") == "more" {
			if broken {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			page = map[string]any{"decisions": []attestor.Decision{{ID: "3"}}}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(page)
	}))
	defer srv.Close()
	c, err := client.New(client.Options{Server: srv.URL, Notice: io.Discard})
	if err != nil {
		t.Fatal(err)
	}

	read := func() (ids string, err error) {
		q := filter.Filter{Image: "r/a:1", Verdict: attestor.Deny, Since: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
		for d, e := range c.Decisions(t.Context(), q) {
			ids, err = ids+d.ID, e
		}
		return ids, err
	}
	if ids, err := read(); ids != "123" || err != nil {
		t.Errorf("read %q, %v", ids, err)
	}
	for _, q := range asked {
		if q.Get("image") != "r/a:1" || q.Get("verdict") != "deny" || q.Get("since") != "2026-11-01T00:00:00Z" || q.Has("until") || q.Has("policy") {
			t.Errorf("asked %v", q)
		}
	}
	if len(asked) != 2 {
		t.Errorf("asked %d times", len(asked))
	}

	broken = true
	if ids, err := read(); ids != "12" || err == nil {
		t.Errorf("read %q, %v, want an error after two", ids, err)
	}
}
