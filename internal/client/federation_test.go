package client_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/api/option"

	"github.com/attestor-gate/attestor/internal/client"
)

const (
	poolAudience = "//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/ci/providers/ci"
	ciToken      = "header.ci-claims.signature" // as the CI's own issuer signs it
)

// federation stands in for a CI system's token endpoint, Google's STS and IAM
// Credentials, each by its protocol: RFC 8693 token exchange, and
// generateIdToken with what the exchange gave.
type federation struct {
	*httptest.Server
	t     *testing.T
	trust bool // the pool accepts the CI's token
	ciAsk int
}

func newFederation(t *testing.T, trust bool) *federation {
	t.Helper()
	f := &federation{t: t, trust: trust}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ci/token", f.ci)
	mux.HandleFunc("POST /v1/token", f.exchange)
	mux.HandleFunc("POST /v1/projects/-/serviceAccounts/{call}", f.generate)
	f.Server = httptest.NewServer(mux)
	t.Cleanup(f.Close)
	return f
}

// ci is GitHub's, which wants its own bearer and answers {"value": token}.
func (f *federation) ci(w http.ResponseWriter, r *http.Request) {
	f.ciAsk++
	if r.Header.Get("Authorization") != "bearer runner-secret" || r.URL.Query().Get("audience") == "" {
		f.t.Errorf("the CI was asked by %q with audience %q", r.Header.Get("Authorization"), r.URL.Query().Get("audience"))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"value": ciToken})
}

func (f *federation) exchange(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	want := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"}, "audience": {poolAudience}, "subject_token": {ciToken},
	}

	for name := range want {
		if got := r.PostForm.Get(name); got != want.Get(name) {
			f.t.Errorf("the exchange's %s is %q, want %q", name, got, want.Get(name))
		}
	}

	if !strings.Contains(r.PostForm.Get("scope"), "cloud-platform") {
		f.t.Errorf("the exchange's scope is %q", r.PostForm.Get("scope"))
	}

	w.Header().Set("Content-Type", "application/json")
	if !f.trust {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant",
			"error_description": "The given credential is rejected by the attribute condition."})
		return
	}

	_ = json.NewEncoder(w).Encode(map[string]any{
		"access_token": "federated", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600,
	})
}

func (f *federation) generate(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Audience     string
		IncludeEmail bool
	}

	_ = json.NewDecoder(r.Body).Decode(&body)
	if r.Header.Get("Authorization") != "Bearer federated" || r.PathValue("call") != "ci@acme.iam.gserviceaccount.com:generateIdToken" ||
		body.Audience != "https://gate.example" || !body.IncludeEmail {
		f.t.Errorf("IAM Credentials was asked %s with %q for %+v", r.URL.Path, r.Header.Get("Authorization"), body)
		w.WriteHeader(http.StatusForbidden)
		return
	}

	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"token": "id-token"})
}

// Workload Identity Federation as GitHub's and GitLab's jobs are given it: a
// credential file that says where the job's own token is, a token exchange, and
// the ID token of the account that was named; of no other where that fails.
func TestFederatedCI(t *testing.T) {
	for _, tt := range []struct {
		name   string
		source func(f *federation, dir string) map[string]any // where the CI's token is
		trust  bool
		want   string
	}{
		{"GitHub", github, true, "id-token"},
		{"GitLab", gitlab, true, "id-token"},
		{"a pool that does not trust the job", github, false, ""},
		{"a job without a token", func(_ *federation, dir string) map[string]any {
			return map[string]any{"file": filepath.Join(dir, "none")}
		}, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, dir := newFederation(t, tt.trust), t.TempDir()
			metadataStandIn(t) // another identity, which must not be taken instead
			b, err := json.Marshal(map[string]any{
				"type": "external_account", "audience": poolAudience, "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
				"token_url": f.URL + "/v1/token", "credential_source": tt.source(f, dir),
			})

			if err != nil {
				t.Fatal(err)
			}

			credentials := filepath.Join(dir, "credentials.json")
			if err := os.WriteFile(credentials, b, 0o600); err != nil {
				t.Fatal(err)
			}

			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", credentials)
			find := client.FindToken(client.Identity{Account: "ci@acme.iam.gserviceaccount.com"}, "https://gate.example", os.Getenv, option.WithEndpoint(f.URL))
			got, err := find(t.Context())
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q, %v", got, err)
			}
			if tt.name == "GitHub" && f.ciAsk == 0 {
				t.Error("the job's own token was not asked for")
			}
			if err != nil && (strings.Contains(err.Error(), ciToken) || strings.Contains(err.Error(), "runner-secret")) {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}

// github is what google-github-actions/auth writes.
func github(f *federation, _ string) map[string]any {
	return map[string]any{
		"url": f.URL + "/ci/token?audience=" + url.QueryEscape("https:"+poolAudience), "headers": map[string]string{"Authorization": "bearer runner-secret"},
		"format": map[string]string{"type": "json", "subject_token_field_name": "value"},
	}
}

// gitlab is what a job with an id_token writes to a file.
func gitlab(f *federation, dir string) map[string]any {
	file := filepath.Join(dir, "gitlab-token")
	if err := os.WriteFile(file, []byte(ciToken), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return map[string]any{"file": file}
}
