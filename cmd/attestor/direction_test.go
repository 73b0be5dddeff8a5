package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestFilesPointOneWay: of two files of this package, at most one uses what the
// other declares; a command never needs main.go, and what two commands share lies
// beneath both.
func TestFilesPointOneWay(t *testing.T) {
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}

	paths = slices.DeleteFunc(paths, func(p string) bool { return strings.HasSuffix(p, "_test.go") })
	if len(paths) < 15 {
		t.Fatalf("%d files: this test would show nothing", len(paths))
	}

	files, owner := map[string]*ast.File{}, map[string]string{}
	for _, path := range paths {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}

		files[path] = f
		for name := range f.Scope.Objects { //nolint:staticcheck // names of the package's own level are all that is asked for
			owner[name] = path
		}
	}

	uses := map[[2]string]string{}
	for path, f := range files {
		for _, id := range f.Unresolved { //nolint:staticcheck // as above
			if of := owner[id.Name]; of != "" {
				uses[[2]string{path, of}] = id.Name
			}
		}
	}

	if len(uses) < 40 {
		t.Fatalf("%d files use another: this test would show nothing", len(uses))
	}

	for pair, name := range uses {
		if other, ok := uses[[2]string{pair[1], pair[0]}]; ok && pair[0] < pair[1] {
			t.Errorf("%s uses %s of %s, which uses %s of it", pair[0], name, pair[1], other)
		}
		if pair[1] == "main.go" {
			t.Errorf("%s uses %s of main.go", pair[0], name)
		}
	}
}
