package server_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server"
)

// operation is how a documented call is made, and what makes it answer each of
// its documented statuses beyond those that all calls have in common.
type operation struct {
	url, body, media string
	ok               []int // what it answers as it stands, and in the worlds below
	special          map[int]func(*world, *parts) (url, body string)
}

func operations() map[string]operation {
	pinned := repository + "@" + digestA
	push := `{"message":{"messageId":"1","attributes":{"buildId":"b","status":"SUCCESS"},"data":"` + b64(
		`{"status":"SUCCESS","results":{"images":[{"name":"`+repository+`","digest":"`+digestA+`"}]}}`) + `"}}`
	upstream := func(w *world, p *parts) (string, string) {
		w.down = &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeRegistryUnavailable, Msg: "down"}
		p.err = &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeAttestorUnavailable, Msg: "down"}
		return "", ""
	}

	pending := func(w *world, _ *parts) (string, string) {
		w.checks[digestA] = checkStatus{attestor.StatusError, attestor.CodeScanPending, ""}
		return "", ""
	}
	at := func(url, body string) func(*world, *parts) (string, string) {
		return func(*world, *parts) (string, string) { return url, body }
	}

	return map[string]operation{
		"POST /v1/attest": {url: "/v1/attest", body: image(":v1"), media: "application/json", ok: []int{200},
			special: map[int]func(*world, *parts) (string, string){
				422: at("", image(":v2")), 404: at("", image(":v9")), 502: upstream, 503: pending,
				500: func(w *world, _ *parts) (string, string) { w.down = errBoom; return "", "" },
			}},
		"GET /v1/decisions": {url: "/v1/decisions?verdict=pass", ok: []int{200}},
		"GET /v1/records":   {url: "/v1/records?verdict=pass", ok: []int{200}},
		"GET /v1/decisions/{id}": {url: "/v1/decisions/d000001", ok: []int{200},
			special: map[int]func(*world, *parts) (string, string){404: at("/v1/decisions/none", "")}},
		"GET /v1/decisions/{id}/policy": {url: "/v1/decisions/d000001/policy", ok: []int{200},
			special: map[int]func(*world, *parts) (string, string){404: at("/v1/decisions/none/policy", "")}},
		"GET /v1/decisions/{id}/proof": {url: "/v1/decisions/d000001/proof", ok: []int{200},
			special: map[int]func(*world, *parts) (string, string){404: at("/v1/decisions/none/policy", "")}},
		"GET /log/checkpoint": {url: "/log/checkpoint", ok: []int{200}},
		"POST /v1/prune":      {url: "/v1/prune", body: "{}", media: "application/json", ok: []int{200}},
		"GET /log/checkpoint/witnessed": {url: "/log/checkpoint/witnessed", ok: []int{200}, special: map[int]func(*world, *parts) (string, string){
			404: func(_ *world, p *parts) (string, string) { p.unwitnessed = true; return "", "" },
		}},
		"GET /log/tile/{level}/{index}": {url: "/log/tile/0/000", ok: []int{200},
			special: map[int]func(*world, *parts) (string, string){404: at("/log/tile/0/001", "")}},
		"GET /v1/revocations": {url: "/v1/revocations?repository=app", ok: []int{200}, special: map[int]func(*world, *parts) (string, string){
			200: func(_ *world, p *parts) (string, string) { p.revoke("r000001"); return "", "" },
		}},
		"GET /v1/policy-changes": {url: "/v1/policy-changes", ok: []int{200}, special: map[int]func(*world, *parts) (string, string){
			200: func(_ *world, p *parts) (string, string) {
				c := attestor.PolicyChange{ID: "p000001", Time: t0, Cause: attestor.PoliciesAtStart, Policies: []attestor.PolicyInForce{
					{Name: "production", Digest: digestA, Source: "production.yaml"},
				}}
				if _, err := p.w.store().RecordPolicies(context.Background(), c); err != nil {
					panic(err)
				}
				return "", ""
			},
		}},
		"GET /v1/revocations/{id}": {url: "/v1/revocations/r000001", ok: []int{200}, special: map[int]func(*world, *parts) (string, string){
			200: func(_ *world, p *parts) (string, string) { p.revoke("r000001"); return "", "" },
			404: at("/v1/revocations/none", ""),
		}},
		"POST /v1/simulate": {url: "/v1/simulate", body: `{"policy":"good","since":"30d"}`, media: "application/json", ok: []int{200}},
		"GET /v1/policies":  {url: "/v1/policies", ok: []int{200}},
		"GET /v1/policies/{name}": {url: "/v1/policies/production", ok: []int{200},
			special: map[int]func(*world, *parts) (string, string){404: at("/v1/policies/none", "")}},
		"GET /v1/attestations": {url: "/v1/attestations?image=" + pinned, ok: []int{200},
			special: map[int]func(*world, *parts) (string, string){502: upstream,
				404: at("/v1/attestations?image="+repository+":v9", "")}},
		"DELETE /v1/attestations": {url: "/v1/attestations?image=" + pinned + "&reason=leaked%20credentials",
			ok: []int{200}, special: map[int]func(*world, *parts) (string, string){502: upstream}},
		"POST /v1/posture": {url: "/v1/posture", body: definition, media: "application/yaml", ok: []int{200},
			special: map[int]func(*world, *parts) (string, string){502: func(_ *world, p *parts) (string, string) {
				p.posture = attestor.Undecided
				return "", ""
			}}},
		"POST /v1/events": {url: "/v1/events", body: push, media: "application/json", ok: []int{204}, special: map[int]func(*world, *parts) (string, string){
			502: upstream, 503: pending, 500: func(w *world, _ *parts) (string, string) { w.down = errBoom; return "", "" },
		}},
		"POST /v1/rejudge":        {url: "/v1/rejudge", body: "{}", media: "application/json", ok: []int{200}},
		"POST /v1/expire":         {url: "/v1/expire", body: "{}", media: "application/json", ok: []int{200}},
		"GET /v1/outbox":          {url: "/v1/outbox?state=dead&receiver=chat", ok: []int{200}},
		"POST /v1/outbox/redrive": {url: "/v1/outbox/redrive", body: `{"receiver":"chat"}`, media: "application/json", ok: []int{200}},
		"GET /health":             {url: "/health", ok: []int{200}},
		"GET /healthz":            {url: "/healthz", ok: []int{200}},
		"GET /ready": {url: "/ready", ok: []int{200}, special: map[int]func(*world, *parts) (string,
			string){503: func(_ *world, p *parts) (string, string) { p.err = errBoom; return "", "" }}},
		"GET /readyz": {url: "/readyz", ok: []int{200}, special: map[int]func(*world, *parts) (string,
			string){503: func(_ *world, p *parts) (string, string) { p.err = errBoom; return "", "" }}},
		"GET /metrics":      {url: "/metrics", ok: []int{200}},
		"GET /openapi.json": {url: "/openapi.json", ok: []int{200}},
	}
}

// TestOpenAPIMatchesTheHandlers makes every documented answer happen, holds it
// against the document, and finds no route that is not documented.
func TestOpenAPIMatchesTheHandlers(t *testing.T) {
	doc, router := document(t)
	var documented []string
	ops := operations()
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			name := method + " " + path
			documented = append(documented, name)
			o, known := ops[name]
			if !known {
				t.Errorf("%s is documented, and this test cannot call it", name)
				continue
			}

			for status := range op.Responses.Map() {
				t.Run(name+" "+status, func(t *testing.T) { produce(t, router, name, o, status) })
			}
		}
	}

	slices.Sort(documented)
	if diff := cmp.Diff(documented, server.RoutesForTest(newServer(t, newWorld(), nil))); diff != "" {
		t.Errorf("documented, and served (-documented +served):\n%s", diff)
	}
}

func document(t *testing.T) (*openapi3.T, routers.Router) {
	t.Helper()
	got := send(t, "", "GET", serve(t, newWorld(), nil)+"/openapi.json", "")
	doc, err := openapi3.NewLoader().LoadFromData([]byte(got.body))
	if err != nil {
		t.Fatal(err)
	}

	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

// produce makes an operation answer a status, and validates the answer.
func produce(t *testing.T, router routers.Router, name string, o operation, status string) {
	method, _, _ := strings.Cut(name, " ")
	w := newWorld()
	p := &parts{w: w, posture: attestor.Deny}
	who, url, body, media, repeat := "admin", o.url, o.body, o.media, 1
	change := func(c *server.Config) {
		p.with(c)
		c.Ready = func(context.Context) []server.Condition { return []server.Condition{{Name: "store", Err: p.err}} }
	}

	var want int
	if _, err := fmt.Sscanf(status, "%d", &want); err != nil {
		t.Fatal(err)
	}
	prepare := o.special[want]
	switch {
	case prepare != nil, slices.Contains(o.ok, want):
	case want == 400:
		url += "?unknown=1"
		url = strings.Replace(url, "?unknown", map[bool]string{true: "&unknown", false: "?unknown"}[strings.Contains(o.url, "?")], 1)
	case want == 401:
		who = ""
	case want == 403:
		who = "nobody"
	case want == 413:
		body = strings.Repeat(" ", 1<<20+1)
	case want == 415:
		media = "text/plain"
	case want == 429:
		// The world's clock stands, so that no token comes back.
		change, repeat = p.with, server.CallerBurst+1
	case want == 500:
		p.err = errBoom
	case want == 501:
		change = nil
	case want == 503:
		p.err = &attestor.Error{Kind: attestor.Unavailable, Msg: "the store is down"}
	default:
		t.Fatalf("no way to a %d is known", want)
	}

	first := serve(t, w, nil) // something to list and show
	send(t, "admin", "POST", first+"/v1/attest", image(":v1"))
	if prepare != nil {
		if u, b := prepare(w, p); u+b != "" {
			url, body = cmpOr(u, url), cmpOr(b, body)
		}
	}

	base := serve(t, w, change)
	var got answer
	for range repeat {
		got = send(t, who, method, base+url, body, "Content-Type", media)
	}

	if got.status != want {
		t.Fatalf("status = %d, want %d; body %s", got.status, want, got.body)
	}
	if strings.Contains(got.body, "secret-detail") {
		t.Errorf("the body tells of an internal error: %s", got.body)
	}

	r, err := http.NewRequestWithContext(context.Background(), method, "http://gate.example"+url, nil)
	if err != nil {
		t.Fatal(err)
	}
	route, params, err := router.FindRoute(r)
	if err != nil {
		t.Fatal(err)
	}

	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route},
		Status:                 got.status, Header: got.header, Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	in.SetBodyBytes([]byte(got.body))
	if err := openapi3filter.ValidateResponse(context.Background(), in); err != nil {
		t.Errorf("the answer is not what is documented: %v\n%s", err, got.body)
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// TestOpenAPIRequestsAreWhatHandlersRead compares the documented request of
// POST /v1/attest with what the decoder takes and refuses.
func TestOpenAPIRequestsAreWhatHandlersRead(t *testing.T) {
	doc, _ := document(t)
	schema := doc.Components.Schemas["AttestRequest"].Value
	base := serve(t, newWorld(), nil)
	for name := range schema.Properties {
		values := map[string]string{"image": `"` + repository + `:v1"`, "dryRun": "true", "wait": `"1s"`,
			"labels": `{"a":"b"}`, "policy": `"production"`, "breakGlass": `{"reason":"production is down"}`}
		body := `{"image":"` + repository + `:v1","` + name + `":` + values[name] + `}`
		if name == "image" {
			body = image(":v1")
		}

		if got := send(t, "admin", "POST", base+"/v1/attest", body); strings.Contains(got.body, "unknown field") || values[name] == "" {
			t.Errorf("%s is documented and not read: %s", name, got.body)
		}
	}
}
