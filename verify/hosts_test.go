package verify_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify"
)

func TestRegistriesAllowed(t *testing.T) {
	r := verify.Registries{Hosts: []verify.Registry{
		{Host: "*.pkg.dev"}, {Host: "registry.example:5000", Scheme: "http"}, {Host: "127.0.0.1:5000"},
		{Host: "localhost:5001", Scheme: "https"}, {Host: "index.docker.io"},
	}}

	for host, want := range map[string]string{
		"us-docker.pkg.dev": "https", "registry.example:5000": "http", "127.0.0.1:5000": "http", "localhost:5001": "https", "index.docker.io": "https",
		"pkg.dev": "", "a.b.pkg.dev": "", "evilpkg.dev": "", "us-docker.pkg.dev:8443": "", ".pkg.dev": "", "us-docker.pkg.dev.evil.example": "",
		"registry.example": "", "registry.example:5001": "", "127.0.0.1:5001": "", "": "",
	} {
		scheme, ok, err := verify.Allowed(r, host)
		if err != nil || ok != (want != "") || ok && scheme != want {
			t.Errorf("%q: %q, %t, %v; want %q", host, scheme, ok, err, want)
		}
	}

	for _, bad := range []verify.Registry{
		{Host: ""}, {Host: "https://gcr.io"}, {Host: "gcr.io/project"}, {Host: "*.dev"}, {Host: "a.*.dev"}, {Host: "*", Scheme: "http"},
		{Host: "gcr.io", Scheme: "ftp"}, {Host: "gcr.io", Companions: []string{"https://x.example"}},
		{Host: "gcr.io", Companions: []string{""}}, {Host: "docker.io"},
	} {
		if _, err := verify.New(verify.Config{Registries: verify.Registries{Hosts: []verify.Registry{bad}}}); err == nil {
			t.Errorf("New accepts registry %+v", bad)
		}
	}

	if _, err := verify.New(verify.Config{}); err == nil {
		t.Error("New accepts a configuration without registries")
	}
}

// The address that is connected to is the one that was checked, so that this
// table is the whole defence against names that change their minds.
func TestMayDial(t *testing.T) {
	named := verify.Registries{Hosts: []verify.Registry{
		{Host: "registry.example"}, {Host: "127.0.0.1:5000"}, {Host: "localhost:5001"}, {Host: "10.1.2.3:5000"}, {Host: "*.corp.example"},
		{Host: "with.example", Companions: []string{"storage.example:9000"}},
	}}

	anyone := verify.Registries{Hosts: []verify.Registry{{Host: "*"}}}
	for _, tt := range []struct {
		registries verify.Registries
		host, addr string
		want       bool
	}{
		{named, "registry.example", "93.184.215.14", true},
		{named, "registry.example", "10.0.0.5", true}, // in the operator's own network
		{named, "registry.example", "127.0.0.1", false},
		{named, "registry.example", "::1", false},
		{named, "registry.example", "169.254.169.254", false},
		{named, "registry.example", "fe80::1", false},
		{named, "registry.example", "0.0.0.0", false},
		{named, "registry.example", "224.0.0.1", false},
		{named, "a.corp.example", "10.0.0.5", true},
		{named, "storage.example:9000", "10.0.0.5", true},
		{named, "storage.example:9001", "10.0.0.5", false},
		{named, "127.0.0.1:5000", "127.0.0.1", true},
		{named, "127.0.0.1:5001", "127.0.0.1", false},
		{named, "localhost:5001", "::1", true},
		{named, "10.1.2.3:5000", "10.1.2.3", true},
		{named, "cdn.example", "93.184.215.14", true},
		{named, "cdn.example", "10.0.0.5", false},
		{named, "cdn.example", "172.16.0.1", false},
		{named, "cdn.example", "192.168.1.1", false},
		{named, "cdn.example", "100.64.0.1", false},
		{named, "cdn.example", "::ffff:10.0.0.5", false},
		{named, "cdn.example", "::ffff:127.0.0.1", false},
		{named, "cdn.example", "fd00:ec2::254", false},
		{named, "cdn.example", "64:ff9b::a9fe:a9fe", false},
		{named, "cdn.example", "2002:7f00:1::", false},
		{named, "cdn.example", "169.254.169.254", false},
		{anyone, "registry.example", "93.184.215.14", true},
		{anyone, "registry.example", "10.0.0.5", false},
		{anyone, "localhost", "127.0.0.1", false},
	} {
		got, err := verify.MayDial(tt.registries, tt.host, netip.MustParseAddr(tt.addr))
		if err != nil || got != tt.want {
			t.Errorf("MayDial(%s at %s) = %t, %v; want %t", tt.host, tt.addr, got, err, tt.want)
		}
	}
}

// fixedResolver answers every name with one address.
type fixedResolver struct {
	addr netip.Addr
	n    atomic.Int64
}

func (r *fixedResolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	if host == "localhost" {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}

	r.n.Add(1)
	return []netip.Addr{r.addr}, nil
}

func TestRedirects(t *testing.T) {
	var reached atomic.Int64
	victim := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { reached.Add(1); _, _ = io.WriteString(w, "secret") }))
	defer victim.Close()
	secure := httptest.NewTLSServer(victim.Config.Handler)
	defer secure.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(secure.URL, "https://"), ":")

	for _, tt := range []struct{ name, target string }{
		{"another port of this machine", victim.URL},
		{"the same over HTTPS", secure.URL},
		{"this machine by name", "https://localhost:" + port},
		{"a public name that is at this machine", "https://rebind.example:" + port},
		{"this machine, IPv6", "https://[::1]:" + port},
		{"this machine, as an IPv4-mapped address", "https://[::ffff:127.0.0.1]:" + port},
		{"the metadata server", "http://169.254.169.254/computeMetadata/v1/"},
		{"the metadata server by name", "http://metadata.google.internal/"},
		{"a private address", "https://10.0.0.1"},
		{"plain HTTP elsewhere", "http://cdn.example"},
		{"another scheme", "file:///etc/passwd"},
	} {
		for _, what := range []string{"manifest", "config", "layer", "token", "next hop"} {
			t.Run(tt.name+" for "+what, func(t *testing.T) {
				s := newScene(t)
				s.front.set(func(w http.ResponseWriter, r *http.Request) bool {
					hit := map[string]bool{
						"manifest": isManifest(r, "app"), "config": r.URL.Path == s.configPath, "layer": r.URL.Path == s.layer,
						"token": r.URL.Path == "/v2/", "next hop": isManifest(r, "app"),
					}[what]

					switch {
					case !hit:
						return false

					case what == "token":
						w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q", tt.target+"/token"))
						w.WriteHeader(http.StatusUnauthorized)

					case what == "next hop" && r.URL.Query().Get("n") == "":
						http.Redirect(w, r, r.URL.Path+"?n=1", http.StatusTemporaryRedirect)

					default:
						http.Redirect(w, r, tt.target, http.StatusTemporaryRedirect)
					}
					return true
				})

				got := s.judge(t, func(c *config) {
					c.Registries.Resolver = &fixedResolver{addr: netip.MustParseAddr("127.0.0.1")}
					c.Registries.Keychain = keychain{}
					c.Registries.RootCAs = secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
				})

				want := attestor.CodeRegistryNotAllowed
				if tt.target == "file:///etc/passwd" {
					want = "" // net/http refuses by itself
				}
				if len(got) == 0 || want != "" && got[len(got)-1] != want {
					t.Errorf("codes = %v, want %s", got, want)
				}
				if reached.Load() > 0 {
					t.Error("the victim was reached")
				}
			})
		}
	}
}

func TestRedirectsWithoutEnd(t *testing.T) {
	s := newScene(t)
	s.front.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !isManifest(r, "app") {
			return false
		}
		http.Redirect(w, r, r.URL.Path+"?"+r.URL.RawQuery+"x", http.StatusTemporaryRedirect)
		return true
	})

	if got := s.judge(t, nil); len(got) != 1 || got[0] != attestor.CodeRegistryMisbehaves {
		t.Errorf("codes = %v", got)
	}
	if n := len(s.front.requests()); n > 10 {
		t.Errorf("%d requests", n)
	}
}

// keychain has a password for every registry it is asked about.
type keychain struct{ asked *[]string }

func (k keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	if k.asked != nil {
		*k.asked = append(*k.asked, r.RegistryStr())
	}
	return &authn.Basic{Username: "gate", Password: "hunter2"}, nil
}

// A registry hands out blobs from storage and tokens from a server of their
// own: both work where configured, and the storage never sees credentials.
func TestCompanions(t *testing.T) {
	s := newScene(t)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("gate:hunter2"))
	var leaked, tokens atomic.Int64
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			leaked.Add(1)
		}
		serve(w, "application/octet-stream", s.config)
	}))
	defer storage.Close()
	token := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == basic {
			tokens.Add(1)
		}
		serve(w, "application/json", []byte(`{"token":"t"}`))
	}))
	defer token.Close()
	tokenHost := strings.Replace(strings.TrimPrefix(token.URL, "http://"), "127.0.0.1", "localhost", 1)
	storageHost := strings.Replace(strings.TrimPrefix(storage.URL, "http://"), "127.0.0.1", "localhost", 1)
	s.front.set(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Header.Get("Authorization") != "Bearer t":
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+tokenHost+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == s.configPath:
			http.Redirect(w, r, "http://"+storageHost+"/blob", http.StatusTemporaryRedirect)
		default:
			return false
		}
		return true
	})

	with := func(companions ...string) func(*config) {
		return func(c *config) {
			c.Registries.Hosts[0].Companions = companions
			c.Registries.Keychain = keychain{}
		}
	}

	if got := s.judge(t, with(tokenHost, storageHost)); len(got) > 0 {
		t.Errorf("codes = %v, want none", got)
	}
	if tokens.Load() == 0 || leaked.Load() > 0 {
		t.Errorf("%d token requests with credentials, %d leaks to storage", tokens.Load(), leaked.Load())
	}

	tokens.Store(0)
	for name, companions := range map[string][]string{"no storage": {tokenHost}, "no token server": {storageHost}} {
		if got := s.judge(t, with(companions...)); len(got) == 0 || got[0] != attestor.CodeRegistryNotAllowed {
			t.Errorf("%s: codes = %v", name, got)
		}
	}
}

// The keychain is asked about configured registries only.
func TestCredentialsGoToConfiguredRegistriesOnly(t *testing.T) {
	var asked []string
	s := newScene(t)
	i := newInspector(t, s.host, func(c *config) { c.Registries.Keychain = keychain{&asked} })
	inspectAll(t, i, s.host+"/app:1", s.needs)
	if _, err := i.Resolve(context.Background(), parse(t, "gcr.io/acme/app:1"), s.needs); codeOf(err) != attestor.CodeRegistryNotAllowed {
		t.Errorf("Resolve = %v", err)
	}
	if len(asked) == 0 {
		t.Error("the keychain was never asked")
	}

	for _, host := range asked {
		if host != s.host {
			t.Errorf("the keychain was asked about %s", host)
		}
	}
}

// What decorates the transport sees what is sent, and nothing that is refused.
func TestWrap(t *testing.T) {
	s := newScene(t)
	var seen atomic.Int64
	got := s.judge(t, func(c *config) {
		c.Registries.Wrap = func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.URL.Scheme != "http" || r.URL.Host != s.host {
					t.Errorf("saw %s", r.URL)
				}
				seen.Add(1)
				return next.RoundTrip(r)
			})
		}
	})

	wantNone(t, got)
	if seen.Load() == 0 {
		t.Error("saw nothing")
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Credentials leave for a registry and its companions only; a redirect takes
// none along to another host.
func TestGuardKeepsCredentials(t *testing.T) {
	var sent *http.Request
	i := newInspector(t, "registry.example", func(c *config) {
		c.Registries.Hosts[0].Companions = []string{"auth.example"}
		c.Registries.Wrap = func(http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				sent = r
				return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
			})
		}
	})

	for _, tt := range []struct {
		name, url, from    string
		credentials, leave bool // the request has some; they leave
		refused            bool
	}{
		{name: "to the registry", url: "https://registry.example/v2/", credentials: true, leave: true},
		{name: "to a companion", url: "https://auth.example/token", credentials: true, leave: true},
		{name: "to anybody else", url: "https://cdn.example/token", credentials: true, refused: true},
		{name: "none to anybody else", url: "https://cdn.example/blob"},
		{name: "redirected elsewhere", url: "https://cdn.example/blob", from: "https://registry.example/v2/a/blobs/x", credentials: true},
		{name: "redirected to a subdomain", url: "https://cdn.registry.example/blob", from: "https://registry.example/v2/a/blobs/x", credentials: true},
		{name: "redirected to a companion", url: "https://auth.example/blob", from: "https://registry.example/v2/a/blobs/x", credentials: true},
		{name: "redirected within", url: "https://registry.example/b", from: "https://registry.example/a", credentials: true, leave: true},
		{name: "redirected to plain HTTP", url: "http://registry.example/b", from: "https://registry.example/a", credentials: true, refused: true},
	} {
		sent = nil
		req := must(http.NewRequest(http.MethodGet, tt.url, nil))
		if tt.credentials {
			req.Header.Set("Authorization", "Bearer t")
		}
		if tt.from != "" {
			req.Response = &http.Response{Request: must(http.NewRequest(http.MethodGet, tt.from, nil))}
		}

		resp, err := i.Transport().RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		if (err != nil) != tt.refused || (sent == nil) != tt.refused {
			t.Errorf("%s: %v, sent: %t", tt.name, err, sent != nil)
		}
		if left := sent != nil && sent.Header.Get("Authorization") != ""; left != tt.leave {
			t.Errorf("%s: credentials left: %t", tt.name, left)
		}
	}
}
