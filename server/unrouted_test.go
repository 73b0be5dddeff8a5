package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server"
)

// A request that no route takes is answered with what exists.
func TestUnroutedSaysWhatExists(t *testing.T) {
	w := newWorld()
	base := serve(t, w, func(c *server.Config) { (&parts{w: w}).with(c) })

	for _, tt := range []struct {
		method, path string
		status       int
		want, allow  string
	}{
		{"POST", "/v1/attest/", 404, "leave out the slash at the end, /v1/attest exists", ""},
		{"GET", "/v1/decisions/", 404, "leave out the slash at the end, /v1/decisions exists", ""},
		{"POST", "/attest", 404, "did you mean /v1/attest?", ""},
		{"GET", "/decisions/d000001/policy", 404, "did you mean /v1/decisions/d000001/policy?", ""},
		{"GET", "/v1/decision", 404, "did you mean /v1/decisions?", ""},
		{"GET", "/readyy", 404, "did you mean /ready?", ""},
		{"GET", "/nothing-like-it", 404, "/openapi.json lists the calls", ""},
		{"GET", "/v1/attest", 405, "send POST", "POST"},
		{"PUT", "/v1/attestations", 405, "send DELETE or GET or HEAD", "DELETE"},
		{"POST", "/health", 405, "send GET or HEAD", "GET"},
	} {
		got := send(t, "admin", tt.method, base+tt.path, "")
		if got.status != tt.status || !strings.Contains(got.body, tt.want) || !strings.Contains(got.header.Get("Allow"), tt.allow) {
			t.Errorf("%s %s: status %d, Allow %q: %s, want %d and %q", tt.method, tt.path, got.status, got.header.Get("Allow"), got.body, tt.status, tt.want)
		}
	}

	long := send(t, "", "GET", base+"/"+strings.Repeat("a", 3000), "")
	if long.status != 404 || len(long.body) > 1000 {
		t.Errorf("a long path: status %d, %d bytes", long.status, len(long.body))
	}
}

// A browser gets a problem as a page; a program, and whoever calls the API, gets JSON. What a page takes is known too.
func TestProblemsAsPages(t *testing.T) {
	w := newWorld()
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	base := serve(t, w, func(c *server.Config) {
		(&parts{w: w}).with(c)
		c.Pages = http.NotFoundHandler()
		c.ProblemPage = func(w http.ResponseWriter, p server.Problem) error {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(p.Status)
			_, err := w.Write([]byte("page: " + p.Detail + "; " + p.Fix + "; " + p.RequestID))
			return err
		}
	})

	for _, tt := range []struct {
		who, method, path, accept string
		status                    int
		page                      bool
		want                      string
	}{
		{"admin", "GET", "/nothing-like-it", browser, 404, true, "page: there is no /nothing-like-it; /openapi.json lists the calls, and / leads to the pages"},
		{"admin", "GET", "/decisions/", browser, 404, true, "leave out the slash at the end, /decisions exists"},
		{"admin", "GET", "/decision", browser, 404, true, "did you mean /decisions?"},
		{"admin", "GET", "/report?nonsense=1", browser, 400, true, "unknown parameter"},
		{"admin", "POST", "/report", browser, 405, true, "send GET or HEAD"},
		{"admin", "PUT", "/simulate", browser, 405, true, "send GET or HEAD or POST"},
		{"", "GET", "/report", browser, 401, true, "page: "},
		{"checker", "GET", "/report", browser, 403, true, "page: "},
		{"admin", "GET", "/nothing-like-it", "", 404, false, "there is no /nothing-like-it"},
		{"admin", "GET", "/nothing-like-it", "*/*", 404, false, "there is no /nothing-like-it"},
		{"admin", "GET", "/nothing-like-it", "application/json, text/html", 404, false, "there is no /nothing-like-it"},
		{"admin", "GET", "/nothing-like-it", "text/html;q=0, */*", 404, false, "there is no /nothing-like-it"},
		{"admin", "GET", "/v1/nothing", browser, 404, false, "there is no /v1/nothing"},
		{"admin", "POST", "/report", "", 405, false, "send GET or HEAD"},
	} {
		got := send(t, tt.who, tt.method, base+tt.path, "", "Accept", tt.accept)
		isPage := strings.HasPrefix(got.header.Get("Content-Type"), "text/html") && strings.HasPrefix(got.body, "page: ")
		if got.status != tt.status || isPage != tt.page || !strings.Contains(got.body, tt.want) || !strings.Contains(got.header.Get("Vary"), "Accept") {
			t.Errorf("%s %s as %q, Accept %q: status %d, %q: %s", tt.method, tt.path, tt.who, tt.accept, got.status, got.header.Get("Content-Type"), got.body)
		}
	}
}

// HEAD is answered as GET is, with the same rights and without a body.
func TestHeadWhereGetIs(t *testing.T) {
	w := newWorld()
	base := serve(t, w, func(c *server.Config) { (&parts{w: w}).with(c) })

	for _, path := range []string{"/health", "/ready", "/metrics", "/openapi.json", "/v1/decisions", "/v1/policies", "/v1/decisions?nonsense=1"} {
		for _, who := range []string{"", "reader", "checker"} {
			get, head := send(t, who, "GET", base+path, ""), send(t, who, "HEAD", base+path, "")
			if head.status != get.status || head.body != "" || head.header.Get("Content-Type") != get.header.Get("Content-Type") {
				t.Errorf("%s as %q: HEAD %d, %q, %q; GET %d", path, who, head.status, head.body, head.header.Get("Content-Type"), get.status)
			}
		}
	}
	if got := send(t, "admin", "HEAD", base+"/v1/attest", ""); got.status != http.StatusMethodNotAllowed {
		t.Errorf("HEAD of what has no GET: status %d", got.status)
	}
}

// A client that asks for text and for no JSON gets a table, with the status that JSON has.
func TestTextForTerminals(t *testing.T) {
	w := newWorld()
	base := serve(t, w, func(c *server.Config) {
		(&parts{w: w}).with(c)
		c.Text = func(d attestor.Decision) ([]byte, error) { return []byte("verdict " + string(d.Verdict) + "\n"), nil }
	})

	for accept, text := range map[string]bool{
		"text/plain": true, "Text/Plain": true, "text/html, text/plain": true, "text/plain; q=0.5": true,
		"": false, "*/*": false, "application/json": false, "text/plain, application/json": false, "text/plain;q=0": false,
	} {
		for body, want := range map[string]int{image(":v1"): 200, image(":v2"): 422} {
			got := send(t, "admin", "POST", base+"/v1/attest", body, "Accept", accept)
			isText := strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") && strings.HasPrefix(got.body, "verdict ")
			if got.status != want || isText != text {
				t.Errorf("Accept %q: status %d, %q: %.60s", accept, got.status, got.header.Get("Content-Type"), got.body)
			}
		}
	}
	if got := send(t, "nobody", "POST", base+"/v1/attest", image(":v1"), "Accept", "text/plain"); got.status != 403 ||
		!strings.Contains(got.body, `"status":403`) {
		t.Errorf("a refused caller: status %d: %s", got.status, got.body)
	}
}
