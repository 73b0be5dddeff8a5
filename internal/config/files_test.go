package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/config"
)

// allFiles names a file wherever a configuration can.
const allFiles = `
policies: [policies]
registries: {allowed: [registry.example]}
attestors: [{name: projects/p/attestors/a, keyFile: a.pem}]
trustedRoot: root.json
builderKeys: [{id: k, file: builder.pem}]
store: {postgres: url, replica: replica-url}
log: {key: log.pem, origin: gate.example/log}
vsa: {verifier: https://gate.example, passed: {keyFile: passed.pem}, refused: {keyFile: refused.pem}, former: [old.pem]}
events:
  source: https://gate.example
  receivers: [{name: r, webhook: {url: https://hook.example/, secretFile: secret, ca: hook-ca.pem}}]
identity:
  audience: https://gate.example
  callers: [{email: a@example.com, actions: [read], images: ["registry.example/**"]}]
  teams: {directory: teams, allow: [{actions: [read], images: ["registry.example/{team}/**"]}]}
admission: {mode: attested, listen: ":8443", cert: cert.pem, key: key.pem, clientCA: clients.pem}
postureProfile: ./profile.yaml
endOfLife: {table: ends.json}
telemetry: {hashKey: hash, otlp: {endpoint: otel.example:4317, ca: otel-ca.pem}}
`

// A file that is missing would otherwise be found one after the other, or only in use.
func TestEveryMissingFileIsNamed(t *testing.T) {
	path := configFile(t, allFiles)
	c, err := config.Load(path, noEnv, func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}

	want := map[string]string{
		"policies": "policies", "attestors[projects/p/attestors/a].keyFile": "a.pem", "trustedRoot": "root.json",
		"builderKeys[k].file": "builder.pem", "store.postgres": "url", "store.replica": "replica-url", "log.key": "log.pem",
		"vsa.passed.keyFile": "passed.pem", "vsa.refused.keyFile": "refused.pem", "vsa.former[0]": "old.pem",
		"events.receivers[r].webhook.secretFile": "secret", "events.receivers[r].webhook.ca": "hook-ca.pem",
		"identity.teams.directory": "teams", "admission.cert": "cert.pem", "admission.key": "key.pem",
		"admission.clientCA": "clients.pem", "postureProfile": "profile.yaml", "endOfLife.table": "ends.json",
		"telemetry.hashKey": "hash", "telemetry.otlp.ca": "otel-ca.pem",
	}
	missing := c.FilesMissing()
	for key, name := range want {
		at := filepath.Join(filepath.Dir(path), name)
		if !slices.ContainsFunc(missing, func(err error) bool {
			return strings.HasPrefix(err.Error(), key+": ") && strings.Contains(err.Error(), at)
		}) {
			t.Errorf("%s is not named with %s: %v", key, at, missing)
		}
		if err := os.WriteFile(at, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	if len(missing) != len(want) {
		t.Errorf("%d files are missing, want %d", len(missing), len(want))
	}
	if missing = c.FilesMissing(); len(missing) > 0 {
		t.Errorf("with all files: %v", missing)
	}
}
