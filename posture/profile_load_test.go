package posture_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/posture"
)

// A word is a built-in profile and never a file of that name; a path is a file.
func TestLoadProfile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)

	for name, size := range map[string]int{"strictly": 10, "long.yaml": 9 << 20} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#"+strings.Repeat("x", size)), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	for _, name := range posture.Profiles() {
		if p, err := posture.LoadProfile(name); err != nil || p.Name() != name {
			t.Errorf("%s: %q, %v", name, p.Name(), err)
		}
	}

	for name, says := range map[string]string{
		"":             `there is no profile ""`,
		"strictly":     "want baseline, hipaa, strict, or a file",
		"./missing":    "reading the posture profile",
		"missing.yaml": "reading the posture profile",
		"long.yaml":    "long.yaml",
	} {
		if p, err := posture.LoadProfile(name); err == nil || !strings.Contains(err.Error(), says) || p.Name() != "" {
			t.Errorf("%q: %q, %v, want an error that says %q", name, p.Name(), err, says)
		}
	}
}
