package deploy_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

var updateReadmes = flag.Bool("update-readmes", false, "write the README.md of each Terraform module and example")

// TestModulesAreOfTheStandardStructure: each module and example has Terraform's standard files with what belongs into each, a
// provider and a terraform with bounds on both sides, and each module tests.
func TestModulesAreOfTheStandardStructure(t *testing.T) {
	for path, d := range readDirs(t) {
		for file, kind := range map[string]string{"variables.tf": "variable", "outputs.tf": "output"} {
			for name, b := range d.of(kind) {
				if filepath.Base(b.TypeRange.Filename) != file {
					t.Errorf("%s: %s %s belongs into %s", path, kind, name, file)
				}
			}
		}

		versions := d.of("terraform")[""]
		if versions == nil || filepath.Base(versions.TypeRange.Filename) != "versions.tf" {
			t.Errorf("%s has no versions.tf", path)
			continue
		}
		bounds := map[string]string{"terraform": constant(versions.Body.Attributes["required_version"])}
		for _, b := range versions.Body.Blocks {
			for name, a := range b.Body.Attributes {
				v, diags := a.Expr.Value(nil)
				if b.Type != "required_providers" || diags.HasErrors() {
					continue
				}
				bounds[name] = shown(get(v, "version"))
			}
		}
		if len(bounds) < 2 {
			t.Errorf("%s: only %v has a version", path, bounds)
		}
		for what, bound := range bounds {
			if !strings.Contains(bound, ">= ") || !strings.Contains(bound, ", < ") {
				t.Errorf("%s: %s %q has no bounds on both sides", path, what, bound)
			}
		}

		tests, err := filepath.Glob(filepath.Join(path, "*.tftest.hcl"))
		if err != nil || strings.Contains(path, "/modules/") && len(tests) == 0 {
			t.Errorf("%s has no tests", path)
		}
	}
}

func constant(a *hclsyntax.Attribute) string {
	if a == nil {
		return ""
	}
	v, diags := a.Expr.Value(nil)
	if diags.HasErrors() {
		return ""
	}
	return shown(v)
}

// TestModuleReadmes writes, or compares, each README.md.
func TestModuleReadmes(t *testing.T) {
	dirs := readDirs(t)
	for path, d := range dirs {
		name := filepath.Join(path, "README.md")
		want := d.readme(t)
		if strings.Contains(filepath.ToSlash(path), "/modules/") {
			want += exampleOf(t, dirs, path)
		}
		if *updateReadmes {
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name)
		if err != nil || string(got) != want {
			t.Errorf("%s: %v: run go test ./deploy -run TestModuleReadmes -update-readmes\n%s", name, err, cmp.Diff(string(got), want))
		}
	}
}

func (d dir) readme(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	main := string(d.text[filepath.Join(d.path, "main.tf")])
	fmt.Fprintf(&b, "# %s\n\n", filepath.Base(d.path))
	var head []string
	for line := range strings.Lines(main) {
		comment, is := strings.CutPrefix(line, "# ")
		if !is {
			break
		}
		head = append(head, strings.TrimSpace(comment))
	}
	if len(head) == 0 {
		t.Errorf("%s/main.tf does not begin with what it is for", d.path)
	}
	b.WriteString(strings.Join(head, " ") + "\n\n[How to use it](../../../../docs/deploy.md#with-terraform) and " +
		"[how to upgrade](../../../../docs/deploy.md#upgrading-the-modules). " +
		"`go test ./deploy -run TestModuleReadmes -update-readmes` writes this page.\n")

	kinds := map[string]int{}
	for _, r := range d.of("resource") {
		kinds[r.Labels[0]]++
	}
	list := func(title string, names []string) {
		if len(names) > 0 {
			fmt.Fprintf(&b, "\n## %s\n\n", title)
			for _, n := range names {
				fmt.Fprintf(&b, "* `%s`\n", n)
			}
		}
	}
	list("Modules", slices.Sorted(maps.Keys(d.of("module"))))
	list("Resources", slices.Sorted(maps.Keys(kinds)))

	if variables := d.of("variable"); len(variables) > 0 {
		b.WriteString("\n## Inputs\n\n| input | type | default | |\n| --- | --- | --- | --- |\n")
		for _, name := range slices.Sorted(maps.Keys(variables)) {
			v := variables[name]
			byDefault := "required"
			if a := v.Body.Attributes["default"]; a != nil {
				byDefault = "`" + d.source(a) + "`"
			}
			fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", name, d.source(v.Body.Attributes["type"]), byDefault,
				cell(constant(v.Body.Attributes["description"])))
		}
	}
	if outputs := d.of("output"); len(outputs) > 0 {
		b.WriteString("\n## Outputs\n\n| output | |\n| --- | --- |\n")
		for _, name := range slices.Sorted(maps.Keys(outputs)) {
			fmt.Fprintf(&b, "| `%s` | %s |\n", name, cell(constant(outputs[name].Body.Attributes["description"])))
		}
	}
	return b.String()
}

// exampleOf is how an example calls a module, as it is written there: the examples are planned by other tests.
func exampleOf(t *testing.T, dirs map[string]dir, module string) string {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(dirs)) {
		d := dirs[path]
		calls := d.of("module")
		for _, name := range slices.Sorted(maps.Keys(calls)) {
			b := calls[name]
			source := constant(b.Body.Attributes["source"])
			if !strings.HasPrefix(source, ".") || filepath.Join(path, source) != filepath.Clean(module) {
				continue
			}
			r := hcl.RangeBetween(b.TypeRange, b.CloseBraceRange)
			file := filepath.Base(r.Filename)
			return fmt.Sprintf("\n## Example\n\nFrom [%[1]s](../../examples/%[1]s/%[2]s), where the other names are made:\n\n```terraform\n%[3]s\n```\n",
				filepath.Base(path), file, r.SliceBytes(d.text[r.Filename]))
		}
	}
	t.Errorf("no example calls %s", module)
	return ""
}

func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(s)
}

// source is an argument's value as it is written, on one line.
func (d dir) source(a *hclsyntax.Attribute) string {
	r := a.Expr.Range()
	text := ""
	for line := range strings.Lines(string(r.SliceBytes(d.text[r.Filename]))) {
		line, _, _ = strings.Cut(line, " #")
		line = strings.Join(strings.Fields(line), " ")
		switch {
		case line == "":
		case text == "" || strings.HasSuffix(text, "(") || strings.HasSuffix(text, "[") || strings.HasPrefix(line, ")") || strings.HasPrefix(line, "]"):
			text += line
		case strings.HasSuffix(text, "{") || strings.HasSuffix(text, ",") || strings.HasPrefix(line, "}"):
			text += " " + line
		default:
			text += ", " + line
		}
	}
	return strings.ReplaceAll(text, "|", `\|`)
}
