package policy_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
	"github.com/google/go-cmp/cmp"
)

// What is wrong is said all at once, each with its place, in the words that
// the golden files hold: go test ./policy -run Golden -update writes them.
func TestGoldenErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}

	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}

			_, err = policy.Parse(policy.Source{Name: filepath.Base(f), Text: text})
			list, ok := errors.AsType[policy.Errors](err)
			if !ok {
				t.Fatalf("%T %v", err, err)
			}

			for _, d := range list {
				if d.Line < 1 || d.Column < 1 || d.File == "" {
					t.Errorf("without its place: %+v", d)
				}
			}

			golden := strings.TrimSuffix(f, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}

			want, readErr := os.ReadFile(golden)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// To a caller who sent the policy, its errors are his.
func TestErrorsAreInvalid(t *testing.T) {
	_, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte("{}")})
	if attestor.KindOf(err) != attestor.Invalid || !strings.Contains(attestor.Message(err), "p.yaml:1:1: apiVersion is missing") {
		t.Errorf("%v: %s", attestor.KindOf(err), attestor.Message(err))
	}
}

func TestBounds(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'h'; c++ {
		p := c - 1
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, p, p, p, p, p, p, p, p, p, p)
	}

	rules := make([]string, 101)
	for i := range rules {
		rules[i] = fmt.Sprintf(`{name: r%d, expression: "true", message: m}`, i)
	}

	for name, tt := range map[string]struct{ text, want string }{
		"size":              {strict + strings.Repeat("# padding\n", 120_000), "more than the 1048576 bytes that are allowed"},
		"aliases":           {bomb + "spec: {mode: enforce, images: *h}\n", ""},
		"values":            {edited(t, "    blockedCves: ["+strings.Repeat("C-1, ", 50_100)+"C-1]"), "more than 50000 values"},
		"depth":             {strings.Repeat("[", 50_000), ""},
		"rules":             {edited(t, "  rules: ["+strings.Join(rules, ", ")+"]"), "101 rules, at most 100"},
		"cycle":             {"spec: &s {mode: enforce, base: *s}\n", ""},
		"a long expression": {edited(t, `  rules: [{name: r, expression: '"`+strings.Repeat("x", 5000)+`" == image.user', message: m}]`), "expression"},
		"bytes":             {strings.Replace(strict, "name: strict", "name: \"a\xff\"", 1), "not YAML"},
	} {
		_, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(tt.text)})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %.300v", name, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	short := one(t, `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: short}
spec:
  mode: enforce
  images: ["registry.example/**"]
  base: {required: true, approved: [{name: b, repository: registry.example/b, tags: [t]}]}
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: LOW, maximumUnfixableSeverity: LOW}
  attestors: [projects/p/attestors/a]
`)

	long := one(t, `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: short}
spec:
  mode: enforce
  images: ["registry.example/**"]
  platforms: all
  base:
    required: true
    evidence: diffids-verified
    approved: [{name: b, repository: registry.example/b, tags: [t], maxBehind: 0d}]
  user: {nonRoot: true, names: refuse, rootGroup: warn, minimumUID: 1}
  vulnerabilities:
    maximumFixableSeverity: LOW
    maximumUnfixableSeverity: LOW
    unspecifiedSeverity: deny
    knownExploited: allow
    scan: {required: true, continuous: required, maxAge: 0, onUnsupported: deny, packageTypes: all, trusted: [], projects: []}
  exceptions: []
  exceptionMaxLifetime: 0
  exceptionWarning: 14d
  attestors: [projects/p/attestors/a]
  attest: {children: true, dsse: false}
`)

	if diff := cmp.Diff(canonical(t, long), canonical(t, short)); diff != "" {
		t.Errorf("the defaults are not those of the contract (-contract +got):\n%s", diff)
	}
}

func canonical(t testing.TB, p *policy.Policy) string {
	t.Helper()
	text, err := p.Canonical()
	if err != nil {
		t.Fatal(err)
	}

	return string(text)
}

func TestNeeds(t *testing.T) {
	p := with(t, "    scan: {trusted: [projects/s/notes/n], projects: [scans]}",
		"  user: {nonRoot: true, names: resolve}", "  platforms: [linux/amd64, linux/arm64]",
		"  attest: {dsse: true, dsseNote: projects/s/notes/d}",
		"  breakGlass: {allowed: true, ticket: 'INC-[0-9]+', attestors: [projects/s/attestors/bg], expires: 1d}")

	want := attestor.Needs{
		Platforms: []string{"linux/amd64", "linux/arm64"}, ResolveNames: true, BaseRequired: true, BaseEvidence: attestor.DiffIDsVerified,
		Bases: []attestor.ApprovedBase{
			{Name: "static", Repository: "registry.example/base/static", Tags: []string{"latest"},
				MaxBehind: 14 * 24 * 3600e9, SignedBy: &attestor.SignedBy{Key: "/keys/base.pub"}},
			{Name: "java", Repository: "registry.example/base/java", Digests: []attestor.Digest{"sha256:" + attestor.Digest(strings.Repeat("7", 64))}},
		},
		Scan: attestor.ScanNeeds{Required: true, Trusted: []string{"projects/s/notes/n"},
			Projects: []string{"scans"}, VEXProjects: []string{"acme-security"}, Advisories: true},
		Provenance: &attestor.ProvenanceNeeds{Builders: []string{"https://builder.example/1"}},
		UploadTime: true,
		Attest: attestor.AttestNeeds{Attestors: []string{"projects/acme-security/attestors/gate"},
			BreakGlass: []string{"projects/s/attestors/bg"}, Children: true, DSSE: true,
			DSSENote: "projects/s/notes/d"},
	}

	if diff := cmp.Diff(want, p.Needs()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := one(t, edited(t, `  base: {required: false}`)[:0]+minimal).Needs(); n.Provenance != nil || n.UploadTime ||
		n.ResolveNames || n.BaseRequired || n.Platforms != nil {
		t.Errorf("a policy that asks for little needs %+v", n)
	}
}

const minimal = `{apiVersion: attestor/v1, kind: GatePolicy, metadata: {name: minimal}, spec: {
  mode: enforce, images: ["registry.example/**"], base: {required: false}, user: {nonRoot: true},
  vulnerabilities: {maximumFixableSeverity: LOW, maximumUnfixableSeverity: LOW}, attestors: [projects/p/attestors/a]}}`

// Docker Hub's names are compared in the form that references have.
func TestBaseRepositoryIsCanonical(t *testing.T) {
	p := one(t, strings.Replace(minimal, "{required: false}", "{required: true, approved: [{name: a, repository: docker.io/library/alpine, tags: ['3']}]}", 1))
	if got := p.Needs().Bases[0].Repository; got != "index.docker.io/library/alpine" {
		t.Error(got)
	}
}

func TestBreakGlassTicket(t *testing.T) {
	b := with(t, "  breakGlass: {allowed: true, ticket: 'INC-[0-9]+|CHG[0-9]{4}', expires: 12h}").BreakGlass()
	for reason, want := range map[string]bool{
		"INC-42 production is down": true, "production is down (INC-42)": true, "see CHG0001.": true,
		"production is down": false, "XINC-42 is down": false, "INC-42x is down": false, "CHG00012": false, "inc-42": false, "": false,
	} {
		if got := b.Ticket(reason); got != want {
			t.Errorf("%q: %t", reason, got)
		}
	}

	if !b.Allowed || b.Hint == "" || b.Expires.Hours() != 12 {
		t.Errorf("%+v", b)
	}
	if with(t).BreakGlass().Allowed || with(t, "  breakGlass: {allowed: false}").BreakGlass().Allowed {
		t.Error("break-glass is allowed where no policy says so")
	}
}

func TestGovern(t *testing.T) {
	source := func(name string, images ...string) policy.Source {
		text := strings.Replace(minimal, "minimal", name, 1)
		return policy.Source{Name: name + ".yaml", Text: []byte(strings.Replace(text, `["registry.example/**"]`, `["`+strings.Join(images, `", "`)+`"]`, 1))}
	}

	set, err := policy.Parse(source("all", "registry.example/**"),
		source("prod", "registry.example/prod/**", "registry.example/live/**"),
		source("api", "registry.example/prod/api"), source("any-api", "registry.example/*/api"))
	if err != nil {
		t.Fatal(err)
	}

	for repository, want := range map[string]string{
		"registry.example/a": "all", "registry.example/prod/web": "prod", "registry.example/live/x/y": "prod",
		"registry.example/prod/api": "api", "registry.example/test/api": "any-api", "registry.example/prod/api/v2": "prod",
		"registry.example.evil/prod/api": "", "other/prod/api": "",
	} {
		got := ""
		if p, ok := set.Govern(repository); ok {
			got = p.Ref().Name
		}
		if got != want {
			t.Errorf("%s: %q, want %q", repository, got, want)
		}
	}

	if m := set.Explain("registry.example/prod/api"); len(m) != 4 || m[0].Pattern.String() != "registry.example/prod/api" || m[3].Policy.Ref().Name != "all" {
		t.Errorf("%+v", m)
	}
	if _, ok := set.Named("prod"); !ok {
		t.Error("prod is not found by name")
	}
	if _, ok := set.Named("Prod"); ok {
		t.Error("Prod is found by name")
	}

	for _, tt := range []struct {
		name string
		a, b policy.Source
		want string
	}{
		{"the same pattern", source("a", "registry.example/x"), source("b", "registry.example/x"), "equally specific"},
		{"patterns that cross", source("a", "registry.example/*-api"), source("b", "registry.example/api-*"), "equally specific"},
		{"the same name", source("a", "registry.example/x"), source("a", "registry.example/y"), `"a" is the name of the policy in a.yaml too`},
	} {
		_, err := policy.Parse(tt.a, tt.b)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}

	if _, err := policy.Parse(source("a", "registry.example/*-api"), source("b", "registry.example/web-*x")); err != nil {
		t.Errorf("patterns that do not meet: %v", err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}

	p := write("strict.yaml", strict)
	write("strict_test.yaml", "kind: GatePolicyTest")
	write(".hidden.yaml", "not a policy")
	write("README.md", "not a policy")
	if err := os.Mkdir(filepath.Join(dir, "sub.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}

	for _, paths := range [][]string{{dir}, {p}, {p, p}, {dir, p}} {
		set, err := policy.Load(paths...)
		if err != nil || len(set.All()) != 1 || set.All()[0].File() != p {
			t.Errorf("%v: %v", paths, err)
		}
	}

	first, err := policy.Load(dir)
	if err != nil {
		t.Fatal(err)
	}

	if ref := first.All()[0].Ref(); string(ref.Digest) != "sha256:"+sha256Hex(strict) || ref.Name != "strict" || ref.Mode != attestor.Enforce {
		t.Errorf("%+v", ref)
	}

	write("broken1.yaml", "kind: GatePolicy")
	write("broken2.yml", "kind: GatePolicy")
	_, err = policy.Load(dir)
	if err == nil || !strings.Contains(err.Error(), "broken1.yaml:1:1") || !strings.Contains(err.Error(), "broken2.yml:1:1") {
		t.Errorf("not all at once: %v", err)
	}

	for _, paths := range [][]string{{filepath.Join(dir, "missing.yaml")}, {t.TempDir()}, {}} {
		if _, err := policy.Load(paths...); err == nil {
			t.Errorf("%v loads", paths)
		}
	}
}

// An alias that stands for a value is that value.
func TestAliases(t *testing.T) {
	text := strings.Replace(strict, "subject", "subject", 1)
	text = strings.Replace(text, "maximumFixableSeverity: MEDIUM", "maximumFixableSeverity: &m MEDIUM", 1)
	text = strings.Replace(text, "maximumUnfixableSeverity: HIGH", "maximumUnfixableSeverity: *m", 1)
	if diff := cmp.Diff(canonical(t, with(t, "    maximumUnfixableSeverity: MEDIUM")), canonical(t, one(t, text))); diff != "" {
		t.Error(diff)
	}
}

// A tag of somebody's own means something to whoever wrote it, and nothing
// here; YAML's own are what the value is anyway.
func TestTags(t *testing.T) {
	for _, tt := range []struct{ was, is, want string }{
		{"mode: enforce", "mode: !secret enforce", `spec.mode: has the tag "!secret"`},
		{"maximumFixableSeverity: MEDIUM", "maximumFixableSeverity: !env MEDIUM", `has the tag "!env"`},
		{"  vulnerabilities:\n", "  vulnerabilities: !include\n", `spec.vulnerabilities: has the tag "!include"`},
		{"mode: enforce", "mode: !!str enforce", ""},
	} {
		text := strings.Replace(strict, tt.was, tt.is, 1)
		if text == strict {
			t.Fatalf("%s is not there", tt.was)
		}

		_, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(text)})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.is, err, tt.want)
		}
	}
}

func TestDiagnosticsNameAllowedAndNearest(t *testing.T) {
	_, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(strings.Replace(strict, "MEDIUM", "MEDUIM", 1))})
	list, _ := errors.AsType[policy.Errors](err)
	if len(list) != 1 || list[0].Nearest != "MEDIUM" || !slices.Contains(list[0].Allowed, "ALLOW_ALL") || list[0].Line != 17 || list[0].Column != 29 {
		t.Errorf("%+v", list)
	}
}
