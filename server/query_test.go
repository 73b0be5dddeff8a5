package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/internal/filter"
	"github.com/attestor-gate/attestor/server"
)

// A misspelt parameter is refused by name wherever it is sent: read as "no filter",
// it would select everything.
func TestUnknownParametersAreRefusedEverywhere(t *testing.T) {
	w := newWorld()
	p := &parts{w: w}
	served := 0
	change := func(c *server.Config) {
		p.with(c)
		c.Pages = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ })
	}
	routes := append(server.RoutesForTest(newServer(t, w, change)), server.PagesForTest()...)
	if len(routes) < 20 {
		t.Fatalf("only %d routes", len(routes))
	}

	base := serve(t, w, change)
	for _, r := range routes {
		method, path, _ := strings.Cut(r, " ")
		path = strings.NewReplacer("{id}", "x", "{name}", "x", ":id", "x").Replace(path)
		if path == "/v1/rejudge" || path == "/v1/events" { // their bodies are another test's
			continue
		}
		got := send(t, "admin", method, base+path+"?imposter=1", "{}", "Content-Type", "application/json")
		if got.status != http.StatusBadRequest || !strings.Contains(got.body, "imposter") {
			t.Errorf("%s: %d %s", r, got.status, got.body)
		}
	}
	if served != 0 {
		t.Errorf("%d pages were made", served)
	}

	// Pages read the parameters of the table.
	for _, name := range filter.Names() {
		for _, path := range []string{"/decisions", "/report"} {
			if got := send(t, "reader", "GET", base+path+"?"+name+"=", ""); got.status != http.StatusOK {
				t.Errorf("%s does not read %s: %s", path, name, got.body)
			}
		}
	}
}

// The API's description has the parameters of the table, in its words.
func TestOpenAPIHasTheTableOfFilters(t *testing.T) {
	doc, _ := document(t)
	described := map[string]string{}
	for _, ref := range doc.Paths.Find("/v1/decisions").Get.Parameters {
		described[ref.Value.Name] = ref.Value.Description
	}

	for _, p := range filter.Parameters() {
		if d := cmp.Diff(p.Help, described[p.Name]); d != "" {
			t.Errorf("%s (-table +openapi.yaml):\n%s", p.Name, d)
		}
		delete(described, p.Name)
	}
	for name := range described {
		if !slices.Contains([]string{"pageSize", "pageToken"}, name) {
			t.Errorf("openapi.yaml describes %s, which the table does not have", name)
		}
	}
}

// Every filter of the table reaches the record.
func TestEveryFilterIsHeeded(t *testing.T) {
	w := newWorld()
	base := serve(t, w, (&parts{w: w}).with)
	send(t, "admin", "POST", base+"/v1/attest", image(":v1"))

	for name, tt := range map[string]struct{ found, other string }{
		"id": {"d000001", "d000009"}, "image": {repository + "@" + digestA, repository + "@" + digestB},
		"digest": {digestA[:15], "00000000"}, "tag": {"v1", "v2"}, "repository": {repository, repository + "2"},
		"package": {"", "left-pad"}, "cve": {"", "CVE-2026-1"}, "reason": {"", "NO_POLICY"}, "caller": {"", "nobody@example"},
		"override": {"", "true"}, "revocation": {"", "true"}, "policy": {"production", "staging"}, "verdict": {"pass", "deny"},
		"since": {"2000-01-01", "2099-01-01"}, "until": {"2099-01-01", "2000-01-01"}, "search": {"v1", "nothing of the kind"},
	} {
		for value, want := range map[string]int{tt.found: 1, tt.other: 0} {
			got := send(t, "admin", "GET", fmt.Sprintf("%s/v1/decisions?%s=%s", base, name, strings.ReplaceAll(value, " ", "+")), "")
			if n := strings.Count(got.body, `"image":{`); got.status != http.StatusOK || n != want {
				t.Errorf("%s=%s: %d decisions, want %d: %d %.300s", name, value, n, want, got.status, got.body)
			}
		}
	}
}
