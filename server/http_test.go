package server_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server"
)

func TestBodyIsReadStrictly(t *testing.T) {
	base := serve(t, newWorld(), nil)
	ref := repository + ":v1"
	tests := []struct{ name, body, want string }{
		{"empty", " ", "empty"},
		{"not JSON", "image=x", "not valid JSON"},
		{"cut short", `{"image":"` + ref, "is truncated"},
		{"an array", `["` + ref + `"]`, "array at its top: an object is required"},
		{"a string", `"` + ref + `"`, "string at its top: an object is required"},
		{"null", `null`, "null at its top"},
		{"no image", `{}`, "image is empty"},
		{"name in another case", `{"Image":"` + ref + `"}`, `unknown field at "/Image"`},
		{"name in another case beside the right one", `{"image":"` + ref + `","IMAGE":"x"}`, `unknown field at "/IMAGE"`},
		{"unknown field", `{"image":"` + ref + `","force":true}`, `unknown field at "/force"`},
		{"unknown field inside", `{"image":"` + ref + `","breakGlass":{"reason":"production is down","by":"me"}}`, `unknown field at "/breakGlass/by"`},
		{"same field twice", `{"image":"` + ref + `","image":"` + repository + `:v2"}`, `duplicate field at "/image"`},
		{"same field twice, once escaped", `{"image":"` + ref + `","\u0069mage":"` + repository + `:v2"}`, `duplicate field at "/image"`},
		{"same label twice", `{"image":"` + ref + `","labels":{"a":"1","a":"2"}}`, `duplicate field at "/labels/a"`},
		{"trailing object", image(":v1") + image(":v2"), "data after the JSON value"},
		{"trailing text", image(":v1") + "x", "data after the JSON value"},
		{"number for text", `{"image":7}`, `number at "/image": a string is required`},
		{"text for a boolean", `{"image":"` + ref + `","dryRun":"true"}`, `string at "/dryRun": true or false is required`},
		{"number for a boolean", `{"image":"` + ref + `","dryRun":1}`, `number at "/dryRun": true or false is required`},
		{"null for a boolean", `{"image":"` + ref + `","dryRun":null}`, `null at "/dryRun"`},
		{"null for an object", `{"image":"` + ref + `","breakGlass":null}`, `null at "/breakGlass"`},
		{"number for a label", `{"image":"` + ref + `","labels":{"a":1}}`, `number at "/labels/a": a string is required`},
		{"number for a duration", `{"image":"` + ref + `","wait":30}`, `number at "/wait": a string is required`},
		{"no unit", `{"image":"` + ref + `","wait":"30"}`, "is not a duration"},
		{"negative wait", `{"image":"` + ref + `","wait":"-1s"}`, "is not a duration"},
		{"invalid UTF-8", "{\"image\":\"\xff\"}", "not valid JSON"},
		{"deep", `{"labels":` + strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40) + "}", "nested"},
		{"very deep", strings.Repeat("[", 100_000), "nested"},
		{"break-glass without reason", `{"image":"` + ref + `","breakGlass":{}}`, "breakGlass has no reason"},
		{"break-glass with a blank one", `{"image":"` + ref + `","breakGlass":{"reason":"  "}}`, "breakGlass has no reason"},
		{"the gate's own label", `{"image":"` + ref + `","labels":{"attestor.rejudges":"d1"}}`, "the gate itself sets"},
		{"scheme", `{"image":"https://` + ref + `"}`, `remove "https://"`},
		{"no tag", `{"image":"` + repository + `"}`, "neither tag nor digest"},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := send(t, "admin", "POST", base+"/v1/attest", tt.body)
			if got.status != 400 {
				t.Fatalf("status = %d, want 400: %s", got.status, got.body)
			}
			if p := got.problem(t); !strings.Contains(p.Detail, tt.want) {
				t.Errorf("detail = %q, want %q in it", p.Detail, tt.want)
			}
		})
	}
}

func FuzzStrict(f *testing.F) {
	for _, s := range []string{image(":v1"), `{"image":"a","Image":"b"}`, `{"image":"a","image":"b"}`,
		`{"image":null}`, `{"wait":"1s","labels":{"a":"b"},"dryRun":true}`, `[`, "", `{"image":"x"} `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := server.DecodeForTest(body)
		if err != nil {
			if attestor.KindOf(err) != attestor.Invalid || len(attestor.Message(err)) > 400 {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}

		// What was read is what any exact reader would read: encoded again, it
		// is read the same.
		b, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}

		var names map[string]json.RawMessage
		if err := json.Unmarshal(body, &names); err != nil {
			t.Fatalf("%q was read, and is not JSON: %v", body, err)
		}
		for name := range names {
			if !strings.Contains(string(b), `"`+name+`"`) {
				t.Fatalf("%q was read with the unknown name %q", body, name)
			}
		}
	})
}

// Every answer carries these, whoever writes it.
func TestHeadersOnEveryAnswer(t *testing.T) {
	base := serve(t, newWorld(), func(c *server.Config) { c.Pages = nil })
	seen := map[string]bool{}
	for _, tt := range []struct {
		who, method, path, body string
		status                  int
		header                  []string
	}{
		{"builder", "POST", "/v1/attest", image(":v1"), 200, nil},
		{"builder", "POST", "/v1/attest", image(":v2"), 422, nil},
		{"builder", "POST", "/v1/attest", "{", 400, nil},
		{"", "POST", "/v1/attest", image(":v1"), 401, nil},
		{"nobody", "POST", "/v1/attest", image(":v1"), 403, nil},
		{"builder", "POST", "/v1/attest", image(":v9"), 404, nil},
		{"builder", "GET", "/v1/attest", "", 405, nil},
		{"builder", "OPTIONS", "/v1/attest", "", 204, nil},
		{"builder", "POST", "/v1/attest", strings.Repeat("x", 1<<20+1), 413, nil},
		{"builder", "POST", "/v1/attest", image(":v1"), 415, []string{"Content-Type", "text/plain"}},
		{"builder", "POST", "/v1/attest", image(":v1"), 415, []string{"Content-Type", "application/x-www-form-urlencoded"}},
		{"builder", "POST", "/v1/attest", image(":v1"), 415, []string{"Content-Encoding", "gzip"}},
		{"builder", "POST", "/v1/attest", image(":v1"), 415, []string{"Content-Type", "application/json; charset=utf-7"}},
		{"reader", "GET", "/v1/decisions", "", 501, nil},
		{"", "GET", "/nowhere", "", 404, nil},
		{"", "GET", "/", "", 404, nil},
		{"", "GET", "/health", "", 200, nil},
		{"", "GET", "/metrics", "", 200, nil},
	} {
		got := send(t, tt.who, tt.method, base+tt.path, tt.body, append([]string{"X-Request-Id", "chosen-by-the-client"}, tt.header...)...)
		if got.status != tt.status {
			t.Errorf("%s %s: status = %d, want %d: %s", tt.method, tt.path, got.status, tt.status, got.body)
		}
		want := map[string]string{
			"Strict-Transport-Security": "max-age=31536000; includeSubDomains; preload",
			"X-Content-Type-Options":    "nosniff",
			"X-Frame-Options":           "DENY",
			"Cache-Control":             "no-store, no-cache, must-revalidate",
			"Referrer-Policy":           "strict-origin-when-cross-origin",
			"Content-Security-Policy":   "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
		}

		have := map[string]string{}
		for name := range want {
			have[name] = got.header.Get(name)
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s %s: headers (-want +got):\n%s", tt.method, tt.path, diff)
		}

		id := got.header.Get("X-Request-Id")
		if id == "" || id == "chosen-by-the-client" || seen[id] {
			t.Errorf("%s %s: X-Request-Id = %q", tt.method, tt.path, id)
		}
		seen[id] = true
		if tt.status >= 400 && tt.status != 422 && got.problem(t).Status != tt.status {
			t.Errorf("%s %s: the problem says %d", tt.method, tt.path, got.problem(t).Status)
		}

		if tt.status == 405 && got.header.Get("Allow") == "" {
			t.Error("405 without Allow")
		}
		if tt.status == 401 && !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer") {
			t.Error("401 without WWW-Authenticate")
		}

		if got.header.Get("Server") != "" || got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: headers that should not be there: %v", tt.method, tt.path, got.header)
		}
	}
}

// Ways round the route's own checks: none of them reaches a handler.
func TestPathAndHeaderTricks(t *testing.T) {
	w := newWorld()
	p := &parts{w: w}
	base := serve(t, w, p.with)
	for _, path := range []string{
		"/v1/attest/", "//v1/attest", "/v1//attest", "/./v1/attest", "/v1/x/../attest", "/v1%2fattest", "/V1/attest",
		"/v1/attest%00", "/v1/attest;x", "/v1/decisions/../attest",
		"/v1/policies/production/extra", "/v1", "/v1/",
	} {
		r, err := http.NewRequest("POST", base, strings.NewReader(image(":v1")))
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Opaque = strings.TrimPrefix(base, "http:") + path // as it stands, not cleaned
		r.Header.Set("Authorization", "builder")
		r.Header.Set("Content-Type", "application/json")
		if got := do(t, r); got.status != 404 && got.status != 405 && got.status != 400 {
			t.Errorf("%s: status %d: %s", path, got.status, got.body)
		}
	}

	for _, header := range [][]string{
		{"X-HTTP-Method-Override", "DELETE"}, {"X-Original-URL", "/v1/attest"}, {"X-Forwarded-User", "admin"}, {"X-Forwarded-For", "127.0.0.1"},
		{"X-Goog-Authenticated-User-Email", "accounts.google.com:admin@example"}, {"X-Serverless-Authorization", "admin"}, {"Cookie", "session=admin"},
	} {
		if got := send(t, "", "GET", base+"/v1/decisions", "", header...); got.status != 401 {
			t.Errorf("%v: status %d", header, got.status)
		}
	}

	if len(w.asked) != 0 || len(p.revoked) != 0 {
		t.Errorf("the registry was asked %v", w.asked)
	}
}

func TestQueryIsReadStrictly(t *testing.T) {
	w := newWorld()
	base := serve(t, w, (&parts{w: w}).with)
	for _, query := range []string{
		"imag=x", "verdict=Pass", "verdict=", "verdict=pass&verdict=deny", "pageSize=0", "pageSize=-1", "pageSize=x",
		"since=yesterday", "until=2026-13-01", "image=x", "image=https://" + repository + ":v1",
		"repository=NGINX", "repository=" + repository + ":v1", "repository=a/**b/c", "image=sha256:abc", "pageToken=x", "a=%zz", "a;b",
	} {
		want := 400
		if query == "verdict=" {
			want = 200
		}
		if got := send(t, "reader", "GET", base+"/v1/decisions?"+query, ""); got.status != want {
			t.Errorf("%s: status %d, want %d: %s", query, got.status, want, got.body)
		}
	}
}

func TestGzipBombAndOversizedBodies(t *testing.T) {
	w := newWorld()
	base := serve(t, w, nil)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := io.Copy(z, io.LimitReader(zeros{}, 50<<20)); err != nil {
		t.Fatal(err)
	}

	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if got := send(t, "builder", "POST", base+"/v1/attest", bomb.String(), "Content-Encoding", "gzip"); got.status != 415 {
		t.Errorf("compressed: status %d", got.status)
	}

	if got := send(t, "builder", "POST", base+"/v1/attest", bomb.String()); got.status != 400 {
		t.Errorf("compressed and not said so: status %d", got.status)
	}

	// No length is announced: it is counted.
	r, err := http.NewRequest("POST", base+"/v1/attest", struct{ io.Reader }{io.LimitReader(zeros{}, 2<<20)})
	if err != nil {
		t.Fatal(err)
	}

	r.Header.Set("Authorization", "builder")
	r.Header.Set("Content-Type", "application/json")
	if got := do(t, r); got.status != 413 {
		t.Errorf("chunked: status %d", got.status)
	}

	if len(w.asked) != 0 {
		t.Errorf("asked %v", w.asked)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func TestPanicIsContained(t *testing.T) {
	var log bytes.Buffer
	w := newWorld()
	base := serve(t, w, func(c *server.Config) {
		(&parts{w: w, err: errBoom}).with(c) // Policies panics
		c.Logger = slog.New(slog.NewJSONHandler(&log, nil))
	})

	got := send(t, "reader", "GET", base+"/v1/policies", "")
	p := got.problem(t)
	if got.status != 500 || p.Detail != "" || strings.Contains(got.body, "boom") || p.RequestID == "" {
		t.Errorf("answer = %d %s", got.status, got.body)
	}

	if !strings.Contains(log.String(), "boom") {
		t.Errorf("the log does not have it: %s", log.String())
	}
	if got := send(t, "", "GET", base+"/health", ""); got.status != 200 {
		t.Errorf("afterwards /health is %d", got.status)
	}
}

func TestReadiness(t *testing.T) {
	w := newWorld()
	var conditions []server.Condition
	asked := 0
	base := serve(t, w, func(c *server.Config) {
		c.Ready = func(context.Context) []server.Condition { asked++; return conditions }
	})

	check := func(status int, want string) {
		t.Helper()
		w.mu.Lock()
		w.now = w.now.Add(2 * time.Second)
		w.mu.Unlock()
		got := send(t, "", "GET", base+"/ready", "")
		if got.status != status || !strings.Contains(got.body, want) || strings.Contains(got.body, "secret") {
			t.Errorf("answer = %d %s, want %d and %s", got.status, got.body, status, want)
		}
	}

	conditions = []server.Condition{{Name: "store"}, {Name: "kms"}}
	check(200, `"ready":true`)
	conditions = []server.Condition{{Name: "store"}, {Name: "kms", Err: errors.New("secret")}}
	check(503, `"ready":false`)
	conditions = []server.Condition{{Name: "kms", Err: &attestor.Error{Kind: attestor.Upstream,
		Msg: "the key does not match the attestor", Err: errors.New("secret")}}}
	check(503, "the key does not match the attestor")
	before := asked
	for range 20 {
		send(t, "", "GET", base+"/readyz", "")
	}

	if asked != before {
		t.Errorf("20 requests within a second asked the dependencies %d times", asked-before)
	}
}

func TestNewRefusesWhatIsMissing(t *testing.T) {
	w := newWorld()
	limits := server.Limits{MaxWait: time.Second}
	for name, c := range map[string]server.Config{
		"zero":            {},
		"no identity":     {Gate: w.gate(t), Now: w.clock, Limits: limits},
		"no gate":         {Identity: as{}, Now: w.clock, Limits: limits},
		"no clock":        {Gate: w.gate(t), Identity: as{}, Limits: limits},
		"negative limit":  {Gate: w.gate(t), Identity: as{}, Now: w.clock, Limits: server.Limits{MaxWait: time.Second, Queue: -1}},
		"no longest wait": {Gate: w.gate(t), Identity: as{}, Now: w.clock},
		"negative wait":   {Gate: w.gate(t), Identity: as{}, Now: w.clock, Limits: server.Limits{MaxWait: -1}},
	} {
		if _, err := server.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}

	s, err := server.New(server.Config{Gate: w.gate(t), Identity: as{}, Now: w.clock, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	if got := send(t, "", "POST", srv.URL+"/v1/attest", image(":v1")); got.status != 401 {
		t.Errorf("with nobody known, status %d", got.status)
	}
}

// An answer says which of an image's valid attestations stand by an override alone. Where that cannot be known, it is an
// error or not spoken of, and never "none".
func TestAttestationsTellTheirOverride(t *testing.T) {
	override := func(expires *time.Time, attestors ...string) []attestor.Override {
		return []attestor.Override{{Decision: "d1", By: "oncall@acme.example", Time: t0, Expires: expires, Attestors: attestors}}
	}
	down := &attestor.Error{Kind: attestor.Unavailable, Msg: "the record is down"}
	for _, tt := range []struct {
		name     string
		recorded bool
		open     []attestor.Override
		err      error
		status   int
		want     string // of the member overrides; "": it is left out
	}{
		{"no record", false, nil, nil, 200, ""},
		{"none", true, nil, nil, 200, `[]`},
		{"until a day", true, override(new(t0.Add(1000*time.Hour)), "projects/p/attestors/a"), nil, 200, `"expires":"`},
		{"overdue", true, override(new(t0.Add(-time.Hour)), "projects/p/attestors/a"), nil, 200, `"overdue":true`},
		{"until it is revoked", true, override(nil, "projects/p/attestors/a"), nil, 200, `[{"decision":"d1","by":"oncall@acme.example","time":"`},
		{"of attestors without a valid attestation", true, override(nil, "projects/p/attestors/other"), nil, 200, `[]`},
		{"of unknown attestors", true, override(nil), nil, 200, `"d1"`},
		{"a record that does not answer", true, nil, down, 503, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			base := serve(t, w, func(c *server.Config) {
				(&parts{w: w}).with(c)
				if tt.recorded {
					c.Overrides = func(context.Context, attestor.Image) ([]attestor.Override, error) { return tt.open, tt.err }
				}
			})
			if got := send(t, "admin", "POST", base+"/v1/attest", image("@"+digestA)); got.status != 200 {
				t.Fatalf("%d %s", got.status, got.body)
			}

			got := send(t, "reader", "GET", base+"/v1/attestations?image="+repository+"@"+digestA, "")
			_, overrides, told := strings.Cut(got.body, `"overrides":`)
			if got.status != tt.status || told != (tt.want != "") || !strings.Contains(overrides, tt.want) {
				t.Errorf("%d %s, want %q", got.status, got.body, tt.want)
			}
		})
	}
}
