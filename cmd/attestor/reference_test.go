package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/internal/config"
)

// TestGeneratedDocsAreCurrent compares what `make docs` writes with what is committed.
func TestGeneratedDocsAreCurrent(t *testing.T) {
	t.Parallel()
	files, err := references(rootCommand())
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}

	for _, f := range files {
		if diff := cmp.Diff(string(f.text), read(t, "../../docs/"+f.name)); diff != "" {
			t.Errorf("docs/%s is not current (-generated +committed): run make docs\n%s", f.name, diff)
		}
	}
}

// TestEveryKeyIsDescribed: the reference says of each key of the configuration what it means, in the file's own names.
func TestEveryKeyIsDescribed(t *testing.T) {
	t.Parallel()
	keys := config.Keys()
	if len(keys) < 100 {
		t.Fatalf("%d keys", len(keys))
	}
	for _, k := range keys {
		text := described(k)
		if len(text) < 8 || strings.HasPrefix(text, k.Field+" is ") {
			t.Errorf("%s: %q", k.Path, text)
		}
	}

	page := string(configurationPage())
	for _, want := range []string{
		"| `identity.callers[].email` | text | ", "| `scanProjects` | map of text | ", "| `dependencies.timeouts.kms` | duration | ",
		"One of KMS and `keyFile`.",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}
