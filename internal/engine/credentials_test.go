package engine_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/verify"
)

// lavish gives credentials to whoever asks.
type lavish struct{}

func (lavish) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: "google", Password: "secret"}, nil
}

// Google's credentials go to Google's registry hosts, and to no name that only looks like one.
func TestGoogleCredentialsStayWithGoogle(t *testing.T) {
	for host, want := range map[string]bool{
		"gcr.io": true, "eu.gcr.io": true, "us-docker.pkg.dev": true, "europe-west1-docker.pkg.dev": true,

		"pkg.dev": false, "gcr.io.example.com": false, "us-docker.pkg.dev.example.com": false, "notgcr.io": false,
		"evilpkg.dev": false, "registry.google.com": false, "google.com": false, "index.docker.io": false, "ghcr.io": false,
		"gcr.io:8443": false, "us-docker.pkg.dev:5000": false, "localhost:5000": false, "gcr.io-mirror.example": false,
	} {
		registry, err := name.NewRegistry(host)
		if err != nil {
			t.Fatal(err)
		}
		auth, err := engine.GoogleHosts(lavish{}).Resolve(registry)
		if err != nil {
			t.Fatal(err)
		}
		if got := auth != authn.Anonymous; got != want {
			t.Errorf("%s gets Google's credentials: %v, want %v", host, got, want)
		}
	}
}

// watched is a host that keeps what it was sent as credentials.
type watched struct {
	*httptest.Server
	mu   sync.Mutex
	seen map[string]bool // "" for a request without any
}

func watchHost(t *testing.T, h http.HandlerFunc) *watched {
	t.Helper()
	w := &watched{seen: map[string]bool{}}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.seen[r.Header.Get("Authorization")] = true
		w.mu.Unlock()
		h(rw, r)
	}))
	t.Cleanup(w.Close)
	return w
}

func (w *watched) host() string { return strings.TrimPrefix(w.URL, "http://") }

// got lists the credentials that the host was sent, and whether it was asked at all.
func (w *watched) got() (credentials []string, asked bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.seen {
		if c != "" {
			credentials = append(credentials, c)
		}
	}
	return credentials, len(w.seen) > 0
}

// Docker's credentials go to the host that they are stored for: not to another one, and not to where it redirects.
func TestDockerCredentialsStayWithTheirHost(t *testing.T) {
	elsewhere := watchHost(t, func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) })
	own := watchHost(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Basic realm="own"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
		case r.URL.Path == "/v2/":
		default:
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
		}
	})
	stranger := watchHost(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="stranger"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
	})

	dir := t.TempDir()
	t.Setenv("HOME", dir) // the keychain looks for .docker there, and then in DOCKER_CONFIG
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(dir, "none"))
	auth := base64.StdEncoding.EncodeToString([]byte("me:secret"))
	file := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, own.host(), auth)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}

	inspector, err := verify.New(verify.Config{
		Registries: engine.Registries(config.Registries{Allowed: []string{own.host(), stranger.host(), elsewhere.host()}}), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer inspector.CloseIdleConnections()

	ask := func(host string) {
		ref, err := attestor.ParseReference(host + "/app/api:v1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := inspector.Pin(t.Context(), ref); err == nil {
			t.Errorf("%s named an image", host)
		}
		for _, err := range audit.TagsOf(t.Context(), []string{host + "/app/api"}, audit.RegistryOptions{
			Remote: engine.RemoteOptions("test"), Insecure: func(string) bool { return true }, Transport: inspector.Transport(),
		}) {
			if err == nil {
				t.Errorf("%s listed a tag", host)
			}
		}
	}
	ask(own.host())
	ask(stranger.host())

	if got, _ := own.got(); len(got) != 1 || got[0] != "Basic "+auth {
		t.Errorf("the host that they are for got %q", got)
	}
	for what, w := range map[string]*watched{"where it redirects": elsewhere, "another registry that asks": stranger} {
		if got, asked := w.got(); len(got) != 0 || !asked {
			t.Errorf("%s: asked %v, got %q", what, asked, got)
		}
	}
}

// A dry run without a configuration asks the registries of its images and of the policy's bases, and nobody else.
func TestUnconfiguredAsksWhoWasNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.yaml")
	text := `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: mine}
spec:
  mode: enforce
  images: ["r.example/app/**"]
  base: {required: true, approved: [{name: debian, repository: bases.example/debian, tags: ["12"]}]}
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}
  attestors: [projects/p/attestors/a]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	port := func(name string) string { return map[string]string{"PORT": "8080"}[name] }
	c, err := engine.Unconfigured([]string{file}, []string{"r.example", "r.example"}, true, port)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Registries.Hosts(), " "); got != "bases.example r.example" {
		t.Errorf("may be asked: %s", got)
	}
	if len(c.Attestors) != 0 || !c.Store.None || strings.HasPrefix(c.Listen, ":") {
		t.Errorf("attestors %v, store %+v, listens on %s", c.Attestors, c.Store, c.Listen)
	}

	// With an emulator, and with nothing else, what is on this machine belongs to the sample project.
	for _, emulated := range []bool{true, false} {
		c, err := engine.Unconfigured([]string{file}, []string{"127.0.0.1:5000", "r.example"}, emulated, port)
		if err != nil {
			t.Fatal(err)
		}
		if c.ScanProjects["r.example"] != "" || (c.ScanProjects["127.0.0.1:5000"] != "") != emulated {
			t.Errorf("emulated %v: scans are in %v", emulated, c.ScanProjects)
		}
	}

	for what, policies := range map[string][]string{"no such file": {"nowhere.yaml"}, "an empty directory": {t.TempDir()}} {
		if _, err := engine.Unconfigured(policies, []string{"r.example"}, false, port); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// Where no attestor is configured nothing can be signed, whoever asks for it, and nobody is told that nothing stands.
func TestNobodySigns(t *testing.T) {
	made, err := engine.Nobody().Attest(t.Context(), attestor.Authorization{}, attestor.Standing{}, func() error { return nil })
	if err == nil || len(made) != 0 {
		t.Errorf("signed %v, %v", made, err)
	}
	if s, err := engine.Nobody().Standing(t.Context(), []string{"projects/p/attestors/a"}, nil); err != nil || s.Known {
		t.Errorf("the attestations are known: %+v, %v", s, err)
	}
}
