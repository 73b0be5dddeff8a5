package policy_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
	"go.yaml.in/yaml/v4"
)

const library = "../deploy/policies"

// Every policy of the library has a test file that holds and gives every code
// that the policy can give.
func TestLibrary(t *testing.T) {
	for _, name := range []string{
		"starter", "production", "hipaa", "repositories-only", "scanned-only", "bill-of-materials", "github-builds",
	} {
		t.Run(name, func(t *testing.T) {
			report, err := policy.Test(filepath.Join(library, name+"_test.yaml"))
			if err != nil {
				t.Fatal(err)
			}

			for _, r := range report.Results {
				if r.Problem != "" {
					t.Errorf("%s:%d: %s: %s", r.File, r.Line, r.Name, r.Problem)
				}
			}

			if len(report.Never) > 0 {
				t.Errorf("no case gives %v", report.Never)
			}
		})
	}
}

// The library says nothing that its own linter finds odd, but for what each is
// meant to be.
func TestLibraryIsNotOdd(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(library, "*.yaml"))
	if err != nil || len(files) < 10 {
		t.Fatalf("the library holds %d files, %v", len(files), err)
	}

	for _, f := range files {
		if strings.HasSuffix(f, "_test.yaml") {
			continue
		}

		set, err := policy.Load(f)
		if err != nil {
			t.Fatal(err)
		}

		for _, d := range set.Lint(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)) {
			t.Error(d)
		}

		if want := strings.TrimSuffix(filepath.Base(f), ".yaml"); set.All()[0].Ref().Name != want {
			t.Errorf("%s is called %q", f, set.All()[0].Ref().Name)
		}
		if set.All()[0].Ref().Mode != attestor.Enforce && filepath.Base(f) != "starter.yaml" {
			t.Errorf("%s does not enforce", f)
		}
	}
}

// The lists of bases can be copied into a policy as they are.
func TestLibraryBases(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(library, "bases", "*.yaml"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%d lists, %v", len(files), err)
	}

	for _, f := range files {
		text := strings.Replace(minimal, "{required: false}", "{required: true, approved: LIST}", 1)
		var list []any
		if err := yaml.Load(readFile(t, f), &list); err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}

		asJSON := strings.ReplaceAll(marshal(t, plain(list)), "/PROJECT/", "/project/")
		if _, err := policy.Parse(policy.Source{Name: filepath.Base(f), Text: []byte(strings.Replace(text, "LIST", asJSON, 1))}); err != nil || len(list) == 0 {
			t.Errorf("%s: %d bases: %v", f, len(list), err)
		}
	}
}
