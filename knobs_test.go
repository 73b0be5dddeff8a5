package attestor_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// productFiles parses every file of the product: no tests, no test apparatus, no tools.
func productFiles(t *testing.T) map[string]*ast.File {
	t.Helper()
	set, files := token.NewFileSet(), map[string]*ast.File{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "testkit" || d.Name() == "tools" || d.Name() == "trial" ||
			d.Name() == "bench" || strings.HasPrefix(d.Name(), ".") && name != ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		files[filepath.ToSlash(name)] = file
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// settings are the exported fields of the exported types that a package is configured by, as PACKAGE.TYPE.FIELD. What is
// decoded from a file has tags, and is set by whoever writes the file.
func settings(files map[string]*ast.File) map[string]string {
	kind := regexp.MustCompile(`^[A-Z]\w*(Config|Limits|Options)$|^(Config|Limits|Options)$`)
	out := map[string]string{}
	for name, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || !kind.MatchString(spec.Name.Name) {
				return true
			}
			fields, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, f := range fields.Fields.List {
				for _, id := range f.Names {
					if id.IsExported() && f.Tag == nil {
						out[file.Name.Name+"."+spec.Name.Name+"."+id.Name] = name
					}
				}
			}
			return true
		})
	}
	return out
}

// seams are settings of tests alone, each with what a test could not do without it.
var seams = map[string]string{
	"courier.WebhookConfig.Lookup":    "a name that resolves to a private address",
	"emulator.Options.MaxOccurrences": "a store that is full, without two million occurrences",
	"identity.Config.IAPJWKS":         "tokens of Identity-Aware Proxy, signed by a key of the test's",
	"server.Config.Memory":            "a process that is short of memory",
	"signed.Config.CacheLifetime":     "signatures that are looked up again at once",
	"vuln.UploadConfig.Limit":         "a service that does not answer in time",
}

// TestEverySettingIsSet: a field of a Config, of Limits or of Options that nothing in the product gives a value is a knob
// that nobody turns: it is a constant, or it goes. Fields are matched by name where the type is not written out.
func TestEverySettingIsSet(t *testing.T) {
	files := productFiles(t)
	set := map[string]bool{}
	for name, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.CompositeLit:
				kind := ""
				switch e := x.Type.(type) {
				case *ast.SelectorExpr:
					kind = e.X.(*ast.Ident).Name + "." + e.Sel.Name
				case *ast.Ident:
					kind = file.Name.Name + "." + e.Name
				}
				for _, e := range x.Elts {
					pair, ok := e.(*ast.KeyValueExpr)
					if !ok {
						continue
					}
					if key, ok := pair.Key.(*ast.Ident); ok {
						set[kind+"."+key.Name] = true
					}
				}

			case *ast.UnaryExpr:
				// A flag is bound to the field.
				if sel, ok := x.X.(*ast.SelectorExpr); ok && x.Op == token.AND {
					set["?."+path.Dir(name)+"."+sel.Sel.Name] = true
				}

			case *ast.AssignStmt:
				for _, left := range x.Lhs {
					if sel, ok := left.(*ast.SelectorExpr); ok {
						// A default that a package gives its own field does not count as a setting of it.
						set["?."+path.Dir(name)+"."+sel.Sel.Name] = true
					}
				}
			}
			return true
		})
	}

	all := settings(files)
	if len(all) < 150 {
		t.Fatalf("%d settings were found: this test would prove nothing", len(all))
	}
	for field, name := range all {
		last := field[strings.LastIndex(field, ".")+1:]
		assigned := false
		for key := range set {
			assigned = assigned || strings.HasPrefix(key, "?.") && strings.HasSuffix(key, "."+last) &&
				key != "?."+path.Dir(name)+"."+last
		}
		switch _, seam := seams[field]; {
		case seam && (set[field] || assigned):
			t.Errorf("%s is set by the product, and listed as a setting of tests", field)
		case !seam && !set[field] && !assigned:
			t.Errorf("%s: nothing in the product sets %s: make it a constant, or take it away", name, field)
		}
	}
}

// TestNoLimitIsAdvisedThatCannotBeRaised: a message that says "raise" or "increase" names a setting that exists, or
// something of another system, which that system documents.
func TestNoLimitIsAdvisedThatCannotBeRaised(t *testing.T) {
	configuration, err := os.ReadFile("docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	advice := regexp.MustCompile(`\b(?:raise|increase|enlarge) ([^,;:]+)`)
	setting := regexp.MustCompile("^`?([a-z]+(?:\\.[a-zA-Z]+)+)")
	foreign := regexp.MustCompile(`^(?:the (?:registry's )?quota|max_connections in PostgreSQL)`)

	found := 0
	for name, file := range productFiles(t) {
		ast.Inspect(file, func(n ast.Node) bool {
			var list []string
			switch x := n.(type) {
			case *ast.BasicLit, *ast.BinaryExpr:
				list = texts([]ast.Expr{x.(ast.Expr)})
			}
			whole := strings.Join(list, "")
			for _, m := range advice.FindAllStringSubmatch(whole, -1) {
				found++
				key := setting.FindStringSubmatch(m[1])
				known := key != nil && strings.Contains(string(configuration), "`"+key[1]+"`")
				if !known && !foreign.MatchString(m[1]) {
					t.Errorf("%s: %q advises to raise what no setting and no other system has", name, whole)
				}
			}
			return len(list) == 0
		})
	}
	if found < 3 {
		t.Fatalf("%d messages advise to raise something: this test would prove nothing", found)
	}
}
