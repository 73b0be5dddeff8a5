package server_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server"
)

func TestNothingIsFetchedForWhoMayNotAsk(t *testing.T) {
	w := newWorld()
	base := serve(t, w, nil)
	for who, body := range map[string]string{
		"": image(":v1"), "nobody": image(":v1"), "stranger": image(":v1"), "checker": image(":v1"), "reader": image(":v1"),
		"builder": `{"image":"registry.example/other/app:v1"}`, "admin": `{"image":"127.0.0.1:22/team/app:v1"}`,
	} {
		if got := send(t, who, "POST", base+"/v1/attest", body); got.status == 200 {
			t.Errorf("%q: status 200: %s", who, got.body)
		}
	}

	if len(w.asked) != 0 {
		t.Errorf("the registry was asked %v", w.asked)
	}
}

// The attestations of a tag are shown to whoever may read the repository. Nobody else has the registry asked for it, and
// nothing is revoked by tag.
func TestTagIsResolvedForReadersOnly(t *testing.T) {
	w := newWorld()
	base := serve(t, w, func(c *server.Config) { (&parts{w: w}).with(c) })

	list := base + "/v1/attestations?image=" + repository + ":v1"
	for _, who := range []string{"", "nobody", "stranger", "checker"} {
		if got := send(t, who, "GET", list, ""); got.status != 401 && got.status != 403 {
			t.Errorf("%q: status %d: %s", who, got.status, got.body)
		}
	}
	got := send(t, "admin", "DELETE", list+"&reason=leaked%20credentials", "")
	if got.status != 400 || !strings.Contains(got.body, "GET /v1/attestations?image="+repository+":v1") {
		t.Errorf("a revocation by tag: status %d: %s", got.status, got.body)
	}
	if len(w.asked) != 0 {
		t.Errorf("the registry was asked %v", w.asked)
	}

	if got := send(t, "reader", "GET", list, ""); got.status != 200 || !strings.Contains(got.body, repository+"@sha256:") {
		t.Errorf("a reader: status %d: %s", got.status, got.body)
	}
	if len(w.asked) != 1 {
		t.Errorf("the registry was asked %v, want once", w.asked)
	}
}

// Each action is refused to each caller who lacks it.
func TestActionsNeedTheirRight(t *testing.T) {
	calls := []struct {
		needs             []attestor.Action
		method, url, body string
	}{
		{[]attestor.Action{attestor.ActionAttest}, "POST", "/v1/attest", image(":v1")},
		{[]attestor.Action{attestor.ActionCheck}, "POST", "/v1/attest", `{"image":"` + repository + `:v1","dryRun":true}`},
		{[]attestor.Action{attestor.ActionRead}, "GET", "/v1/decisions", ""},
		{[]attestor.Action{attestor.ActionRead}, "GET", "/v1/records", ""},
		{[]attestor.Action{attestor.ActionRead}, "GET", "/v1/decisions/d000001", ""},
		{[]attestor.Action{attestor.ActionRead}, "GET", "/v1/decisions/d000001/policy", ""},
		{[]attestor.Action{attestor.ActionRead}, "GET", "/v1/policies", ""},
		{[]attestor.Action{attestor.ActionRead}, "GET", "/v1/policies/production", ""},
		{[]attestor.Action{attestor.ActionRead}, "GET", "/v1/attestations?image=" + repository + "@" + digestA, ""},
		{[]attestor.Action{attestor.ActionRevoke}, "DELETE", "/v1/attestations?image=" + repository + "@" + digestA + "&reason=leaked%20credentials", ""},
		{[]attestor.Action{attestor.ActionSimulate}, "POST", "/v1/simulate", `{"policy":"good"}`},
		{[]attestor.Action{attestor.ActionPosture}, "POST", "/v1/posture", definition},
		{[]attestor.Action{attestor.ActionRejudge}, "POST", "/v1/rejudge", `{}`},
		{[]attestor.Action{attestor.ActionRejudge}, "POST", "/v1/events", `{"message":{"messageId":"1","data":"e30="}}`},
		{[]attestor.Action{attestor.ActionAttest, attestor.ActionBreakGlass}, "POST", "/v1/attest", `{"image":"` + repository + `:v2","breakGlass":{"reason":"production is down"}}`},
	}

	for _, c := range calls {
		for _, a := range attestor.Actions() {
			lacking := []attestor.Action{}
			for _, other := range attestor.Actions() {
				if other != a {
					lacking = append(lacking, other)
				}
			}

			w := newWorld()
			p := &parts{w: w, posture: attestor.Pass}
			base := serve(t, w, func(cfg *server.Config) {
				p.with(cfg)
				cfg.Identity = as{
					"setup":   caller(t, "setup", "**", attestor.Actions()...),
					"lacking": caller(t, "lacking", "registry.example/team/**", lacking...),
					"exact":   caller(t, "exact", "registry.example/team/**", c.needs...),
					"others":  caller(t, "others", "registry.example/other/**", attestor.Actions()...),
				}
			})

			send(t, "setup", "POST", base+"/v1/attest", image(":v1"))
			got := send(t, "lacking", c.method, base+c.url, c.body)
			needed := false
			for _, n := range c.needs {
				needed = needed || n == a
			}

			if (got.status == 403) != needed {
				t.Errorf("%s %s without %s: status %d: %s", c.method, c.url, a, got.status, got.body)
			}
			if got := send(t, "exact", c.method, base+c.url, c.body); got.status >= 300 {
				t.Errorf("%s %s with %v only: status %d: %s", c.method, c.url, c.needs, got.status, got.body)
			}

			aboutOneImage := strings.Contains(c.url+c.body, digestA) || c.url == "/v1/attest"
			if got := send(t, "others", c.method, base+c.url, c.body); aboutOneImage && got.status != 403 || strings.HasPrefix(c.url, "/v1/decisions/d000001") && got.status != 404 {
				t.Errorf("%s %s for others' images: status %d: %s", c.method, c.url, got.status, got.body)
			}
		}
	}
}

func TestDecisionsOfOthersAreNotListed(t *testing.T) {
	w := newWorld()
	base := serve(t, w, (&parts{w: w}).with)
	send(t, "admin", "POST", base+"/v1/attest", image(":v1"))
	send(t, "admin", "POST", base+"/v1/attest", `{"image":"registry.example/other/app:v1"}`)
	for who, want := range map[string]int{"admin": 2, "reader": 1, "stranger": 1} {
		got := send(t, who, "GET", base+"/v1/decisions", "")
		var page server.DecisionPage
		if err := json.Unmarshal([]byte(got.body), &page); err != nil || len(page.Decisions) != want {
			t.Errorf("%s sees %d decisions, want %d: %v %s", who, len(page.Decisions), want, err, got.body)
		}
	}
}
