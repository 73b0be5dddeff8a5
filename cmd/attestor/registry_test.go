package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/config"
)

// TestTagsAreListedByTheRulesOfTheGate: where a registry leads with a list of tags, by a redirect, a token
// server or the link to the next page, is as untrusted as where it leads with an image.
func TestTagsAreListedByTheRulesOfTheGate(t *testing.T) {
	// Nobody named this one: on the same machine, it stands for a service of the operator's network.
	asked := make(chan string, 100)
	inner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		fmt.Fprint(w, `{"name":"acme/x","tags":["of-the-inner-service"],"token":"t"}`)
	}))
	defer inner.Close()
	elsewhere := strings.Replace(inner.URL, "127.0.0.1", "localhost", 1)

	type registry func(w http.ResponseWriter, r *http.Request)
	redirect := func(to string) registry {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	for _, tt := range []struct {
		name  string
		serve registry
		want  string // the tags; "": an error
	}{
		{"nowhere", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"name":"acme/x","tags":["a","b"]}`)
		}, "a b"},
		{"to its own second page", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("last") == "" {
				w.Header().Set("Link", `</v2/acme/x/tags/list?last=a>; rel="next"`)
				fmt.Fprint(w, `{"name":"acme/x","tags":["a"]}`)
				return
			}
			fmt.Fprint(w, `{"name":"acme/x","tags":["b"]}`)
		}, "a b"},
		{"by a redirect to another service", redirect(elsewhere + "/v2/acme/x/tags/list"), ""},
		{"by a redirect to a metadata server", redirect("http://169.254.169.254/computeMetadata/v1/"), ""},
		{"to a second page of another service", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", `<`+elsewhere+`/v2/acme/x/tags/list?last=a>; rel="next"`)
			fmt.Fprint(w, `{"name":"acme/x","tags":["a"]}`)
		}, ""},
		{"to a token server that is another service", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+elsewhere+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v2/" || strings.Contains(tt.name, "token server") {
					tt.serve(w, r)
				}
			}))
			defer srv.Close()

			repository := strings.TrimPrefix(srv.URL, "http://") + "/acme/x"
			o, err := tagLister([]string{repository}, config.Registries{})
			if err != nil {
				t.Fatal(err)
			}
			var tags []string
			var failed error
			for ref, err := range audit.TagsOf(t.Context(), []string{repository}, o) {
				if failed = err; err == nil {
					tags = append(tags, strings.TrimPrefix(ref, repository+":"))
				}
			}

			if tt.want != "" {
				if failed != nil || strings.Join(tags, " ") != tt.want {
					t.Errorf("got %q, %v, want %q", tags, failed, tt.want)
				}
				return
			}
			if attestor.KindOf(failed) != attestor.Upstream {
				t.Errorf("got %q, %v, want an error", tags, failed)
			}
			select {
			case path := <-asked:
				t.Errorf("the other service was asked for %s", path)
			default:
			}
		})
	}
}
