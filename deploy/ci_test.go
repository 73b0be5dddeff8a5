package deploy_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor/internal/testkit/toolbuild"
)

// ciBinaries are the binaries that the files for CI systems name.
func ciBinaries() []string {
	return []string{
		"attestor-darwin-amd64", "attestor-darwin-arm64", "attestor-linux-amd64", "attestor-linux-arm64",
		"attestor-windows-amd64.exe", "attestor-windows-arm64.exe",
	}
}

const imageDigest = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

// releasedCI is dist/ci of a release with these binaries.
func releasedCI(t *testing.T, version string, binaries []string, args ...string) string {
	t.Helper()
	dist := t.TempDir()
	for _, name := range binaries {
		if err := os.WriteFile(filepath.Join(dist, name), []byte("the bytes of "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dist, "image"), 0o750); err != nil {
		t.Fatal(err)
	}
	index := `{"manifests": [{"digest": "sha256:` + imageDigest + `"}]}`
	if err := os.WriteFile(filepath.Join(dist, "image", "index.json"), []byte(index), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{
		"run", "-C", "../tools/release", ".", "-dist", dist, "-version", version, "-commit", strings.Repeat("a", 40), "-epoch", "1",
		"-dockerfile", "../../Dockerfile", "-readme", "../../README.md", "-ci", "../../deploy/ci",
	}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(dist, "ci")
}

// filesIn lists what is below a directory.
func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return fs.SkipAll
		}
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		out = append(out, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestCIFilesNameOnlyTheRelease: the templates name no version, and what a release makes of them names that release: its
// version, its files by their checksums, its image by digest, and nothing that it does not have.
func TestCIFilesNameOnlyTheRelease(t *testing.T) {
	mark := regexp.MustCompile(`@[A-Z][A-Za-z0-9:._-]*@`)
	pinned := regexp.MustCompile(`sha256:[0-9a-f]{64}|\bv[0-9]+\.[0-9]+\.[0-9]+\b`)
	jobImage := regexp.MustCompile(`default: docker\.io/library/alpine:[0-9.]+@sha256:[0-9a-f]{64}\n`)
	for _, name := range filesIn(t, "ci") {
		text := string(read(t, filepath.Join("ci", name)))
		if name == "templates/attest.yml" {
			text = jobImage.ReplaceAllString(text, "")
		}
		if pinned.MatchString(text) {
			t.Errorf("deploy/ci/%s names a version or a digest: %s", name, pinned.FindString(text))
		}
	}

	whole := []string{
		".pre-commit-hooks.yaml",
		"action.yml",
		"clouddeploy/skaffold.yaml",
		"install.sh",
		"pre-commit.sh",
		"tekton/attest.yaml",
		"templates/attest.yml",
	}
	withoutImage := slices.DeleteFunc(
		slices.Clone(whole),
		func(n string) bool { return strings.HasPrefix(n, "tekton") || strings.HasPrefix(n, "cloud") },
	)
	noMac := slices.DeleteFunc(ciBinaries(), func(n string) bool { return strings.Contains(n, "darwin") })
	withoutInstaller := slices.DeleteFunc(slices.Clone(whole), func(n string) bool { return n == "install.sh" })
	for _, tt := range []struct {
		name, version string
		binaries      []string
		args          []string
		want          []string
	}{
		{"a release", "v1.2.3", ciBinaries(), []string{"-image", "registry.example/acme/attestor"}, whole},
		{"without a published image", "v1.2.3", ciBinaries(), nil, withoutImage},
		{"without macOS", "v1.2.3", noMac, []string{"-image", "registry.example/acme/attestor"}, withoutInstaller},
		{"no version", "abc1234", ciBinaries(), []string{"-image", "registry.example/acme/attestor"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := releasedCI(t, tt.version, tt.binaries, tt.args...)
			if got := filesIn(t, dir); !slices.Equal(got, tt.want) {
				t.Fatalf("%v, want %v", got, tt.want)
			}
			for _, name := range tt.want {
				text := read(t, filepath.Join(dir, name))
				if left := mark.Find(text); left != nil {
					t.Errorf("%s has %s", name, left)
				}
				for _, digest := range regexp.MustCompile(`attestor@sha256:([0-9a-f]{64})`).FindAllSubmatch(text, -1) {
					if string(digest[1]) != imageDigest {
						t.Errorf("%s names the image %s", name, digest[1])
					}
				}
			}
		})
	}
}

// documents reads every document of a YAML file.
func documents(t *testing.T, text []byte) []any {
	t.Helper()
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var out []any
	for {
		var v any
		if err := loader.Load(&v); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
}

// TestCIFilesAreValid holds each file to the schema of its system.
func TestCIFilesAreValid(t *testing.T) {
	dir := releasedCI(t, "v1.2.3", ciBinaries(), "-image", "registry.example/acme/attestor")
	compiler := jsonschema.NewCompiler()
	for _, tt := range []struct {
		file    string
		schemas []string // of each document
	}{
		{"action.yml", []string{"github-action.schema.json"}},
		{"templates/attest.yml", []string{"gitlab-component.schema.json#/$defs/header", "gitlab-component.schema.json#/$defs/jobs"}},
		{"tekton/attest.yaml", []string{"tekton-task.schema.json"}},
		{"clouddeploy/skaffold.yaml", []string{"skaffold.schema.json"}},
		{".pre-commit-hooks.yaml", []string{"pre-commit-hooks.schema.json"}},
	} {
		docs := documents(t, read(t, filepath.Join(dir, tt.file)))
		if len(docs) != len(tt.schemas) {
			t.Errorf("%s has %d documents", tt.file, len(docs))
			continue
		}
		for i, name := range tt.schemas {
			schema, err := compiler.Compile("testdata/ci/" + name)
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(docs[i]); err != nil {
				t.Errorf("%s: %v", tt.file, err)
			}

			// A field that the system does not know must be found, or the schema proves nothing.
			if list, ok := docs[i].([]any); ok {
				docs[i] = list[0]
				if err := schema.Validate([]any{withField(docs[i])}); err == nil {
					t.Errorf("%s accepts any field", name)
				}
			} else if err := schema.Validate(withField(docs[i])); err == nil {
				t.Errorf("%s accepts any field", name)
			}
		}
	}
}

func withField(v any) any {
	m := map[string]any{"notAField": "x"}
	for k, v := range v.(map[string]any) { //nolint:forcetypeassert // a mapping, or the test fails
		m[k] = v
	}
	return m
}

// TestGitLabInputs: every input that the job uses is declared, and every declared one is used.
func TestGitLabInputs(t *testing.T) {
	docs := documents(t, read(t, "ci/templates/attest.yml"))
	inputs := docs[0].(map[string]any)["spec"].(map[string]any)["inputs"].(map[string]any) //nolint:forcetypeassert // the schema's test
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`\$\[\[ inputs\.([a-z-]+) \]\]`).FindAllStringSubmatch(fmt.Sprint(docs[1]), -1) {
		used[m[1]] = true
		if _, ok := inputs[m[1]]; !ok {
			t.Errorf("the job uses the input %s, which is not declared", m[1])
		}
	}
	for name := range inputs {
		if !used[name] {
			t.Errorf("the input %s is not used", name)
		}
	}

	// The job has the gate's token, so that what it runs in is named by digest.
	image := fmt.Sprint(inputs["job-image"].(map[string]any)["default"]) //nolint:forcetypeassert // the schema's test
	if !regexp.MustCompile(`^docker\.io/[a-z/]+:[0-9.]+@sha256:[0-9a-f]{64}$`).MatchString(image) {
		t.Errorf("the job runs in %s: want a digest", image)
	}
}

// TestActionlint lints the workflow of docs/ci.md, and by it the action that it uses, with actionlint.
func TestActionlint(t *testing.T) {
	bin, err := toolbuild.Build(t.Context(), "ci", "github.com/rhysd/actionlint/cmd/actionlint")
	if err != nil {
		t.Skipf("actionlint cannot be built here: %v", err)
	}
	m := regexp.MustCompile("(?s)```yaml\n(# \\.github/workflows/release\\.yml\n.*?)```").FindSubmatch(read(t, "../docs/ci.md"))
	if m == nil {
		t.Fatal("docs/ci.md shows no workflow")
	}

	// The published action is looked up in no network: the same files stand in the repository.
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "action"), os.DirFS(releasedCI(t, "v1.2.3", ciBinaries()))); err != nil {
		t.Fatal(err)
	}
	uses := regexp.MustCompile(`uses: acme/attestor-ci@\S+`)
	for _, tt := range []struct{ name, from, to, want string }{
		{"as documented", "", "", ""},
		{"an unknown input", "server: https", "sever: https", `input "sever" is not defined`},
		{"an unknown output", "steps.gate.outputs.decision", "steps.gate.outputs.decisions", `property "decisions" is not defined`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := uses.ReplaceAllString(strings.Replace(string(m[1]), tt.from, tt.to, 1), "uses: ./action")
			if !strings.Contains(text, "uses: ./action") {
				t.Fatal("the workflow does not use the action")
			}
			if err := os.MkdirAll(filepath.Join(dir, ".github", "workflows"), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(dir, ".git"), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, ".github", "workflows", "release.yml"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), bin, "-no-color")
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if tt.want == "" && err != nil || tt.want != "" && !strings.Contains(string(out), tt.want) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestCIDocs: the pipeline, the include and the configuration of the hook in docs/ci.md name what the files have.
func TestCIDocs(t *testing.T) {
	shown := map[string]any{}
	for _, m := range regexp.MustCompile("(?s)```yaml\n# (\\S+)\n(.*?)```").FindAllSubmatch(read(t, "../docs/ci.md"), -1) {
		shown[string(m[1])] = documents(t, m[2])[0]
	}
	names := func(list any, key string) []string {
		var out []string
		for _, v := range list.([]any) { //nolint:forcetypeassert // or the test fails
			if m := v.(map[string]any); m["default"] == nil { //nolint:forcetypeassert // ditto
				out = append(out, fmt.Sprint(m[key]))
			}
		}
		slices.Sort(out)
		return out
	}
	at := func(v any, path ...any) any {
		for _, p := range path {
			switch key := p.(type) {
			case string:
				v = v.(map[string]any)[key] //nolint:forcetypeassert // or the test fails
			case int:
				v = v.([]any)[key] //nolint:forcetypeassert // ditto
			}
		}
		return v
	}

	// Tekton: every parameter without a default, and every workspace, and no others.
	task, used := documents(t, read(t, "ci/tekton/attest.yaml"))[0], at(shown["pipeline.yaml"], "spec", "tasks", 0)
	for _, field := range []string{"params", "workspaces"} {
		if got, want := names(at(used, field), "name"), names(at(task, "spec", field), "name"); !slices.Equal(got, want) {
			t.Errorf("the pipeline gives the %s %v, and the task wants %v", field, got, want)
		}
	}
	if got, want := at(used, "taskRef", "name"), at(task, "metadata", "name"); got != want {
		t.Errorf("the pipeline runs %v, and the task is %v", got, want)
	}

	inputs := at(documents(t, read(t, "ci/templates/attest.yml"))[0], "spec", "inputs")
	for name := range at(shown[".gitlab-ci.yml"], "include", 0, "inputs").(map[string]any) { //nolint:forcetypeassert // or the test fails
		if at(inputs, name) == nil {
			t.Errorf("docs/ci.md gives the component the input %s", name)
		}
	}
	hook := at(documents(t, read(t, "ci/.pre-commit-hooks.yaml"))[0], 0, "id")
	if got := at(shown[".pre-commit-config.yaml"], "repos", 0, "hooks", 0, "id"); got != hook {
		t.Errorf("docs/ci.md names the hook %v, which is %v", got, hook)
	}
}
