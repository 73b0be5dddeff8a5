package audit_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

func TestSources(t *testing.T) {
	d := string(digest(1))
	for _, tt := range []struct {
		name string
		refs audit.References
		want []string
		bad  bool
	}{
		{name: "lines", refs: audit.LinesOf(strings.NewReader("a:1\n # no\n\n b:2 \r\n")), want: []string{"a:1", "b:2"}},
		{name: "a line too long", refs: audit.LinesOf(strings.NewReader("a:1\n" + strings.Repeat("x", 5000))), want: []string{"a:1"}, bad: true},
		{
			name: "cloud run",
			refs: audit.RunningInCloudRun(
				strings.NewReader(`[{"kind":"Service","spec":{"template":{"spec":{"containers":[{"image":"r/a:1"},{"image":"r/b:1"}]}}}},{"spec":{}}]`),
			),
			want: []string{"r/a:1", "r/b:1"},
		},
		{
			name: "cloud run's jobs",
			refs: audit.RunningInCloudRun(
				strings.NewReader(`[{"kind":"Job","spec":{"template":{"spec":{"taskCount":2,"template":{"spec":{"containers":[{"image":"r/j:1"},{}]}}}}}}]`),
			),
			want: []string{"r/j:1"},
		},
		{
			name: "cloud run's executions", want: []string{"r/old:1"},
			refs: audit.RunningInCloudRun(strings.NewReader(
				`[{"kind":"Execution","metadata":{"name":"j-1"},"spec":{"template":{"spec":{"containers":[{"image":"r/old:1"}]}}},"status":{"runningCount":1}},
				{"kind":"Execution","metadata":{"name":"j-0"},
					"spec":{"template":{"spec":{"containers":[{"image":"r/ended:1"}]}}},"status":{"completionTime":"2026-11-01T00:00:00Z"}}]`)),
		},
		{
			name: "cloud run, cut short",
			refs: audit.RunningInCloudRun(strings.NewReader(`[{"spec":{"template":{"spec":{"containers":[{"image":"r/a:1"}]}}}}`)),
			bad:  true,
		},
		{name: "cloud run, another document", refs: audit.RunningInCloudRun(strings.NewReader(`{"items":[]}`)), bad: true},
		{name: "kubernetes", refs: audit.RunningInKubernetes(strings.NewReader(`{"apiVersion":"v1",` +
			`"items":[{"spec":{"initContainers":[{"name":"i","image":"r/i:1"}],"containers":[{"name":"a",` +
			`"image":"localhost:5000/r/a:1"},{"name":"b","image":"r/b@` + d + `"},{"name":"c","image":"r/c:1"}]},
			"status":{"containerStatuses":[{"name":"a","imageID":"docker-pullable://other/x@` + d +
			`"},{"name":"c","imageID":"docker://` + d + `"}]}}],"kind":"List"}`)),
			want: []string{"r/i:1", "localhost:5000/r/a@" + d, "r/b@" + d, "r/c:1"}},
		{name: "kubernetes, none", refs: audit.RunningInKubernetes(strings.NewReader(`{"items":[]}`))},
		{name: "kubernetes, another document", refs: audit.RunningInKubernetes(strings.NewReader(`{"kind":"Pod"}`)), bad: true},
		{name: "kubernetes, empty", refs: audit.RunningInKubernetes(strings.NewReader(``)), bad: true},
		{
			name: "tags, malformed repository",
			refs: audit.TagsOf(t.Context(), []string{"nginx"}, audit.RegistryOptions{Transport: http.DefaultTransport}),
			bad:  true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			var failed error

			for ref, err := range tt.refs {
				if err != nil {
					failed = err
					break
				}
				got = append(got, ref)
			}

			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if (failed != nil) != tt.bad || tt.bad && attestor.KindOf(failed) != attestor.Invalid {
				t.Errorf("error %v, want one: %t", failed, tt.bad)
			}
		})
	}
}

func TestTagsThatCannotBeListed(t *testing.T) {
	for status, want := range map[int]attestor.Kind{401: attestor.Upstream, 403: attestor.Upstream, 404: attestor.NotFound, 500: attestor.Upstream} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				w.WriteHeader(status)
			}
		}))

		host := strings.TrimPrefix(srv.URL, "http://")
		var failed error

		for _, err := range audit.TagsOf(t.Context(), []string{host + "/acme/x"}, audit.RegistryOptions{
			Transport: http.DefaultTransport, Remote: []remote.Option{remote.WithRetryStatusCodes()}}) {
			failed = err
		}

		if attestor.KindOf(failed) != want {
			t.Errorf("%d: %v, want kind %d", status, failed, want)
		}

		srv.Close()
	}
}

// All pages are read: a list that ends early would look like a clean audit.
func TestTagsOfReadsAllPages(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("last") {
		case "":
			w.Header().Set("Link", `</v2/acme/x/tags/list?last=b>; rel="next"`)
			fmt.Fprint(w, `{"name":"acme/x","tags":["a","b"]}`)
		case "b":
			fmt.Fprint(w, `{"name":"acme/x","tags":["c"]}`)
		}
	}))
	defer srv.Close()

	repo := strings.TrimPrefix(srv.URL, "http://") + "/acme/x"
	var got []string

	for ref, err := range audit.TagsOf(t.Context(), []string{repo}, audit.RegistryOptions{Transport: http.DefaultTransport}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ref)
	}

	if want := []string{repo + ":a", repo + ":b", repo + ":c"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A registry does not lead to another host by the body of a page either, and a list that goes round ends.
func TestTagsThatLeadElsewhere(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another host was asked for %s", r.URL.Path)
	}))
	defer other.Close()

	for name, next := range map[string]func(self string) string{
		"to another host": func(string) string { return other.URL + "/v2/acme/x/tags/list" },
		"round":           func(self string) string { return self + "/v2/acme/x/tags/list?last=a" },
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			srv := httptest.NewServer(nil)
			defer srv.Close()
			srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v2/" {
					return
				}
				if asked++; asked > 5 {
					t.Error("the same page is asked for again and again")
					w.WriteHeader(http.StatusForbidden)
					return
				}
				fmt.Fprintf(w, `{"name":"acme/x","tags":["a"],"next":%q}`, next(srv.URL))
			})

			var failed error
			repo := strings.TrimPrefix(srv.URL, "http://") + "/acme/x"
			for _, err := range audit.TagsOf(t.Context(), []string{repo}, audit.RegistryOptions{
				Transport: http.DefaultTransport, Remote: []remote.Option{remote.WithRetryStatusCodes()}}) {
				failed = err
			}
			if attestor.KindOf(failed) != attestor.Upstream {
				t.Errorf("%v, want that the list could not be read", failed)
			}
		})
	}
}

// What is listed without a transport that refuses addresses would follow a registry
// anywhere.
func TestTagsOfNeedsATransport(t *testing.T) {
	for _, err := range audit.TagsOf(t.Context(), []string{"registry.example/acme/x"}, audit.RegistryOptions{}) {
		if err == nil || !strings.Contains(err.Error(), "no transport") {
			t.Errorf("got %v", err)
		}
	}
}
