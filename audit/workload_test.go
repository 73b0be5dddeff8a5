package audit_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/option"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// told is each workload on one line: where it runs, why it counts, and both references.
func told(all audit.Workloads) (out []string, err error) {
	for w, err := range all {
		if err != nil {
			return out, err
		}
		line := strings.Join([]string{w.Kind, w.Name, w.Revision, w.Serves, w.Container, w.Image}, "|")
		if w.Running != w.Image {
			line += " = " + w.Running
		}
		out = append(out, line)
	}
	return out, nil
}

func served(containers, status string) string {
	return `{"kind":"Service","metadata":{"name":"api","namespace":"7",` +
		`"labels":{"cloud.googleapis.com/location":"us-east1"}},"spec":{"template":{"spec":{"containers":[` +
		containers + `]}}},"status":{` + status + `}}`
}

func revision(name, containers, digest string) string {
	return `{"kind":"Revision","metadata":{"name":"` + name + `","namespace":"7",` +
		`"labels":{"cloud.googleapis.com/location":"us-east1"}},"spec":{"containers":[` + containers +
		`]},"status":{"imageDigest":"` + digest + `"}}`
}

// What gets traffic or has an address of its own is judged, and the template is not.
func TestCloudRunLists(t *testing.T) {
	d1, d2 := string(digest(1)), string(digest(2))
	const (
		one   = `{"name":"c","image":"r/api:1"}`
		two   = `{"name":"c","image":"r/api:2"}`
		ready = `"latestReadyRevisionName":"api-2","latestCreatedRevisionName":"api-2"`
	)
	for _, tt := range []struct {
		name  string
		lists []string
		want  []string
		says  string
	}{
		{"all traffic to the latest revision", []string{served(two, ready+`,"traffic":[{"revisionName":"api-2","latestRevision":true,"percent":100}]`)},
			[]string{"service|7/us-east1/api|api-2|100 %|c|r/api:2"}, ""},
		{
			"the latest without a name",
			[]string{served(two, ready+`,"traffic":[{"latestRevision":true,"percent":100}]`)},
			[]string{"service|7/us-east1/api|api-2|100 %|c|r/api:2"}, "",
		},
		{"an old revision serves", []string{
			served(two, ready+`,"traffic":[{"revisionName":"api-1","percent":100}]`),
			revision("api-1", one, "r/api@"+d1), revision("api-2", two, "r/api@"+d2),
		},
			[]string{"service|7/us-east1/api|api-1|100 %|c|r/api:1 = r/api@" + d1}, ""},
		{"both serve, and a third has a tag", []string{served(
			two,
			ready+`,"traffic":[{"revisionName":"api-1","percent":10},{"revisionName":"api-2","percent":90},`+
				`{"revisionName":"api-0","tag":"old"},{"revisionName":"api-2","tag":"new"}]`,
		),
			revision("api-1", one, ""), revision("api-2", two, "r/api@"+d2), revision("api-0", `{"name":"c","image":"r/api@`+d1+`"}`, "r/api@"+d1)},
			[]string{"service|7/us-east1/api|api-1|10 %|c|r/api:1",
				"service|7/us-east1/api|api-2|90 %, tag new|c|r/api:2 = r/api@" + d2,
				"service|7/us-east1/api|api-0|tag old|c|r/api@" + d1}, ""},
		{"the latest was created and never became ready", []string{
			served(
				two,
				`"latestReadyRevisionName":"api-1","latestCreatedRevisionName":"api-2",`+
					`"traffic":[{"latestRevision":true,"revisionName":"api-1","percent":100}]`,
			),
			revision("api-1", one, ""),
		},
			[]string{"service|7/us-east1/api|api-1|100 %|c|r/api:1"}, ""},
		{
			"no share and no tag",
			[]string{served(two, ready+`,"traffic":[{"revisionName":"api-1","percent":0},{"revisionName":"api-2","percent":100}]`)},
			[]string{"service|7/us-east1/api|api-2|100 %|c|r/api:2"}, "",
		},
		{
			"a revision that no list has",
			[]string{served(two, ready+`,"traffic":[{"revisionName":"api-1","percent":1},{"revisionName":"api-2","percent":99}]`)},
			nil, "serves the revision api-1 (1 %)",
		},
		{
			"that revision in another region",
			[]string{
				served(two, ready+`,"traffic":[{"revisionName":"api-1","percent":100}]`),
				strings.Replace(revision("api-1", one, ""), "us-east1", "us-west1", 1),
			},
			nil, "in none of the lists",
		},
		{"a definition without a state", []string{served(two, "")}, []string{"service|7/us-east1/api|||c|r/api:2"}, ""},
		{"of two containers the digest is one's", []string{
			served(two, ready+`,"traffic":[{"revisionName":"api-2","percent":100}]`),
			revision("api-2", two+`,{"name":"side","image":"r/side:1"},{"name":"none"}`, "r/api@"+d2),
		},
			[]string{"service|7/us-east1/api|api-2|100 %|c|r/api:2 = r/api@" + d2, "service|7/us-east1/api|api-2|100 %|side|r/side:1"}, ""},
		{"of two containers of one repository it is nobody's", []string{
			served(two, ready+`,"traffic":[{"revisionName":"api-2","percent":100}]`),
			revision("api-2", two+`,{"name":"side","image":"r/api:3"}`, "r/api@"+d2),
		},
			[]string{"service|7/us-east1/api|api-2|100 %|c|r/api:2", "service|7/us-east1/api|api-2|100 %|side|r/api:3"}, ""},
		{"a worker pool", []string{
			strings.ReplaceAll(
				strings.Replace(served(two, ready+`,"instanceSplits":[{"revisionName":"api-1","percent":100}]`), `"Service"`, `"WorkerPool"`, 1),
				"traffic", "x",
			),
			revision("api-1", one, ""),
		},
			[]string{"worker pool|7/us-east1/api|api-1|100 %|c|r/api:1"}, ""},
		{"an instance", []string{
			`{"kind":"Instance","metadata":{"name":"i"},"spec":{"containers":[` + two +
				`]},"status":{"containerStatuses":[{"name":"c","imageDigest":"r/api@` + d2 + `"}]}}`,
		},
			[]string{"instance|i|||c|r/api:2 = r/api@" + d2}, ""},
		{
			"a job",
			[]string{`{"kind":"Job","metadata":{"name":"j"},"spec":{"template":{"spec":{"template":{"spec":{"containers":[` + two + `]}}}}}}`},
			[]string{"job|j|||c|r/api:2"}, "",
		},
		{"revisions alone", []string{revision("api-1", one, "")}, nil, "do not say which of them serve"},
		{"something else", []string{`{"kind":"Pod"}`}, nil, "without a spec"},
		{"null", []string{`null`}, nil, "without a spec"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l audit.CloudRunLists
			err := l.Add(strings.NewReader("[" + strings.Join(tt.lists, ",") + "]"))
			var got []string
			if err == nil {
				got, err = told(l.Workloads())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (err == nil) != (tt.says == "") ||
				err != nil && (attestor.KindOf(err) != attestor.Invalid || !strings.Contains(attestor.Message(err), tt.says)) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}

	for _, text := range []string{"", "null", "{}", "[", `[{"spec":{}}`, `[{"spec":{}}] []`, `[{"spec":{}}]x`, `[1]`} {
		var l audit.CloudRunLists
		if err := l.Add(strings.NewReader(text)); attestor.KindOf(err) != attestor.Invalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The API's revisions are read by name; the first version of the API knows what a tag was resolved to.
func TestServingInProject(t *testing.T) {
	d := string(digest(1))
	const at = "/v2/projects/acme/locations/"
	service := func(status string) string {
		return `{"services":[{"name":"projects/acme/locations/us-east1/services/api",` +
			`"binaryAuthorization":{"useDefault":true},"template":{"containers":[{"name":"c",` +
			`"image":"r/api:2"}]},` + status + `}]}`
	}
	answers := func(list string, more map[string]string) map[string]string {
		out := map[string]string{at + "-/services": list, at + "-/jobs": `{}`, at + "-/workerPools": `{}`, at + "-/instances": `{}`,
			at + "us-east1/services/api/revisions/api-1": `{"containers":[{"name":"c","image":"r/api:1"}]}`,
			at + "us-east1/services/api/revisions/api-2": `{"containers":[{"name":"c","image":"r/api@` + d + `"}]}`}
		for path, answer := range more {
			out[path] = answer
		}
		return out
	}
	const first = "/v1/projects/acme/locations/us-east1/revisions/api-1"
	for _, tt := range []struct {
		name    string
		answers map[string]string
		want    []string
		says    string
	}{
		{"an old revision serves, and a tag names the new one",
			answers(
				service(
					`"latestReadyRevision":"projects/acme/locations/us-east1/services/api/revisions/api-2",`+
						`"trafficStatuses":[{"type":"TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION","revision":"api-1",`+
						`"percent":100},{"type":"TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST","tag":"next"}]`,
				),
				map[string]string{first: `{"status":{"imageDigest":"r/api@` + d + `"}}`},
			),
			[]string{"service|acme/us-east1/api|api-1|100 %|c|r/api:1 = r/api@" + d, "service|acme/us-east1/api|api-2|tag next|c|r/api@" + d}, ""},
		{
			"its digest may not be read",
			answers(service(`"trafficStatuses":[{"revision":"api-1","percent":100}]`), map[string]string{first: "403"}),
			[]string{"service|acme/us-east1/api|api-1|100 %|c|r/api:1"}, "",
		},
		{
			"its digest cannot be read",
			answers(service(`"trafficStatuses":[{"revision":"api-1","percent":100}]`), map[string]string{first: "500"}),
			nil, "could not be listed",
		},
		{"a revision is gone", answers(service(`"trafficStatuses":[{"revision":"api-9","percent":100}]`), nil), nil, "could not be listed"},
		{
			"a revision may not be read",
			answers(service(`"trafficStatuses":[{"revision":"api-1","percent":100}]`), map[string]string{at + "us-east1/services/api/revisions/api-1": "403"}),
			nil, "may not list",
		},
		{"nothing became ready", answers(service(`"latestCreatedRevision":"x"`), nil), []string{"service|acme/us-east1/api|||c|r/api:2"}, ""},
		{
			"no traffic is told", answers(service(`"latestReadyRevision":"a/b/api-2"`), nil),
			[]string{"service|acme/us-east1/api|api-2|latest ready|c|r/api@" + d}, "",
		},
		{"a worker pool", answers(`{}`, map[string]string{
			at + "-/workerPools": `{"workerPools":[{"name":"projects/acme/locations/` +
				`us-east1/workerPools/w","latestReadyRevision":"w-2","template":{"containers":[{"image":"r/w:3"}]},` +
				`"instanceSplitStatuses":[{"type":"INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST","percent":100}]}]}`,
			at + "us-east1/workerPools/w/revisions/w-2": `{"containers":[{"image":"r/w@` + d + `"}]}`}),
			[]string{"worker pool|acme/us-east1/w|w-2|100 %||r/w@" + d}, ""},
		{"an instance", answers(`{}`, map[string]string{
			at + "-/instances": `{"instances":[{"name":"projects/acme/locations/us-east1/instances/i",` +
				`"containers":[{"name":"c","image":"r/i:1"}],"containerStatuses":[{"name":"c",` +
				`"imageDigest":"r/i@` + d + `"}]}]}`}), []string{"instance|acme/us-east1/i|||c|r/i:1 = r/i@" + d}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				answer, ok := tt.answers[r.URL.Path]
				switch {
				case !ok:
					w.WriteHeader(http.StatusNotFound)
				case len(answer) == 3:
					var status int
					fmt.Sscan(answer, &status)
					w.WriteHeader(status)
				default:
					w.Header().Set("Content-Type", "application/json")
					fmt.Fprint(w, answer)
				}
			}))
			defer srv.Close()

			got, err := told(audit.ServingInProject(t.Context(), "acme", []string{"-"}, nil, option.WithEndpoint(srv.URL), option.WithoutAuthentication()))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (err == nil) != (tt.says == "") ||
				err != nil && (attestor.KindOf(err) != attestor.Upstream || !strings.Contains(attestor.Message(err), tt.says)) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}

	// Of several regions the one that fails is named.
	_, err := told(audit.ServingInProject(t.Context(), "acme", []string{"us-east1", "us-west1"}, nil, cloudRun(t, map[string]string{
		"us-east1/services": `{}`, "us-east1/jobs": `{}`, "us-east1/workerPools": `{}`, "us-east1/instances": `{}`, "us-west1/services": "500",
	})...))
	if err == nil || !strings.Contains(attestor.Message(err), "services of acme in us-west1 could not be listed") {
		t.Errorf("%v", err)
	}
}

// Pods that have finished are not judged; which of its two references an image was taken from is counted.
func TestPodWorkloads(t *testing.T) {
	d := string(digest(1))
	pod := func(name, phase, id string) string {
		return `{"kind":"Pod","metadata":{"name":"` + name + `","namespace":"prod"},` +
			`"spec":{"serviceAccountName":"api","containers":[{"name":"c","image":"r/a:1"}]},` +
			`"status":{"phase":"` + phase +
			`","containerStatuses":[{"name":"c","imageID":"` + id + `"}]}}`
	}
	list := func(metadata string, pods ...string) string {
		return `{"apiVersion":"v1","kind":"List","items":[` + strings.Join(pods, ",") + `],"metadata":{` + metadata + `}}`
	}
	for _, tt := range []struct {
		name, text string
		want       []string
		found      audit.PodsFound
		says       string
	}{
		{"by phase", list(
			"", pod("a", "Running", "x@"+d), pod("b", "Succeeded", "x@"+d), pod("c", "Failed", ""),
			pod("d", "Pending", ""), pod("e", "Unknown", ""), pod("f", "", "x@sha256:short"),
		),
			[]string{"pod|prod/a|||c|r/a:1 = r/a@" + d, "pod|prod/d|||c|r/a:1", "pod|prod/e|||c|r/a:1",
				"pod|prod/f|||c|r/a:1"}, audit.PodsFound{Pods: 4, Finished: 2, ByImageID: 1, ByImage: 3}, ""},
		{"only finished", list("", pod("b", "Succeeded", "")), nil, audit.PodsFound{Finished: 1}, ""},
		{
			"a page of several", list(`"continue":"x"`, pod("a", "Running", "")), []string{"pod|prod/a|||c|r/a:1"},
			audit.PodsFound{Pods: 1, ByImage: 1}, "one page of several",
		},
		{
			"a page of several, told first", `{"metadata":{"continue":"x"},"items":[` + pod("a", "Running", "") + `]}`,
			nil, audit.PodsFound{}, "one page of several",
		},
		{
			"the last page", list(`"continue":"","resourceVersion":"7"`, pod("a", "Running", "")),
			[]string{"pod|prod/a|||c|r/a:1"}, audit.PodsFound{Pods: 1, ByImage: 1}, "",
		},
		{"other resources", list("", `{"kind":"Deployment","spec":{"template":{}}}`), nil, audit.PodsFound{}, "holds a Deployment"},
		{
			"cut short after its items", strings.TrimSuffix(list("", pod("a", "Running", "")), "}"),
			[]string{"pod|prod/a|||c|r/a:1"}, audit.PodsFound{Pods: 1, ByImage: 1}, "not the complete output",
		},
		{
			"two lists, as of two clusters", list("", pod("a", "Running", "")) + "\n" + list("", pod("b", "Running", "")),
			[]string{"pod|prod/a|||c|r/a:1"}, audit.PodsFound{Pods: 1, ByImage: 1}, "not the complete output",
		},
		{
			"text after the list", list("", pod("a", "Running", "")) + "\nerror: connection lost",
			[]string{"pod|prod/a|||c|r/a:1"}, audit.PodsFound{Pods: 1, ByImage: 1}, "not the complete output",
		},
		{"no items", `{"kind":"List"}`, nil, audit.PodsFound{}, "not the complete output"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var found audit.PodsFound
			got, err := told(audit.PodWorkloads(strings.NewReader(tt.text), &found))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if found != tt.found {
				t.Errorf("found %+v, want %+v", found, tt.found)
			}
			if (err == nil) != (tt.says == "") ||
				err != nil && (attestor.KindOf(err) != attestor.Invalid || !strings.Contains(attestor.Message(err), tt.says)) {
				t.Errorf("%v, want %q", err, tt.says)
			}
		})
	}

	for range audit.PodWorkloads(strings.NewReader(list("", pod("a", "Running", ""))), nil) {
		return // a consumer that stops is not an error
	}
	t.Error("nothing was listed")
}
