package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}

	return string(b)
}

// fenced returns the code blocks of a language in a Markdown file.
func fenced(text, language string) []string {
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

// changing is what differs from run to run.
var changing = regexp.MustCompile(`decisions?[ /][0-9a-f-]{36}|\d+ ms|since \S+Z|occurrences/[0-9a-f-]{36}|policy ` +
	`sample \(sha256:[0-9a-f]{12}\)|127\.0\.0\.1:\d+`)

// TestREADMESession runs README's session and compares what is printed.
func TestREADMESession(t *testing.T) {
	t.Parallel()
	sessions := fenced(read(t, "../../README.md"), "console")
	if len(sessions) != 1 {
		t.Fatalf("README has %d sessions", len(sessions))
	}

	steps := strings.Split("\n"+sessions[0], "\n$ ")[1:]
	if len(steps) < 3 {
		t.Fatalf("README's session has %d commands", len(steps))
	}

	testscript.Run(t, testscript.Params{
		Files: []string{"testdata/readme.txt"},
		Setup: func(e *testscript.Env) error { e.Values[devSlot{}] = &devState{}; return nil },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"dev": startDev,
			"readme": func(ts *testscript.TestScript, _ bool, _ []string) {
				for _, step := range steps {
					command, want, _ := strings.Cut(step, "\n")
					args := strings.Fields(strings.NewReplacer("127.0.0.1:8080", strings.TrimPrefix(ts.Getenv("SERVICE"), "http://"),
						"127.0.0.1:5000", ts.Getenv("REGISTRY"), "127.0.0.1:9090", ts.Getenv("GOOGLE")).Replace(command))

					self, err := exec.LookPath("attestor")
					ts.Check(err)
					got, err := exec.Command(self, args[1:]...).Output()
					if _, refused := err.(*exec.ExitError); err != nil && !refused { //nolint:errorlint // of Output itself
						ts.Fatalf("%s: %v", command, err)
					}
					if diff := cmp.Diff(changing.ReplaceAllString(strings.TrimSpace(want), "…"),
						changing.ReplaceAllString(strings.TrimSpace(string(got)), "…")); diff != "" {
						ts.Fatalf("%s (-README +got):\n%s", command, diff)
					}
				}
			},
		},
	})
}

// TestREADMEPolicy loads every policy that README shows.
func TestREADMEPolicy(t *testing.T) {
	found := 0
	for _, text := range fenced(read(t, "../../README.md"), "yaml") {
		found++
		if _, err := policy.Parse(policy.Source{Name: "README.md", Text: []byte(text)}); err != nil {
			t.Error(err)
		}
	}
	if found == 0 {
		t.Error("README shows no policy")
	}
}

// TestREADMECommandsExist finds every command and flag that README and docs
// name among those of the program.
func TestREADMECommandsExist(t *testing.T) {
	for _, name := range []string{"../../README.md", "../../docs/deploy.md", "../../docs/rollout.md", "../../docs/operations.md", "../../docs/vsa.md"} {
		for _, block := range fenced(read(t, name), "sh") {
			for line := range strings.Lines(block) {
				args := strings.Fields(strings.TrimSpace(line))
				if len(args) < 2 || args[0] != "attestor" {
					continue
				}

				c, rest, err := rootCommand().Find(args[1:])
				if err != nil || c == c.Root() {
					t.Errorf("%s: %s: %v", name, strings.TrimSpace(line), err)
					continue
				}

				for _, arg := range rest {
					flag, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
					if strings.HasPrefix(arg, "--") && c.Flags().Lookup(flag) == nil {
						t.Errorf("%s: %s: there is no --%s", name, strings.TrimSpace(line), flag)
					}
				}
			}
		}
	}
}

// TestDeployedCommandsExist finds every command and flag of the build files'
// step and of the containers' arguments among those of the program.
func TestDeployedCommandsExist(t *testing.T) {
	invocation := regexp.MustCompile(`name: \$_GATE_IMAGE\n +args: \[(.*)\]`)
	var lines []string

	for _, m := range invocation.FindAllStringSubmatch(read(t, "../../deploy/cloudbuild/attest-container.yaml"), -1) {
		lines = append(lines, strings.ReplaceAll(m[1], ",", ""))
	}

	for _, name := range []string{"cloudrun/gate.yaml", "cloudrun/gate-events.yaml", "kubernetes/base/deployment.yaml"} {
		for _, m := range regexp.MustCompile(`args: \[(serve[^]]*)\]`).FindAllStringSubmatch(read(t, "../../deploy/"+name), -1) {
			lines = append(lines, strings.ReplaceAll(m[1], ",", ""))
		}
	}

	if len(lines) != 4 {
		t.Fatalf("%d commands in %q", len(lines), lines)
	}

	for _, line := range lines {
		args := strings.Fields(line)
		c, rest, err := rootCommand().Find(args)
		if err != nil || c == c.Root() {
			t.Errorf("%s: %v", line, err)
			continue
		}

		for _, arg := range rest {
			if strings.HasPrefix(arg, "--") && c.Flags().Lookup(strings.TrimPrefix(arg, "--")) == nil {
				t.Errorf("%s: there is no %s", line, arg)
			}
		}
	}
}

// TestReasonsAreDocumented keeps docs/reasons.md equal to the closed list.
func TestReasonsAreDocumented(t *testing.T) {
	text := read(t, "../../docs/reasons.md")
	for _, c := range attestor.Codes() {
		row := "| `" + string(c.Code) + "` | " + string(c.Status) + " | " + c.Means + " |"
		if !strings.Contains(text, row) {
			t.Errorf("docs/reasons.md lacks: %s", row)
		}
	}

	listed := regexp.MustCompile("(?m)^\\| `([A-Z0-9_]+)` \\|").FindAllStringSubmatch(text, -1)
	if len(listed) != len(attestor.Codes()) {
		t.Errorf("docs/reasons.md lists %d codes, there are %d", len(listed), len(attestor.Codes()))
	}
}

// anchors are the fragments of a page's headings, as GitHub makes them: lower case, without punctuation, with hyphens for
// spaces; one that there is already gets a number.
func anchors(text string) []string {
	text = regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
	var out []string
	for _, m := range regexp.MustCompile(`(?m)^#{1,6} +(.+)$`).FindAllStringSubmatch(text, -1) {
		heading := regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`).ReplaceAllString(m[1], "$1")
		slug := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(heading), "")
		slug = strings.ReplaceAll(slug, " ", "-")
		for n, base := 1, slug; slices.Contains(out, slug); n++ {
			slug = fmt.Sprintf("%s-%d", base, n)
		}
		out = append(out, slug)
	}
	return out
}

// TestAnchors: headings as GitHub numbers and shortens them.
func TestAnchors(t *testing.T) {
	t.Parallel()
	got := anchors("# The API\n## `GET /x`, [y](z.md)\n## Limits\n```\n# no heading\n```\n### Limits\n")
	if diff := cmp.Diff([]string{"the-api", "get-x-y", "limits", "limits-1"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestDocumentLinks follows every link between the documents, to the heading that it names.
func TestDocumentLinks(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}

	roots, err := filepath.Glob("../../*.md")
	if err != nil || len(files) < 5 || len(roots) < 4 {
		t.Fatalf("%d and %d documents, %v", len(files), len(roots), err)
	}

	link := regexp.MustCompile(`\]\(([^)#:]*)(#[^)]*)?\)`)
	mentioned := regexp.MustCompile("`(docs/[a-z-]+\\.md)`")

	for _, name := range append(files, roots...) {
		text := read(t, name)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := filepath.Join(filepath.Dir(name), m[1])
			if m[1] == "" {
				target = name
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
				continue
			}
			if m[2] != "" && strings.HasSuffix(target, ".md") && !slices.Contains(anchors(read(t, target)), m[2][1:]) {
				t.Errorf("%s links to %s%s: there is no such heading", name, m[1], m[2])
			}
		}
		for _, m := range mentioned.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
				t.Errorf("%s mentions %s: %v", name, m[1], err)
			}
		}
	}
}

// testsOf lists "func TestX", one on a line, of every package.
func testsOf(t *testing.T) string {
	t.Helper()
	all, err := exec.Command("grep", "-rhoE", `func Test[A-Za-z0-9_]+`, "../..", "--include=*_test.go").Output()
	if err != nil {
		t.Fatal(err)
	}

	return string(all)
}

// TestThreatModelNamesTests finds every test and script that the threat model
// names.
func TestThreatModelNamesTests(t *testing.T) {
	text, all := read(t, "../../docs/threat-model.md"), testsOf(t)
	names := regexp.MustCompile("`(?:[a-z]+\\.)?(Test[A-Za-z0-9]+)(…?)`").FindAllStringSubmatch(text, -1)
	if len(names) < 20 {
		t.Fatalf("the threat model names %d tests", len(names))
	}

	for _, m := range names {
		want := "func " + m[1]
		if m[2] == "" {
			want += "\n"
		}
		if !strings.Contains(all, want) {
			t.Errorf("there is no %s", m[1])
		}
	}

	for _, m := range regexp.MustCompile("`([a-z]+\\.txt)`").FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat("testdata/script/" + m[1]); err != nil {
			t.Errorf("there is no script %s", m[1])
		}
	}
}
