package posture_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/posture"
)

// TestPublicSamples judges what people deploy: each finding in one line, so
// that a rule that begins to see more, or less, shows here.
func TestPublicSamples(t *testing.T) {
	files, err := filepath.Glob("testdata/public/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	var b strings.Builder
	for _, file := range files {
		name := filepath.Base(file)
		r := mustJudge(t, builtin(t, "hipaa"), nil, posture.Input{Definitions: []posture.Source{{Name: name, Text: []byte(sample(t, "public/"+name))}}})
		fmt.Fprintf(&b, "%s: %s\n", name, r.Verdict)
		for _, f := range r.Findings {
			fmt.Fprintf(&b, "  %-7s %s: %s\n", f.Status, f.Rule, f.Message())
		}
	}
	if *update {
		if err := os.WriteFile("testdata/golden/public.txt", []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(sample(t, "golden/public.txt"), b.String()); d != "" {
		t.Error(d)
	}
}
