package engine_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/audit/pages"
)

// What the server refuses before a page is made is a page in a browser: with the way on, the pages' own security policy, and
// what was typed as text.
func TestRefusedRequestsArePages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{quiet: true})

	for _, tt := range []struct {
		path   string
		status int
		want   []string
	}{
		{"/nothing", 404, []string{"There is nothing here", "there is no /nothing"}},
		{"/report/", 404, []string{"leave out the slash at the end, /report exists"}},
		{"/%3Cscript%3E%E2%80%AE", 404, []string{"there is no /&lt;script&gt;"}},
		{"/decisions?q=1", 400, []string{"unknown parameter, &#34;q&#34;", "use only "}},
		{"/decisions/unknown", 404, []string{"There is nothing here"}},
		{"/report?since=never", 400, []string{"is not a time"}},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.address+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
		a := w.send(req)

		body := string(a.body)
		for _, want := range append(tt.want, `<a href="/">Overview</a>`, "<!doctype html>") {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q", tt.path, want)
			}
		}
		if a.status != tt.status || a.header.Get("Content-Security-Policy") != pages.CSP() || strings.Contains(body, "<script>\u202e") {
			t.Errorf("%s: status %d, %q", tt.path, a.status, a.header.Get("Content-Security-Policy"))
		}
	}
}
