package admission_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/internal/testkit/kubeapi"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
)

var update = flag.Bool("update", false, "record the reviews of a kube-apiserver anew; with GATE_TEST_ALL=1")

// recorded is where the reviews are that a real API server sent.
const recorded = "testdata/kube-apiserver"

// object is JSON, made readably.
type object map[string]any

func meta(name string) object { return object{"name": name, "namespace": "default"} }

// template has every place where a pod names images, each with its own.
func template() object {
	image := func(where string) string {
		return "registry.example/team/" + where + "@sha256:" + strings.Repeat("a", 64)
	}
	return object{
		"metadata": object{"labels": object{"app": "a"}},
		"spec": object{
			"initContainers": []object{
				{"name": "init", "image": image("init")},
				{"name": "sidecar", "image": image("sidecar"), "restartPolicy": "Always"},
			},
			"containers": []object{{"name": "main", "image": image("main")}, {"name": "second", "image": image("second")}},
			"volumes":    []object{{"name": "data", "image": object{"reference": image("volume"), "pullPolicy": "IfNotPresent"}}},
		},
	}
}

// once is a template for what runs to its end.
func once() object {
	t := template()
	t["spec"].(object)["restartPolicy"] = "Never"
	return t
}

// steps are what is asked of the API server, and the file that its review
// becomes.
func steps() []struct {
	file, method, path string
	body               any
} {
	type step = struct {
		file, method, path string
		body               any
	}

	selector := object{"matchLabels": object{"app": "a"}}
	workload := func(api, kind string, spec object) object {
		return object{"apiVersion": api, "kind": kind, "metadata": meta(strings.ToLower(kind)), "spec": spec}
	}

	const core, apps, batch = "/api/v1/namespaces/default", "/apis/apps/v1/namespaces/default", "/apis/batch/v1/namespaces/default"
	pod := workload("v1", "Pod", template()["spec"].(object))
	return []step{
		{"pod-create", "POST", core + "/pods", pod},
		{"pod-dry-run", "POST", core + "/pods?dryRun=All", object{"apiVersion": "v1", "kind": "Pod", "metadata": meta("dry"), "spec": template()["spec"]}},
		{"pod-label", "PATCH", core + "/pods/pod", object{"metadata": object{"labels": object{"a": "b"}}}},
		{"pod-ephemeral", "PATCH", core + "/pods/pod/ephemeralcontainers", object{"spec": object{"ephemeralContainers": []object{
			{"name": "debug", "image": "registry.example/team/debug@sha256:" + strings.Repeat("b", 64)},
		}}}},
		{"replicationcontroller", "POST", core + "/replicationcontrollers",
			workload("v1", "ReplicationController", object{"selector": object{"app": "a"}, "template": template()})},
		{"podtemplate", "POST", core + "/podtemplates", object{"apiVersion": "v1", "kind": "PodTemplate",
			"metadata": meta("podtemplate"), "template": template()}},
		{"deployment", "POST", apps + "/deployments", workload("apps/v1", "Deployment", object{"selector": selector, "template": template()})},
		{"replicaset", "POST", apps + "/replicasets", workload("apps/v1", "ReplicaSet", object{"selector": selector, "template": template()})},
		{"statefulset", "POST", apps + "/statefulsets", workload("apps/v1", "StatefulSet",
			object{"selector": selector, "serviceName": "a", "template": template()})},
		{"daemonset", "POST", apps + "/daemonsets", workload("apps/v1", "DaemonSet", object{"selector": selector, "template": template()})},
		{"job", "POST", batch + "/jobs", workload("batch/v1", "Job", object{"template": once()})},
		{"cronjob", "POST", batch + "/cronjobs", workload("batch/v1", "CronJob",
			object{"schedule": "0 0 * * *", "jobTemplate": object{"spec": object{"template": once()}}})},
		{"configmap", "POST", core + "/configmaps", object{"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": meta("configmap"), "data": object{"image": "registry.example/team/none:v1"}}},
		{"pod-delete", "DELETE", core + "/pods/pod", nil},
	}
}

// recorder is a webhook that admits everything and keeps what it is sent.
type recorder struct {
	mu   sync.Mutex
	last []byte // guarded by mu
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	var in struct{ Request struct{ UID string } }
	_ = json.Unmarshal(body, &in)
	r.mu.Lock()
	r.last = body
	r.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":%q,"allowed":true}}`, in.Request.UID)
}

func (r *recorder) take() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.last
	r.last = nil
	return b
}

// TestRecordReviews has a real API server send a review for every kind of
// workload, and compares it with what is recorded; -update records it.
func TestRecordReviews(t *testing.T) {
	slow.Skip(t)
	bin, err := kubeapi.Build(t.Context(), "../../tools/kube")
	if err != nil {
		t.Fatal(err)
	}

	c, err := bin.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	hook := &recorder{}
	srv := httptest.NewTLSServer(hook)
	defer srv.Close()
	do := func(method, path string, body any) {
		t.Helper()
		if status, answer, err := c.Do(t.Context(), method, path, body); err != nil || status > 299 {
			t.Fatalf("%s %s: %d %s, %v", method, path, status, answer, err)
		}
	}

	do("POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", object{
		"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": object{"name": "recorder"},
		"webhooks": []object{{
			"name": "recorder.attestor.dev", "admissionReviewVersions": []string{"v1"}, "sideEffects": "None", "failurePolicy": "Fail",
			"clientConfig": object{"url": srv.URL, "caBundle": base64.StdEncoding.EncodeToString(
				pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))},
			"rules": []object{{"apiGroups": []string{"", "apps", "batch"}, "apiVersions": []string{"v1"}, "operations": []string{"CREATE", "UPDATE", "DELETE"},
				"resources": []string{"pods", "pods/ephemeralcontainers", "replicationcontrollers", "podtemplates",
					"deployments", "replicasets", "statefulsets", "daemonsets", "jobs", "cronjobs", "configmaps"}}},
		}},
	})

	for ctx, cancel := context.WithTimeout(t.Context(), time.Minute); ; { // it becomes active through an informer
		do("POST", "/api/v1/namespaces/default/configmaps?dryRun=All", object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": "probe"}})
		if hook.take() != nil {
			cancel()
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the webhook is not called")
		}
	}

	for _, s := range steps() {
		do(s.method, s.path, s.body)
		compareReview(t, filepath.Join(recorded, s.file+".json"), hook.take())
	}
}

func compareReview(t *testing.T, file string, got []byte) {
	t.Helper()
	var indented bytes.Buffer
	if err := json.Indent(&indented, got, "", " "); err != nil {
		t.Fatalf("%s: %v: %s", file, err, got)
	}

	indented.WriteByte('\n')
	if *update {
		if err := os.WriteFile(file, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	if diff := cmp.Diff(paths(t, want), paths(t, indented.Bytes())); diff != "" {
		t.Errorf("%s is not what kube-apiserver %s sends; -update records it (-recorded +sent):\n%s", file, kubeapi.Version, diff)
	}
}

// paths are the names of all fields, which is what a decoder depends on; the
// values change from day to day.
func paths(t *testing.T, b []byte) []string {
	t.Helper()
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}

	var out []string
	var visit func(at string, v any)
	visit = func(at string, v any) {
		switch x := v.(type) {
		case map[string]any:
			for name, inner := range x {
				visit(at+"/"+name, inner)
			}
		case []any:
			for _, inner := range x {
				visit(at+"/*", inner)
			}
		}
		out = append(out, at)
	}

	visit("", v)
	slices.Sort(out)
	return slices.Compact(out)
}
