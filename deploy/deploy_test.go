// Package deploy_test checks what is deployed: it parses every file, compares
// it with what Google's tools know and with the controls that it is to apply.
package deploy_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
)

func now() time.Time { return time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC) }

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}

	return b
}

func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	if err := yaml.Load(read(t, name), into, yaml.WithUniqueKeys()); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// strictly reads a file into a type that knows every field of it.
func strictly(t *testing.T, name string, into any) {
	t.Helper()
	if err := yaml.Load(read(t, name), into, yaml.WithUniqueKeys(), yaml.WithKnownFields()); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func nameOf(file string) string { return strings.TrimSuffix(filepath.Base(file), ".yaml") }

// TestYAMLParses reads every YAML and JSON file: one document each, no key twice.
func TestYAMLParses(t *testing.T) {
	n := 0
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		switch filepath.Ext(path) {
		case ".yaml":
			n++
			var v any
			readYAML(t, path, &v)
			if v == nil {
				t.Errorf("%s is empty", path)
			}
		case ".json":
			n++
			if !json.Valid(read(t, path)) {
				t.Errorf("%s is not JSON", path)
			}
		}
		return err
	})

	if err != nil || n < 15 {
		t.Errorf("%d files, %v", n, err)
	}

	var twice map[string]any
	if err := yaml.Load([]byte("a: 1\na: 2\n"), &twice, yaml.WithUniqueKeys()); err == nil {
		t.Error("a key that stands twice is not found: this test would prove nothing")
	}
}

// build is a Cloud Build configuration, with the fields that ours use.
type build struct {
	Steps          []buildStep       `yaml:"steps"`
	Images         []string          `yaml:"images"`
	ServiceAccount string            `yaml:"serviceAccount"`
	Timeout        string            `yaml:"timeout"`
	Options        map[string]string `yaml:"options"`
	Substitutions  map[string]string `yaml:"substitutions"`
}

type buildStep struct {
	ID         string   `yaml:"id"`
	Name       string   `yaml:"name"`
	Entrypoint string   `yaml:"entrypoint"`
	Args       []string `yaml:"args"`
}

// builtin are the substitutions that Cloud Build makes itself.
func builtin() []string {
	return []string{"PROJECT_ID", "PROJECT_NUMBER", "BUILD_ID", "LOCATION", "COMMIT_SHA", "SHORT_SHA", "REPO_NAME", "BRANCH_NAME", "TAG_NAME"}
}

var substitution = regexp.MustCompile(`\$\$|\$\{?([A-Za-z_][A-Za-z0-9_]*)`)

// TestBuildFiles: every variable is one that Cloud Build substitutes or is escaped, each substitution is used, and the
// scripts are bash. What they do, TestBuildsJudgeTheDigestOfThePush, TestAttestByCurl and TestScanImport run.
func TestBuildFiles(t *testing.T) {
	for name, steps := range map[string][]string{
		"cloudbuild/attest-container.yaml": {"build", "push", "attest"},
		"cloudbuild/attest-curl.yaml":      {"build", "push", "attest"},
		"cloudbuild/scan-import.yaml":      {"build", "push", "scan", "import", "attest"},
	} {
		var b build
		strictly(t, name, &b)
		var ids []string
		used := map[string]bool{}

		for _, s := range b.Steps {
			ids = append(ids, s.ID)
			text := s.Name + "\n" + strings.Join(s.Args, "\n")

			for _, m := range substitution.FindAllStringSubmatch(text, -1) {
				if m[1] == "" {
					continue // $$
				}
				used[m[1]] = true
				if _, ours := b.Substitutions[m[1]]; !ours && !slices.Contains(builtin(), m[1]) {
					t.Errorf("%s: %s: Cloud Build does not know $%s; write $$%s", name, s.ID, m[1], m[1])
				}
			}

			if s.Entrypoint == "bash" {
				bash(t, name+": "+s.ID, strings.ReplaceAll(s.Args[len(s.Args)-1], "$$", "$"))
			}
		}

		if !slices.Equal(ids, steps) {
			t.Fatalf("%s: steps %v, want %v", name, ids, steps)
		}

		for s := range b.Substitutions {
			if !used[s] {
				t.Errorf("%s: %s is not used", name, s)
			}
		}

		account := b.ServiceAccount == "projects/$PROJECT_ID/serviceAccounts/gate-builder@$PROJECT_ID.iam.gserviceaccount.com"
		if !slices.Equal(b.Images, []string{"$_IMAGE:$BUILD_ID"}) || b.Options["logging"] != "CLOUD_LOGGING_ONLY" || !account || b.Timeout == "" {
			t.Errorf("%s: images, logging, service account or time-out are missing", name)
		}
	}
}

func bash(t *testing.T, what, text string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-n")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %s", what, out)
	}
}

// TestScriptIsClean asks shellcheck.
func TestScriptIsClean(t *testing.T) {
	tool, err := exec.LookPath("shellcheck")
	if err != nil {
		bash(t, "gcloud.sh", string(read(t, "gcloud.sh")))
		t.Skip("shellcheck is not installed: only bash has read the script")
	}
	if out, err := exec.CommandContext(t.Context(), tool, "gcloud.sh").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestConfigurationsFindTheirFiles: what a configuration names is mounted
// where it names it.
func TestConfigurationsFindTheirFiles(t *testing.T) {
	type mounts struct {
		Containers []struct {
			Args         []string `yaml:"args"`
			VolumeMounts []struct {
				Name string `yaml:"name"`
				Path string `yaml:"mountPath"`
			} `yaml:"volumeMounts"`
		} `yaml:"containers"`
		Volumes []struct {
			Name   string `yaml:"name"`
			Secret struct {
				Items []struct{ Path string } `yaml:"items"`
			} `yaml:"secret"`
		} `yaml:"volumes"`
	}

	named := regexp.MustCompile(`/etc/attestor/[A-Za-z0-9._/-]+`)
	for definition, configuration := range map[string]string{
		yamlGate: "cloudrun/gate/attestor.yaml", yamlEvent: "cloudrun/gate-events/attestor.yaml",
		"kubernetes/base/deployment.yaml": "kubernetes/base/attestor.yaml",
	} {
		var d struct {
			Spec struct {
				Template struct {
					Spec mounts `yaml:"spec"`
				} `yaml:"template"`
			} `yaml:"spec"`
		}

		readYAML(t, definition, &d)
		pod := d.Spec.Template.Spec
		var there []string

		for _, m := range pod.Containers[0].VolumeMounts {
			there = append(there, m.Path)
			for _, v := range pod.Volumes {
				if v.Name == m.Name {
					for _, item := range v.Secret.Items {
						there = append(there, m.Path+"/"+item.Path)
					}
				}
			}
		}

		text := strings.Join(pod.Containers[0].Args, "\n") + "\n"
		for line := range strings.Lines(string(read(t, configuration))) {
			line, _, _ = strings.Cut(line, "#")
			text += line
		}

		paths := named.FindAllString(text, -1)
		if len(paths) < 4 || !slices.Contains(paths, "/etc/attestor/hash/key") {
			t.Errorf("%s and %s name only %q", definition, configuration, paths)
		}

		for _, path := range paths {
			inKubernetes := strings.HasPrefix(definition, "kubernetes") && slices.Contains(there, filepath.Dir(path)) // every key of a secret is a file
			below := slices.ContainsFunc(there, func(m string) bool { return strings.HasPrefix(m, path+"/") })        // a directory of directories
			if !slices.Contains(there, path) && !inKubernetes && !below {
				t.Errorf("%s: %s is not mounted; there are %q", definition, path, there)
			}
		}
	}
}

// TestRolloutChecksTheConfiguration runs what docs/rollout.md says makes a
// configuration that can be checked on one's own machine, and from it one that
// attests the gate's own first image. Both load.
func TestRolloutChecksTheConfiguration(t *testing.T) {
	var commands []string
	for _, m := range regexp.MustCompile("(?ms)^```console\n(sed .*?)^```$").FindAllStringSubmatch(string(read(t, "../docs/rollout.md")), -1) {
		commands = append(commands, m[1])
	}
	if len(commands) != 2 {
		t.Fatalf("docs/rollout.md makes configurations by %q", commands)
	}

	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "deploy"), os.DirFS(".")); err != nil {
		t.Fatal(err)
	}

	for _, command := range commands {
		cmd := exec.CommandContext(t.Context(), "bash", "-euc", command)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}

	// A file is what it says that it is only if the gate takes it.
	for name, identified := range map[string]bool{"check.yaml": true, "bootstrap.yaml": false} {
		c, err := config.Load(filepath.Join(dir, "deploy", name), func(string) string { return "" }, engine.ProfileProblem)
		if err != nil || len(c.Attestors) != 1 || (c.Identity != nil) != identified {
			t.Errorf("%s: %d attestors, with identity: %t, %v", name, len(c.Attestors), c.Identity != nil, err)
		}
	}

	var c struct {
		Policies    []string          `yaml:"policies"`
		TrustedRoot string            `yaml:"trustedRoot"`
		Store       map[string]any    `yaml:"store"`
		Telemetry   map[string]string `yaml:"telemetry"`
	}

	made := filepath.Join(dir, "deploy", "check.yaml")
	readYAML(t, made, &c)
	if len(c.Policies) != 1 || c.Store["none"] != true || c.Telemetry["hashKey"] != "" {
		t.Errorf("policies %q, store %v, telemetry %v", c.Policies, c.Store, c.Telemetry)
	}

	for _, file := range append(c.Policies, c.TrustedRoot) {
		if _, err := os.Stat(filepath.Join(dir, "deploy", file)); err != nil {
			t.Error(err)
		}
	}

	for line := range strings.Lines(string(read(t, made))) {
		if line, _, _ := strings.Cut(line, "#"); strings.Contains(line, "/etc/attestor") {
			t.Errorf("%s is not on this machine", strings.TrimSpace(line))
		}
	}
}

// TestKustomization: every file of the base is part of it and the other way
// round, and the pods are restricted.
func TestKustomization(t *testing.T) {
	for _, base := range []string{"kubernetes/base", "kubernetes/webhook"} {
		var k struct {
			Resources  []string `yaml:"resources"`
			ConfigMaps []struct {
				Files []string `yaml:"files"`
			} `yaml:"configMapGenerator"`
		}

		readYAML(t, filepath.Join(base, "kustomization.yaml"), &k)
		listed := append([]string{"kustomization.yaml"}, k.Resources...)

		for _, c := range k.ConfigMaps {
			listed = append(listed, c.Files...)
		}

		var there []string
		entries, err := os.ReadDir(base)
		if err != nil {
			t.Fatal(err)
		}

		for _, e := range entries {
			there = append(there, e.Name())
		}

		slices.Sort(listed)
		if !slices.Equal(listed, there) {
			t.Errorf("%s lists %v, there are %v", base, listed, there)
		}
	}

	checkPods(t)
}

// checkPods: the pods are restricted, bounded and watched, and the namespace admits no others.
func checkPods(t *testing.T) {
	t.Helper()
	e := &evidence{t: t}
	const pod = "spec > template > spec > "
	file := "kubernetes/base/deployment.yaml"
	for _, p := range []applied{
		inYAML(file, pod+"securityContext > runAsNonRoot", "true"), inYAML(file, pod+"securityContext > runAsUser", "65532"),
		inYAML(file, pod+"securityContext > seccompProfile > type", "RuntimeDefault"), inYAML(file, pod+"automountServiceAccountToken", "false"),
		inYAML(file, pod+"topologySpreadConstraints > 0 > topologyKey", "topology.kubernetes.io/zone"), inYAML(file, pod+"containers > 1", ""),
		container(file, "securityContext > allowPrivilegeEscalation", "false"), container(file, "securityContext > readOnlyRootFilesystem", "true"),
		container(file, "securityContext > capabilities > drop", "[ALL]"), container(file, "securityContext > capabilities > add", ""),
		container(file, "startupProbe > httpGet > path", "/health"), container(file, "livenessProbe > httpGet > path", "/health"),
		container(file, "readinessProbe > httpGet > path", "/ready"), container(file, "resources > limits > cpu", "1"),
		container(file, "resources > limits > memory", "1Gi"),
		inYAML("kubernetes/base/namespace.yaml", "metadata > labels > pod-security.kubernetes.io/enforce", "restricted"),
	} {
		if wrong := p.wrong(e); wrong != "" {
			t.Errorf("%s: %s", p.file, wrong)
		}
	}
}

type webhookRule struct {
	APIGroups []string `yaml:"apiGroups"`
	Resources []string `yaml:"resources"`
}

// TestWebhookSeesEveryPodTemplate lists the kinds that can start a container.
func TestWebhookSeesEveryPodTemplate(t *testing.T) {
	var w struct {
		Webhooks []struct {
			Rules          []webhookRule `yaml:"rules"`
			TimeoutSeconds int           `yaml:"timeoutSeconds"`
			FailurePolicy  string        `yaml:"failurePolicy"`
			SideEffects    string        `yaml:"sideEffects"`
			ClientConfig   struct {
				Service struct{ Path string }
			} `yaml:"clientConfig"`
		} `yaml:"webhooks"`
	}

	readYAML(t, "kubernetes/webhook/validatingwebhookconfiguration.yaml", &w)
	if len(w.Webhooks) != 1 {
		t.Fatalf("%d webhooks", len(w.Webhooks))
	}

	hook := w.Webhooks[0]
	for group, kinds := range map[string][]string{
		"":      {"pods", "pods/ephemeralcontainers", "replicationcontrollers", "podtemplates"},
		"apps":  {"deployments", "replicasets", "statefulsets", "daemonsets"},
		"batch": {"jobs", "cronjobs"},
	} {
		for _, kind := range kinds {
			if !slices.ContainsFunc(hook.Rules, func(r webhookRule) bool {
				return slices.Contains(r.APIGroups, group) && slices.Contains(r.Resources, kind)
			}) {
				t.Errorf("%s of %q are not seen", kind, group)
			}
		}
	}

	if hook.TimeoutSeconds <= 8 || hook.SideEffects != "None" || hook.ClientConfig.Service.Path != "/v1/admission" || hook.FailurePolicy == "" {
		t.Errorf("time-out %d, side effects %s, path %s, failure policy %s", hook.TimeoutSeconds, hook.SideEffects,
			hook.ClientConfig.Service.Path, hook.FailurePolicy)
	}
}
