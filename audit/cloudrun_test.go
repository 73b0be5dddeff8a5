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
