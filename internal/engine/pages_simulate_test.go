package engine_test

import (
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/server"
)

// The page of a simulation judges the record by a policy that is picked or pasted, and says who flips.
func TestSimulatePage(t *testing.T) {
	t.Parallel()
	w, good, _, _, refused := pageWorld(t)
	set := w.engine.Policies.Set().All()
	name, text := set[0].Ref().Name, string(set[0].Text())
	stricter := strings.Replace(text, "nonRoot: true", "nonRoot: false", 1)
	form := func(site, text string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.address+"/simulate",
			strings.NewReader(url.Values{"text": {text}, "since": {"1d"}}.Encode()))
		w.ok(err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if site != "" {
			req.Header.Set("Sec-Fetch-Site", site)
		}
		a := w.send(req)
		return a.status, html.UnescapeString(string(a.body))
	}

	a := w.do(http.MethodGet, "/simulate", "")
	if body := string(a.body); a.status != http.StatusOK || !strings.Contains(body, `<option value="`+name+`"`) || strings.Contains(body, "judged again") {
		t.Errorf("the form: %d %s", a.status, a.body)
	}
	a = w.do(http.MethodGet, "/simulate?since=1d&policy="+name, "")
	if body := html.UnescapeString(string(a.body)); a.status != http.StatusOK ||
		!strings.Contains(body, "Nothing would be answered otherwise") ||
		!strings.Contains(body, "2 decisions judged again") || !strings.Contains(body, text) {
		t.Errorf("the policy in force: %d %s", a.status, body)
	}

	if stricter == text {
		t.Fatalf("the sample policy does not refuse root any more: %s", text)
	}
	status, body := form("same-origin", stricter)
	if status != http.StatusOK || !strings.Contains(body, "1 image would be answered otherwise") ||
		!strings.Contains(body, "app/root</a>") || strings.Contains(body, "app/good</a>") ||
		!strings.Contains(body, "/decisions/"+refused.ID) {
		t.Errorf("a laxer text: %d %s", status, body)
	}
	for _, tt := range []struct {
		site, text string
		status     int
		says       string
	}{
		{"", stricter, http.StatusOK, "1 image would be"}, // no browser
		{"cross-site", stricter, http.StatusForbidden, "another site"},
		{"same-site", stricter, http.StatusForbidden, "another site"},
		{"same-origin", "", http.StatusBadRequest, "the policy is empty"},
		{"same-origin", "kind: <script>", http.StatusBadRequest, "cannot be simulated"},
	} {
		if status, body := form(tt.site, tt.text); status != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%q from %q: %d %s, want %d and %q", tt.text, tt.site, status, body, tt.status, tt.says)
		}
	}
	for _, query := range []string{"policy=none", "policy=" + name + "&since=soon"} {
		if a := w.do(http.MethodGet, "/simulate?"+query, ""); a.status != http.StatusBadRequest {
			t.Errorf("%s: %d, want 400", query, a.status)
		}
	}

	// A page judges a part of a long record, and says so.
	for judged, says := range map[int]bool{1: true, 2: true, 3: false} {
		handler, err := engine.PagesJudging(w.engine, judged)
		w.ok(err)
		everything, err := attestor.ParsePattern("**")
		w.ok(err)
		grants := []attestor.Grant{{Actions: []attestor.Action{attestor.ActionSimulate, attestor.ActionRead}, Images: []attestor.Pattern{everything}}}
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequestWithContext(
			server.WithCaller(t.Context(), attestor.Caller{Subject: "s", Issuer: "i", Grants: grants}),
			http.MethodGet, "/simulate?since=1d&policy="+name, http.NoBody))
		body := rec.Body.String()
		if rec.Code != http.StatusOK || strings.Contains(body, "which were not judged here") != says {
			t.Errorf("%d decisions: %d %s", judged, rec.Code, body)
		}
	}

	// What a caller may not both simulate and read is not judged for them.
	handler, err := engine.Pages(w.engine)
	w.ok(err)
	for name, tt := range map[string]struct {
		simulate, read string
		status         int
		judged         string
	}{
		"both":                {"app/root", "app/root", 200, "1 decision judged again"},
		"the other":           {"app/good", "app/good", 200, "1 decision judged again"},
		"simulates unread":    {"app/root", "app/good", 200, "0 decisions judged again"},
		"may not simulate":    {"", "app/root", 403, "lacks the right simulate"},
		"reads nothing of it": {"app/nothing", "app/nothing", 200, "0 decisions judged again"},
	} {
		host := strings.SplitN(good, "/", 2)[0] + "/"
		var grants []attestor.Grant
		for action, repository := range map[attestor.Action]string{attestor.ActionSimulate: tt.simulate, attestor.ActionRead: tt.read} {
			if repository == "" {
				continue
			}
			pattern, err := attestor.ParsePattern(host + repository)
			w.ok(err)
			grants = append(grants, attestor.Grant{Actions: []attestor.Action{action}, Images: []attestor.Pattern{pattern}})
		}
		r := httptest.NewRequestWithContext(server.WithCaller(t.Context(), attestor.Caller{Subject: "s", Issuer: "i", Grants: grants}),
			http.MethodPost, "/simulate", strings.NewReader(url.Values{"text": {stricter}, "since": {"1d"}}.Encode()))
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, r)
		body := html.UnescapeString(rec.Body.String())
		if rec.Code != tt.status || !strings.Contains(body, tt.judged) {
			t.Errorf("%s: %d %s", name, rec.Code, body)
		}
		if strings.Contains(body, "/decisions/"+refused.ID) != (name == "both") {
			t.Errorf("%s: the image that flips is there, or is not", name)
		}
	}
}
