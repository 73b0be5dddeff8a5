package config_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/config"
)

// Invalid keys of summaries, two at once, or one for two uses keep the gate from starting.
func TestSummariesAreChecked(t *testing.T) {
	t.Parallel()
	const kms = "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1"
	const with = "verifier: https://gate.example, passed: {keyFile: a.pem}"
	for name, tt := range map[string]struct {
		vsa  string
		want string // "": it is accepted
	}{
		"a file":                   {with, ""},
		"Cloud KMS":                {"verifier: https://gate.example, passed: {kms: " + kms + "}", ""},
		"two keys":                 {with + ", refused: {kms: " + kms + "}", ""},
		"former keys":              {with + ", former: [2025.pub, 2026.pub]", ""},
		"no verifier":              {"passed: {keyFile: a.pem}", "vsa.verifier"},
		"a verifier with a query":  {"verifier: 'https://gate.example/?a=b', passed: {keyFile: a.pem}", "vsa.verifier"},
		"a verifier without TLS":   {"verifier: http://gate.example, passed: {keyFile: a.pem}", "vsa.verifier"},
		"no key":                   {"verifier: https://gate.example", "vsa.passed: want one of"},
		"both":                     {"verifier: https://gate.example, passed: {keyFile: a.pem, kms: " + kms + "}", "vsa.passed: want one of"},
		"a key without a version":  {"verifier: https://gate.example, passed: {kms: projects/p/locations/l/keyRings/r/cryptoKeys/k}", "vsa.passed.kms"},
		"one key for both":         {with + ", refused: {keyFile: a.pem}", "vsa.refused: the key is that of vsa.passed"},
		"a negative age":           {with + ", maxAge: -1h", "is not a duration"},
		"a former key without one": {with + ", former: ['']", "vsa.former[0]"},
		"too many former keys":     {with + ", former: [" + strings.Repeat("a.pub, ", 9) + "]", "vsa.former: 9 keys; at most 8"},
		"an unknown key":           {with + ", sign: false", "sign"},
	} {
		path := configFile(t, leastConfig+"vsa: {"+tt.vsa+"}\n")
		c, err := config.Load(path, noEnv, profile)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if err == nil && len(c.VSA.Former) > 0 && c.VSA.Former[0] != filepath.Join(filepath.Dir(path), "2025.pub") {
			t.Errorf("%s: the path is not relative to the file: %s", name, c.VSA.Former[0])
		}
	}
}
