package attestor_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"testing"
)

// A deferred function that adds to the error of its function adds to the result, and not to a variable of the same name
// in a block within it: what it found, such as that a file could not be closed, would reach nobody.
func TestDeferredErrorsReachTheCaller(t *testing.T) {
	set, files, defers := token.NewFileSet(), 0, 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}

		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files++
		w := deferred{found: func(at token.Pos, name string) {
			t.Errorf("%s: this %s is not the function's result: nobody sees what is added to it", set.Position(at), name)
		}}
		w.file(file)
		defers += w.defers
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 1000 || defers < 20 {
		t.Errorf("%d files and %d deferred assignments: this test would prove nothing", files, defers)
	}
}

// What the test finds, and what it does not.
func TestDeferredErrorsAreFound(t *testing.T) {
	for body, want := range map[string]int{
		"x, err := open(); defer func() { err = x.Close() }(); return err":                                                     0,
		"if true { x, err := open(); defer func() { err = x.Close() }(); return err }; return nil":                             1,
		"if true { var err error; defer func() { err = x.Close() }(); return err }; return nil":                                1,
		"if x, err := open(); true { defer func() { err = x.Close() }(); return err }; return nil":                             1,
		"for { x, err := open(); defer func() { err = join(err, x.Close()) }() }":                                              1,
		"switch { case true: x, err := open(); defer func() { err = x.Close() }() }; return nil":                               1,
		"if true { x, fault := open(); defer func() { err = x.Close() }(); return fault }":                                     0,
		"if true { x, err := open(); defer func() { err := x.Close(); log(err) }(); return err }":                              0,
		"if true { if x, err := open(); err != nil { log(x) }; defer func() { err = x.Close() }() }":                           0,
		"run(func() { x, err := open(); defer func() { err = x.Close() }() }); return nil":                                     0,
		"run(func() (err error) { if true { x, err := open(); defer func() { err = x.Close() }() }; return nil }); return nil": 1,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "a.go", "package a\nfunc f() (err error) {"+body+"}", 0)
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		got := 0
		w := deferred{found: func(token.Pos, string) { got++ }}
		w.file(file)
		if got != want {
			t.Errorf("%s: %d found, want %d", body, got, want)
		}
	}
}

// deferred looks for deferred assignments to what hides a result.
type deferred struct {
	found  func(at token.Pos, name string)
	defers int
}

func (w *deferred) file(file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch f := n.(type) {
		case *ast.FuncDecl:
			w.function(f.Type, f.Body)
		case *ast.FuncLit:
			w.function(f.Type, f.Body)
		}
		return true
	})
}

func (w *deferred) function(of *ast.FuncType, body *ast.BlockStmt) {
	results := map[string]bool{}
	if of.Results != nil {
		for _, field := range of.Results.List {
			for _, name := range field.Names {
				results[name.Name] = true
			}
		}
	}
	if body != nil && len(results) > 0 {
		// In the function's own block := assigns to the results.
		w.block(body.List, results, map[string]bool{}, true)
	}
}

// block follows the statements of a block, in which hidden are the results that a block within the function's has anew.
func (w *deferred) block(list []ast.Stmt, results, hidden map[string]bool, outermost bool) {
	hidden = maps.Clone(hidden)
	for _, stmt := range list {
		if !outermost {
			defines(stmt, results, hidden)
		}
		if d, ok := stmt.(*ast.DeferStmt); ok {
			w.deferred(d, results, hidden)
			continue
		}

		// Each statement with blocks has a scope of its own, which begins with what it defines before them.
		ast.Inspect(stmt, func(n ast.Node) bool {
			inner := maps.Clone(hidden)
			switch s := n.(type) {
			case *ast.FuncLit:
				return false
			case *ast.IfStmt:
				defines(s.Init, results, inner)
				w.block(s.Body.List, results, inner, false)
				if s.Else != nil {
					w.block([]ast.Stmt{s.Else}, results, inner, false)
				}
				return false
			case *ast.ForStmt:
				defines(s.Init, results, inner)
				w.block(s.Body.List, results, inner, false)
				return false
			case *ast.RangeStmt:
				if s.Tok == token.DEFINE {
					hide(results, inner, s.Key, s.Value)
				}
				w.block(s.Body.List, results, inner, false)
				return false
			case *ast.CaseClause:
				w.block(s.Body, results, inner, false)
				return false
			case *ast.CommClause:
				defines(s.Comm, results, inner)
				w.block(s.Body, results, inner, false)
				return false
			case *ast.BlockStmt:
				w.block(s.List, results, inner, false)
				return false
			}
			return true
		})
	}
}

// defines notes which results a statement hides from what comes after it.
func defines(stmt ast.Stmt, results, hidden map[string]bool) {
	switch s := stmt.(type) {
	case *ast.AssignStmt:
		if s.Tok == token.DEFINE {
			hide(results, hidden, s.Lhs...)
		}
	case *ast.DeclStmt:
		decl, ok := s.Decl.(*ast.GenDecl)
		if !ok {
			return
		}
		for _, spec := range decl.Specs {
			if v, ok := spec.(*ast.ValueSpec); ok {
				for _, name := range v.Names {
					hide(results, hidden, name)
				}
			}
		}
	}
}

func hide(results, hidden map[string]bool, defined ...ast.Expr) {
	for _, e := range defined {
		if name, ok := e.(*ast.Ident); ok && results[name.Name] {
			hidden[name.Name] = true
		}
	}
}

// deferred looks at what a deferred function assigns to.
func (w *deferred) deferred(d *ast.DeferStmt, results, hidden map[string]bool) {
	f, ok := d.Call.Fun.(*ast.FuncLit)
	if !ok {
		return
	}
	for _, stmt := range f.Body.List {
		assigned, ok := stmt.(*ast.AssignStmt)
		if !ok || assigned.Tok == token.DEFINE {
			continue
		}
		for _, e := range assigned.Lhs {
			name, ok := e.(*ast.Ident)
			if !ok || !results[name.Name] {
				continue
			}
			w.defers++
			if hidden[name.Name] {
				w.found(name.Pos(), name.Name)
			}
		}
	}
}
