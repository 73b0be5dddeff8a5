package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/when"
)

const leastConfig = `
policies: [policy.yaml]
registries: {allowed: [us-docker.pkg.dev]}
store: {sqlite: decisions.db}
`

func noEnv(string) string { return "" }

// profile knows baseline alone, as posture does its built-in ones.
func profile(name string) error {
	if name == "baseline" {
		return nil
	}
	return fmt.Errorf("there is no profile %q", name)
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "attestor.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	return path
}

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	path := configFile(t, leastConfig)
	c, err := config.Load(path, noEnv, profile)
	if err != nil {
		t.Fatal(err)
	}

	if c.Listen != "127.0.0.1:8080" || c.Identity != nil || c.Limits.MaxWait != when.Duration(45*time.Second) ||
		c.Limits.Deadline <= 0 || c.Limits.Settle <= 0 {
		t.Errorf("%+v", c)
	}
	if dir := filepath.Dir(path); c.Store.SQLite != filepath.Join(dir, "decisions.db") || c.Policies[0] != filepath.Join(dir, "policy.yaml") {
		t.Errorf("paths are not relative to the file: %s, %s", c.Store.SQLite, c.Policies[0])
	}

	port := func(name string) string { return map[string]string{"PORT": "9000"}[name] }
	identified := leastConfig + "listen: 127.0.0.1:1\nidentity: {audience: a, callers: [{email: e, actions: [check], images: ['**']}]}\n"
	if c, err := config.Load(configFile(t, identified), port, profile); err != nil || c.Listen != ":9000" {
		t.Errorf("PORT does not win: %q, %v", c.Listen, err)
	}
}

// TestConfigIsRefused: what is unknown, contradictory or open to strangers
// keeps the gate from starting.
func TestConfigIsRefused(t *testing.T) {
	t.Parallel()
	cloudRun := map[string]string{"K_SERVICE": "gate", "PORT": "8080"}
	caller := "identity: {audience: a, callers: [{email: e, actions: [check], images: ['**']}]}\n"

	for _, tt := range []struct {
		name, text string
		env        map[string]string
		want       []string
	}{
		{"empty", "", nil, []string{"policies:", "registries.allowed:", "store:"}}, // all at once
		{"unknown key", leastConfig + "identitty: {}\n", nil, []string{"line 5", "identitty"}},
		{"unknown key within", strings.Replace(leastConfig, "allowed:", "alowed:", 1), nil, []string{"alowed"}},
		{"key in another case", leastConfig + "Listen: 127.0.0.1:1\n", nil, []string{"Listen"}},
		{"key twice", leastConfig + "policies: [other.yaml]\n", nil, []string{"policies"}},
		{"wrong kind", leastConfig + "limits: {queue: many}\n", nil, []string{"line 5"}},
		{"second document", leastConfig + "---\nlisten: 0.0.0.0:1\n", nil, []string{"second document"}},
		{"too large", leastConfig + "#" + strings.Repeat("x", 1<<20), nil, []string{"1 MiB"}},
		{"open to strangers", leastConfig + "listen: 0.0.0.0:8080\n", nil, []string{"no identity is configured"}},
		{"open to strangers, every address", leastConfig + "listen: ':8080'\n", nil, []string{"no identity is configured"}},
		{"open to strangers by PORT", strings.Replace(leastConfig, "sqlite: decisions.db", "none: true", 1), cloudRun, []string{"no identity is configured"}},
		{"SQLite on Cloud Run", leastConfig + caller, cloudRun, []string{"store.sqlite", "is lost"}},
		{"two stores", leastConfig + "store: {sqlite: a, none: true}\n", nil, []string{"store"}},
		{"audience missing", leastConfig + "identity: {callers: [{email: e, actions: [check], images: ['**']}]}\n", nil, []string{"identity.audience"}},
		{"nobody may", leastConfig + "identity: {audience: a}\n", nil, []string{"identity.callers"}},
		{"a caller who is anybody", leastConfig + "identity: {audience: a, callers: [{actions: [check], " +
			"images: ['**']}]}\n", nil, []string{"callers[0]", "want one of"}},
		{"a caller without rights", leastConfig + "identity: {audience: a, callers: [{email: e}]}\n", nil, []string{"actions and images"}},
		{"attestor with two signers", leastConfig + "attestors: [{name: projects/p/attestors/a, kms: k, keyFile: f}]\n",
			nil, []string{"one of kms and keyFile"}},
		{"attestor without signer", leastConfig + "attestors: [{name: projects/p/attestors/a}]\n", nil, []string{"one of kms and keyFile"}},
		{"attestor misnamed", leastConfig + "attestors: [{name: a, kms: k}]\n", nil, []string{"projects/PROJECT/attestors/NAME"}},
		{"attestor twice", leastConfig + "attestors: [{name: projects/p/attestors/a, kms: k}, " +
			"{name: projects/p/attestors/a, kms: l}]\n", nil, []string{"twice"}},
		{"admission without TLS", leastConfig + "admission: {listen: ':8443', mode: attested}\n", nil, []string{"unsafeOpen"}},
		{"admission half TLS", leastConfig + "admission: {listen: ':8443', mode: attested, cert: c, " +
			"unsafeOpen: true}\n", nil, []string{"cert, key and clientCA"}},
		{"admission of no mode", leastConfig + "admission: {listen: ':8443', unsafeOpen: true}\n", nil, []string{"admission.mode"}},
		{"negative duration", leastConfig + "rejudge: {grace: -1h}\n", nil, []string{"-1h"}},
		{"a duration that overflows", leastConfig + "rejudge: {grace: 2000000d}\n", nil, []string{"2000000d"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Load(configFile(t, tt.text), func(name string) string { return tt.env[name] }, profile)
			if err == nil {
				t.Fatal("it loads")
			}

			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\ndoes not say %q", err, want)
				}
			}
		})
	}
}
