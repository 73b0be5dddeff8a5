package server_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server"
)

// as authenticates by the word in Authorization, for tests of what comes after.
type as map[string]attestor.Caller

func (a as) Authenticate(r *http.Request) (attestor.Caller, error) {
	c, ok := a[r.Header.Get("Authorization")]
	if !ok {
		return attestor.Caller{}, &attestor.Error{Kind: attestor.Unauthenticated, Msg: "no token"}
	}
	return c, nil
}

func caller(t testing.TB, subject, pattern string, actions ...attestor.Action) attestor.Caller {
	t.Helper()
	p, err := attestor.ParsePattern(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return attestor.Caller{Subject: subject, Issuer: "https://issuer.example", Grants: []attestor.Grant{{Actions: actions, Images: []attestor.Pattern{p}}}}
}

func callers(t testing.TB) as {
	t.Helper()
	return as{
		"builder":  caller(t, "builder@example", "registry.example/team/**", attestor.ActionAttest, attestor.ActionCheck),
		"checker":  caller(t, "checker@example", "registry.example/team/**", attestor.ActionCheck),
		"reader":   caller(t, "reader@example", "registry.example/team/**", attestor.ActionRead),
		"stranger": caller(t, "stranger@example", "registry.example/other/**", attestor.Actions()...),
		"nobody":   {Subject: "nobody@example", Issuer: "https://issuer.example"},
		"admin":    caller(t, "admin@example", "**", attestor.Actions()...),
	}
}

// serve starts a server over w and returns its address.
func serve(t testing.TB, w *world, change func(*server.Config)) string {
	t.Helper()
	srv := httptest.NewServer(newServer(t, w, change).Handler())
	t.Cleanup(srv.Close)
	return srv.URL
}

func newServer(t testing.TB, w *world, change func(*server.Config)) *server.Server {
	t.Helper()
	if w.tb == nil {
		w.tb = t
	}
	c := server.Config{Gate: w.gate(t), Identity: callers(t), Now: w.clock, Logger: slog.New(slog.DiscardHandler), HashKey: []byte("key")}
	c.Limits.MaxWait = 45 * time.Second
	if change != nil {
		change(&c)
	}

	s, err := server.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) problem(t testing.TB) server.Problem {
	t.Helper()
	var p server.Problem
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("Content-Type = %q, want application/problem+json; body %s", got, a.body)
	}

	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("problem %q: %v", a.body, err)
	}
	return p
}

// send makes one request as someone; "" sends no Authorization.
func send(t testing.TB, who, method, url, body string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}

	if who != "" {
		r.Header.Set("Authorization", who)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}

	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return do(t, r)
}

func do(t testing.TB, r *http.Request) answer {
	t.Helper()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()

	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

func image(tail string) string { return `{"image":"` + repository + tail + `"}` }

func TestAttestStatus(t *testing.T) {
	upstream := &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeRegistryUnavailable, Msg: "registry.example does not answer"}
	tests := []struct {
		name   string
		body   string
		who    string
		world  func(*world)
		status int
		want   string
	}{
		{name: "pass", body: image(":v1"), status: 200, want: `"verdict":"pass"`},
		{name: "deny", body: image(":v2"), status: 422, want: `FIXABLE_SEVERITY_EXCEEDED`},
		{name: "error", body: image(":v1"), world: func(w *world) { w.down = upstream }, status: 502, want: `"verdict":"error"`},
		{name: "scan under way", body: image(":v1"), world: func(w *world) {
			w.checks[digestA] = checkStatus{attestor.StatusError, attestor.CodeScanRunning, ""}
		}, status: 503, want: `SCAN_RUNNING`},
		{name: "signing fails", body: image(":v1"), world: func(w *world) {
			w.attestFn = func() error {
				return &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeSigningFailed, Msg: "the key is disabled"}
			}
		}, status: 502, want: `SIGNING_FAILED`},
		{name: "dry run by request: deny", body: `{"image":"` + repository + `:v2","dryRun":true}`, who: "checker", status: 200, want: `"verdict":"deny"`},
		{name: "dry run by request: outage", body: `{"image":"` + repository + `:v2","dryRun":true}`, who: "checker",
			world: func(w *world) { w.down = upstream }, status: 502, want: `"verdict":"error"`},
		{name: "dry run by policy: deny", body: image(":v2"), world: func(w *world) { w.mode = attestor.DryRun }, status: 200, want: `"dryRun":true`},
		{name: "no policy", body: `{"image":"registry.example/ungoverned/app:v1"}`, who: "admin", status: 422, want: `NO_POLICY`},
		{name: "break-glass",
			body: `{"image":"` + repository + `:v2","breakGlass":{"reason":"production is down, INC-7"}}`,
			who:  "admin", status: 200, want: `"verdict":"deny"`},
		{name: "unknown image", body: image(":v9"), status: 404},
		{name: "other's repository", body: image(":v1"), who: "stranger", status: 403},
		{name: "check only", body: image(":v1"), who: "checker", status: 403},
		{name: "no rights", body: image(":v1"), who: "nobody", status: 403},
		{name: "no identity", body: image(":v1"), who: "-", status: 401},
		{name: "break-glass without the right", body: `{"image":"` + repository + `:v2","breakGlass":{"reason":"production is down, INC-7"}}`, status: 403},
		{name: "policy without dry run", body: `{"image":"` + repository + `:v2","policy":"production"}`, status: 400},
		{name: "record down", body: image(":v1"), world: func(w *world) { w.recorder = io.ErrUnexpectedEOF }, status: 503},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			if tt.world != nil {
				tt.world(w)
			}
			who := tt.who
			if who == "" {
				who = "builder"
			}

			got := send(t, who, "POST", serve(t, w, nil)+"/v1/attest", tt.body)
			if got.status != tt.status {
				t.Fatalf("status = %d, want %d; body %s", got.status, tt.status, got.body)
			}
			if tt.want == "" {
				if p := got.problem(t); p.Status != tt.status || p.RequestID != got.header.Get("X-Request-Id") {
					t.Errorf("problem = %+v", p)
				}
			} else if !strings.Contains(got.body, tt.want) {
				t.Errorf("body = %s, want %s in it", got.body, tt.want)
			}

			if retry := got.header.Get("Retry-After"); (retry != "") != (tt.status == 503) {
				t.Errorf("Retry-After = %q with status %d", retry, tt.status)
			}
			if signed := strings.Contains(got.body, `"created":true`); signed && got.status != 200 {
				t.Errorf("status %d with something signed", got.status)
			}
		})
	}
}

// Two requests for one digest at once get the same answer, each its own record.
func TestTwoRequestsForOneDigest(t *testing.T) {
	w := newWorld()
	w.hold, w.entered = make(chan struct{}), make(chan struct{})
	base := serve(t, w, nil)
	answers := make(chan answer, 2)
	for _, who := range []string{"builder", "admin"} {
		go func() { answers <- send(t, who, "POST", base+"/v1/attest", image("@"+digestA)) }()
	}

	<-w.entered
	<-w.entered
	close(w.hold)
	for range 2 {
		if got := <-answers; got.status != 200 || !strings.Contains(got.body, `"verdict":"pass"`) {
			t.Errorf("status %d: %s", got.status, got.body)
		}
	}

	d := w.decisions()
	if len(d) != 2 || d[0].ID == d[1].ID || d[0].RequestID == d[1].RequestID {
		t.Errorf("decisions %+v", d)
	}
}
