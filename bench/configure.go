package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// newHook is a receiver of events, which believes all of them.
func newHook() *httptest.Server {
	return httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}))
}

// configure writes the configuration of a gate as one in production has it: its record has a signed log, and a receiver
// is told events, which wait in the outbox.
func (b *harness) configure(dir string, o standin.Options) (string, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}

	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32))) + "\n"
	files := map[string][]byte{
		"log.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "hook.secret": []byte(secret),
		"hook.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.hook.Certificate().Raw}),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return "", fmt.Errorf("configuring the gate: %w", err)
		}
	}

	o.More += fmt.Sprintf(`
log: {key: log.pem, origin: bench.example/decisions}
events:
  source: https://bench.example
  receivers: [{name: hook, webhook: {url: %q, secretFile: %q, ca: %q}}]
`, b.hook.URL+"/events", filepath.Join(dir, "hook.secret"), filepath.Join(dir, "hook.pem"))
	return b.world.WriteConfig(dir, o)
}

// edit replaces a text in a file.
func edit(path, from, to string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), from) {
		return errors.New(path + " has no " + from)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o600) //nolint:gosec // the bench's own file
}
