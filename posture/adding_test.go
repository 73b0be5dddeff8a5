package posture_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/testkit/walkthrough"
)

// TestARuleIsAFunctionAndARow follows docs/adding.md.
func TestARuleIsAFunctionAndARow(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles this package's tests once more")
	}

	o := walkthrough.Follow(t, "..", "A posture rule")
	if want := []string{"posture/rule.go", "posture/rules_concurrency.go"}; !slices.Equal(o.Files, want) {
		t.Errorf("the example touches %q, want %q", o.Files, want)
	}
	if out := o.Go(t, "test", "-count=1", "-v", "-run", "^TestConcurrencyBounded$", "./posture"); !strings.Contains(out, "--- PASS: TestConcurrencyBounded") {
		t.Errorf("the example's test did not run:\n%s", out)
	}
}
