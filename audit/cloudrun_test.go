package audit_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/option"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// TestDefinitionsInProject: services and jobs with who may call, where that may be read.
func TestDefinitionsInProject(t *testing.T) {
	srv := cloudRun(t, map[string]string{
		"workerPools": `{"workerPools":[{"name":"projects/acme/locations/us-east1/workerPools/w",` +
			`"template":{"containers":[{"image":"r/w:1"}]}}]}`, "instances": `{}`,
		"services": `{"services":[{"name":"projects/acme/locations/us-east1/services/a",` +
			`"ingress":"INGRESS_TRAFFIC_ALL","template":{"containers":[{"image":"r/a:1"}]}},` +
			`{"name":"projects/acme/locations/us-east1/services/b"}]}`,
		"jobs": `{"jobs":[{"name":"projects/acme/locations/us-east1/jobs/a",` +
			`"template":{"taskCount":3,"template":{"containers":[{"image":"r/j:1"}]}}},` +
			`{"name":"projects/acme/locations/us-east1/jobs/b","template":{}}]}`,
		"us-east1/services/a:getIamPolicy": `{"bindings":[{"role":"roles/run.invoker","members":["allUsers"]}]}`,
		"us-east1/jobs/a:getIamPolicy":     `{"bindings":[{"role":"roles/run.invoker","members":["user:a@acme.example"]}]}`,
	})

	var got []audit.Definition
	refs, err := running(inProject(t, func(d audit.Definition) { got = append(got, d) }, srv...))
	if err != nil {
		t.Fatal(err)
	}

	if d := cmp.Diff([]string{"r/a:1", "r/j:1", "r/w:1"}, refs); d != "" {
		t.Error(d)
	}
	want := []struct{ name, text, iam string }{
		{"services/a", "INGRESS_TRAFFIC_ALL", "allUsers"}, {"services/b", "services/b", ""},
		{"jobs/a", `"taskCount":3`, "user:a@acme.example"}, {"jobs/b", "jobs/b", ""}, {"workerPools/w", "r/w:1", ""},
	}
	if len(got) != len(want) {
		t.Fatalf("%d definitions, want %d", len(got), len(want))
	}

	for i, w := range want {
		if got[i].Name != "projects/acme/locations/us-east1/"+w.name || !strings.Contains(string(got[i].Text), w.text) ||
			!strings.Contains(string(got[i].IAM), w.iam) ||
			(got[i].IAM == nil) != (w.iam == "") {
			t.Errorf("%s: %s, IAM %s", got[i].Name, got[i].Text, got[i].IAM)
		}
	}

	// Whether somebody may call that is not known for want of an answer is an error.
	for _, kind := range []string{"services", "jobs"} {
		answers := map[string]string{"services": `{}`, "jobs": `{}`, "workerPools": `{}`, "instances": `{}`, "us-east1/" + kind + "/a:getIamPolicy": "500"}
		answers[kind] = `{"` + kind + `":[{"name":"projects/acme/locations/us-east1/` + kind +
			`/a","template":{"containers":[{"image":"r/a:1"}],"template":{"containers":[{"image":"r/a:1"}]}}}]}`
		refs, err := running(inProject(t, func(audit.Definition) {}, cloudRun(t, answers)...))
		if attestor.KindOf(err) != attestor.Upstream || len(refs) != 0 || !strings.Contains(attestor.Message(err), kind) {
			t.Errorf("%s: %q %v", kind, refs, err)
		}
	}
}

func TestImagesInProject(t *testing.T) {
	container := func(images ...string) string {
		var all []string
		for _, i := range images {
			all = append(all, `{"image":"`+i+`"}`)
		}
		return `{"containers":[` + strings.Join(all, ",") + `]}`
	}

	services := `{"services":[{"template":` + container("r/a:1", "r/b:1") + `},{}],"nextPageToken":"2"}`
	jobs := `{"jobs":[{"template":{"template":` + container("r/j:1", "r/k:1") + `}},{},{"template":{}}],"nextPageToken":"2"}`
	last := map[string]string{
		"services":   services,
		"services 2": `{"services":[{"template":` + container("r/c:1") + `}]}`,
		"jobs":       jobs,
		"jobs 2":     `{"jobs":[{"template":{"template":` + container("r/l:1") + `}}]}`,
	}
	last["workerPools"], last["workerPools 2"] = `{"workerPools":[{"template":`+container(
		"r/w:1",
	)+`},{}],"nextPageToken":"2"}`, `{"workerPools":[{"template":`+container(
		"r/x:1",
	)+`}]}`
	last["instances"], last["instances 2"] = `{"instances":[`+container("r/p:1")+`,{}],"nextPageToken":"2"}`, `{"instances":[`+container("r/q:1")+`]}`
	first := []string{"r/a:1", "r/b:1", "r/c:1", "r/j:1", "r/k:1"}
	all := append(slices.Clone(first), "r/l:1", "r/w:1", "r/x:1", "r/p:1", "r/q:1")
	for _, tt := range []struct {
		name, page, answer string
		want               []string
		says               string
	}{
		{name: "two pages of each", want: all},
		{name: "nothing runs", page: "all", answer: `{}`},
		{name: "a region is down", page: "services 2", answer: `{"unreachable":["europe-west1"]}`, want: first[:2], says: "europe-west1"},
		{
			name: "a region of jobs is down", page: "jobs",
			answer: `{"jobs":[{"template":{"template":` + container("r/j:1") + `}}],"unreachable":["projects/acme/locations/us-east4"]}`,
			want:   first[:3], says: "could not reach projects/acme/locations/us-east4",
		},
		{name: "a region of worker pools is down", page: "workerPools 2", answer: `{"unreachable":["us-east4"]}`, want: all[:7], says: "us-east4"},
		{name: "a region of instances is down", page: "instances 2", answer: `{"unreachable":["us-east4"]}`, want: all[:9], says: "us-east4"},
		{name: "services are not allowed", page: "services 2", answer: "403", want: first[:2], says: "may not list the Cloud Run services"},
		{name: "services are down", page: "services 2", answer: "500", want: first[:2], says: "services of acme could not be listed"},
		{name: "jobs are not allowed", page: "jobs", answer: "403", want: first[:3], says: "may not list the Cloud Run jobs"},
		{name: "jobs are not allowed any more", page: "jobs 2", answer: "403", want: first, says: "may not list the Cloud Run jobs"},
		{name: "jobs are down", page: "jobs 2", answer: "500", want: first, says: "jobs of acme could not be listed"},
		{name: "jobs of all regions are not to be had", page: "jobs", answer: "400", want: first[:3], says: "name the regions with --region"},
		{name: "worker pools are not allowed", page: "workerPools", answer: "403", want: all[:6], says: "may not list the Cloud Run worker pools"},
		{name: "a page of worker pools is missing", page: "workerPools 2", answer: "404", want: all[:7], says: "worker pools of acme could not be listed"},
		{name: "instances are down", page: "instances", answer: "500", want: all[:8], says: "instances of acme could not be listed"},
		{
			name: "a page of instances is cut short", page: "instances 2", answer: `{"instances":[{"con`, want: all[:9],
			says: "instances of acme could not be listed",
		},
		{
			name: "services turn in a circle", page: "services 2", answer: `{"services":[],"nextPageToken":"2"}`, want: first[:2],
			says: "services of acme could not be listed",
		},
		{
			name: "jobs turn in a circle", page: "jobs 2", answer: `{"jobs":[],"nextPageToken":"2"}`, want: first,
			says: "jobs of acme could not be listed",
		},
		{
			name: "worker pools turn in a circle", page: "workerPools 2", answer: `{"workerPools":[],"nextPageToken":"2"}`, want: all[:7],
			says: "worker pools of acme could not be listed",
		},
		{
			name: "instances turn in a circle", page: "instances 2", answer: `{"nextPageToken":"2"}`, want: all[:9],
			says: "instances of acme could not be listed",
		},
		{name: "jobs are no JSON", page: "jobs 2", answer: "<html>", want: first, says: "jobs of acme could not be listed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answers := maps.Clone(last)
			if answers[tt.page] = tt.answer; tt.page == "all" {
				answers = map[string]string{"services": tt.answer, "jobs": tt.answer, "workerPools": tt.answer, "instances": tt.answer}
			}
			got, err := running(inProject(t, nil, cloudRun(t, answers)...))
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}

			if (err != nil) != (tt.says != "") ||
				err != nil && (attestor.KindOf(err) != attestor.Upstream || !strings.Contains(attestor.Message(err)+" "+fixOf(err), tt.says)) {
				t.Errorf("error %v, want %q", err, tt.says)
			}
		})
	}
}

// TestExecutionsInProject: an execution goes on with what its job was when it began.
func TestExecutionsInProject(t *testing.T) {
	const job, page = "us-east1/jobs/a", "us-east1/jobs/a/executions"
	list := func(executions string) map[string]string {
		return map[string]string{
			"services": `{}`, "workerPools": `{}`, "instances": `{}`,
			"jobs": `{"jobs":[{"name":"projects/acme/locations/` + job + `","executionCount":3,"template":{"template":{"containers":[{"image":"r/new:1"}]}}},
				{"name":"projects/acme/locations/us-east1/jobs/never","template":{"template":{"containers":[{"image":"r/never:1"}]}}}]}`,
			page: executions,
		}
	}
	execution := func(name, more, image string) string {
		return `{"name":"projects/acme/locations/` + page + "/" + name + `",` + more + `"template":{"containers":[{"image":"` + image + `"}]}}`
	}
	ended := `"completionTime":"2026-11-01T00:00:00Z","runningCount":0,`

	first := list(`{"executions":[` + execution("a-3", `"runningCount":2,`, "r/new:1") + "," + execution("a-2", ended, "r/ended:1") + `],"nextPageToken":"2"}`)
	for _, tt := range []struct {
		name   string
		second string // page
		want   []string
		fails  bool
	}{
		{
			"one that runs on an old image",
			`{"executions":[` + execution("a-1", `"runningCount":1,`, "r/old:1") + `]}`,
			[]string{"r/new:1", "r/new:1", "r/old:1", "r/never:1"}, false,
		},
		{
			"one whose tasks have not begun", `{"executions":[` + execution("a-1", "", "r/old:1") + `]}`,
			[]string{"r/new:1", "r/new:1", "r/old:1", "r/never:1"}, false,
		},
		{"all others ended", `{"executions":[` + execution("a-1", ended, "r/old:1") + `]}`, []string{"r/new:1", "r/new:1", "r/never:1"}, false},
		{"a page that is missing", "500", []string{"r/new:1", "r/new:1"}, true},
		{"a page that lacks a region", `{"unreachable":["us-east1"]}`, []string{"r/new:1", "r/new:1"}, true},
		{"a page that is the next one for ever", `{"nextPageToken":"2"}`, []string{"r/new:1", "r/new:1"}, true},
		{"a page that nobody may read", "403", []string{"r/new:1", "r/new:1"}, true},
	} {
		answers := maps.Clone(first)
		answers[page+" 2"] = tt.second
		got, err := running(inProject(t, nil, cloudRun(t, answers)...))
		if !slices.Equal(got, tt.want) || (err != nil) != tt.fails || tt.fails && attestor.KindOf(err) != attestor.Upstream {
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

// TestImagesInProjectStops: the list reads no further than its consumer does.
func TestImagesInProjectStops(t *testing.T) {
	for range inProject(t, nil, cloudRun(t, map[string]string{
		"services": `{"services":[{"template":{"containers":[{"image":"r/a:1"},{"image":"r/b:1"}]}}]}`})...) {
		return
	}
	t.Error("nothing was listed")
}

// cloudRun stands in for the API: what it lists and who may call, by the last
// part of the path and the page. A bare number is a status, and what is not in
// answers is refused.
func cloudRun(t *testing.T, answers map[string]string) []option.ClientOption {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/v2/projects/acme/locations/"), "-/")
		answer, ok := answers[strings.TrimSpace(asked+" "+r.URL.Query().Get("pageToken"))]
		if status, err := strconv.Atoi(answer); err == nil || !ok {
			if !ok {
				status = http.StatusForbidden
			}
			w.WriteHeader(status)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(srv.Close)
	return []option.ClientOption{option.WithEndpoint(srv.URL), option.WithoutAuthentication()}
}

// inProject lists the images that serve in all regions of the project acme.
func inProject(t *testing.T, visit func(audit.Definition), opts ...option.ClientOption) audit.References {
	return audit.RunningImages(audit.ServingInProject(t.Context(), "acme", []string{"-"}, visit, opts...))
}

// running is everything that is listed before an error, and the error.
func running(refs audit.References) (got []string, err error) {
	for ref, err := range refs {
		if err != nil {
			return got, err
		}
		got = append(got, ref)
	}
	return got, nil
}

func fixOf(err error) string {
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		return e.Fix
	}
	return ""
}
