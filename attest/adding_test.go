package attest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/testkit/walkthrough"
)

// TestASignerIsAFile follows docs/adding.md: the signer of the example keeps the contract of attesters.
func TestASignerIsAFile(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles this package's tests once more")
	}

	o := walkthrough.Follow(t, "..", "A signer")
	if want := []string{"attest/token.go"}; !slices.Equal(o.Files, want) {
		t.Errorf("the example touches %q, want %q", o.Files, want)
	}
	if out := o.Go(t, "test", "-count=1", "-v", "-run", "^TestTokenSigner$", "./attest"); !strings.Contains(out, "--- PASS: TestTokenSigner") {
		t.Errorf("the example's test did not run:\n%s", out)
	}
}
