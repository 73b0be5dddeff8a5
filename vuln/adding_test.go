package vuln_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/testkit/walkthrough"
)

// TestAScannerIsAPackage follows docs/adding.md: a second scanner is a package beside this one and its place in the
// wiring, and keeps the contract of scanners.
func TestAScannerIsAPackage(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the command once more")
	}

	o := walkthrough.Follow(t, "..", "A scanner")
	if want := []string{"internal/engine/stages.go", "listscan/listscan.go"}; !slices.Equal(o.Files, want) {
		t.Errorf("the example touches %q, want %q", o.Files, want)
	}

	o.Go(t, "build", "-o", os.DevNull, "./cmd/attestor")

	// The package's directory is in the overlay alone, so that its test runs elsewhere.
	program := filepath.Join(t.TempDir(), "listscan.test")
	o.Go(t, "test", "-vet=off", "-c", "-o", program, "./listscan")
	cmd := exec.CommandContext(t.Context(), program, "-test.v")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestScannerContract") {
		t.Errorf("the example's test: %v\n%s", err, out)
	}
}
