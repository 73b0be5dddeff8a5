package posture_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/posture"
)

// TestPublicSamples judges what people deploy: each finding in one line, so
// that a rule that begins to see more, or less, shows here.
func TestPublicSamples(t *testing.T) {
	files, err := filepath.Glob("testdata/public/*.yaml")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d samples, %v", len(files), err)
	}

	var b strings.Builder
	for _, file := range files {
		name := filepath.Base(file)
		r := mustJudge(t, builtin(t, "hipaa"), nil, posture.Input{Definitions: []posture.Source{{Name: name, Text: []byte(sample(t, "public/"+name))}}})
		fmt.Fprintf(&b, "%s: %s\n", name, r.Verdict)

		for _, f := range r.Findings {
			fmt.Fprintf(&b, "  %-7s %s: %s\n", f.Status, f.Rule, f.Message)
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

var (
	verbatim = regexp.MustCompile("(?m)^\\| `([a-z-]+\\.yaml)` \\| [^|]*@v[0-9.]+ \\| [^|]+ \\| (?:Apache-2\\.0|MIT) \\| `([0-9a-f]{64})` \\|$")
	after    = regexp.MustCompile("(?m)^\\| `([a-z-]+\\.yaml)` \\| [^|]+ \\| [^|]+ \\|$")
)

// TestPublicSamplesAreNamed: the README says of every sample where it is from,
// and those that are somebody's own words are unchanged.
func TestPublicSamplesAreNamed(t *testing.T) {
	readme := sample(t, "README.md")
	told := map[string]bool{}

	for _, m := range verbatim.FindAllStringSubmatch(readme, -1) {
		told[m[1]] = true
		if sum := fmt.Sprintf("%x", sha256.Sum256([]byte(sample(t, "public/"+m[1])))); sum != m[2] {
			t.Errorf("%s is not what the README says was taken: its digest is %s", m[1], sum)
		}
	}

	if len(told) < 9 {
		t.Errorf("only %d samples are verbatim", len(told))
	}

	for _, m := range after.FindAllStringSubmatch(readme, -1) {
		told[m[1]] = true
	}

	files, err := filepath.Glob("testdata/public/*")
	if err != nil {
		t.Fatal(err)
	}

	for _, file := range files {
		if !told[filepath.Base(file)] {
			t.Errorf("README.md does not say where %s is from", file)
		}
		delete(told, filepath.Base(file))
	}

	for name := range told {
		t.Errorf("README.md names %s, which is not there", name)
	}
}

// A container that Cloud Run would not start is judged like the others, and a
// secret is named as Secret Manager does.
func TestPublicSamplesAreSeenWhole(t *testing.T) {
	found := func(file, rule string) string {
		t.Helper()
		r := mustJudge(t, builtin(t, "hipaa"), nil, posture.Input{Definitions: []posture.Source{{Name: file, Text: []byte(sample(t, "public/"+file))}}})

		for _, f := range r.Findings {
			if f.Rule == rule {
				return f.Message
			}
		}

		t.Fatalf("%s: no finding of %s", file, rule)
		return ""
	}

	if got := found("knative-initcontainers.yaml", "IMAGE_BY_DIGEST"); strings.Count(got, "ko://knative.dev/serving/test/test_images/volumes") != 2 {
		t.Errorf("the init container's image is not judged: %s", got)
	}
	if got := found("pipecd-piped.yaml", "SECRET_VERSION_PINNED"); !strings.Contains(got, "secret cloudrun-piped-config is used at version latest") {
		t.Errorf("the secret is not named: %s", got)
	}
}
