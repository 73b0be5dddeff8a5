package posture_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// snippetOf is what follows "in the YAML:" or "in the v2 JSON:" of a fix, as a value, and the paths that it says to remove.
func snippetOf(t *testing.T, f attestor.PostureFinding) (set map[string]any, remove []string) {
	t.Helper()
	_, text, yes := strings.Cut(f.Fix, "in the YAML: ")
	_, written, isJSON := strings.Cut(f.Fix, "in the v2 JSON: ")
	if !yes && !isJSON {
		return nil, nil
	}
	if isJSON {
		text = written
	}

	// What is to be removed follows on a line of its own.
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "remove ") {
			for _, path := range strings.Split(line, ", ") {
				remove = append(remove, strings.TrimPrefix(path, "remove "))
			}
			continue
		}
		var err error
		if isJSON {
			err = json.Unmarshal([]byte(line), &set)
		} else {
			err = yaml.Unmarshal([]byte(line), &set)
		}
		if err != nil {
			t.Errorf("%s: %v in %q", f.Rule, err, line)
		}
	}
	return set, remove
}

// replaced are lists in which a snippet stands for the whole list; in other lists an element of the same name is completed.
var replaced = []string{"networkInterfaces", "regions", "items"}

// paste writes a snippet into a definition, as a person does: fields are completed, elements of lists found by their names, and
// a container without a name stands for each.
func paste(into, snippet any) any {
	switch s := snippet.(type) {
	case string:
		return filled.Replace(s)
	case map[string]any:
		fields, ok := into.(map[string]any)
		if !ok {
			fields = map[string]any{}
		}
		for name, v := range s {
			if slices.Contains(replaced, name) {
				fields[name] = paste(nil, v)
				continue
			}
			fields[name] = paste(fields[name], v)
		}
		// A variable has a value or a source.
		if _, ok := s["valueFrom"]; ok {
			delete(fields, "value")
		}
		if _, ok := s["valueSource"]; ok {
			delete(fields, "value")
		}
		return fields
	case []any:
		list, _ := into.([]any)
		list = slices.Clone(list)
		for _, item := range s {
			fields, ok := item.(map[string]any)
			if !ok {
				list = append(list, paste(nil, item))
				continue
			}
			found := false
			for i, old := range list {
				if o, _ := old.(map[string]any); o != nil && (fields["name"] == nil || o["name"] == fields["name"]) {
					list[i], found = paste(old, item), true
				}
			}
			if !found {
				list = append(list, paste(nil, item))
			}
		}
		return list
	}
	return snippet
}

// cut removes a path such as "a.b[].c", or "a.env[NAME]" for the element of a name. Names of annotations have dots.
func cut(v any, path string) {
	fields, _ := v.(map[string]any)
	for name, field := range fields {
		rest, ok := strings.CutPrefix(path, name)
		list, _ := field.([]any)
		switch {
		case !ok:
		case rest == "":
			delete(fields, name)
		case strings.HasPrefix(rest, "."):
			cut(field, rest[1:])
		case strings.HasPrefix(rest, "[]."):
			for _, item := range list {
				cut(item, rest[3:])
			}
		case strings.HasPrefix(rest, "["):
			fields[name] = slices.DeleteFunc(list, func(item any) bool {
				o, _ := item.(map[string]any)
				return fmt.Sprintf("[%s]", o["name"]) == rest
			})
		}
	}
}

// everyDeletion are copies of a value without one of its fields or elements each, at any depth.
func everyDeletion(t *testing.T, v any) map[string]any {
	t.Helper()
	out := map[string]any{}
	var walk func(at any, path string, without func() any)
	walk = func(at any, path string, _ func() any) {
		switch at := at.(type) {
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(at)) {
				old := at[name]
				delete(at, name)
				out[path+"/"+name] = copied(t, v)
				at[name] = old
				walk(old, path+"/"+name, nil)
			}
		case []any:
			for i := range at {
				walk(at[i], fmt.Sprintf("%s/%d", path, i), nil)
			}
		}
	}
	walk(v, "", nil)
	return out
}

func copied(t *testing.T, v any) any {
	t.Helper()
	var out any
	if err := json.Unmarshal([]byte(encoded(t, v)), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func fromYAML(t *testing.T, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return copied(t, v).(map[string]any)
}

// faulty are parts that break a good definition: paste completes it with them. Those of Config Connector are under "spec".
var faulty = map[string][]string{
	"v2": {
		`{"ingress": "INGRESS_TRAFFIC_ALL"}`, `{"invokerIamDisabled": true}`, `{"sshEnabled": true}`, `{"defaultUriDisabled": false}`,
		`{"binaryAuthorization": {"breakglassJustification": "urgent"}}`, `{"binaryAuthorization": {"useDefault": false}}`,
		`{"template": {"timeout": "3600s"}}`, `{"template": {"encryptionKey": "k"}}`, `{"template": {"maxInstanceRequestConcurrency": 0}}`,
		`{"template": {"serviceAccount": "1-compute@developer.gserviceaccount.com"}}`,
		`{"template": {"healthCheckDisabled": true}}`, `{"scaling": {"minInstanceCount": 0}}`,
		`{"template": {"containers": [{"baseImageUri": "us-docker.pkg.dev/serverless-runtimes/go"}]}}`,
		`{"template": {"containers": [{"image": "scratch", "sourceCode": {"cloudStorageSource": {"bucket": "b", "object": "o"}}}]}}`,
		`{"template": {"containers": [{"sandboxLauncher": {}}]}}`, `{"template": {"containers": [{"image": "nginx:1"}]}}`,
		`{"buildConfig": {"enableAutomaticUpdates": true, "serviceAccount": "projects/p/serviceAccounts/b@p.iam.gserviceaccount.com"}}`,
		`{"buildConfig": {"baseImage": "go"}}`, `{"template": {"containers": [{"buildConfig": {"buildpacksBuild": {"runtime": "go"}}}]}}`,
		`{"template": {"containers": [{"env": [{"name": "DB_PASSWORD", "value": "hunter2"}]}]}}`,
		`{"template": {"containers": [{"env": [{"name": "A", "valueSource": {"secretKeyRef": {"secret": "a", "version": "latest"}}}, ` +
			`{"name": "B_C", "valueSource": {"secretKeyRef": {"secret": "projects/p/secrets/b", "version": "stable"}}}]}]}}`,
		`{"template": {"volumes": [{"name": "w", "gcs": {"bucket": "b"}}, {"name": "n", "nfs": {"server": "10.0.0.2", "path": "/x"}}]}}`,
		`{"template": {"volumes": [{"name": "s", "secret": {"secret": "a", "items": [{"version": "latest", "path": "p"}]}}]}}`,
		`{"template": {"vpcAccess": {"egress": "ELSEWHERE"}}}`, `{"template": {"vpcAccess": {"networkInterfaces": [{"network": "default"}]}}}`,
		`{"template": {"containers": [{"name": "second", "image": "proxy"}, {"name": "third", "image": "proxy:2"}]}}`,
	},
	"Knative": {
		`{"metadata": {"annotations": {"run.googleapis.com/ingress": "all"}}}`,
		`{"metadata": {"annotations": {"run.googleapis.com/invoker-iam-disabled": "true"}}}`,
		`{"metadata": {"annotations": {"run.googleapis.com/binary-authorization-breakglass": "urgent"}}}`,
		`{"metadata": {"annotations": {"run.googleapis.com/build-enable-automatic-updates": "true"}}}`,
		`{"metadata": {"annotations": {"run.googleapis.com/build-image-uri": "go"}}}`,
		`{"spec": {"template": {"metadata": {"annotations": {"run.googleapis.com/secure-session-agent": "enabled"}}}}}`,
		`{"spec": {"template": {"metadata": {"annotations": {"run.googleapis.com/base-images": "{}"}}}}}`,
		`{"spec": {"template": {"metadata": {"annotations": {"run.googleapis.com/sources": "{}"}}}}}`,
		`{"spec": {"template": {"metadata": {"annotations": {"run.googleapis.com/health-check-disabled": "true"}}}}}`,
		`{"spec": {"template": {"spec": {"runtimeClassName": "run.googleapis.com/linux-base-image-update"}}}}`,
		`{"spec": {"template": {"spec": {"containers": [{"image": "nginx:1"}]}}}}`,
		`{"spec": {"template": {"spec": {"containers": [{"env": [{"name": "DB_PASSWORD", "value": "hunter2"}]}]}}}}`,
		`{"spec": {"template": {"spec": {"containers": [{"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "latest"}}}, ` +
			`{"name": "B_C", "valueFrom": {"secretKeyRef": {"name": "b", "key": "7"}}}]}]}}}}`,
		`{"spec": {"template": {"spec": {"volumes": [{"name": "w", "csi": {"driver": "gcsfuse.run.googleapis.com", ` +
			`"volumeAttributes": {"bucketName": "b"}}}, {"name": "n", "nfs": {"server": "10.0.0.2", "path": "/x"}}]}}}}`,
		`{"spec": {"template": {"spec": {"containers": [{"name": "second", "image": "proxy"}, {"name": "third", "image": "proxy:2"}]}}}}`,
	},
}

// faultsOf are the faults for a form of definition; in Config Connector names of other resources are references.
func faultsOf(t *testing.T, form string) []map[string]any {
	t.Helper()
	kind, _, plain := strings.Cut(form, " ")
	if plain {
		return nil // jobs and pools have their deletions
	}
	var out []map[string]any
	list := faulty[kind]
	if kind == "connector" {
		list = faulty["v2"]
	}
	for _, text := range list {
		v := value(t, text)
		if kind == "connector" {
			text = strings.NewReplacer(`"invokerIamDisabled"`, `"invokerIAMDisabled"`, `"defaultUriDisabled"`, `"defaultURIDisabled"`,
				`"encryptionKey": "k"`, `"encryptionKeyRef": {"external": "k/k"}`, `"network": "default"`, `"networkRef": {"external": "default"}`,
				`"serviceAccount": "1-`, `"serviceAccountRef": {"external": "1-`, `gserviceaccount.com"}}`, `gserviceaccount.com"}}}`,
				`"secret": "a", `, `"secretRef": {"external": "a"}, `,
				`"secret": "projects/p/secrets/b", `, `"secretRef": {"external": "projects/p/secrets/b"}, `,
				`"version": "latest"`, `"versionRef": {"external": "latest"}`, `"version": "stable"`, `"versionRef": {"external": "stable"}`).Replace(text)
			if strings.Contains(text, "buildConfig") {
				text = strings.NewReplacer(`"serviceAccount": "projects/p/serviceAccounts/b@p.iam.gserviceaccount.com"}}}`,
					`"serviceAccountRef": {"external": "b@p.iam.gserviceaccount.com"}}}`).Replace(text)
			}
			v = map[string]any{"spec": value(t, text)}
		}
		out = append(out, v)
	}
	return out
}

// TestPastedFixes: each snippet of YAML and of v2 JSON parses and, pasted into a definition that lacks any one thing, or has any of the
// faults, clears its finding and brings up no other.
func TestPastedFixes(t *testing.T) {
	service, _, _ := strings.Cut(runService, "---\n")
	bases := map[string]map[string]any{
		"Knative":      fromYAML(t, sample(t, "hardened.yaml")),
		"Knative job":  fromYAML(t, sample(t, "hardened-job.yaml")),
		"Knative pool": fromYAML(t, poolYAML),
		"v2":           value(t, sample(t, "hardened-v2.json")),
		"v2 pool":      value(t, poolV2),
		"connector":    fromYAML(t, service),
	}
	tried := map[string]bool{}
	for form, base := range bases {
		broken := everyDeletion(t, base)
		for _, fault := range faultsOf(t, form) {
			broken[encoded(t, fault)] = paste(copied(t, base), fault)
		}
		for what, v := range broken {
			pasteFixes(t, form, what, v, tried)
		}
	}
	for form, least := range map[string]int{"Knative": 18, "Knative job": 7, "Knative pool": 8, "v2": 18, "v2 pool": 6, "connector": 17} {
		n := 0
		for key := range tried {
			if strings.HasPrefix(key, form+": ") {
				n++
			}
		}
		if n < least {
			t.Errorf("%s: only %d rules have a snippet that was tried: %v", form, n, slices.Sorted(maps.Keys(tried)))
		}
	}
}

func pasteFixes(t *testing.T, form, what string, broken any, tried map[string]bool) {
	t.Helper()
	report := func(v any) (attestor.PostureReport, error) {
		return judge(t, builtin(t, "strict"), &attested{answer: true}, posture.Input{Definitions: []posture.Source{source(encoded(t, v))}})
	}
	before, err := report(broken)
	if err != nil {
		return
	}
	for _, f := range before.Findings {
		set, remove := snippetOf(t, f)
		if set == nil && remove == nil || !asksForChange(f.Status) || strings.Contains(f.Message, "no container is defined") ||
			slices.Contains(remove, "spec.template.containers[].env[NAME]") { // a variable without a name
			continue
		}
		after := copied(t, broken)
		for _, path := range remove {
			cut(after, path)
		}
		if set != nil {
			after = paste(after, set)
		}
		again, err := report(after)
		if err != nil {
			t.Errorf("%s, %s: %v after %s", form, what, err, f.Fix)
			continue
		}
		tried[form+": "+f.Rule] = true
		for _, g := range again.Findings {
			if asksForChange(g.Status) && (g.Rule == f.Rule || !asksForChange(worst(before, g.Rule))) && followed[f.Rule] != g.Rule {
				t.Errorf("%s, %s: %s is %s (%s) after the fix of %s: %s\n%s", form, what, g.Rule, g.Status, g.Message, f.Rule, f.Fix, encoded(t, after))
			}
		}
	}
}

// followed are findings that the fix of another brings up: what it adds is asked about in its turn.
var followed = map[string]string{
	"CMEK":                 "KEY_REVOCATION",       // there is a key to be revoked
	"INGRESS_RESTRICTED":   "DEFAULT_URL_DISABLED", // a load balancer is known
	"SECRETS_BY_REFERENCE": "SECRETS_AS_FILES",     // a secret is known
}

func asksForChange(s attestor.Status) bool {
	return s == attestor.StatusDeny || s == attestor.StatusWarn
}
