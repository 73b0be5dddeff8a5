package server_test

import (
	"encoding/json"
	"net/url"
	"slices"
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

// TestReasonsAreCountedInCharacters: the length of a reason is that which its refusal names, whatever its script.
func TestReasonsAreCountedInCharacters(t *testing.T) {
	w := newWorld()
	base := serve(t, w, func(c *server.Config) { (&parts{w: w}).with(c) })
	list := base + "/v1/attestations?image=" + repository + "@" + digestA + "&reason="
	for reason, want := range map[string]string{
		strings.Repeat("é", 9): "reason has 9 characters", strings.Repeat("é", 10): "",
		strings.Repeat("é", 1000): "", strings.Repeat("é", 1001): "reason has 1001 characters",
	} {
		got := send(t, "admin", "DELETE", list+url.QueryEscape(reason), "")
		if want == "" && got.status != 200 || want != "" && (got.status != 400 || !strings.Contains(got.body, want)) {
			t.Errorf("%d bytes: status %d: %s", len(reason), got.status, got.body)
		}
	}
}

// A rightCall is a call and the rights that it needs.
type rightCall struct {
	needs             []attestor.Action
	method, url, body string
	everywhere        bool // the right must be for every repository
	fails             int  // the status of a call with every right, where that is no success
}

// rightCalls has a call of each route that needs a right.
func rightCalls() []rightCall {
	needs := func(all ...attestor.Action) []attestor.Action { return all }
	read, rejudge := needs(attestor.ActionRead), needs(attestor.ActionRejudge)
	attestations := "/v1/attestations?image=" + repository + "@" + digestA
	overridden := `{"image":"` + repository + `:v2","breakGlass":{"reason":"production is down"}}`
	return []rightCall{
		{needs: needs(attestor.ActionAttest), method: "POST", url: "/v1/attest", body: image(":v1")},
		{needs: needs(attestor.ActionCheck), method: "POST", url: "/v1/attest", body: `{"image":"` + repository + `:v1","dryRun":true}`},
		{needs: needs(attestor.ActionAttest, attestor.ActionBreakGlass), method: "POST", url: "/v1/attest", body: overridden},
		{needs: read, method: "GET", url: "/v1/decisions"},
		{needs: read, method: "GET", url: "/v1/records"},
		{needs: read, method: "GET", url: "/v1/decisions/d000001"},
		{needs: read, method: "GET", url: "/v1/decisions/d000001/policy"},
		{needs: read, method: "GET", url: "/v1/decisions/d000001/proof"},
		{needs: read, method: "GET", url: "/v1/revocations/unknown", fails: 404},
		{needs: read, method: "GET", url: "/v1/revocations"},
		{needs: read, method: "GET", url: "/v1/policy-changes", everywhere: true},
		{needs: read, method: "GET", url: "/v1/policies"},
		{needs: read, method: "GET", url: "/v1/policies/production"},
		{needs: read, method: "GET", url: attestations},
		{needs: read, method: "GET", url: "/v1/outbox", everywhere: true},
		{needs: read, method: "GET", url: "/log/checkpoint", everywhere: true},
		{needs: read, method: "GET", url: "/log/checkpoint/witnessed", everywhere: true},
		{needs: read, method: "GET", url: "/log/tile/0/000", everywhere: true},
		{needs: needs(attestor.ActionRevoke), method: "DELETE", url: attestations + "&reason=leaked%20credentials"},
		{needs: needs(attestor.ActionSimulate), method: "POST", url: "/v1/simulate", body: `{"policy":"good"}`},
		{needs: needs(attestor.ActionPosture), method: "POST", url: "/v1/posture", body: definition},
		{needs: needs(attestor.ActionPrune), method: "POST", url: "/v1/prune", body: `{}`, everywhere: true},
		{needs: rejudge, method: "POST", url: "/v1/rejudge", body: `{}`},
		{needs: rejudge, method: "POST", url: "/v1/expire", body: `{}`},
		{needs: rejudge, method: "POST", url: "/v1/events", body: `{"message":{"messageId":"1","data":"e30="}}`},
		{needs: rejudge, method: "POST", url: "/v1/outbox/redrive", body: `{"receiver":"chat"}`, everywhere: true},
		{needs: rejudge, method: "POST", url: "/v1/outbox/redrive", everywhere: true},
	}
}

// Each action is refused to each caller who lacks it, and to each who has it for other images only.
func TestActionsNeedTheirRight(t *testing.T) {
	for _, c := range rightCalls() {
		t.Run(c.method+" "+c.url, func(t *testing.T) {
			w := newWorld()
			p := &parts{w: w, posture: attestor.Pass}
			base := serve(t, w, func(cfg *server.Config) {
				p.with(cfg)
				team := "registry.example/team/**"
				identities := as{
					"setup":  caller(t, "setup", "**", attestor.Actions()...),
					"exact":  caller(t, "exact", team, c.needs...),
					"others": caller(t, "others", "registry.example/other/**", attestor.Actions()...),
					"team":   caller(t, "team", team, attestor.Actions()...),
				}
				if c.everywhere {
					team = "**"
					identities["exact"] = caller(t, "exact", team, c.needs...)
				}
				for _, a := range attestor.Actions() {
					lacking := slices.DeleteFunc(attestor.Actions(), func(other attestor.Action) bool { return other == a })
					identities["without "+string(a)] = caller(t, "without "+string(a), team, lacking...)
				}
				cfg.Identity = identities
			})
			ask := func(who string) answer { return send(t, who, c.method, base+c.url, c.body) }

			send(t, "setup", "POST", base+"/v1/attest", image(":v1"))
			for _, a := range attestor.Actions() {
				if got := ask("without " + string(a)); (got.status == 403) != slices.Contains(c.needs, a) {
					t.Errorf("without %s: status %d: %s", a, got.status, got.body)
				}
			}
			if got := ask("exact"); got.status >= 300 && got.status != c.fails {
				t.Errorf("with %v only: status %d: %s", c.needs, got.status, got.body)
			}

			// A list has nothing of others' images; a call about one of them, or about all, is refused.
			got := ask("others")
			about := strings.Contains(c.url+c.body, digestA) || c.url == "/v1/attest" || c.everywhere
			if about && got.status != 403 || strings.HasPrefix(c.url, "/v1/decisions/d000001") && got.status != 404 {
				t.Errorf("for others' images: status %d: %s", got.status, got.body)
			}
			if got := ask("team"); (got.status == 403) != c.everywhere {
				t.Errorf("for the images of one team: status %d: %s", got.status, got.body)
			}
		})
	}
}

// A route that needs a right and has no call above is one whose right nobody tests.
func TestEveryRightIsTested(t *testing.T) {
	w := newWorld()
	s := newServer(t, w, (&parts{w: w}).with)
	tested := map[string]bool{}
	for _, c := range rightCalls() {
		path, _, _ := strings.Cut(c.url, "?")
		for _, name := range []struct{ from, to string }{
			{"/d000001", "/{id}"}, {"/unknown", "/{id}"}, {"/policies/production", "/policies/{name}"}, {"/0/000", "/{level}/{index}"},
		} {
			path = strings.Replace(path, name.from, name.to, 1)
		}
		tested[c.method+" "+path] = true
	}

	closed := server.ClosedRoutesForTest(s)
	if len(closed) < 19 {
		t.Errorf("%d routes need a right, of which there are 19 at least: %q", len(closed), closed)
	}
	for _, route := range closed {
		if !tested[route] {
			t.Errorf("rightCalls has no call of %s", route)
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
