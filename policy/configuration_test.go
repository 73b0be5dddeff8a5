package policy_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/policy"
)

// The configuration in a directory of policies is one fault that names the command for it, and is not passed over. What
// has anything of a policy is judged as one.
func TestConfigurationAmongPolicies(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml": minimal, "attestor.yaml": "listen: 127.0.0.1:0\npolicies: [a.yaml]\nstore: {none: true}\nunknown: 1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, err := policy.Load(dir)
	wrong, _ := errors.AsType[policy.Errors](err)
	file := filepath.Join(dir, "attestor.yaml")
	if set != nil || len(wrong) != 1 || wrong[0].File != file ||
		!strings.Contains(wrong[0].Message, "attestor serve --config "+file+" --check") {
		t.Errorf("%v, want one fault with the command that checks a configuration", err)
	}

	for text, configuration := range map[string]bool{
		"registries: {allowed: [r.example]}\n":                         true,
		"kind: GatePolicy\npolicies: [a.yaml]\n":                       false,
		"apiversion: attestor/v1\n":                                    false,
		"spec: {mode: enforce}\nattestors: [projects/p/attestors/a]\n": false,
		"{}\n": false,
	} {
		_, err := policy.Parse(policy.Source{Name: "x.yaml", Text: []byte(text)})
		if err == nil || strings.Contains(err.Error(), "the gate's configuration") != configuration {
			t.Errorf("%q: %v; taken for a configuration, want %t", text, err, configuration)
		}
	}
}
