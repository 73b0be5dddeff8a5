package contract_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module   = "github.com/attestor-gate/attestor"
	contract = module + "/internal/testkit/contract"
)

// suites names, for each interface that one package declares and another
// implements, the suites of this package that hold its implementations to it.
// An interface that is missing here fails TestEveryInterfaceHasItsSuite.
func suites() map[string][]string {
	return map[string][]string{
		"Attester":                      {"Attester"},
		"Inspector":                     {"Inspector"},
		"Policies":                      {"Policies"},
		"Policy":                        {"Policy"},
		"Recorder":                      {"Recorder"},
		"Revocations":                   {"Revocations"},
		"Scanner":                       {"Scanner"},
		"Summarizer":                    {"Summarizer"},
		"attest.Journal":                {"Journal"},
		"attest.Standings":              {"Attester", "Attested"},
		"cmd/attestor.records":          {"Records"},
		"internal/courier.Outbox":       {"Outbox"},
		"internal/courier.Sender":       {"Sender"},
		"internal/translog.Querier":     {"Querier"},
		"posture.Attested":              {"Attested"},
		"server.Attestations":           {"Attestations"},
		"server.Authenticator":          {"Authenticator"},
		"server.Decisions":              {"Decisions"},
		"server.Policies":               {"PolicyList"},
		"server.Posture":                {"Posture"},
		"server.Simulator":              {"Simulator"},
		"server/admission.Attestations": {"Standings"},
		"server/identity.Verifier":      {"Authenticator"},
		"server/watch.Admissions":       {"Admissions"},
		"server/watch.History":          {"History"},
		"server/watch.Occurrences":      {"Occurrences"},
		"server/watch.Overrides":        {"Overrides"},
		"server/watch.Publisher":        {"Publisher"},
		"verify.ProvenanceSource":       {"ProvenanceSource"},
		"verify.Resolver":               {"Resolver"},
		"verify.SignatureChecker":       {"SignatureChecker"},
		"verify.TagHistory":             {"TagHistory"},
		"verify.UploadTimes":            {"UploadTimes"},
		"verify/provenance.Attached":    {"Attachments"},
		"verify/provenance.Registry":    {"Referrers"},
		"verify/signed.PublicKeys":      {"PublicKeys"},
	}
}

// exempt are the implementations that do not run a suite, each with the reason.
// "TYPE as INTERFACE", or "TYPE" where the reason holds for all that it implements.
func exempt() map[string]string {
	const (
		fails   = "fails on purpose: the test is about its user, who meets a failure"
		answers = "answers, errs or panics as a test says, so that each outcome is counted; its answers are never judged"
	)
	return map[string]string{
		"server.VisibleAttested":         "narrows another one to the caller's images; TestPostureAsksAboutWhatTheCallerMay shows it",
		"attest_test.brokenJournal":      fails,
		"attest_test.forgetful":          fails,
		"attest_test.panickyJournal":     fails,
		"attest_test.tenacious":          fails,
		"internal/engine.nobody":         "attests nothing and looks nothing up on purpose: a dry run without a configuration; TestNobodySigns shows it",
		"server_test.growing":            "adds decisions between looks on purpose; the list that it hands on is of parts, which runs the suite",
		"server_test.nobody":             fails,
		"internal/engine_test.oneScan":   "gives the scan that a test names, for any image",
		"verify/provenance_test.halfway": "finds statements and fails all the same, which no implementation may",
		"server_test.queue":              "hands messages to a test one by one, which no suite asks for; TestASweepPublishesItsRest",
		"verify_test.recklessHistory":    fails,
		"verify_test.uploadsFunc":        "gives each kind of answer and error that a test names, for any image",
		"_test.unspeakable as Scanner":   fails,
		"_test.miscounting as Scanner":   fails,
		"server_test.watched":            "hands everything on to the store of its world, which runs the suites in audit",
		"_test.noted as Revocations":     "answers as a test says, which is about the order of calls",
		"server/telemetry_test.stage":    answers,
		"_test.publisher":                "answers as a test says, which is about what the gate makes of it",
	}
}

// made names the function that makes an implementation and hands it out as the
// interface, where its type alone would not be seen in a suite's call.
func made() map[string]string {
	return map[string]string{
		"audit.replica":               "audit.LaggingForTest",
		"server/identity.open":        "server/identity.Open",
		"server/telemetry.attester":   "server/telemetry.Observe",
		"server/telemetry.inspector":  "server/telemetry.Observe",
		"server/telemetry.recorder":   "server/telemetry.Observe",
		"server/telemetry.scanner":    "server/telemetry.Observe",
		"server/telemetry.summarizer": "server/telemetry.Observe",
	}
}

type listedPackage struct {
	ImportPath, Dir, Export, ForTest, Name string
	GoFiles                                []string
	ImportMap                              map[string]string
	DepOnly                                bool
}

// listPackages lists the module's packages, with their tests and all that they
// import, compiled.
func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-test", "-deps", "-export", "-json=ImportPath,Dir,Export,ForTest,Name,GoFiles,ImportMap,DepOnly", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}

	var all []listedPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}

		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// checked is a package with its types.
type checked struct {
	listedPackage
	types *types.Package
	files []*ast.File
	info  *types.Info
}

// check reads the sources of p, and the export data of what it imports.
func check(t *testing.T, fset *token.FileSet, p listedPackage, imports types.Importer) checked {
	t.Helper()
	c := checked{listedPackage: p, info: &types.Info{Defs: map[*ast.Ident]types.Object{},
		Uses: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}}}
	for _, name := range p.GoFiles {
		if !filepath.IsAbs(name) {
			name = filepath.Join(p.Dir, name)
		}
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		c.files = append(c.files, f)
	}

	path, _, _ := strings.Cut(p.ImportPath, " ")
	var err error
	if c.types, err = (&types.Config{Importer: imports}).Check(path, fset, c.files, c.info); err != nil {
		t.Fatalf("checking %s: %v", p.ImportPath, err)
	}
	return c
}

// importing reads export data. renamed are the imports that stand for packages
// compiled for one test.
func importing(fset *token.FileSet, exports, renamed map[string]string) types.Importer {
	return importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		if other, ok := renamed[path]; ok {
			path = other
		}
		if exports[path] == "" {
			return nil, fmt.Errorf("%s is not compiled", path)
		}
		return os.Open(exports[path])
	})
}

// short names a type without the module's path.
func short(pkg, name string) string {
	pkg = strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/")
	if pkg == "" {
		return name
	}
	return pkg + "." + name
}

// reachable is p and all that it imports, of this module.
func reachable(p *types.Package) []*types.Package {
	seen := map[*types.Package]bool{}
	var out []*types.Package
	var visit func(p *types.Package)
	visit = func(p *types.Package) {
		if seen[p] {
			return
		}
		seen[p] = true
		if p.Path() == module || strings.HasPrefix(p.Path(), module+"/") {
			out = append(out, p)
		}

		for _, i := range p.Imports() {
			visit(i)
		}
	}
	visit(p)
	return out
}

// apparatus reports whether a package is in no product.
func apparatus(path string) bool {
	return strings.HasPrefix(path, module+"/internal/testkit") || strings.HasPrefix(path, module+"/bench") || strings.HasPrefix(path, module+"/tools")
}

// named lists the types of a package.
func named(p *types.Package) []*types.TypeName {
	var out []*types.TypeName
	for _, name := range p.Scope().Names() {
		if tn, ok := p.Scope().Lookup(name).(*types.TypeName); ok && !tn.IsAlias() {
			out = append(out, tn)
		}
	}
	return out
}

// methods is the interface that tn declares, if it has methods.
func methods(tn *types.TypeName) (*types.Interface, bool) {
	n, ok := tn.Type().(*types.Named)
	if !ok || n.TypeParams().Len() > 0 {
		return nil, false
	}
	i, ok := n.Underlying().(*types.Interface)
	return i, ok && i.NumMethods() > 0 && i.IsMethodSet()
}

func implements(tn *types.TypeName, i *types.Interface) bool {
	n, ok := tn.Type().(*types.Named)
	if !ok || n.TypeParams().Len() > 0 || types.IsInterface(n) {
		return false
	}
	return types.Implements(n, i) || types.Implements(types.NewPointer(n), i)
}

// promoted reports whether tn implements i by a concrete type that it embeds,
// and has none of the methods itself: then it is that type, which runs the suite.
func promoted(tn *types.TypeName, i *types.Interface) bool {
	s, ok := tn.Type().Underlying().(*types.Struct)
	if !ok {
		return false
	}
	for m := range i.Methods() {
		object, index, _ := types.LookupFieldOrMethod(types.NewPointer(tn.Type()), true, tn.Pkg(), m.Name())
		if object == nil || len(index) < 2 || types.IsInterface(s.Field(index[0]).Type()) {
			return false
		}
	}
	return true
}

// mentioned adds the types that t is made of: what a suite is given is often
// what a function returns.
func mentioned(t types.Type, add func(*types.TypeName)) {
	switch t := t.(type) {
	case *types.Pointer:
		mentioned(t.Elem(), add)
	case *types.Named:
		add(t.Obj())
	case *types.Tuple:
		for v := range t.Variables() {
			mentioned(v.Type(), add)
		}
	case *types.Signature:
		mentioned(t.Results(), add)
	}
}

// calls adds, for each call of a suite, the types that its arguments mention
// and the functions that they call.
func (c checked) calls(add func(suite string, object types.Object)) {
	for _, f := range c.files {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			fun := call.Fun
			if index, ok := fun.(*ast.IndexExpr); ok {
				fun = index.X
			}

			sel, ok := fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			called, ok := c.info.Uses[sel.Sel].(*types.Func)
			if !ok || called.Pkg() == nil || called.Pkg().Path() != contract {
				return true
			}

			for _, arg := range call.Args {
				ast.Inspect(arg, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok {
						if f, ok := c.info.Uses[id].(*types.Func); ok {
							add(called.Name(), f)
						}
					}

					if e, ok := n.(ast.Expr); ok {
						if tv, ok := c.info.Types[e]; ok && tv.IsValue() {
							mentioned(tv.Type, func(tn *types.TypeName) { add(called.Name(), tn) })
						}
					}
					return true
				})
			}
			return true
		})
	}
}

// An implementation is a type that implements an interface of the table, or
// that is given to a suite.
type implementation struct{ of, name string }

// survey is what the module declares, implements, fakes and tests.
type survey struct {
	apart map[string]bool           // interfaces that another package implements than the one that declares them
	real  map[implementation]bool   // by the product
	fakes map[implementation]string // by tests, and where
	given map[implementation]bool   // to suites
}

// product adds what a package of the product declares and implements. p was read
// from its source, so that what it does not export is seen too.
func (s *survey) product(p checked) {
	for _, declares := range reachable(p.types) {
		for _, tn := range named(declares) {
			iface, ok := methods(tn)
			if !ok {
				continue
			}
			name := short(declares.Path(), tn.Name())
			for _, in := range reachable(p.types) {
				for _, impl := range named(in) {
					if !implements(impl, iface) || promoted(impl, iface) {
						continue
					}
					s.apart[name] = s.apart[name] || in != declares
					s.real[implementation{name, short(in.Path(), impl.Name())}] = true
				}
			}
		}
	}
}

// tests adds what a package's tests give to suites and fake.
func (s *survey) tests(p checked, fset *token.FileSet) {
	p.calls(func(suite string, object types.Object) {
		if object.Pkg() != nil {
			s.given[implementation{suite, short(object.Pkg().Path(), object.Name())}] = true
		}
	})

	for id, object := range p.info.Defs {
		tn, ok := object.(*types.TypeName)
		at := fset.Position(id.Pos())
		if !ok || tn.IsAlias() || !strings.HasSuffix(at.Filename, "_test.go") {
			continue
		}

		for _, in := range reachable(p.types) {
			for _, declared := range named(in) {
				if iface, ok := methods(declared); ok && implements(tn, iface) && !promoted(tn, iface) {
					fake := implementation{short(in.Path(), declared.Name()), short(tn.Pkg().Path(), tn.Name())}
					s.fakes[fake] = fmt.Sprintf("%s:%d", filepath.Base(at.Filename), at.Line)
				}
			}
		}
	}
}

// surveyed reads the whole module.
func surveyed(t *testing.T) *survey {
	t.Helper()
	all := listPackages(t)
	exports := map[string]string{}
	for _, p := range all {
		exports[p.ImportPath] = p.Export
	}

	s := &survey{apart: map[string]bool{}, real: map[implementation]bool{}, fakes: map[implementation]string{}, given: map[implementation]bool{}}
	fset := token.NewFileSet()
	shared := importing(fset, exports, nil) // reads each package once for the whole product
	products, tests := 0, 0
	for _, p := range all {
		switch {
		case p.DepOnly || strings.HasSuffix(p.ImportPath, ".test") || apparatus(p.ImportPath):
		case p.ForTest != "":
			tests++
			s.tests(check(t, fset, p, importing(fset, exports, p.ImportMap)), fset)
		default:
			products++
			s.product(check(t, fset, p, shared))
		}
	}

	if products < 20 || tests < 20 {
		t.Fatalf("%d packages and %d of tests were found: this test would prove nothing", products, tests)
	}
	return s
}

// TestEveryInterfaceHasItsSuite finds every interface that one package of the
// product declares and another implements, and every type that implements it,
// in the product and in tests. A type that is not given to the interface's suite
// could promise less than the interface does, and a test that uses it could
// share a mistake with the code.
func TestEveryInterfaceHasItsSuite(t *testing.T) {
	s := surveyed(t)
	table, reasons, makers := suites(), exempt(), made()

	for _, name := range slices.Sorted(maps.Keys(s.apart)) {
		if s.apart[name] && len(table[name]) == 0 {
			t.Errorf("%s is declared in one package and implemented in another, "+
				"and has no suite: write one in internal/testkit/contract and name it in the table", name)
		}
	}

	implemented, used := map[string]bool{}, map[string]bool{}
	judge := func(i implementation, at string) {
		implemented[i.of] = true
		if maker := makers[i.name]; maker != "" {
			used[i.name] = true
			i.name = maker
		}

		exempted := false
		for _, key := range []string{i.name, i.name + " as " + i.of} {
			if reasons[key] != "" {
				used[key], exempted = true, true
			}
		}

		if exempted {
			return
		}
		for _, suite := range table[i.of] {
			if s.given[implementation{suite, i.name}] {
				return
			}
		}
		t.Errorf("%s%s implements %s and is not given to contract.%s: run the suite on it, or use the real implementation",
			i.name, at, i.of, strings.Join(table[i.of], " or contract."))
	}

	for i := range s.real {
		if len(table[i.of]) > 0 {
			judge(i, "")
		}
	}

	for i, at := range s.fakes {
		if len(table[i.of]) > 0 {
			judge(i, " ("+at+")")
		}
	}

	// The tables say nothing that is not so.
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if !implemented[name] {
			t.Errorf("the table names the interface %s, which nothing implements", name)
		}
	}

	for _, key := range slices.Concat(slices.Sorted(maps.Keys(reasons)), slices.Sorted(maps.Keys(makers))) {
		if !used[key] {
			t.Errorf("the entry of %s is not needed: remove it", key)
		}
	}
}
