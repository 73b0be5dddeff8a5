package attestor_test

import (
	"testing"

	"github.com/attestor-gate/attestor"
)

func TestIsGitHubIssuer(t *testing.T) {
	for issuer, want := range map[string]bool{
		"https://token.actions.githubusercontent.com": true,
		"https://token.actions.acme-1.ghe.com":        true,
		"":                                            false,
		"https://token.actions.githubusercontent.com/":         false,
		"https://token.actions.githubusercontent.com.evil.com": false,
		"http://token.actions.githubusercontent.com":           false,
		"https://token.actions..ghe.com":                       false,
		"https://token.actions.evil.com/x.ghe.com":             false,
		"https://token.actions.a.b.ghe.com":                    false,
		"https://token.actions.acme.ghe.com.evil.com":          false,
		"https://gitlab.com":                                   false,
	} {
		if got := attestor.IsGitHubIssuer(issuer); got != want {
			t.Errorf("%q: %t", issuer, got)
		}
	}
}

// Only a called workflow of the issuer's own host, on a runner of GitHub's, keeps what
// signs from the steps of the build.
func TestIsolated(t *testing.T) {
	const github = "https://token.actions.githubusercontent.com"
	whole := attestor.Workflow{
		Issuer: github, URI: "https://github.com/acme/ci/.github/workflows/build.yml@refs/tags/v1",
		Caller: "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main", Runner: "github-hosted",
	}
	if why := whole.Isolated(); why != "" {
		t.Error(why)
	}
	tenant := whole
	tenant.Issuer = "https://token.actions.acme.ghe.com"
	tenant.URI = "https://acme.ghe.com/acme/ci/.github/workflows/build.yml@refs/tags/v1"
	if why := tenant.Isolated(); why != "" {
		t.Error(why)
	}

	var none *attestor.Workflow
	if none.Isolated() == "" {
		t.Error("no workflow at all is isolated")
	}
	for name, change := range map[string]func(*attestor.Workflow){
		"another issuer":       func(w *attestor.Workflow) { w.Issuer = "https://gitlab.com" },
		"no issuer":            func(w *attestor.Workflow) { w.Issuer = "" },
		"another host":         func(w *attestor.Workflow) { w.URI = "https://github.com.evil.example/a/b@refs/tags/v1" },
		"the tenant's host":    func(w *attestor.Workflow) { w.URI = tenant.URI },
		"not called":           func(w *attestor.Workflow) { w.Caller = w.URI },
		"caller not known":     func(w *attestor.Workflow) { w.Caller = "" },
		"self-hosted":          func(w *attestor.Workflow) { w.Runner = "self-hosted" },
		"runner not known":     func(w *attestor.Workflow) { w.Runner = "" },
		"a runner in capitals": func(w *attestor.Workflow) { w.Runner = "GitHub-hosted" },
	} {
		w := whole
		change(&w)
		if w.Isolated() == "" {
			t.Errorf("%s: isolated", name)
		}
	}
}

func TestWorkflowRef(t *testing.T) {
	const file = "https://github.com/acme/ci/.github/workflows/build.yml"
	for _, tt := range []struct {
		uri, workflow, ref string
		ok                 bool
	}{
		{file + "@refs/tags/v1", file, "refs/tags/v1", true},
		{file + "@refs/tags/a@b", file, "refs/tags/a@b", true},
		{file + "@x.yml@refs/tags/v1", file, "x.yml@refs/tags/v1", true}, // another file, whose rest is no reference
		{file + "-evil@refs/tags/v1", file, "", false},
		{file, file, "", false},
		{"https://github.com/acme/ci-evil/.github/workflows/build.yml@refs/tags/v1", file, "", false},
		{"https://github.com/ACME/ci/.github/workflows/build.yml@refs/tags/v1", file, "", false},
		{"@refs/tags/v1", "", "", false},
	} {
		w := &attestor.Workflow{URI: tt.uri}
		if ref, ok := w.Ref(tt.workflow); ok != tt.ok || ok && ref != tt.ref {
			t.Errorf("%s: %q, %t", tt.uri, ref, ok)
		}
	}
	if _, ok := (*attestor.Workflow)(nil).Ref(file); ok {
		t.Error("no workflow has a reference")
	}
}
