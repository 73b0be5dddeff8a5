package audit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
)

func TestTargetsAreToldApart(t *testing.T) {
	for target, want := range map[string]string{
		"us-docker.pkg.dev/acme":                    "whole, artifact",
		"us-docker.pkg.dev/acme/":                   "whole, artifact",
		"us-docker.pkg.dev/acme/prod":               "whole, artifact",
		"us-docker.pkg.dev/acme/prod/":              "whole, artifact",
		"us-docker.pkg.dev/acme/prod/team/":         "whole, artifact",
		"us-docker.pkg.dev/acme/prod/api":           "images",
		"us-docker.pkg.dev/acme.example/acme/prod":  "whole, artifact",
		"us-docker.pkg.dev/acme.example/acme/p/api": "images",
		"gcr.io/acme":                               "whole, artifact",
		"eu.gcr.io/acme.example/acme":               "whole, artifact",
		"gcr.io/acme/api":                           "images",
		"gcr.io/acme/team/":                         "whole, artifact",
		"registry.example.com":                      "whole",
		"registry.example.com:5000":                 "whole",
		"localhost:5000":                            "whole",
		"registry:5000/":                            "whole",
		"registry.example.com/team/":                "whole",
		"registry.example.com/team":                 "images",
		"nginx":                                     "images", // refused where tags are listed: it has no registry
		"nginx:1.25":                                "images",

		"us-docker.pkg.dev":              "refused", // whose project?
		"us-docker.pkg.dev/":             "refused",
		"us-docker.pkg.dev/acme.example": "refused", // half a project
		"us-docker.pkg.dev/../prod":      "refused",
		"us-docker.pkg.dev/acme/..":      "refused",
		"gcr.io":                         "refused",
		"/":                              "refused",
		"a b/":                           "refused",
	} {
		r, whole, err := audit.ParseRegistry(target)
		got := "images"
		switch {
		case err != nil:
			if got = "refused"; attestor.KindOf(err) != attestor.Invalid {
				t.Errorf("%s: %v, want kind Invalid", target, err)
			}
		case whole && r.Artifact():
			got = "whole, artifact"
		case whole:
			got = "whole"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}

	for _, project := range []string{"", "acme/x", "..", "acme prod", "Acme"} {
		if _, err := audit.ProjectRegistry(project); attestor.KindOf(err) != attestor.Invalid {
			t.Errorf("the project %q: %v, want it refused", project, err)
		}
	}
}

func catalogued(t *testing.T, target string, o audit.RegistryOptions) (audit.Repositories, error) {
	t.Helper()
	r, whole, err := audit.ParseRegistry(target)
	if err != nil || !whole {
		t.Fatalf("%s: %t, %v, want a registry", target, whole, err)
	}
	return audit.Catalog(t.Context(), r, o)
}

// TestCatalogOfRealRegistries: every repository, page by page, and those of the target's path only.
func TestCatalogOfRealRegistries(t *testing.T) {
	for kind, handler := range map[string]http.Handler{
		"distribution": registries.Distribution(t, false), "go-containerregistry": registries.Memory(false),
	} {
		host := registries.Serve(t, handler)
		img, err := random.Image(16, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"acme/api", "acme/team/web", "acme-other/api", "single"} {
			ref, err := name.ParseReference(host + "/" + path + ":v1")
			if err == nil {
				err = remote.Write(ref, img)
			}
			if err != nil {
				t.Fatal(err)
			}
		}

		for target, want := range map[string][]string{
			"":           {"acme-other/api", "acme/api", "acme/team/web", "single"},
			"/acme/":     {"acme/api", "acme/team/web"},
			"/acme/api/": nil, // what is below the image, and not the image
		} {
			got, err := catalogued(t, host+target, audit.RegistryOptions{Transport: http.DefaultTransport})
			if err != nil {
				t.Fatalf("%s%s: %v", kind, target, err)
			}
			for i := range got.Names {
				got.Names[i] = strings.TrimPrefix(got.Names[i], host+"/")
			}
			slices.Sort(got.Names)
			if d := cmp.Diff(want, got.Names, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("%s%s: %s", kind, target, d)
			}
		}
	}
}

// TestCatalogsThatAreNotRead: a part never looks like the whole, and what is not answered is not known: never NotFound,
// with which an audit would end as if it had been asked for nothing.
func TestCatalogsThatAreNotRead(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another host was asked for %s", r.URL.Path)
	}))
	defer other.Close()

	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	page := func(link, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if link != "" {
				w.Header().Set("Link", "<"+link+`>; rel="next"`)
			}
			fmt.Fprint(w, body)
		}
	}
	for _, tt := range []struct {
		name  string
		serve http.HandlerFunc
		says  string
	}{
		{"401", status(401), "does not show this identity its catalog"},
		{"403", status(403), "does not show this identity its catalog"},
		{"404", status(404), "has no catalog"},
		{"405", status(405), "has no catalog"},
		{"500", status(500), "answered 500"},
		{"a page that is no catalog", page("", "<html>"), "no answer that can be read"},
		{"a page that was cut", page("", `{"repositories":["acme/a"`), "no answer that can be read"},
		{"the same page again", page("/v2/_catalog?last=a", `{"repositories":["acme/a"]}`), "no answer that can be read"},
		{"a link that cannot be read", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "next")
			fmt.Fprint(w, `{"repositories":["acme/a"]}`)
		}, "no answer that can be read"},
		{"the next page at another host", page(other.URL+"/v2/_catalog", `{"repositories":["acme/a"]}`), "could not be listed"},
		{"the same in the body", page("", `{"repositories":["acme/a"],"next":"`+other.URL+`/v2/_catalog"}`), "not allowed"},
		{"an invalid name", page("", `{"repositories":["acme/a","acme/A B"]}`), "cannot be the name"},
		{"a name with a tag", page("", `{"repositories":["acme/a:v1"]}`), "cannot be the name"},
		{"a second page that fails", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("last") != "" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			page("/v2/_catalog?last=a", `{"repositories":["acme/a"]}`)(w, r)
		}, "does not show"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v2/" {
					tt.serve(w, r)
				}
			}))
			defer srv.Close()

			got, err := catalogued(t, strings.TrimPrefix(srv.URL, "http://"), audit.RegistryOptions{
				Transport: http.DefaultTransport, Remote: []remote.Option{remote.WithRetryStatusCodes()}})
			if attestor.KindOf(err) != attestor.Upstream || !strings.Contains(attestor.Message(err), tt.says) {
				t.Errorf("%v, kind %d, want it undecided, with %q", err, attestor.KindOf(err), tt.says)
			}
			if len(got.Names) > 0 {
				t.Errorf("a part was returned: %q", got.Names)
			}
			if e, ok := errors.AsType[*attestor.Error](err); ok && !strings.Contains(e.Fix, "--file") {
				t.Errorf("the fix %q does not say what to do instead", e.Fix)
			}
		})
	}
}

// TestCatalogsInPages: all of 2,500 repositories, whether the registry says that there is a further page or not. One
// that shows the first thousand again and again is not read.
func TestCatalogsInPages(t *testing.T) {
	var all []string
	for i := range 2500 {
		all = append(all, fmt.Sprintf("acme/r%04d", i))
	}
	for _, tt := range []struct {
		name    string
		links   bool
		most    int  // of a page, whatever is asked for
		ignores bool // where a page is to begin
		of      int
		want    int // 0: an error
	}{
		{name: "with links", links: true, most: 1000, of: 2500, want: 2500},
		{name: "with links, small pages", links: true, most: 100, of: 2500, want: 2500},
		{name: "without links", most: 1000, of: 2500, want: 2500},
		{name: "without links, small pages", most: 100, of: 2500, want: 2500},
		{name: "exactly one page", most: 1000, of: 1000, want: 1000},
		{name: "no pages, few repositories", most: 1000, ignores: true, of: 999, want: 999},
		{name: "no pages, and cut", most: 1000, ignores: true, of: 2500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rest := all[:tt.of]
				if last := r.URL.Query().Get("last"); last != "" && !tt.ignores {
					i, _ := slices.BinarySearch(rest, last)
					rest = rest[i+1:]
				}
				page := rest[:min(len(rest), tt.most)]
				if tt.links && len(page) < len(rest) {
					w.Header().Set("Link", `</v2/_catalog?n=1000&last=`+page[len(page)-1]+`>; rel="next"`)
				}
				if r.URL.Path != "/v2/" {
					_ = json.NewEncoder(w).Encode(map[string][]string{"repositories": page})
				}
			}))
			defer srv.Close()

			got, err := catalogued(t, strings.TrimPrefix(srv.URL, "http://"), audit.RegistryOptions{Transport: http.DefaultTransport})
			if len(got.Names) != tt.want || (err != nil) != (tt.want == 0) {
				t.Errorf("%d repositories, %v, want %d", len(got.Names), err, tt.want)
			}
			if err != nil && attestor.KindOf(err) != attestor.Upstream {
				t.Errorf("%v, want it undecided", err)
			}
		})
	}
}

// TestCatalogWithoutAnEnd: pages that always name a further one end at the limit.
func TestCatalogWithoutAnEnd(t *testing.T) {
	n := 0
	endless := roundTrip(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		if r.URL.Path != "/v2/" {
			n++
			w.Header().Set("Link", fmt.Sprintf(`</v2/_catalog?last=%d>; rel="next"`, n))
			fmt.Fprint(w, `{"repositories":[]}`)
		}
		resp := w.Result()
		resp.Request = r
		return resp, nil
	})

	_, err := catalogued(t, "registry.example.com", audit.RegistryOptions{Transport: endless})
	if attestor.KindOf(err) != attestor.Upstream || n > 5_002 {
		t.Errorf("after %d pages: %v", n, err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestListsOfRepositoriesWait: whoever throttles is asked again, and the list is whole.
func TestListsOfRepositoriesWait(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		if asked.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		switch {
		case r.URL.Path == "/v2/_catalog" && r.URL.Query().Get("last") == "":
			fmt.Fprint(w, `{"repositories":["acme/a"]}`)
		case strings.HasSuffix(r.URL.Path, "/packages"):
			fmt.Fprint(w, `{"packages":[{"name":"projects/acme/locations/us/repositories/prod/packages/a"}]}`)
		default:
			fmt.Fprint(w, `{"repositories":[],"format":"DOCKER"}`)
		}
	}))
	defer srv.Close()

	host := strings.TrimPrefix(srv.URL, "http://")
	got, err := catalogued(t, host, audit.RegistryOptions{Transport: http.DefaultTransport})
	if err != nil || !slices.Equal(got.Names, []string{host + "/acme/a"}) {
		t.Errorf("the catalog: %q, %v", got.Names, err)
	}
	asked.Store(0)
	got, err = artifacts(t, "us-docker.pkg.dev/acme/prod", srv.URL)
	if err != nil || !slices.Equal(got.Names, []string{"us-docker.pkg.dev/acme/prod/a"}) {
		t.Errorf("Artifact Registry: %q, %v", got.Names, err)
	}
}
