package resource_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/resource"
)

const digest = "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func image(t testing.TB, s string) attestor.Image {
	t.Helper()
	img, err := attestor.ParseImage(s + digest)
	if err != nil {
		t.Fatal(err)
	}

	return img
}

func TestProject(t *testing.T) {
	overrides := map[string]string{"localhost:5000": "dev", "ghcr.io": "acme-scans", "eu.gcr.io": "mirror", "empty.example.com": ""}
	tests := []struct{ repository, want string }{
		{"us-docker.pkg.dev/acme/prod/api", "acme"},
		{"europe-west1-docker.pkg.dev/acme/prod/team/api", "acme"},
		{"us-docker.pkg.dev/example.com/acme/prod/api", "example.com:acme"},
		{"gcr.io/acme/api", "acme"},
		{"us.gcr.io/acme/team/api", "acme"},
		{"asia.gcr.io/acme/api", "acme"},
		{"gcr.io/example.com/acme/api", "example.com:acme"},
		{"localhost:5000/api", "dev"},
		{"ghcr.io/acme/api", "acme-scans"},
		{"eu.gcr.io/acme/api", "mirror"},
		// The name does not say, and a guess would be somebody else's project.
		{"localhost:5001/api", ""},
		{"localhost/acme/api", ""},
		{"empty.example.com/acme/api", ""},
		{"index.docker.io/acme/api", ""},
		{"fr.gcr.io/acme/api", ""},
		{"gcr.io.example.com/acme/api", ""},
		{"us-docker.pkg.dev.example.com/acme/prod/api", ""},
		{"a.b-docker.pkg.dev/acme/prod/api", ""},
		{"gcr.io/acme", ""},
		{"gcr.io/example.com/acme", ""},
		{"gcr.io/example.com", ""},
	}

	for _, tt := range tests {
		t.Run(tt.repository, func(t *testing.T) {
			got, err := resource.Project(image(t, tt.repository), overrides)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
			if err != nil && attestor.KindOf(err) != attestor.Invalid {
				t.Errorf("kind %v", attestor.KindOf(err))
			}
		})
	}

	if got, err := resource.Project(attestor.Image{}, map[string]string{"": "x"}); err == nil {
		t.Errorf("no image: %q", got)
	}
}

func TestURIs(t *testing.T) {
	tests := []struct {
		repository string
		want       []string
	}{
		{"us-docker.pkg.dev/acme/prod/api", []string{"https://us-docker.pkg.dev/acme/prod/api", "us-docker.pkg.dev/acme/prod/api"}},
		{"localhost:5000/api", []string{"https://localhost:5000/api", "localhost:5000/api"}},
		{"gcr.io/acme/api", []string{"https://gcr.io/acme/api", "gcr.io/acme/api"}},
		{"us-docker.pkg.dev/acme/gcr.io/team/api", []string{
			"https://us-docker.pkg.dev/acme/gcr.io/team/api", "us-docker.pkg.dev/acme/gcr.io/team/api", "https://gcr.io/acme/team/api", "gcr.io/acme/team/api",
		}},
		{"europe-docker.pkg.dev/example.com/acme/eu.gcr.io/api", []string{
			"https://europe-docker.pkg.dev/example.com/acme/eu.gcr.io/api", "europe-docker.pkg.dev/example.com/acme/eu.gcr.io/api",
			"https://eu.gcr.io/example.com/acme/api", "eu.gcr.io/example.com/acme/api",
		}},
		{"ghcr.io/acme/gcr.io/api", []string{"https://ghcr.io/acme/gcr.io/api", "ghcr.io/acme/gcr.io/api"}},
		{"us-docker.pkg.dev/acme/gcr.io", []string{"https://us-docker.pkg.dev/acme/gcr.io", "us-docker.pkg.dev/acme/gcr.io"}},
	}

	for _, tt := range tests {
		t.Run(tt.repository, func(t *testing.T) {
			var want []string
			for _, u := range tt.want {
				want = append(want, u+digest)
			}
			if diff := cmp.Diff(want, resource.URIs(image(t, tt.repository))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}

	if got := resource.URIs(attestor.Image{}); got != nil {
		t.Errorf("no image: %v", got)
	}
}

// TestFilter: the words that gcloud sends.
func TestFilter(t *testing.T) {
	want := `((kind = "VULNERABILITY") OR (kind = "DISCOVERY")) AND ((resourceUrl = "https://IMG@D") OR (resourceUrl = "IMG@D"))`
	if got := resource.Filter([]string{"VULNERABILITY", "DISCOVERY"}, []string{"https://IMG@D", "IMG@D"}); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParseName(t *testing.T) {
	tests := []struct {
		collection, name string
		want             resource.Name
		ok               bool
	}{
		{"notes", "projects/goog-vulnz/notes/CVE-2026-1", resource.Name{Project: "goog-vulnz", ID: "CVE-2026-1"}, true},
		{"notes", "projects/goog-analysis/locations/us-east1/notes/PACKAGE_VULNERABILITY",
			resource.Name{Project: "goog-analysis", Location: "us-east1", ID: "PACKAGE_VULNERABILITY"}, true},
		{"occurrences", "projects/example.com:acme/occurrences/1", resource.Name{Project: "example.com:acme", ID: "1"}, true},
		{"notes", "projects/p/occurrences/1", resource.Name{}, false},
		{"notes", "", resource.Name{}, false},
		{"notes", "projects//notes/n", resource.Name{}, false},
		{"notes", "projects/p/notes/", resource.Name{}, false},
		{"notes", "projects/p/notes/n/x", resource.Name{}, false},
		{"notes", "x/projects/p/notes/n", resource.Name{}, false},
		{"notes", "projects/p/notes/n\n", resource.Name{}, false},
		{"other", "projects/p/other/n", resource.Name{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := resource.ParseName(tt.collection, tt.name)
			if got != tt.want || ok != tt.ok {
				t.Errorf("got %+v, %t; want %+v, %t", got, ok, tt.want, tt.ok)
			}
		})
	}
}

// FuzzProject: whatever the image, a project is one that its name holds.
func FuzzProject(f *testing.F) {
	f.Add("us-docker.pkg.dev/acme/prod/api")
	f.Add("gcr.io/example.com/acme/api")
	f.Fuzz(func(t *testing.T, repository string) {
		img, err := attestor.ParseImage(repository + digest)
		if err != nil {
			return
		}

		project, err := resource.Project(img, nil)
		if (project == "") != (err != nil) {
			t.Fatalf("%q, %v", project, err)
		}
		if err == nil && !strings.Contains(img.Repository(), "/"+strings.Replace(project, ":", "/", 1)+"/") {
			t.Errorf("project %q of %s", project, img)
		}
	})
}
