package config_test

import (
	"testing"

	"github.com/attestor-gate/attestor/internal/config"
)

// A host is labelled by the entry that allows it, so that labels are few whatever
// hosts callers choose.
func TestLabel(t *testing.T) {
	r := config.Registries{Allowed: []string{"gcr.io", "*.pkg.dev"}, PlainHTTP: []string{"127.0.0.1:5000", "gcr.io"}}
	for host, want := range map[string]string{
		"gcr.io": "gcr.io", "127.0.0.1:5000": "127.0.0.1:5000", "us-docker.pkg.dev": "*.pkg.dev",
		"pkg.dev": "another host", "evilpkg.dev": "another host", "storage.googleapis.com": "another host", "": "another host",
	} {
		if got := r.Label(host); got != want {
			t.Errorf("%q is labelled %q, want %q", host, got, want)
		}
	}

	if hosts := r.Hosts(); len(hosts) != 3 {
		t.Errorf("hosts %v: want each once", hosts)
	}
	if !r.Plain("127.0.0.1:5000") || r.Plain("us-docker.pkg.dev") {
		t.Error("plain HTTP goes to another host than the configured ones")
	}
}
