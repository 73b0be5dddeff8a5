package audit_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"google.golang.org/api/option"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// TestServicesInProject: definitions with who may call, where that may be read.
func TestServicesInProject(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/v2/projects/acme/locations/-/services":
			fmt.Fprint(w, `{"services":[{"name":"projects/acme/locations/us-east1/services/a","ingress":"INGRESS_TRAFFIC_ALL","template":{"containers":[{"image":"r/a:1"}]}},{"name":"projects/acme/locations/us-east1/services/b"}]}`)
		case "/v2/projects/acme/locations/us-east1/services/a:getIamPolicy":
			fmt.Fprint(w, `{"bindings":[{"role":"roles/run.invoker","members":["allUsers"]}]}`)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer srv.Close()
	var got []audit.Definition
	for _, err := range audit.ServicesInProject(t.Context(), "acme", "-", func(d audit.Definition) { got = append(got, d) }, option.WithEndpoint(srv.URL), option.WithoutAuthentication()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 2 || !strings.Contains(string(got[0].Text), "INGRESS_TRAFFIC_ALL") || !strings.Contains(string(got[0].IAM), "allUsers") || got[1].IAM != nil {
		t.Errorf("%s", got)
	}
	// Whether somebody may call that is not known for want of an answer is an error.
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ":getIamPolicy") {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"services":[{"name":"projects/acme/locations/us-east1/services/a","template":{"containers":[{"image":"r/a:1"}]}}]}`)
	}))
	defer down.Close()
	for ref, err := range audit.ServicesInProject(t.Context(), "acme", "-", func(audit.Definition) {}, option.WithEndpoint(down.URL), option.WithoutAuthentication()) {
		if attestor.KindOf(err) != attestor.Upstream || ref != "" {
			t.Errorf("%q %v", ref, err)
		}
	}
}

func TestRunningInProject(t *testing.T) {
	const first = `{"services":[{"template":{"containers":[{"image":"r/a:1"},{"image":"r/b:1"}]}},{}],"nextPageToken":"2"}`
	for _, tt := range []struct {
		name   string
		status int
		second string
		want   []string
		says   string
	}{
		{name: "two pages", status: 200, second: `{"services":[{"template":{"containers":[{"image":"r/c:1"}]}}]}`, want: []string{"r/a:1", "r/b:1", "r/c:1"}},
		{name: "a region is down", status: 200, second: `{"unreachable":["europe-west1"]}`, want: []string{"r/a:1", "r/b:1"}, says: "europe-west1"},
		{name: "not allowed", status: 403, second: `{}`, want: []string{"r/a:1", "r/b:1"}, says: "may not list"},
		{name: "down", status: 500, second: `{}`, want: []string{"r/a:1", "r/b:1"}, says: "could not be listed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.URL.Path != "/v2/projects/acme/locations/-/services" {
					t.Errorf("asked for %s", r.URL.Path)
				}
				if r.URL.Query().Get("pageToken") == "" {
					fmt.Fprint(w, first)
					return
				}
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.second)
			}))
			defer srv.Close()
			var got []string
			var failed error
			for ref, err := range audit.RunningInProject(t.Context(), "acme", "-", option.WithEndpoint(srv.URL), option.WithoutAuthentication()) {
				if err != nil {
					failed = err
					break
				}
				got = append(got, ref)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if (failed != nil) != (tt.says != "") || failed != nil && (attestor.KindOf(failed) != attestor.Upstream || !strings.Contains(attestor.Message(failed), tt.says)) {
				t.Errorf("error %v, want %q", failed, tt.says)
			}
		})
	}
}
