package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
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
