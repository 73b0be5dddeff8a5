package posture_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// fixable are the rules whose fixes need no choice of a person.
var fixable = []string{"INGRESS_RESTRICTED", "DEFAULT_URL_DISABLED", "MIN_INSTANCES", "MAX_INSTANCES", "RESOURCE_LIMITS", "TIMEOUT_BOUNDED", "CONCURRENCY_SET",
	"BINARY_AUTHORIZATION", "SHELL_DISABLED"}

func fixed(t *testing.T, profile, text string) (string, []string) {
	t.Helper()
	j, err := posture.New(posture.Config{Profile: builtin(t, profile), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	files, err := j.Fix(t.Context(), posture.Input{Definitions: []posture.Source{source(text)}})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		return text, nil
	}
	return string(files[0].Text), files[0].Fixed
}

// TestFixClearsTheFinding: each fix of a definition in YAML is applied to its case, which is judged again; comments and other lines stay.
func TestFixClearsTheFinding(t *testing.T) {
	hardened := sample(t, "hardened.yaml")
	cleared := map[string]bool{}
	for _, tt := range broken {
		if !slices.Contains(fixable, tt.rule) {
			continue
		}
		before := strings.Replace(replace(t, hardened, tt.edits...), "spec:\n", "# our settings\nspec:\n", 1)
		after, rules := fixed(t, "strict", before)
		if !slices.Contains(rules, tt.rule) {
			t.Errorf("%s: fixed %q", tt.name, rules)
			continue
		}
		r := mustJudge(t, builtin(t, "strict"), nil, posture.Input{Definitions: []posture.Source{source(after)}})
		if f := finding(t, r, tt.rule); f.Status != attestor.StatusPass {
			t.Errorf("%s: %s is %s after the fix: %s", tt.name, tt.rule, f.Status, f.Message)
		}
		cleared[tt.rule] = true
		kept := 0
		for line := range strings.Lines(before) {
			if strings.Contains(after, line) {
				kept++
			}
		}
		if lines := strings.Count(before, "\n"); kept < lines-1 || !strings.Contains(after, "# our settings") {
			t.Errorf("%s: %d of %d lines are kept:\n%s", tt.name, kept, lines, after)
		}
	}
	for _, rule := range fixable {
		if !cleared[rule] {
			t.Errorf("no fix of %s was tried", rule)
		}
	}
	if after, rules := fixed(t, "strict", hardened); after != hardened || rules != nil {
		t.Errorf("a good definition is changed for %q", rules)
	}
}

// TestFixOfEveryForm: services and jobs, in YAML and JSON, one and several; what needs a person is left.
func TestFixOfEveryForm(t *testing.T) {
	const bare = `{"name": "projects/acme/locations/us-east1/services/a", "sshEnabled": true, ` +
		`"template": {"containers": [{"image": "nginx"}, {"image": "proxy", "resources": {"limits": {"cpu": "2"}}}]}}`
	job := "apiVersion: run.googleapis.com/v1\nkind: Job\nmetadata:\n  name: j # nightly\nspec:\n  template:\n" +
		"    spec:\n      template:\n        spec:\n          containers:\n          - image: nginx\n"
	for name, text := range map[string]string{
		"v2": bare, "a list": `{"services": [` + bare + `, ` + strings.Replace(bare, "services/a", "services/b",
			1) + `]}`, "a job": job, "two": job + "---\n" + strings.Replace(job, "name: j", "name: k", 1),
		"YAML": "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\nspec: {template: {spec: {containers: [{image: nginx}]}}}\n",
	} {
		after, rules := fixed(t, "strict", text)
		r := mustJudge(t, builtin(t, "strict"), nil, posture.Input{Definitions: []posture.Source{source(after)}})
		for _, f := range r.Findings {
			if slices.Contains(fixable, f.Rule) && f.Status.Refuses() {
				t.Errorf("%s: %s is %s: %s\n%s", name, f.Rule, f.Status, f.Message, after)
			}
			if f.Rule == "IMAGE_BY_DIGEST" && f.Status != attestor.StatusDeny {
				t.Errorf("%s: the image is %s", name, f.Status)
			}
		}
		if len(rules) == 0 || strings.Contains(after, "PROJECT") || strings.Contains(after, "DIGEST") {
			t.Errorf("%s: fixed %q:\n%s", name, rules, after)
		}
	}
	if after, _ := fixed(t, "strict", bare); !strings.Contains(after, `"cpu": "2"`) {
		t.Errorf("a limit that was set is changed: %s", after)
	}
	plan := plan(resource("google_cloud_run_v2_service", "a", `{"name": "a"}`))
	if after, rules := fixed(t, "strict", plan); after != plan || rules != nil {
		t.Error("a plan is changed")
	}
}

// TestFixKeepsTheForm: a file keeps its byte order mark, its line ends and the blank lines before it, and is fixed all the same.
func TestFixKeepsTheForm(t *testing.T) {
	for name, text := range map[string]string{
		"JSON": `{"name": "projects/acme/locations/us-east1/services/a", "template": {"containers": [{"image": "nginx"}]}}` + "\n",
		"YAML": "apiVersion: serving.knative.dev/v1 # ours\nkind: Service\nmetadata: {name: a}\nspec:\n  template:\n    spec:\n" +
			"      containers:\n      - image: nginx # later\n",
	} {
		want, rules := fixed(t, "strict", text)
		if len(rules) < 5 {
			t.Fatalf("%s: only %v are fixed", name, rules)
		}
		for form, of := range map[string]func(string) string{
			"Windows":      func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
			"a mark":       func(s string) string { return "\ufeff" + s },
			"both":         func(s string) string { return "\ufeff" + strings.ReplaceAll(s, "\n", "\r\n") },
			"blank before": func(s string) string { return "\n\n" + s },
		} {
			if got, more := fixed(t, "strict", of(text)); got != of(want) || !slices.Equal(more, rules) {
				t.Errorf("%s, %s: %v\n%q\nwant\n%q", name, form, more, got, of(want))
			}
		}
	}
}

// TestFixOfFurtherContainers: containers that start before the others, and templates of sandboxes, get limits too.
func TestFixOfFurtherContainers(t *testing.T) {
	for list, text := range map[string]string{
		"initContainers": "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\nspec:\n  template:\n    spec:\n" +
			"      containers:\n      - image: nginx\n      initContainers:\n      - image: proxy\n",
		"sandboxes": `{"name": "projects/acme/locations/us-east1/services/a", "template": {"containers": [{"image": "nginx"}], ` +
			`"sandboxes": {"templates": [{"image": "proxy"}]}}}`,
	} {
		after, rules := fixed(t, "strict", text)
		r := mustJudge(t, builtin(t, "strict"), nil, posture.Input{Definitions: []posture.Source{source(after)}})
		if f := finding(t, r, "RESOURCE_LIMITS"); f.Status != attestor.StatusPass || !slices.Contains(rules, "RESOURCE_LIMITS") {
			t.Errorf("%s: %s: %s\n%s", list, f.Status, f.Message, after)
		}
	}
}

// TestFixLeavesAnchors: what has an anchor is left to a person, since its alias stands elsewhere; the rest is fixed.
func TestFixLeavesAnchors(t *testing.T) {
	const head = "apiVersion: serving.knative.dev/v1\nkind: Service\n"
	for name, text := range map[string]string{
		"annotations": head + "metadata:\n  name: a\n  annotations: &x {a: b}\nspec:\n  template:\n    metadata: {annotations: *x}\n" +
			"    spec:\n      containers:\n      - image: nginx\nother: *x\n",
		"a container": head + "metadata: {name: a}\nspec:\n  template:\n    spec:\n      containers:\n      - &x\n        image: nginx\nother: *x\n",
		"limits": head + "metadata: {name: a}\nspec:\n  template:\n    spec:\n      containers:\n      - image: nginx\n" +
			"        resources: {limits: &x {cpu: '1'}}\nother: *x\n",
		"a number": head + "metadata: {name: a}\nspec:\n  template:\n    spec:\n      timeoutSeconds: &x 3600\n" +
			"      containers:\n      - image: nginx\nother: *x\n",
		"a template": head + "metadata: {name: a}\nspec:\n  template: &x\n    spec:\n      containers:\n      - image: nginx\nother: *x\n",
	} {
		after, rules := fixed(t, "strict", text)
		if was, is := fromYAML(t, text)["other"], fromYAML(t, after)["other"]; !reflect.DeepEqual(was, is) {
			t.Errorf("%s: the alias stands for %v, and stood for %v:\n%s", name, is, was, after)
		}
		if len(rules) == 0 {
			t.Errorf("%s: nothing is fixed", name)
		}
	}

	// Here the alias is a service itself.
	list := "apiVersion: serving.knative.dev/v1\nkind: ServiceList\nitems:\n- &x\n  apiVersion: serving.knative.dev/v1\n  kind: Service\n" +
		"  metadata: {name: a}\n  spec: {template: {spec: {containers: [{image: nginx}]}}}\n- *x\n"
	if after, rules := fixed(t, "strict", list); after != list || rules != nil {
		t.Errorf("a service with an anchor is changed for %v:\n%s", rules, after)
	}
}
