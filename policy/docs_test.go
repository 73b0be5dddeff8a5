package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/fielddoc"
	"github.com/attestor-gate/attestor/policy"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// snippets are a document's fenced blocks of one language.
func snippets(t testing.TB, file, language string) []string {
	t.Helper()
	var out []string

	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(readFile(t, file)), -1) {
		out = append(out, m[1])
	}
	return out
}

// asPolicy is a snippet as a policy: itself, or the strict policy with the
// snippet's fields in place of its own.
func asPolicy(t testing.TB, snippet string) string {
	t.Helper()
	var part map[string]any
	if err := yaml.Load([]byte(snippet), &part); err != nil {
		t.Fatalf("%v\n%s", err, snippet)
	}
	if part["kind"] != nil {
		return snippet
	}

	var whole map[string]any
	if err := yaml.Load([]byte(strings.ReplaceAll(strict, "registry.example", "us-docker.pkg.dev")), &whole); err != nil {
		t.Fatal(err)
	}

	spec, _ := whole["spec"].(map[string]any)
	for k, v := range part {
		spec[k] = plain(v)
	}

	text, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}

	return string(text)
}

// Every snippet of YAML in the documents loads, and tests in them hold.
func TestDocsSnippets(t *testing.T) {
	for _, file := range []string{"../docs/policy.md", "../docs/rules.md"} {
		list := snippets(t, file, "yaml")
		if len(list) < 2 {
			t.Fatalf("%s has %d snippets", file, len(list))
		}

		for i, s := range list {
			t.Run(fmt.Sprintf("%s %d", filepath.Base(file), i), func(t *testing.T) {
				if strings.Contains(s, policy.TestKind) {
					docTest(t, s)
					return
				}
				if _, err := policy.Parse(policy.Source{Name: "snippet.yaml", Text: []byte(asPolicy(t, s))}); err != nil {
					t.Errorf("%v\n%s", err, s)
				}
			})
		}
	}
}

func docTest(t *testing.T, text string) {
	dir := t.TempDir()
	for name, content := range map[string][]byte{"doc_test.yaml": []byte(text), "production.yaml": readFile(t, library+"/production.yaml")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	report, err := policy.Test(filepath.Join(dir, "doc_test.yaml"))
	if err != nil {
		t.Fatal(err)
	}

	for _, r := range report.Results {
		if r.Problem != "" {
			t.Errorf("%s: %s", r.Name, r.Problem)
		}
	}
}

// between compares, or with -update writes, what stands between a document's
// markers.
func between(t *testing.T, file, marker, want string) {
	t.Helper()
	text := string(readFile(t, file))
	start, end := strings.Index(text, "<!-- "+marker+":"), strings.Index(text, "<!-- end of "+marker)
	if start < 0 || end < start {
		t.Fatalf("%s has no table of %s", file, marker)
	}

	start += strings.Index(text[start:], "\n") + 1
	if *update {
		text = text[:start] + want + text[end:]
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(text[start:end], want); diff != "" {
		t.Errorf("go test ./policy -run Docs -update writes it (-held +made):\n%s", diff)
	}
}

// The table of fields is that of the types.
func TestDocsFields(t *testing.T) {
	var b strings.Builder
	b.WriteString("| field | default | meaning |\n| --- | --- | --- |\n")
	n := fieldRows(t, &b, reflect.TypeFor[policy.Document](), "")
	if n < 80 {
		t.Errorf("only %d fields", n)
	}

	between(t, "../docs/policy.md", "fields", b.String())
}

func fieldRows(t *testing.T, b *strings.Builder, typ reflect.Type, path string) int {
	t.Helper()
	said, n := fieldComments(t), 0
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		name = strings.TrimPrefix(path+"."+name, ".")
		def := ""

		for part := range strings.SplitSeq(f.Tag.Get("jsonschema"), ",") {
			if part == "required" {
				def = "required"
			} else if d, ok := strings.CutPrefix(part, "default="); ok {
				def = "`" + d + "`"
			}
		}

		fmt.Fprintf(b, "| `%s` | %s | %s |\n", name, def, said[typ.PkgPath()+"."+typ.Name()+"."+f.Name])
		n++
		of := f.Type

		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			if of.Kind() == reflect.Slice {
				name += "[]"
			}
			of = of.Elem()
		}

		ours := of.PkgPath() == reflect.TypeFor[policy.Document]().PkgPath()
		if of.Kind() == reflect.Struct && ours && of != reflect.TypeFor[policy.Date]() {
			n += fieldRows(t, b, of, name)
		}
	}

	return n
}

// fieldComments are the comments of the fields of policy files.
func fieldComments(t *testing.T) map[string]string {
	t.Helper()
	said := map[string]string{}
	for _, file := range []string{"document.go", "document_evidence.go"} {
		of, err := fielddoc.Of(readFile(t, file), reflect.TypeFor[policy.Document]().PkgPath())
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(said, of)
	}
	return said
}

// The table of variables is that of the types.
func TestDocsVariables(t *testing.T) {
	var b strings.Builder
	b.WriteString("| variable | whose word | fields |\n| --- | --- | --- |\n")

	for _, v := range []struct {
		name, whose string
		typ         reflect.Type
	}{
		{"image", "the author's claims", reflect.TypeFor[policy.RuleImage]()},
		{"request", "the caller's", reflect.TypeFor[policy.RuleRequest]()},
		{"subject", "the registry's, and what was measured", reflect.TypeFor[policy.RuleSubject]()},
		{"user", "what the gate made of the config", reflect.TypeFor[policy.RuleUser]()},
		{"base", "what was proven", reflect.TypeFor[policy.RuleBase]()},
		{"scan", "the scanner's", reflect.TypeFor[policy.RuleScan]()},
		{"scan.findings[]", "the scanner's", reflect.TypeFor[policy.RuleFinding]()},
		{"scan.secrets[]", "the scanner's", reflect.TypeFor[policy.RuleSecret]()},
		{"sbom", "the signer's that the policy names; `claims`: anybody's", reflect.TypeFor[policy.RuleSBOM]()},
		{"sbom.packages[], sbom.claims[]", "the same", reflect.TypeFor[policy.RulePackage]()},
		{"vex[]", "the projects' and signers' that the policy names", reflect.TypeFor[policy.RuleVEX]()},
		{"provenance[]", "the builder's, signed and verified", reflect.TypeFor[policy.RuleProvenance]()},
	} {
		var fields []string
		for i := range v.typ.NumField() {
			f := v.typ.Field(i)
			fields = append(fields, fmt.Sprintf("`%s` %s", f.Tag.Get("cel"), celType(f.Type)))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", v.name, v.whose, strings.Join(fields, ", "))
	}

	b.WriteString("| `time` | the gate's clock | timestamp: when the evidence was gathered |\n")
	between(t, "../docs/rules.md", "variables", b.String())
}

func celType(t reflect.Type) string {
	switch {
	case t.String() == "time.Time":
		return "timestamp"

	case t.Kind() == reflect.Int64:
		return "int"

	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return "list"

	case t.Kind() == reflect.Slice:
		return "list of " + celType(t.Elem())

	case t.Kind() == reflect.Map:
		return fmt.Sprintf("map of %s to %s", celType(t.Key()), celType(t.Elem()))
	}
	return t.Kind().String()
}

// Each ready rule is true of a good image and false of a bad one.
func TestDocsReadyRules(t *testing.T) {
	good := func(ev *attestor.Evidence) {
		ev.Labels = map[string]string{"branch": "release/7"}
		e := &ev.Platforms[0]
		e.Config.Labels = map[string]string{"team": "payments", "cost-centre": "42"}
		e.Config.ExposedPorts, e.Config.Entrypoint, e.Config.Cmd = []string{"8080/tcp"}, []string{"/app"}, []string{"--serve"}
		e.Provenance[0].SourceURI, e.Provenance[0].Ref = "git+https://github.com/acme/payments.git@refs/heads/main", "refs/heads/main"
	}

	bad := map[string]func(*attestor.Evidence){
		"required-labels": on(func(e *attestor.PlatformEvidence) { delete(e.Config.Labels, "cost-centre") }),
		"source-repository": on(func(e *attestor.PlatformEvidence) {
			e.Provenance[0].SourceURI = "https://github.com/acme-evil/payments"
		}),
		"image-age":         func(ev *attestor.Evidence) { ev.Uploaded = nil },
		"size":              on(func(e *attestor.PlatformEvidence) { e.Config.Size = 500 << 20 }),
		"exposed-ports":     on(func(e *attestor.PlatformEvidence) { e.Config.ExposedPorts = []string{"8080/tcp", "22/tcp"} }),
		"no-secrets-in-env": on(func(e *attestor.PlatformEvidence) { e.Config.SecretEnv = []string{"TOKEN"} }),
		"no-shell":          on(func(e *attestor.PlatformEvidence) { e.Config.Entrypoint = []string{"/bin/sh", "-c"} }),
		"release-branch":    func(ev *attestor.Evidence) { ev.Labels = nil },
		"critical-count": findings(slices.Repeat([]attestor.Vulnerability{vulnerability("CVE-1-1",
			func(v *attestor.Vulnerability) { v.Severity = attestor.Critical })}, 4)...),
	}

	list := snippets(t, "../docs/rules.md", "yaml")
	p := one(t, strings.ReplaceAll(asPolicy(t, list[len(list)-1]), "us-docker.pkg.dev", "registry.example"))
	start := func() attestor.Evidence {
		ev := passing(p)
		good(&ev)
		return ev
	}

	seen := 0
	for _, c := range p.Judge(start()).Checks() {
		name, isRule := strings.CutPrefix(c.Name, attestor.RulePrefix)
		if !isRule {
			continue
		}

		seen++
		if c.Status != attestor.StatusPass {
			t.Errorf("%s is false of a good image: %+v", name, c.Reasons)
		}

		change, ok := bad[name]
		if !ok {
			t.Errorf("%s is not tried on a bad image", name)
			continue
		}

		ev := start()
		change(&ev)
		if got := check(t, p.Judge(ev), c.Name); got.Status != attestor.StatusDeny || got.Reasons[0].Code != attestor.CodeRuleViolated {
			t.Errorf("%s of a bad image: %+v", name, got)
		}
	}

	if seen != len(bad) {
		t.Errorf("%d rules, %d cases", seen, len(bad))
	}
}

// What is documented as an error at load is one.
func TestDocsTiesAreErrors(t *testing.T) {
	a := strings.Replace(strict, "name: strict", "name: other", 1)
	_, err := policy.Parse(policy.Source{Name: "a.yaml", Text: []byte(strict)}, policy.Source{Name: "b.yaml", Text: []byte(a)})
	if _, ok := errors.AsType[policy.Errors](err); !ok {
		t.Errorf("%v", err)
	}
}
