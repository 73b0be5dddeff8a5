package attestor_test

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/attestor-gate/attestor"

// siblings are the packages that own one stage each. They import the root,
// libraries and internal/…, and never each other: only the joiner and the commands
// above it know more than one.
var siblings = []string{"verify", "vuln", "policy", "attest", "audit", "server", "posture", "emulator", "report", "summary"}

// joiner makes a gate of the stages; cmd/attestor is on top of it.
const joiner = module + "/internal/engine"

type listed struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports,Deps", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}

	var all []listed
	dec := json.NewDecoder(strings.NewReader(string(out)))

	for {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}

	if len(all) < 5 {
		t.Fatalf("go list found %d packages: this test would prove nothing", len(all))
	}
	return all
}

// stage is the sibling that a package belongs to, or "".
func stage(importPath string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(importPath, module+"/"), "/")
	if strings.HasPrefix(importPath, module+"/") && slices.Contains(siblings, first) {
		return first
	}
	return ""
}

// apparatus reports whether a package exists for tests alone.
func apparatus(importPath string) bool {
	return strings.HasPrefix(importPath, module+"/internal/testkit/")
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range packages(t) {
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module) {
				continue
			}

			from, to := stage(p.ImportPath), stage(imp)
			switch {
			case p.ImportPath == module:
				t.Errorf("the root imports %s; it may import the standard library and go-containerregistry's name only", imp)

			case strings.HasPrefix(imp, module+"/cmd/"):
				t.Errorf("%s imports %s; nothing imports a command", p.ImportPath, imp)

			case from != "" && to != "" && from != to:
				t.Errorf("%s imports %s; siblings never import each other: let internal/engine join them", p.ImportPath, imp)

			case apparatus(p.ImportPath):

				// Test apparatus joins whatever it tests; it is in no product, by the next rule.
			case apparatus(imp) && p.ImportPath != module+"/bench":
				t.Errorf("%s imports %s; only tests and bench import test apparatus", p.ImportPath, imp)

			case imp == joiner && !strings.HasPrefix(p.ImportPath, module+"/cmd/"):
				t.Errorf("%s imports %s; only commands stand above what joins the stages", p.ImportPath, imp)

			case p.ImportPath != joiner && strings.HasPrefix(p.ImportPath, module+"/internal/") && to != "":
				t.Errorf("%s imports %s; internal packages hold one idea each and know no stage", p.ImportPath, imp)
			}
		}
	}
}

func TestRootImportsAlmostNothing(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != module {
			continue
		}
		for _, imp := range p.Imports {
			if strings.Contains(imp, ".") && imp != "github.com/google/go-containerregistry/pkg/name" {
				t.Errorf("the root imports %s", imp)
			}
		}
	}
}

func TestForbiddenDependencies(t *testing.T) {
	forbidden := []struct{ in, dep, why string }{
		{module + "/policy", "github.com/sigstore", "policy stays light, so that others can embed it and its tests run in milliseconds"},
		{module + "/policy", "cloud.google.com/go", "policy stays light"},
		{module + "/policy", "google.golang.org/grpc", "policy does no I/O"},
		{module, "github.com/stretchr/testify/mock", "mocks do not belong in a gate"},
		{module, "k8s.io/client-go", "38 MB for nothing that is used"},
		{module, "github.com/sigstore/cosign/v2/pkg/signature", "brings every cloud's SDK: 38 MB"},
		{module, "github.com/sigstore/cosign/v2/pkg/policy", "brings OPA and CUE"},
		{module, "github.com/sigstore/cosign/v2/cmd", "brings every cloud's SDK"},
	}
	for _, p := range packages(t) {
		// Only what we import ourselves: cosign's dependencies link it.
		if slices.Contains(p.Imports, "testing") && !apparatus(p.ImportPath) {
			t.Errorf("%s imports testing, which does not belong in production code", p.ImportPath)
		}
		for _, f := range forbidden {
			if p.ImportPath != f.in && !strings.HasPrefix(p.ImportPath, f.in+"/") {
				continue
			}
			for _, dep := range p.Deps {
				if dep == f.dep || strings.HasPrefix(dep, f.dep+"/") {
					t.Errorf("%s depends on %s: %s", p.ImportPath, dep, f.why)
				}
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) == 0 {
			continue // tests alone, of what is not Go
		}

		var with []string
		for _, f := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, f), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if file.Doc != nil {
				with = append(with, f)
			}
		}

		if len(p.GoFiles) > 0 && len(with) != 1 {
			t.Errorf("%s has package comments in %d files %v, want exactly one", p.ImportPath, len(with), with)
		}
		if name := path.Base(p.ImportPath); slices.Contains([]string{"util", "utils", "common", "types", "models", "helpers", "interfaces", "http"}, name) {
			t.Errorf("%s: %q says nothing", p.ImportPath, name)
		}
	}
}

func TestGoModHasNoReplace(t *testing.T) {
	b, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(strings.TrimSpace(line), "replace ") {
			t.Errorf("go.mod: %s: a replace is not seen by whoever imports this module", strings.TrimSpace(line))
		}
	}
}

func TestNoInitAndNoLongFiles(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range p.GoFiles {
			b, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}

			if n := strings.Count(string(b), "\n"); n > 500 {
				t.Errorf("%s/%s has %d lines; 500 is the limit", p.ImportPath, f, n)
			}
			if strings.Contains(string(b), "\nfunc init()") {
				t.Errorf("%s/%s has an init", p.ImportPath, f)
			}
		}
	}
}
