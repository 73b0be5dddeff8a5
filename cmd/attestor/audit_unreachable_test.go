package main

import (
	"bytes"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// An audit of a registry that does not answer says so in the words of a decision, and not in those of a library.
func TestAuditOfASilentRegistry(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	write(t, dir, "policy.yaml", sweptPolicy)
	for target, says := range map[string]string{
		closed + "/acme/app": "the tags of " + closed + "/acme/app could not be listed: the registry " + closed +
			" did not answer: connection refused\n          check that it runs",
		closed + "/acme/": "the repositories of " + closed + " could not be listed: the registry did not answer: connection refused\n" +
			"          check that it runs",
	} {
		var stdout, stderr bytes.Buffer
		args := []string{"audit", "--policy", filepath.Join(dir, "policy.yaml"), target}
		if code := run(args, strings.NewReader(""), &stdout, &stderr); code != 3 {
			t.Errorf("%s: exit code %d, want 3: %s", target, code, &stderr)
		}
		if said := stderr.String(); !strings.Contains(said, says) || strings.Contains(said, "dial tcp") {
			t.Errorf("%s: it says %q, want %q", target, said, says)
		}
	}
}
