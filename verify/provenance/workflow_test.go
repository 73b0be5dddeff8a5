package provenance_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/signed"
)

const (
	githubIssuer = "https://token.actions.githubusercontent.com"
	called       = "https://github.com/acme/ci/.github/workflows/build.yml@refs/tags/v1"
	calling      = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"
)

// byGitHub is a statement of a run of a reusable workflow. builder and source are what
// the statement says; the certificate can be changed.
func byGitHub(builder, source string, change func(*certificate.Extensions)) signed.Statement {
	ext := certificate.Extensions{
		Issuer: githubIssuer, BuildSignerURI: called, BuildSignerDigest: strings.Repeat("1", 40),
		RunnerEnvironment: "github-hosted", SourceRepositoryURI: "https://github.com/acme/app",
		SourceRepositoryDigest: strings.Repeat("2", 40), SourceRepositoryRef: "refs/heads/main", BuildConfigURI: calling,
	}
	if change != nil {
		change(&ext)
	}
	return signed.Statement{
		Payload: about("https://slsa.dev/provenance/v1", fmt.Sprintf(`{"buildDefinition":{
			"buildType":"https://actions.github.io/buildtypes/workflow/v1",
			"externalParameters":{"workflow":{"repository":%q,"ref":"refs/heads/said","path":".github/workflows/release.yml"}}},
			"runDetails":{"builder":{"id":%q}}}`, source, builder)),
		Signer: called + " (" + githubIssuer + ")", Subject: called, Issuer: githubIssuer, Extensions: ext,
	}
}

// Of a run's certificate and statement, the certificate holds.
func TestTheCertificateSaysWhoBuilt(t *testing.T) {
	whole := attestor.Provenance{
		Source: "cosign", Builder: called, SLSALevel: 2, SourceURI: "https://github.com/acme/app", Ref: "refs/heads/main",
		Commit: strings.Repeat("2", 40), PredicateType: "https://slsa.dev/provenance/v1",
		KeyID: called + " (" + githubIssuer + ")",
		Workflow: &attestor.Workflow{
			Issuer: githubIssuer, URI: called, Commit: strings.Repeat("1", 40), Caller: calling, Runner: "github-hosted",
		},
	}
	with := func(change func(*attestor.Provenance)) attestor.Provenance {
		p := whole
		w := *whole.Workflow
		p.Workflow = &w
		change(&p)
		return p
	}
	const said = "https://github.com/acme/said"
	saidSo := func(p *attestor.Provenance) {
		p.Workflow, p.SourceURI, p.Ref, p.Commit = nil, said, "refs/heads/said", ""
	}

	for _, tt := range []struct {
		name string
		st   signed.Statement
		want attestor.Provenance
	}{
		{"they agree", byGitHub(called, "https://github.com/acme/app", nil), whole},
		{"another source in the statement", byGitHub(called, said, nil), whole},
		{"another kind of builder in the statement", byGitHub("https://github.com/actions/runner", said, nil),
			with(func(p *attestor.Provenance) { p.Builder = "https://github.com/actions/runner" })},
		{"no builder in the statement", byGitHub("", said, nil),
			with(func(p *attestor.Provenance) { p.Builder, p.SLSALevel = "", 1 })},
		{"a runner of the tenant's own", byGitHub(called, said, func(e *certificate.Extensions) { e.RunnerEnvironment = "self-hosted" }),
			with(func(p *attestor.Provenance) { p.SLSALevel, p.Workflow.Runner = 1, "self-hosted" })},
		{"not called by another workflow", byGitHub(called, said, func(e *certificate.Extensions) { e.BuildConfigURI = called }),
			with(func(p *attestor.Provenance) { p.Workflow.Caller = called })},

		// Certificates of another form are of no workflow, and the statement is all there is.
		{"no source in the certificate", byGitHub(called, said, func(e *certificate.Extensions) { e.SourceRepositoryURI = "" }), with(saidSo)},
		{"no signer in the certificate", byGitHub(called, said, func(e *certificate.Extensions) { e.BuildSignerURI = "" }), with(saidSo)},
		{"neither signer nor subject in the certificate", func() signed.Statement {
			st := byGitHub(called, said, func(e *certificate.Extensions) { e.BuildSignerURI = "" })
			st.Subject = ""
			return st
		}(), with(saidSo)},
		{"a signer that is not the subject", byGitHub(called, said, func(e *certificate.Extensions) { e.BuildSignerURI = calling }), with(saidSo)},
		{"an issuer that is not the verified one", byGitHub(called, said, func(e *certificate.Extensions) { e.Issuer = "https://x" }), with(saidSo)},
		{"no extensions", byGitHub(called, said, func(e *certificate.Extensions) { *e = certificate.Extensions{} }), with(saidSo)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.Statement = attestor.DigestOf(tt.st.Payload)
			got, problems := viaAttached(t, tt.st)
			if diff := cmp.Diff([]attestor.Provenance{tt.want}, got); diff != "" || len(problems) > 0 {
				t.Errorf("problems %v, provenance (-want +got):\n%s", problems, diff)
			}
		})
	}
}

// A statement that names another workflow as its builder than the one that signed it is
// forged by the run.
func TestAnotherWorkflowAsBuilder(t *testing.T) {
	for _, builder := range []string{
		"https://github.com/acme/ci/.github/workflows/build.yml@refs/tags/v2",
		"https://github.com/acme/ci/.github/workflows/build.yml@refs/heads/v1",
		"https://github.com/acme/ci/.github/workflows/build.yml",
		"https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v2.0.0",
		"https://evil.example/acme/ci/.github/workflows/build.yml@refs/tags/v1",
		"http://github.com/acme/ci/.github/workflows/build.yml@refs/tags/v1",
		"github.com/acme/ci/.github/workflows/build.yml@refs/tags/v1",
	} {
		byGitLab := byGitHub(builder, "https://github.com/acme/app", func(e *certificate.Extensions) {
			e.Issuer, e.BuildSignerURI = "https://gitlab.com", "https://gitlab.com/acme/ci//build.yml@refs/tags/v1"
		})
		byGitLab.Issuer, byGitLab.Subject = byGitLab.Extensions.Issuer, byGitLab.Extensions.BuildSignerURI

		for _, st := range []signed.Statement{byGitHub(builder, "https://github.com/acme/app", nil), byGitLab} {
			got, problems := viaAttached(t, st)
			if len(got) != 0 || len(problems) != 1 || problems[0].Status != attestor.StatusDeny ||
				!strings.Contains(problems[0].Message, "was signed by") {
				t.Errorf("%s by %s: %+v, %+v", builder, st.Issuer, got, problems)
			}
		}
	}
}
