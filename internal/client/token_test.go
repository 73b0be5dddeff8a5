package client_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/api/option"

	"github.com/attestor-gate/attestor/internal/client"
)

// iamStandIn speaks IAM Credentials' protocol.
func iamStandIn(t *testing.T, status int) ([]option.ClientOption, *[]string) {
	t.Helper()
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Audience     string
			IncludeEmail bool
		}

		_ = json.NewDecoder(r.Body).Decode(&body)
		asked = append(asked, r.URL.Path+" "+body.Audience)
		if !body.IncludeEmail {
			t.Error("the token was asked for without the email")
		}

		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if status == http.StatusOK {
			_, _ = w.Write([]byte(`{"token": "from-iam"}`))
			return
		}

		_, _ = w.Write([]byte(`{"error": {"code": 403, "message": "Permission iam.serviceAccounts.getOpenIdToken denied", "status": "PERMISSION_DENIED"}}`))
	}))
	t.Cleanup(srv.Close)
	return []option.ClientOption{option.WithEndpoint(srv.URL), option.WithoutAuthentication()}, &asked
}

// metadataStandIn speaks the metadata server's protocol.
func metadataStandIn(t *testing.T) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		switch {
		case strings.HasSuffix(r.URL.Path, "/email"):
			_, _ = w.Write([]byte("builds@acme-ci.iam.gserviceaccount.com"))
		case strings.HasSuffix(r.URL.Path, "/identity"):
			_, _ = w.Write([]byte("from-metadata for " + r.URL.Query().Get("audience")))
		}
	}))
	t.Cleanup(srv.Close)
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(srv.URL, "http://"))
	t.Setenv("PATH", t.TempDir()) // no gcloud
}

func TestTokenFinder(t *testing.T) {
	metadataStandIn(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	env := func(name string) string { return map[string]string{"GATE_TOKEN": "from-env"}[name] }
	for _, tt := range []struct {
		name   string
		flags  client.Identity
		status int
		want   string // "" for an error
	}{
		{"a file", client.Identity{File: file}, 200, "from-file"},
		{"an empty file", client.Identity{File: empty}, 200, ""},
		{"a missing file", client.Identity{File: file + ".no"}, 200, ""},
		{"a variable", client.Identity{Variable: "GATE_TOKEN"}, 200, "from-env"},
		{"an empty variable", client.Identity{Variable: "OTHER"}, 200, ""},
		{"IAM Credentials first", client.Identity{}, 200, "from-iam"},
		{"an account by name", client.Identity{Account: "a@p.iam.gserviceaccount.com"}, 200, "from-iam"},
		{"the metadata server where IAM refuses", client.Identity{}, 403, "from-metadata for https://gate.example"},
		{"not another identity than the one named", client.Identity{Account: "a@p.iam.gserviceaccount.com"}, 403, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			iam, asked := iamStandIn(t, tt.status)
			got, err := client.FindToken(tt.flags, "https://gate.example", env, iam...)(context.Background())
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "from-") {
				t.Error("a token stands in an error")
			}

			for _, a := range *asked {
				if !strings.HasSuffix(a, ":generateIdToken https://gate.example") {
					t.Errorf("asked for %s", a)
				}
			}
		})
	}
}

func TestTokenSource(t *testing.T) {
	none := func(string) string { return "" }
	if f, err := (client.Identity{}).Source("http://127.0.0.1:8080", none); f != nil || err != nil {
		t.Errorf("a service on loopback was sent a token: %v", err)
	}
	if f, err := (client.Identity{}).Source("https://gate.example", none); f == nil || err != nil {
		t.Errorf("a service elsewhere was sent none: %v", err)
	}
	if _, err := (client.Identity{File: "x", Variable: "y"}).Source("https://gate.example", none); err == nil {
		t.Error("two sources were accepted")
	}
}
