package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A source is one file of the package that is mutated.
type source struct {
	path string // absolute
	name string // relative to the module, with slashes
	text []byte
	file *ast.File
}

// A target is one package, parsed and type-checked.
type target struct {
	importPath string
	dir        string // absolute; its tests run there
	label      string // "./policy": as it is named on the command line
	fset       *token.FileSet
	sources    []source
	info       *types.Info
	exports    map[string]string // import path: file of its export data
	tests      [][]byte          // what its test files hold, for the results' validity
}

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath   string
	Dir          string
	Export       string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	DepOnly      bool
	Module       *struct{ Dir string }
}

// load reads one package, and what its dependencies and those of the file that
// is added export.
func load(goTool, label string) (*target, error) {
	cmd := exec.Command(
		goTool, "list", "-json=ImportPath,Dir,Export,GoFiles,TestGoFiles,XTestGoFiles,DepOnly,Module",
		"-export", "-deps",
		label, "cmp", "os", "strconv", "sync/atomic",
	)

	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", label, err)
	}

	// The compiler's export data of all dependencies, so that they are not type-checked again.
	t := &target{label: label, fset: token.NewFileSet(), exports: map[string]string{}}
	var own listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("listing %s: %w", label, err)
		}

		if !p.DepOnly && p.Module != nil {
			own = p
		}
		t.exports[p.ImportPath] = p.Export
	}

	if own.ImportPath == "" || own.Module == nil {
		return nil, fmt.Errorf("listing %s: it is not a package of this module", label)
	}
	t.importPath, t.dir = own.ImportPath, own.Dir

	// The text is kept beside the tree: mutants are written into it by offsets.
	for _, name := range own.GoFiles {
		path := filepath.Join(own.Dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}

		file, err := parser.ParseFile(t.fset, path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		relative, err := filepath.Rel(own.Module.Dir, path)
		if err != nil {
			return nil, err
		}
		t.sources = append(t.sources, source{path: path, name: filepath.ToSlash(relative), text: text, file: file})
	}

	// The texts of the tests decide for how long the result of a survivor holds.
	for _, name := range append(own.TestGoFiles, own.XTestGoFiles...) {
		text, err := os.ReadFile(filepath.Join(own.Dir, name))
		if err != nil {
			return nil, err
		}
		t.tests = append(t.tests, text)
	}

	files := make([]*ast.File, len(t.sources))
	for i, s := range t.sources {
		files[i] = s.file
	}

	// All files at once, since their types refer to each other.
	var errs []error
	t.info, errs = t.check(t.fset, files)

	return t, errors.Join(errs...)
}

// check type-checks files as this package. It reports every error.
func (t *target) check(fset *token.FileSet, files []*ast.File) (*types.Info, []error) {
	lookup := func(path string) (io.ReadCloser, error) {
		export, ok := t.exports[path]
		if !ok || export == "" {
			return nil, fmt.Errorf("there is no export data of %s", path)
		}
		return os.Open(export)
	}

	var errs []error
	config := types.Config{
		Importer: importer.ForCompiler(fset, "gc", lookup),
		Error:    func(err error) { errs = append(errs, err) },
	}

	info := &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{},
		Uses:  map[*ast.Ident]types.Object{},
		Defs:  map[*ast.Ident]types.Object{},
	}

	_, _ = config.Check(t.importPath, fset, files, info) // its error is the first of errs

	return info, errs
}

// packageName is the name in the package clause.
func (t *target) packageName() string { return t.sources[0].file.Name.Name }

// slug names the package's files among the results.
func (t *target) slug() string {
	s := strings.Trim(strings.ReplaceAll(strings.TrimPrefix(t.label, "./"), "/", "-"), "-.")
	if s == "" {
		return "root"
	}

	return s
}
