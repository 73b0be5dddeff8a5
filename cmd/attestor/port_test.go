package main

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestPortTaken names who answers there, and a command that works.
func TestPortTaken(t *testing.T) {
	for server, want := range map[string]string{
		"AirTunes/760.20.1": "AirPlay Receiver", "nginx/1.27": `calls itself nginx/1.27`, "": "another HTTP server",
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if server != "" {
				w.Header().Set("Server", server)
			}
		}))
		address := strings.TrimPrefix(srv.URL, "http://")
		_, taken := net.Listen("tcp", address)
		if !errors.Is(taken, syscall.EADDRINUSE) {
			t.Fatal(taken)
		}

		p := problemsOf(portTaken("--registry-listen", address, taken))
		srv.Close()
		if len(p) != 1 || !strings.Contains(p[0].msg, address+" is taken") || !strings.Contains(p[0].msg, want) ||
			!strings.Contains(p[0].fix, " --registry-listen 127.0.0.1:") {
			t.Errorf("%q: %+v, want %q", server, p, want)
		}
	}

	other := portTaken("--listen", "127.0.0.1:1", syscall.EACCES)
	if !strings.Contains(other.Error(), "permission denied") || strings.Contains(other.Error(), "taken") {
		t.Errorf("another error: %v", other)
	}
}

func TestWithoutFlag(t *testing.T) {
	for in, want := range map[string]string{
		"attestor dev": "attestor dev",
		"attestor dev --listen 127.0.0.1:1 --state d":   "attestor dev --state d",
		"attestor dev --listen=127.0.0.1:1 --state d":   "attestor dev --state d",
		"attestor dev --state d --listen 127.0.0.1:1":   "attestor dev --state d",
		"attestor dev --registry-listen 127.0.0.1:1 -x": "attestor dev --registry-listen 127.0.0.1:1 -x",
	} {
		if got := without(strings.Fields(in), "--listen"); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%s: %v, want %s", in, got, want)
		}
	}
}

// TestBuilt is the version of a binary that no linker was told: go install records the module's.
func TestBuilt(t *testing.T) {
	installed := &debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}
	tree := &debug.BuildInfo{
		Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef0123"}},
	}
	for name, tt := range map[string]struct {
		info         *debug.BuildInfo
		known        bool
		want, commit string
	}{
		"installed": {installed, true, "v1.2.3", "unknown"}, "of a working tree": {tree, true, "dev", "0123456789ab"},
		"not known": {nil, false, "dev", "unknown"},
	} {
		if v, c := built(tt.info, tt.known); v != tt.want || c != tt.commit {
			t.Errorf("%s: %s, commit %s, want %s, commit %s", name, v, c, tt.want, tt.commit)
		}
	}
}
