package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

const (
	sharedBase = `# what all of ours demand
apiVersion: attestor/v1
kind: GatePolicyFragment
metadata: {name: baseline}
spec:
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities:
    maximumFixableSeverity: MEDIUM
    maximumUnfixableSeverity: HIGH
  exceptions:
    - {check: user, subject: shared, owner: platform, reason: shared, expires: 2099-01-01}
  attestors: ["projects/p/attestors/a"]
`
	sharedRules = `apiVersion: attestor/v1
kind: GatePolicyFragment
metadata: {name: rules}
spec:
  vulnerabilities: {scan: {maxAge: 30d}}
  rules:
    - {name: shared, expression: "true", message: no}
`
	usesBoth = `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: pay}
uses: [baseline, rules]
spec:
  mode: enforce
  images: ["r.example/pay/**"]
  # ours
  vulnerabilities: {scan: {required: true}}
  exceptions:
    - {check: user, subject: own, owner: pay, reason: own, expires: 2099-01-01}
`
)

func source(name, text string) policy.Source { return policy.Source{Name: name, Text: []byte(text)} }

func both(t *testing.T) *policy.Policy {
	t.Helper()
	set, err := policy.Parse(source("pay.yaml", usesBoth), source("baseline.yaml", sharedBase), source("rules.yaml", sharedRules))
	if err != nil {
		t.Fatal(err)
	}
	all := set.All()
	if len(all) != 1 {
		t.Fatalf("%d policies", len(all))
	}
	return all[0]
}

// A policy with fragments is the one that somebody would have written in one file, and its text says the same alone: it is
// what decisions record.
func TestAPolicyOfFragmentsIsOnePolicy(t *testing.T) {
	p := both(t)
	const written = `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: pay}
spec:
  mode: enforce
  images: ["r.example/pay/**"]
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities:
    maximumFixableSeverity: MEDIUM
    maximumUnfixableSeverity: HIGH
    scan: {required: true, maxAge: 30d}
  exceptions:
    - {check: user, subject: own, owner: pay, reason: own, expires: 2099-01-01}
    - {check: user, subject: shared, owner: platform, reason: shared, expires: 2099-01-01}
  rules:
    - {name: shared, expression: "true", message: no}
  attestors: ["projects/p/attestors/a"]
`
	whole, err := policy.Parse(source("pay.yaml", written))
	if err != nil {
		t.Fatal(err)
	}
	alone, err := policy.Parse(policy.Source{Name: "pay.yaml", Text: p.Text()})
	if err != nil {
		t.Fatalf("the text does not load alone: %v\n%s", err, p.Text())
	}

	canonical := func(p *policy.Policy) string {
		text, err := p.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	want := canonical(whole.All()[0])
	if diff := cmp.Diff(want, canonical(p)); diff != "" {
		t.Errorf("composed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, canonical(alone.All()[0])); diff != "" {
		t.Errorf("its text (-want +got):\n%s", diff)
	}
	if alone.All()[0].Ref() != p.Ref() || p.Ref().Digest != attestor.DigestOf(p.Text()) {
		t.Errorf("%+v and %+v", alone.All()[0].Ref(), p.Ref())
	}
}

// Every line says which file it was written in, and that line has what it says.
func TestEveryLineHasItsPlace(t *testing.T) {
	p := both(t)
	files := map[string][]string{}
	for name, text := range map[string]string{"pay.yaml": usesBoth, "baseline.yaml": sharedBase, "rules.yaml": sharedRules} {
		files[name] = strings.Split(text, "\n")
	}

	seen := map[string]int{}
	for _, line := range p.Provenance() {
		seen[line.File]++
		lines := files[line.File]
		if line.Line < 1 || line.Line > len(lines) {
			t.Errorf("%+v", line)
			continue
		}
		word := strings.Trim(strings.Fields(strings.TrimPrefix(strings.TrimSpace(line.Text), "- "))[0], `:"{},[]`)
		if !strings.Contains(lines[line.Line-1], word) {
			t.Errorf("%q comes from %s:%d, which is %q", line.Text, line.File, line.Line, lines[line.Line-1])
		}
	}
	if seen["pay.yaml"] == 0 || seen["baseline.yaml"] == 0 || seen["rules.yaml"] == 0 {
		t.Errorf("lines by file: %v", seen)
	}
	if got, want := len(p.Provenance()), strings.Count(string(p.Text()), "\n"); got != want {
		t.Errorf("%d lines, want %d", got, want)
	}

	set, err := policy.Parse(source("a.yaml", strings.Replace(sharedBase, "GatePolicyFragment", "GatePolicy", 1)+"  mode: enforce\n  images: [r.example/**]\n"))
	if err != nil {
		t.Fatal(err)
	}
	if lines := set.All()[0].Provenance(); len(lines) != 15 || lines[3].Line != 4 || lines[3].File != "a.yaml" ||
		lines[3].Text != "metadata: {name: baseline}" {
		t.Errorf("a policy by itself: %+v", lines)
	}
}

// What contradicts, is missing or is wrong in a fragment is told where it stands, and nothing is in force.
func TestFragmentsThatDoNotCompose(t *testing.T) {
	const fragment = "apiVersion: attestor/v1\nkind: GatePolicyFragment\nmetadata: {name: f}\nspec:\n"
	own := func(spec string) string { return usesBoth + spec }
	for _, tt := range []struct {
		name    string
		sources []policy.Source
		want    []string // each within one line of the error
	}{
		{"a value written twice", []policy.Source{source("pay.yaml", own("  user: {nonRoot: false}\n"))},
			[]string{"pay.yaml:12:19: spec.user.nonRoot: is written here and in baseline.yaml:7"}},
		{"the same value twice", []policy.Source{source("pay.yaml", own("  user: {nonRoot: true}\n"))},
			[]string{"spec.user.nonRoot: is written here and in baseline.yaml:7"}},
		{"a list written twice", []policy.Source{source("pay.yaml", own("  attestors: [projects/p/attestors/b]\n"))},
			[]string{"spec.attestors: is written here and in baseline.yaml:13"}},
		{"two fragments with one value", []policy.Source{source("pay.yaml", strings.Replace(usesBoth, "rules]", "rules, f]", 1)),
			source("f.yaml", fragment+"  user: {nonRoot: false}\n")},
			[]string{"baseline.yaml:7:19: spec.user.nonRoot: is written here and in f.yaml:5"}},
		{"another kind of value", []policy.Source{source("pay.yaml", own("  user: any\n"))},
			[]string{"spec.user: is written here and in baseline.yaml:7"}},
		{"no such fragment", []policy.Source{source("pay.yaml", strings.Replace(usesBoth, "rules]", "ruls]", 1))},
			[]string{`pay.yaml:4:18: uses[1]: there is no fragment "ruls" among the files`}},
		{"twice the same", []policy.Source{source("pay.yaml", strings.Replace(usesBoth, "rules]", "baseline]", 1))}, []string{`duplicate "baseline"`}},
		{"none", []policy.Source{source("pay.yaml", strings.Replace(usesBoth, "[baseline, rules]", "[]", 1))}, []string{"uses: want a list of 1 to 32"}},
		{"no list", []policy.Source{source("pay.yaml", strings.Replace(usesBoth, "[baseline, rules]", "baseline", 1))}, []string{"uses: want a list"}},
		{"a fragment's own images", []policy.Source{source("pay.yaml", usesBoth), source("f.yaml", fragment+"  images: [r.example/**]\n")},
			[]string{"f.yaml:5:11: spec.images: images is the policy's own"}},
		{"a fragment's mode", []policy.Source{source("pay.yaml", usesBoth), source("f.yaml", fragment+"  mode: dryRun\n")},
			[]string{"mode is the policy's own"}},
		{"a misspelt field that nobody uses", []policy.Source{source("pay.yaml", usesBoth), source("f.yaml", fragment+"  usr: {nonRoot: true}\n")},
			[]string{`f.yaml:5:3: spec: unknown field "usr"`}},
		{"a wrong type that nobody uses", []policy.Source{source("pay.yaml", usesBoth), source("f.yaml", fragment+"  user: {nonRoot: yes}\n")},
			[]string{"f.yaml:5:19: spec.user.nonRoot"}},
		{"a value that the policy judges", []policy.Source{source("pay.yaml", strings.Replace(usesBoth, "rules]", "rules, f]", 1)),
			source("f.yaml", fragment+"  rules: [{name: x, expression: 'nothing.known', message: no}]\n")},
			[]string{"f.yaml:5:", "spec.rules[1].expression"}},
		{"two of one name", []policy.Source{source("pay.yaml", usesBoth),
			source("f.yaml", strings.Replace(fragment, "name: f", "name: rules", 1)+"  user: {}\n")},
			[]string{`"rules" is the name of the fragment in`}},
		{"a fragment that uses one", []policy.Source{source("pay.yaml", usesBoth), source("f.yaml", "uses: [rules]\n"+fragment+"  user: {}\n")},
			[]string{`unknown field "uses"`}},
		{"no name", []policy.Source{source("pay.yaml", usesBoth), source("f.yaml", strings.Replace(fragment, "name: f", "name: F", 1)+"  user: {}\n")},
			[]string{"f.yaml:3:18: metadata.name"}},
		{"a required value that nobody gives", []policy.Source{
			source("pay.yaml", strings.Replace(usesBoth, "baseline, ", "", 1))}, []string{"base is missing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := policy.Parse(append(tt.sources, source("baseline.yaml", sharedBase), source("rules.yaml", sharedRules))...)
			if err == nil || set != nil {
				t.Fatal("it loads")
			}
			for _, want := range tt.want {
				if !slices.ContainsFunc(strings.Split(err.Error(), "\n"), func(line string) bool { return strings.Contains(line, want) }) {
					t.Errorf("the error lacks %q:\n%v", want, err)
				}
			}
		})
	}

	if _, err := policy.Parse(source("baseline.yaml", sharedBase)); err == nil || !strings.Contains(err.Error(), "without one every image is refused") {
		t.Errorf("fragments alone: %v", err)
	}
}

// One mistake in a fragment is told once, however many policies use it.
func TestAFragmentsMistakeIsToldOnce(t *testing.T) {
	sources := []policy.Source{source("baseline.yaml", strings.Replace(sharedBase, "nonRoot", "nonRot", 1)), source("rules.yaml", sharedRules)}
	for n := range 100 {
		sources = append(sources, source(fmt.Sprintf("p%d.yaml", n),
			strings.NewReplacer("name: pay", fmt.Sprintf("name: pay-%d", n), "r.example/pay", fmt.Sprintf("r.example/pay-%d", n)).Replace(usesBoth)))
	}
	_, err := policy.Parse(sources...)
	if err == nil || strings.Count(err.Error(), "\n") > 2 {
		t.Errorf("%v", err)
	}
}

// Aliases cannot multiply what a policy is made of.
func TestAliasesOfAFragmentAreBounded(t *testing.T) {
	bomb := "apiVersion: attestor/v1\nkind: GatePolicyFragment\nmetadata: {name: f}\nspec:\n  a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'i'; c++ {
		bomb += fmt.Sprintf("  %c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 10), ","))
	}
	if _, err := policy.Parse(source("pay.yaml", strings.Replace(usesBoth, "rules]", "rules, f]", 1)), source("f.yaml", bomb),
		source("baseline.yaml", sharedBase), source("rules.yaml", sharedRules)); err == nil {
		t.Error("it loads")
	}
}
