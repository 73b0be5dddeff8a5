package deploy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// schema is what the provider knows of a block: its arguments by name, each r
// required, o optional, c computed, and its blocks.
type schema struct {
	Attributes map[string]string `json:"attributes"`
	Blocks     map[string]struct {
		Min int `json:"min"`
		Max int `json:"max"`
		schema
	} `json:"blocks"`
}

type provider struct {
	Resource map[string]schema `json:"resource"`
	Data     map[string]schema `json:"data"`
}

func readProvider(t *testing.T) provider {
	t.Helper()
	b, err := os.ReadFile("terraform/testdata/google-8.0.0.json")
	if err != nil {
		t.Fatal(err)
	}

	var p provider
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}

	return p
}

// A dir is one Terraform module: its blocks, and each file's text.
type dir struct {
	path   string
	blocks []*hclsyntax.Block
	text   map[string][]byte
}

func readDir(t *testing.T, path string) dir {
	t.Helper()
	return readChanged(t, path, func(_, text string) string { return text })
}

// readChanged reads a module as if somebody had changed its files.
func readChanged(t *testing.T, path string, change func(file, text string) string) dir {
	t.Helper()
	d := dir{path: path, text: map[string][]byte{}}
	files, err := filepath.Glob(filepath.Join(path, "*.tf"))
	if err != nil {
		t.Fatal(err)
	}

	parser := hclparse.NewParser()
	for _, f := range files {
		file, diags := parser.ParseHCL([]byte(change(f, string(read(t, f)))), f)
		if diags.HasErrors() {
			t.Fatal(diags)
		}

		d.text[f] = file.Bytes
		d.blocks = append(d.blocks, file.Body.(*hclsyntax.Body).Blocks...)
	}

	return d
}

// readDirs reads every directory with .tf files.
func readDirs(t *testing.T) map[string]dir {
	t.Helper()
	return readDirsChanged(t, func(_, text string) string { return text })
}

func readDirsChanged(t *testing.T, change func(file, text string) string) map[string]dir {
	t.Helper()
	out := map[string]dir{}
	err := filepath.WalkDir("terraform", func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".tf") && out[filepath.Dir(path)].text == nil {
			out[filepath.Dir(path)] = readChanged(t, filepath.Dir(path), change)
		}
		return err
	})

	if err != nil || len(out) < 10 {
		t.Fatalf("reading terraform: %d directories, %v", len(out), err)
	}
	return out
}

func (d dir) of(kind string) map[string]*hclsyntax.Block {
	out := map[string]*hclsyntax.Block{}
	for _, b := range d.blocks {
		if b.Type == kind {
			out[strings.Join(b.Labels, ".")] = b
		}
	}
	return out
}

// meta is what every resource takes.
func meta(name string) bool {
	return slices.Contains([]string{"count", "for_each", "provider", "depends_on", "lifecycle", "timeouts", "provisioner"}, name)
}

// problems compares a block with what the provider knows.
func (s schema) problems(path string, b *hclsyntax.Body) []string {
	var out []string
	say := func(r hcl.Range, format string, a ...any) {
		out = append(out, fmt.Sprintf("%s: %s: %s", r, path, fmt.Sprintf(format, a...)))
	}

	for name, a := range b.Attributes {
		switch flags, ok := s.Attributes[name]; {
		case meta(name):
		case !ok:
			say(a.NameRange, "unknown argument %q", name)
		case !strings.ContainsAny(flags, "ro"):
			say(a.NameRange, "%q is read-only", name)
		}
	}

	for name, flags := range s.Attributes {
		if strings.Contains(flags, "r") && b.Attributes[name] == nil {
			say(b.MissingItemRange(), "missing argument %q", name)
		}
	}

	seen := map[string]int{}
	for _, c := range b.Blocks {
		name, body, n := c.Type, c.Body, 1
		if name == "dynamic" {
			if name, body = c.Labels[0], content(c); body == nil {
				say(c.TypeRange, "dynamic %q without content", name)
				continue
			}
		}
		if meta(name) {
			continue
		}

		inner, ok := s.Blocks[name]
		if !ok {
			say(c.TypeRange, "unknown block %q", name)
			continue
		}

		seen[name] += n
		out = append(out, inner.problems(path+"."+name, body)...)
	}

	for name, inner := range s.Blocks {
		if seen[name] < inner.Min || (inner.Max > 0 && seen[name] > inner.Max) {
			say(b.MissingItemRange(), "block %q: %d given, want %d to %d", name, seen[name], inner.Min, inner.Max)
		}
	}

	slices.Sort(out)
	return out
}

func content(dynamic *hclsyntax.Block) *hclsyntax.Body {
	for _, b := range dynamic.Body.Blocks {
		if b.Type == "content" {
			return b.Body
		}
	}
	return nil
}

func (p provider) problems(d dir) []string {
	var out []string
	for kind, known := range map[string]map[string]schema{"resource": p.Resource, "data": p.Data} {
		for name, b := range d.of(kind) {
			s, ok := known[b.Labels[0]]
			if !ok {
				out = append(out, fmt.Sprintf("%s: unknown %s", b.LabelRanges[0], b.Labels[0]))
				continue
			}
			out = append(out, s.problems(name, b.Body)...)
		}
	}

	slices.Sort(out)
	return out
}

// TestTerraformIsWhatTheProviderKnows checks every resource, argument and block.
func TestTerraformIsWhatTheProviderKnows(t *testing.T) {
	p := readProvider(t)
	for _, d := range readDirs(t) {
		for _, problem := range p.problems(d) {
			t.Error(problem)
		}
	}
}

// TestTerraformProblemsAreFound is the check's own check.
func TestTerraformProblemsAreFound(t *testing.T) {
	path := t.TempDir()
	text := `
resource "google_kms_key_ring" "a" {
  nam      = "x"
  location = "us"
}
resource "google_kms_crypto_key" "b" {
  name     = "b"
  key_ring = "r"
  primary  = []
  version_template {
    algoritm = "X"
  }
  version_template {
    algorithm = "X"
  }
  bogus {}
}
resource "google_kms_keyring" "c" {}
`

	if err := os.WriteFile(filepath.Join(path, "a.tf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	got := strings.Join(readProvider(t).problems(readDir(t, path)), "\n")
	for _, want := range []string{
		`unknown argument "nam"`, `missing argument "name"`, `"primary" is read-only`, `unknown argument "algoritm"`,
		`missing argument "algorithm"`, `block "version_template": 2 given, want 0 to 1`, `unknown block "bogus"`, `unknown google_kms_keyring`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("not found: %s\nin: %s", want, got)
		}
	}
}

// TestTerraformIsFormatted formats as terraform fmt does.
func TestTerraformIsFormatted(t *testing.T) {
	for _, d := range readDirs(t) {
		for file, text := range d.text {
			if !bytes.Equal(hclwrite.Format(text), text) {
				t.Errorf("%s: run terraform fmt", file)
			}
		}
	}
}

// TestTerraformModulesAreUsed: an example calls each, and thereby checks its arguments.
func TestTerraformModulesAreUsed(t *testing.T) {
	dirs := readDirs(t)
	called := map[string]bool{}

	for path, d := range dirs {
		for _, m := range d.of("module") {
			if to, ok := moduleDir(dirs, path, m); ok {
				called[to.path] = true
			}
		}
	}

	for path := range dirs {
		if strings.HasPrefix(path, "terraform/modules/") && !called[path] {
			t.Errorf("no example calls %s", path)
		}
	}
}

// TestTerraformReferences follows every reference: variables, locals,
// resources, the arguments and the outputs of modules.
func TestTerraformReferences(t *testing.T) {
	dirs := readDirs(t)
	for path, d := range dirs {
		variables, outputs := d.of("variable"), d.of("output")
		for name, b := range variables {
			if b.Body.Attributes["description"] == nil || b.Body.Attributes["type"] == nil {
				t.Errorf("%s: variable %s has no description or type", path, name)
			}
		}

		for name, b := range outputs {
			if b.Body.Attributes["description"] == nil {
				t.Errorf("%s: output %s has no description", path, name)
			}
		}

		for name, m := range d.of("module") {
			checkModule(t, dirs, path, name, m)
		}

		used := map[string]bool{}
		locals := map[string]bool{}

		for _, b := range d.blocks {
			if b.Type == "locals" {
				for name := range b.Body.Attributes {
					locals[name] = true
				}
			}
		}

		for _, b := range d.blocks {
			scope := iterators(b.Body)
			for _, r := range references(b.Body) {
				parts := traversal(r)
				if len(parts) < 2 || scope[parts[0]] {
					continue
				}

				ok := true
				switch parts[0] {
				case "var":
					used[parts[1]] = true
					ok = variables[parts[1]] != nil

				case "local":
					ok = locals[parts[1]]

				case "data":
					ok = len(parts) > 2 && d.of("data")[parts[1]+"."+parts[2]] != nil

				case "module":
					ok = moduleOutput(dirs, path, d, parts)

				case "path", "each", "count":
				default:
					ok = d.of("resource")[parts[0]+"."+parts[1]] != nil
				}

				if !ok {
					t.Errorf("%s: %s is nowhere declared", r.SourceRange(), strings.Join(parts, "."))
				}
			}
		}

		for name := range variables {
			if !used[name] {
				t.Errorf("%s: variable %s is not used", path, name)
			}
		}
	}
}

func checkModule(t *testing.T, dirs map[string]dir, path, name string, m *hclsyntax.Block) {
	t.Helper()
	called, ok := moduleDir(dirs, path, m)
	if !ok {
		t.Errorf("%s: module %s: its source is not here", path, name)
		return
	}

	variables := called.of("variable")
	for arg := range m.Body.Attributes {
		if arg != "source" && !meta(arg) && variables[arg] == nil {
			t.Errorf("%s: module %s takes no %s", path, name, arg)
		}
	}

	for v, b := range variables {
		if b.Body.Attributes["default"] == nil && m.Body.Attributes[v] == nil {
			t.Errorf("%s: module %s lacks %s", path, name, v)
		}
	}
}

func moduleDir(dirs map[string]dir, path string, m *hclsyntax.Block) (dir, bool) {
	source, diags := m.Body.Attributes["source"].Expr.Value(nil)
	if diags.HasErrors() {
		return dir{}, false
	}

	d, ok := dirs[filepath.Join(path, source.AsString())]
	return d, ok
}

func moduleOutput(dirs map[string]dir, path string, d dir, parts []string) bool {
	m := d.of("module")[parts[1]]
	if m == nil || len(parts) == 2 { // depends_on names a whole module
		return m != nil
	}

	called, ok := moduleDir(dirs, path, m)
	return ok && called.of("output")[parts[2]] != nil
}

// references are those of a whole block, with what is inside it.
func references(b *hclsyntax.Body) []hcl.Traversal {
	var out []hcl.Traversal
	for _, a := range b.Attributes {
		out = append(out, a.Expr.Variables()...)
	}

	for _, c := range b.Blocks {
		if c.Type == "lifecycle" {
			continue
		}
		out = append(out, references(c.Body)...)
	}
	return out
}

// iterators are the names that dynamic blocks bring into scope.
func iterators(b *hclsyntax.Body) map[string]bool {
	out := map[string]bool{}
	for _, c := range b.Blocks {
		if c.Type == "dynamic" {
			out[c.Labels[0]] = true
		}
		for name := range iterators(c.Body) {
			out[name] = true
		}
	}
	return out
}

func traversal(t hcl.Traversal) []string {
	var out []string
	for _, step := range t {
		switch s := step.(type) {
		case hcl.TraverseRoot:
			out = append(out, s.Name)
		case hcl.TraverseAttr:
			out = append(out, s.Name)
		}
	}
	return out
}

// TestTerraformRolesAreJustified wants a comment above every grant, and no
// role that is wider than any grant here needs.
func TestTerraformRolesAreJustified(t *testing.T) {
	wide := []string{"roles/owner", "roles/editor", "roles/viewer", "roles/iam.serviceAccountUser",
		"roles/cloudkms.admin", "roles/containeranalysis.admin", "roles/binaryauthorization.policyEditor"}
	grants := 0

	for _, d := range readDirs(t) {
		for name, b := range d.of("resource") {
			if !strings.HasSuffix(b.Labels[0], "_iam_member") {
				continue
			}

			grants++
			role, diags := b.Body.Attributes["role"].Expr.Value(nil)
			if diags.HasErrors() {
				t.Errorf("%s: its role is not a literal", name)
				continue
			}
			if slices.Contains(wide, role.AsString()) {
				t.Errorf("%s: %s is too wide", name, role.AsString())
			}

			lines := strings.Split(string(d.text[b.TypeRange.Filename]), "\n")
			first := b.TypeRange.Start.Line
			above := strings.TrimSpace(lines[first-2])
			before := d.before(b)
			if !strings.HasPrefix(above, "#") && (before == nil || before.Labels[0] != b.Labels[0]) {
				t.Errorf("%s:%d: %s has no reason above it", b.TypeRange.Filename, first, name)
			}
		}
	}

	if grants < 15 {
		t.Errorf("%d grants found", grants)
	}
}

// before is the block just above b: one comment may speak for two grants of a kind.
func (d dir) before(b *hclsyntax.Block) *hclsyntax.Block {
	for i, c := range d.blocks {
		if c == b && i > 0 && d.blocks[i-1].TypeRange.Filename == b.TypeRange.Filename && len(d.blocks[i-1].Labels) > 0 {
			return d.blocks[i-1]
		}
	}
	return nil
}
