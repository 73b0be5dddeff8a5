package attestor

import "strings"

// A Workflow is the run of a CI workflow that signed a statement. All of it is from the certificate, which the CI
// service vouches for, and nothing from the statement, which the run wrote itself.
type Workflow struct {
	Issuer string `json:"issuer"`           // of the run's identity, such as https://token.actions.githubusercontent.com
	URI    string `json:"uri"`              // that signed: https://HOST/OWNER/REPOSITORY/.github/workflows/FILE@REF
	Commit string `json:"commit,omitempty"` // of the workflow that signed
	Caller string `json:"caller,omitempty"` // the top-level workflow, which is URI itself unless that is a reusable one
	Runner string `json:"runner,omitempty"` // github-hosted or self-hosted
}

// IsGitHubIssuer reports whether identities of this issuer are runs of GitHub Actions: of github.com, or of a tenant of
// ghe.com.
func IsGitHubIssuer(issuer string) bool { return githubHost(issuer) != "" }

// githubHost is where the repositories of an issuer are; "" for an issuer of anything else.
func githubHost(issuer string) string {
	if issuer == "https://token.actions.githubusercontent.com" {
		return "github.com"
	}

	// One label before .ghe.com: with a dot or a slash it could be anybody's host.
	rest, ok := strings.CutPrefix(issuer, "https://token.actions.")
	tenant, isTenant := strings.CutSuffix(rest, ".ghe.com")
	if !ok || !isTenant || tenant == "" || strings.Trim(tenant, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return ""
	}
	return tenant + ".ghe.com"
}

// Isolated says why the run does not keep the build's steps from what signs its provenance, which is what SLSA's level
// 3 is about; "" if it does, for whoever trusts the workflow. On GitHub, the steps of a called, reusable workflow run
// in jobs of its own, which the calling workflow cannot change.
func (w *Workflow) Isolated() string {
	switch {
	case w == nil:
		return "no CI workflow signed it"
	case !IsGitHubIssuer(w.Issuer) || !strings.HasPrefix(w.URI, "https://"+githubHost(w.Issuer)+"/"):
		return "it is not by a workflow of GitHub Actions"
	case w.Caller == "":
		return "its certificate does not name the calling workflow"
	case w.Caller == w.URI:
		return "the workflow that signed it was not called by another one"
	case w.Runner != "github-hosted":
		return "its runner was not hosted by GitHub"
	}
	return ""
}

// Ref returns the git reference, or the commit, at which the workflow was called, if its address without that is
// workflow. ok is false for any other workflow.
func (w *Workflow) Ref(workflow string) (ref string, ok bool) {
	if w == nil || workflow == "" {
		return "", false
	}

	// Paths and references can both contain "@", so that the address is not cut there: what follows the workflow must
	// be a reference as a whole.
	return strings.CutPrefix(w.URI, workflow+"@")
}
