package deploy_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// runImage starts the image as Cloud Run would: as its user, with its files mounted.
func runImage(t *testing.T, w workshop, ref string) {
	t.Helper()
	container := w.run(t, "from", "--tls-verify=false", ref)
	if i := strings.LastIndex(container, "\n"); i >= 0 {
		container = container[i+1:]
	}
	if out := w.run(t, "run", "--isolation", "chroot", container, "--", "/attestor",
		"version"); !strings.Contains(out, "v0.0.0-test") || !strings.Contains(out, "0123456789ab") {
		t.Errorf("version: %s", out)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	listen := l.Addr().String()
	_ = l.Close()
	dir, at := t.TempDir(), google(t, ref)

	for file, text := range map[string]string{
		"attestor.yaml": fmt.Sprintf("listen: %s\npolicies: [/etc/attestor/policy.yaml]\n"+
			"attestors: [{name: projects/acme/attestors/gate, kms: %s}]\n"+
			"registries: {allowed: [us-docker.pkg.dev]}\nstore: {none: true}\n", listen, signingKey),
		"policy.yaml": strings.Replace(string(read(t, "policies/starter.yaml")), "acme-keys", "acme", 1),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil { //nolint:gosec // the container's user reads them
			t.Fatal(err)
		}
	}

	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // likewise
		t.Fatal(err)
	}

	cmd := w.command(t, "run", "--isolation", "chroot", "-v", dir+":/etc/attestor:ro", "--env",
		"CONTAINERANALYSIS_EMULATOR_HOST="+at, "--env", "CLOUD_KMS_EMULATOR_HOST="+at,
		"--env", "BINARYAUTHORIZATION_EMULATOR_HOST="+at, container, "--", "/attestor", "serve", "--config", "/etc/attestor/attestor.yaml")

	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Signal(os.Interrupt); <-ended })
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	deadline := time.After(time.Minute)

	for {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("the image ended: %v\n%s", err, out.String())
		case <-deadline:
			t.Fatalf("the image does not answer\n%s", out.String())
		case <-poll.C:
		}

		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listen+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}

		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			continue
		}

		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("/health: %s", resp.Status)
		}

		t.Logf("answers %s after buildah run", time.Since(start).Round(time.Millisecond))
		return
	}
}
