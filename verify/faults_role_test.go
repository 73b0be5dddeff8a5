package verify_test

import (
	"net/http"
	"strings"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/attestor-gate/attestor/verify"
)

// TestWhatARefusalAsksFor: who has no credentials is told to have some, and not to ask for a role; Artifact Registry
// says the cause only in words, which are quoted from its answers.
func TestWhatARefusalAsksFor(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		host   string
		status int
		text   string
		want   string
	}{
		"may not": {
			"eu.gcr.io", http.StatusForbidden, `Permission "artifactregistry.repositories.downloadArtifacts" denied on resource`,
			"grant the gate's service account roles/artifactregistry.reader",
		},
		"nobody": {
			"europe-docker.pkg.dev", http.StatusForbidden, "Unauthenticated request. Unauthenticated requests do not have permission",
			"gcloud auth application-default login",
		},
		"rejected": {"gcr.io", http.StatusUnauthorized, "", "gcloud auth application-default login"},
		"off": {
			"europe-docker.pkg.dev", http.StatusForbidden, "Artifact Registry API has not been used in project 123 before or it is disabled",
			"gcloud services enable artifactregistry.googleapis.com",
		},
		"another": {"registry.example", http.StatusUnauthorized, "", "docker login registry.example"},
	} {
		got := verify.MissingRole(tt.host, &ggcr.Error{
			StatusCode: tt.status, Errors: []ggcr.Diagnostic{{Code: ggcr.DeniedErrorCode, Message: tt.text}},
		})
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
