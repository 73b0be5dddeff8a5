package engine_test

import (
	"testing"

	"github.com/attestor-gate/attestor/internal/engine"
)

// TestExampleConfiguration loads the example and what deploy/ begins with, as
// Cloud Run starts them, and their parts make sense.
func TestExampleConfiguration(t *testing.T) {
	for _, name := range []string{
		"../../attestor.example.yaml", "../../deploy/kubernetes/base/attestor.yaml",
		"../../deploy/cloudrun/gate/attestor.yaml", "../../deploy/cloudrun/gate-events/attestor.yaml",
	} {
		c, err := engine.LoadConfig(name, func(k string) string { return map[string]string{"K_SERVICE": "gate", "PORT": "8080"}[k] })
		if err != nil {
			t.Error(err)
			continue
		}
		if err := engine.CheckIdentity(c.Identity); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
