package engine_test

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/server"
)

// The page of the policies tells since when they are in force, as the record has it, to whoever may read everything.
func TestPoliciesPageTellsChanges(t *testing.T) {
	t.Parallel()
	w, good, _, _, _ := pageWorld(t)
	digest := func(n int) attestor.Digest { return attestor.DigestOf(fmt.Append(nil, n)) }
	began := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for i := range 60 {
		_, err := w.engine.Store.RecordPolicies(t.Context(), attestor.PolicyChange{
			ID: fmt.Sprintf("change-%02d", i), Time: began.Add(time.Duration(i) * time.Hour), Cause: attestor.PoliciesReloaded,
			Policies: []attestor.PolicyInForce{{Name: "<b>production", Digest: digest(i), Source: "/etc/secret-place/p.yaml"}},
		})
		w.ok(err)
	}

	handler, err := engine.PagesJudging(w.engine, 1)
	w.ok(err)
	page := func(images string) string {
		pattern, err := attestor.ParsePattern(images)
		w.ok(err)
		grants := []attestor.Grant{{Actions: []attestor.Action{attestor.ActionRead}, Images: []attestor.Pattern{pattern}}}
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequestWithContext(
			server.WithCaller(t.Context(), attestor.Caller{Subject: "s", Issuer: "i", Grants: grants}), http.MethodGet, "/policies", http.NoBody))
		if rec.Code != http.StatusOK {
			t.Fatalf("%s: %d", images, rec.Code)
		}
		return rec.Body.String()
	}

	all := page("**")
	for _, want := range []string{
		"3 Mar 2026, 20:00 UTC", digest(59).Hex()[:12], digest(58).Hex()[:12], "changed files", "&lt;b&gt;production", "the newest 50",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q on the page", want)
		}
	}

	// The fifty-first is not shown, nor where files are.
	for _, no := range []string{digest(8).Hex()[:12], "secret-place"} {
		if strings.Contains(all, no) {
			t.Errorf("%q is on the page", no)
		}
	}
	if some := html.UnescapeString(page(good[:strings.Index(good, "/")] + "/app/good")); strings.Contains(some, "changed files") {
		t.Error("who may read some repositories is told of changes of all policies")
	}
}
