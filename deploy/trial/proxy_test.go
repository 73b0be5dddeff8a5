package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/emulator"
)

// A way is what stands for Identity-Aware Proxy does.
type way struct {
	invoker, reader bool   // granted: to the proxy's agent, and to the trial's account
	refuses         int    // how often it refuses whom it was told of
	refused         func() // called then, where it is set
	open            bool   // it asks nobody for a token
	bare            bool   // it adds no assertion
	audience        string // of the assertion; "": the service's
	missing         string // a part of the paths that are refused as without an organisation
}

// agent is the proxy's service agent.
const agent = "service-123456789012@gcp-sa-iap.iam.gserviceaccount.com"

// proxied answers what sets the proxy up.
func (g *standIn) proxied(host, path string, body []byte) any {
	w := &g.more.way
	if w.missing != "" && strings.Contains(path, w.missing) {
		return refusal{"", "no organisation"}
	}
	email := ""
	for account := range g.more.accounts {
		email = account
	}
	switch {
	case strings.HasSuffix(path, ":generateServiceIdentity"):
		return map[string]any{"name": "operations/acat.1", "done": true, "response": map[string]any{"email": agent}}
	case host == cloudRun:
		w.invoker = strings.Contains(string(body), "run.invoker") && strings.Contains(string(body), `"serviceAccount:`+agent+`"`)
	case host == proxy:
		w.reader = strings.Contains(string(body), "iap.httpsResourceAccessor") && strings.Contains(string(body), `"serviceAccount:`+email+`"`) &&
			strings.Contains(path, "projects/123456789012/iap_web/cloud_run-us-east1/services/"+prefix)
	default: // signJwt
		var in struct {
			Payload string `json:"payload"`
		}
		if err := json.Unmarshal(body, &in); err != nil || !strings.Contains(path, email) {
			g.t.Errorf("signing: %v in %s", err, path)
		}
		return map[string]any{"signedJwt": "e30." + base64.RawURLEncoding.EncodeToString([]byte(in.Payload)) + ".c2ln"}
	}
	return map[string]any{}
}

// visited is the service behind the proxy.
func (g *standIn) visited(w http.ResponseWriter, host, authorization string) {
	var claims struct{ Iss, Sub, Aud string }
	parts := strings.Split(authorization, ".")
	if len(parts) == 3 {
		text, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil || json.Unmarshal(text, &claims) != nil {
			g.t.Errorf("a token of another form: %s", authorization)
		}
	}
	known := claims.Aud == "https://"+host+"/*" && claims.Iss == claims.Sub && g.more.accounts[claims.Iss] && g.more.way.invoker && g.more.way.reader
	if known && g.more.way.refuses > 0 {
		g.more.way.refuses--
		known = false
		if g.more.way.refused != nil {
			g.more.way.refused()
		}
	}
	if !known && !g.more.way.open {
		http.Redirect(w, &http.Request{Method: "GET"}, "https://accounts.google.com/o/oauth2/v2/auth", http.StatusFound)
		return
	}

	headers := map[string]string{"host": host}
	if !g.more.way.bare {
		audience := g.more.way.audience
		if audience == "" {
			audience = "/projects/123456789012/locations/us-east1/services/" + strings.TrimSuffix(host, "-123456789012.us-east1.run.app")
		}
		said := fmt.Sprintf(`{"iss": "https://cloud.google.com/iap", "aud": %q, "email": %q}`, audience, claims.Iss)
		headers["x-goog-iap-jwt-assertion"] = base64.RawURLEncoding.EncodeToString([]byte(`{"alg": "ES256"}`)) + "." +
			base64.RawURLEncoding.EncodeToString([]byte(said)) + ".c2ln"
	}
	if err := json.NewEncoder(w).Encode(headers); err != nil {
		g.t.Log(err)
	}
}

// TestProxy: the headers that Identity-Aware Proxy adds, and what it does otherwise, are found; without an organisation it is
// not asked; and nothing is left.
func TestProxy(t *testing.T) {
	const right = "ES256 https://cloud.google.com/iap true true"
	for name, c := range map[string]struct {
		way     way
		change  func(*standIn)
		want    map[string]string
		reasons string
	}{
		"as assumed":        {want: map[string]string{"iap-stranger": "false", "iap-assertion": right}},
		"a while later":     {way: way{refuses: 3}, want: map[string]string{"iap-stranger": "false", "iap-assertion": right}},
		"open to strangers": {way: way{open: true}, want: map[string]string{"iap-stranger": "true", "iap-assertion": right}},
		"no assertion":      {way: way{bare: true}, want: map[string]string{"iap-stranger": "false", "iap-assertion": "none"}},
		"of another service": {
			way:  way{audience: "/projects/1/global/backendServices/2"},
			want: map[string]string{"iap-stranger": "false", "iap-assertion": strings.Replace(right, "true", "false", 1)},
		},
		"no agent":             {way: way{missing: "generateServiceIdentity"}, want: map[string]string{}, reasons: "no organisation"},
		"no policy of its own": {way: way{missing: "iap_web"}, want: map[string]string{}, reasons: "no organisation"},
		"no account": {
			change: func(g *standIn) { g.more.forbidden = openID }, want: map[string]string{}, reasons: "no service account that it may sign for",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, address := serve(t, emulator.Behaviour{})
			g, url := newStandIn(t, e)
			g.more.way = c.way
			if c.change != nil {
				c.change(g)
			}
			before := g.policy()
			r, text, err := try(t.Context(), t, address, "-region", "us-east1", "-stand-in", url, "-patience", "0s", "-iap")
			if err != nil || !r.Complete || len(r.Left) > 0 || strings.Contains(text, project) || strings.Contains(text, "123456789012") {
				t.Errorf("complete %v, left %v: %v\n%s", r.Complete, r.Left, err, text)
			}
			g.wantGone(before)
			got := map[string]string{}
			for _, f := range r.Facts {
				if strings.HasPrefix(f.ID, "iap-") {
					got[f.ID] = f.Found
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			if all := strings.Join(r.NotAsked, "\n"); strings.Contains(all, "IAP's headers") != (c.reasons != "") || !strings.Contains(all, c.reasons) {
				t.Errorf("not asked:\n%s", all)
			}
		})
	}
}

// TestProxyInterrupted: a signal while the proxy lets nobody in leaves nothing behind.
func TestProxyInterrupted(t *testing.T) {
	t.Parallel()
	e, address := serve(t, emulator.Behaviour{})
	g, url := newStandIn(t, e)
	before := g.policy()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	g.more.way.refuses, g.more.way.refused = 1<<30, stop
	r, _, err := try(ctx, t, address, "-region", "us-east1", "-stand-in", url, "-patience", "0s", "-iap")
	if err == nil || r.Complete || len(r.Left) > 0 {
		t.Errorf("complete %v, left %v: %v", r.Complete, r.Left, err)
	}
	g.wantGone(before)
}

// TestEcho runs the program of the echo's image, where there is Python.
func TestEcho(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not on PATH")
	}
	_, arguments, _ := strings.Cut(echo, "\nCMD ")
	var command []string
	if err := json.Unmarshal([]byte(arguments), &command); err != nil || len(command) != 3 || command[0] != "python3" {
		t.Fatalf("%v: %q", err, command)
	}

	// The port is the system's choice, and told.
	const tell = "import http.server\nclass Tell(http.server.HTTPServer):\n def __init__(self, *a):\n  super().__init__(*a)\n" +
		"  print(self.server_port, flush=True)\nhttp.server.HTTPServer = Tell\n"
	cmd := exec.CommandContext(t.Context(), python, command[1], tell+command[2])
	cmd.Env = []string{"PORT=0"}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the echo ended: %v", err)
	}

	code, headers, err := rest{}.visit(t.Context(), "http://127.0.0.1:"+strings.TrimSpace(port)+"/", "a.b.c")
	if err != nil || code != http.StatusOK || headers["authorization"] != "Bearer a.b.c" {
		t.Errorf("%d %v %v", code, headers, err)
	}
}
