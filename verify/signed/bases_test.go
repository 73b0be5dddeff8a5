package signed_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/signed"
)

// TestReadyMadeBases: what is delivered for copying is complete, and its rules
// can be checked with the trusted root that is delivered beside it.
func TestReadyMadeBases(t *testing.T) {
	type entry struct {
		Name       string   `yaml:"name"`
		Repository string   `yaml:"repository"`
		Tags       []string `yaml:"tags"`
		MaxBehind  string   `yaml:"maxBehind"`
		EndOfLife  string   `yaml:"endOfLife"`
		SignedBy   *struct {
			Key     string `yaml:"key"`
			Keyless *struct {
				Issuer        string `yaml:"issuer"`
				Subject       string `yaml:"subject"`
				SubjectRegexp string `yaml:"subjectRegexp"`
			} `yaml:"keyless"`
			TrustedRoot  string `yaml:"trustedRoot"`
			Transparency *bool  `yaml:"transparency"`
		} `yaml:"signedBy"`
	}

	files, err := filepath.Glob("../../deploy/policies/bases/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("found %v, %v", files, err)
	}

	key := newKey(t)
	ch := checker(t, signed.Config{TrustedRoot: publicGood, Keys: &keys{pem: publicPEM(t, key.priv.Public())}})
	own := newSigstore(t).root(false)
	names := map[string]bool{}

	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}

		var entries []entry
		dec := yaml.NewDecoder(bytes.NewReader(b))
		dec.KnownFields(true)
		if err := dec.Decode(&entries); err != nil || len(entries) == 0 {
			t.Fatalf("%s: %d entries, %v", file, len(entries), err)
		}

		for _, e := range entries {
			if names[e.Name] || e.Name == "" || len(e.Tags) == 0 || e.MaxBehind == "" {
				t.Errorf("%s: %q is incomplete, or there twice", file, e.Name)
			}

			names[e.Name] = true
			if ref, err := attestor.ParseReference(strings.Replace(e.Repository, "PROJECT", "project",
				1) + ":" + e.Tags[0]); err != nil ||
				ref.Repository() != strings.Replace(e.Repository, "PROJECT", "project", 1) {
				t.Errorf("%s: %s: %v", file, e.Name, err)
			}
			if e.SignedBy == nil {
				if filepath.Base(file) != "google-managed.yaml" {
					t.Errorf("%s: %s is not signed", file, e.Name)
				}
				continue
			}

			rule := attestor.SignedBy{Key: e.SignedBy.Key, TrustedRoot: e.SignedBy.TrustedRoot, Transparency: e.SignedBy.Transparency}
			if k := e.SignedBy.Keyless; k != nil {
				rule.Issuer, rule.Subject, rule.SubjectRegexp = k.Issuer, k.Subject, k.SubjectRegexp
			}
			if strings.HasPrefix(rule.Key, "/") {
				rule.Key = key.path
			}
			if rule.TrustedRoot != "" {
				rule.TrustedRoot = own
			}
			if err := ch.Validate(t.Context(), rule); err != nil {
				t.Errorf("%s: %s: %v", file, e.Name, err)
			}
		}
	}
}
