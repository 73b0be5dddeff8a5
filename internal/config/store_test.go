package config_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/config"
)

// Numbers of the record that cannot be meant keep the gate from starting.
func TestStoreNumbersAreChecked(t *testing.T) {
	t.Parallel()
	for store, want := range map[string]string{ // "": it is accepted
		"sqlite: a.db":                     "",
		"postgres: dsn":                    "",
		"postgres: dsn, connections: 2":    "",
		"postgres: dsn, connections: 500":  "",
		"postgres: dsn, connections: 1":    "want 2 to 500",
		"postgres: dsn, connections: 501":  "want 2 to 500",
		"postgres: dsn, connections: -1":   "want 2 to 500",
		"sqlite: a.db, connections: 4":     "it is for store.postgres",
		"postgres: dsn, replica: dsn":      "",
		"sqlite: a.db, replica: dsn":       "it is for store.postgres",
		"postgres: dsn, connections: many": "connections",
		"sqlite: a.db, retention: 30d":     "",
		"postgres: dsn, retention: 400d":   "",
		"postgres: dsn, retention: 1d":     "want at least 30d",
		"postgres: dsn, retention: 719h":   "want at least 30d",
		"postgres: dsn, retention: -400d":  "is not a duration",
		"postgres: dsn, retention: 400":    "is not a duration",
		"none: true, retention: 400d":      "deletes none",
	} {
		text := strings.Replace(leastConfig, "store: {sqlite: decisions.db}", "store: {"+store+"}", 1)
		_, err := config.Load(configFile(t, text), noEnv, profile)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", store, err, want)
		}
	}
}
