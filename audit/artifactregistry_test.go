package audit_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"google.golang.org/api/option"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/ociregistry"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

func artifacts(t *testing.T, target, endpoint string) (audit.Repositories, error) {
	t.Helper()
	r, whole, err := audit.ParseRegistry(target)
	if project, ok := strings.CutPrefix(target, "--project "); ok {
		r, err = audit.ProjectRegistry(project)
		whole = true
	}
	if err != nil || !whole {
		t.Fatalf("%s: %t, %v, want a registry", target, whole, err)
	}
	return audit.ArtifactRegistry(t.Context(), r, option.WithEndpoint(endpoint), option.WithoutAuthentication())
}

// TestArtifactRegistryIsListed: by the emulator over a real registry. It has what it holds in every location.
func TestArtifactRegistryIsListed(t *testing.T) {
	registry, err := ociregistry.New("")
	if err != nil {
		t.Fatal(err)
	}
	host := registries.Serve(t, registry)
	for _, path := range []string{"acme/prod/api", "acme/prod/team/web", "acme/stage/api", "other/prod/api"} {
		img, err := random.Image(16, 1)
		if err != nil {
			t.Fatal(err)
		}
		ref, err := name.ParseReference(host + "/" + path + ":v1")
		if err == nil {
			err = remote.Write(ref, img)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	google := standin.StartServices(t, emulator.Options{Registry: registry}).Emulator
	endpoint := "http://" + standin.Serve(t, google)

	for target, want := range map[string][]string{
		"us-docker.pkg.dev/acme": {
			"us-docker.pkg.dev/acme/prod/api", "us-docker.pkg.dev/acme/prod/team/web", "us-docker.pkg.dev/acme/stage/api",
		},
		"us-docker.pkg.dev/acme/prod":       {"us-docker.pkg.dev/acme/prod/api", "us-docker.pkg.dev/acme/prod/team/web"},
		"us-docker.pkg.dev/acme/prod/team/": {"us-docker.pkg.dev/acme/prod/team/web"},
		"us-docker.pkg.dev/nobody":          nil,
	} {
		got, err := artifacts(t, target, endpoint)
		if err != nil {
			t.Errorf("%s: %v", target, err)
		}
		if d := cmp.Diff(want, got.Names); d != "" {
			t.Errorf("%s: %s", target, d)
		}
	}

	all, err := artifacts(t, "--project other", endpoint)
	if joined := strings.Join(all.Names, " "); err != nil || !strings.Contains(joined, "us-docker.pkg.dev/other/prod/api") ||
		!strings.Contains(joined, "europe-west1-docker.pkg.dev/other/prod/api") || strings.Contains(joined, "acme") {
		t.Errorf("all locations: %q, %v", all.Names, err)
	}

	// Whoever may not list any step learns nothing of the rest.
	for _, permission := range []string{"artifactregistry.repositories.list", "artifactregistry.packages.list"} {
		google.SetBehaviour(emulator.Behaviour{Denied: []emulator.Denial{{Permission: permission}}})
		for _, target := range []string{"us-docker.pkg.dev/acme", "--project acme"} {
			got, err := artifacts(t, target, endpoint)
			if attestor.KindOf(err) != attestor.Upstream || !strings.Contains(attestor.Message(err), "may not list") ||
				len(got.Names) > 0 {
				t.Errorf("%s without %s: %q, %v", target, permission, got.Names, err)
			}
		}
	}
}

// TestArtifactRegistryAnswers: what the API may answer, by a stand-in. A part is never returned.
func TestArtifactRegistryAnswers(t *testing.T) {
	const (
		us    = "/v1/projects/acme/locations/us/repositories"
		prod  = `{"name":"projects/acme/locations/us/repositories/prod","format":"DOCKER","mode":"STANDARD_REPOSITORY"}`
		image = `{"name":"projects/acme/locations/us/repositories/prod/packages/team%2Fapi"}`
	)
	for _, tt := range []struct {
		name, target string
		answers      map[string]string // by path, and by path and page token
		want, left   string
		says         string // of the error; "": none
	}{
		{
			name: "formats and modes", target: "us-docker.pkg.dev/acme",
			answers: map[string]string{
				us: `{"repositories":[` + prod + `,` +
					`{"name":"projects/acme/locations/us/repositories/java","format":"MAVEN"},` +
					`{"name":"projects/acme/locations/us/repositories/all","format":"DOCKER","mode":"VIRTUAL_REPOSITORY"},` +
					`{"name":"projects/acme/locations/us/repositories/hub","format":"DOCKER","mode":"REMOTE_REPOSITORY"}]}`,
				us + "/prod/packages": `{"packages":[` + image + `]}`,
				us + "/hub/packages":  `{"packages":[{"name":"projects/acme/locations/us/repositories/hub/packages/library%2Fnginx"}]}`,
			},
			want: "us-docker.pkg.dev/acme/prod/team/api us-docker.pkg.dev/acme/hub/library/nginx",
			left: "us/java (format MAVEN) us/all (virtual: what it serves is stored elsewhere)",
		},
		{
			name: "pages", target: "us-docker.pkg.dev/acme",
			answers: map[string]string{
				us: `{"nextPageToken":"2"}`, us + " 2": `{"repositories":[` + prod + `]}`,
				us + "/prod/packages":   `{"packages":[` + image + `],"nextPageToken":"2"}`,
				us + "/prod/packages 2": `{"packages":[` + strings.ReplaceAll(image, "api", "web") + `]}`,
			},
			want: "us-docker.pkg.dev/acme/prod/team/api us-docker.pkg.dev/acme/prod/team/web",
		},
		{
			name: "gcr.io", target: "gcr.io/acme",
			answers: map[string]string{
				us + "/gcr.io":          `{"name":"projects/acme/locations/us/repositories/gcr.io","format":"DOCKER"}`,
				us + "/gcr.io/packages": `{"packages":[{"name":"projects/acme/locations/us/repositories/gcr.io/packages/api"}]}`,
			},
			want: "gcr.io/acme/api",
		},
		{
			name: "a token again", target: "us-docker.pkg.dev/acme",
			answers: map[string]string{us: `{"nextPageToken":"2"}`, us + " 2": `{"repositories":[` + prod + `],"nextPageToken":"2"}`},
			says:    "could not be listed",
		},
		{
			name: "a token of images again", target: "us-docker.pkg.dev/acme/prod",
			answers: map[string]string{
				us + "/prod": prod, us + "/prod/packages": `{"packages":[` + image + `],"nextPageToken":"2"}`,
				us + "/prod/packages 2": `{"nextPageToken":"2"}`,
			},
			says: "could not be listed",
		},
		{
			name: "a page that was cut", target: "us-docker.pkg.dev/acme",
			answers: map[string]string{us: `{"repositories":[` + prod}, says: "could not be listed",
		},
		{
			name: "a page that fails", target: "us-docker.pkg.dev/acme/prod",
			answers: map[string]string{
				us + "/prod": prod, us + "/prod/packages": `{"packages":[` + image + `],"nextPageToken":"2"}`,
			},
			says: "could not be listed",
		},
		{
			name: "an image of another repository", target: "us-docker.pkg.dev/acme/prod",
			answers: map[string]string{
				us + "/prod":          prod,
				us + "/prod/packages": `{"packages":[{"name":"projects/evil/locations/us/repositories/prod/packages/api"}]}`,
			},
			says: "could not be listed",
		},
		{
			name: "a location that leads elsewhere", target: "--project acme",
			answers: map[string]string{"/v1/projects/acme/locations": `{"locations":[{"locationId":"evil.example/x"}]}`},
			says:    "could not be listed",
		},
		{name: "no such repository", target: "us-docker.pkg.dev/acme/prod", says: "does not exist"},
		{
			name: "a virtual repository by name", target: "us-docker.pkg.dev/acme/prod",
			answers: map[string]string{us + "/prod": strings.ReplaceAll(prod, "STANDARD", "VIRTUAL")}, says: "virtual",
		},
		{
			name: "a repository of another format by name", target: "us-docker.pkg.dev/acme/prod",
			answers: map[string]string{us + "/prod": strings.ReplaceAll(prod, "DOCKER", "NPM")}, says: "format NPM",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				key := r.URL.Path
				if token := r.URL.Query().Get("pageToken"); token != "" {
					key += " " + token
				}
				answer, ok := tt.answers[key]
				if !ok {
					w.WriteHeader(http.StatusNotFound)
				}
				fmt.Fprint(w, answer)
			}))
			defer srv.Close()

			got, err := artifacts(t, tt.target, srv.URL)
			if (err != nil) != (tt.says != "") || tt.says != "" && !strings.Contains(attestor.Message(err), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
			if names, left := strings.Join(got.Names, " "), strings.Join(got.Left, " "); names != tt.want || left != tt.left {
				t.Errorf("listed %q, left out %q, want %q and %q", names, left, tt.want, tt.left)
			}
		})
	}
}
