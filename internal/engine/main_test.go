package engine_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/testkit/leaks"
)

// TestMain fails tests that all pass and leave a goroutine behind.
func TestMain(m *testing.M) {
	code := leaks.Code(m.Run())
	removeProgram()
	os.Exit(code)
}

// program is the command line, built once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "attestor-program-")
	if err != nil {
		return "", err
	}

	programDir = dir
	path := filepath.Join(dir, "attestor")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/attestor").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building attestor: %w\n%s", err, out)
	}

	return path, nil
})

var programDir string // of program; "": it was not built

func removeProgram() {
	if programDir != "" {
		_ = os.RemoveAll(programDir)
	}
}

const leastConfig = `
policies: [policy.yaml]
registries: {allowed: [us-docker.pkg.dev]}
store: {sqlite: decisions.db}
`

func noEnv(string) string { return "" }

// loadText loads a configuration file that holds text.
func loadText(t *testing.T, text string) (config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "attestor.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	return engine.LoadConfig(path, noEnv)
}
