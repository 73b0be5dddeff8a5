package provenance

import (
	"fmt"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/signed"
)

const (
	githubIssuer    = "https://token.actions.githubusercontent.com"
	githubGenerator = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
)

// fromSigner reads a statement that was attached by a signer whom the policy names.
func fromSigner(st signed.Statement, digest attestor.Digest) (attestor.Provenance, error) {
	p, err := parse(st.Payload, digest)
	if err != nil {
		return p, err
	}
	p.Source, p.KeyID, p.Workflow = "cosign", st.Signer, workflow(st)
	p.Statement = attestor.DigestOf(st.Payload)

	// The run writes the statement, and the CI service has the certificate written: where both say something, the
	// certificate holds.
	if w := p.Workflow; w != nil {
		// That is so of any service's run: a run of another one is not built by a workflow of GitHub's.
		if isWorkflow(p.Builder) && p.Builder != w.URI {
			return attestor.Provenance{}, fmt.Errorf(
				"it says that it was built by %q, and was signed by %q", p.Builder, w.URI,
			)
		}
		p.SourceURI, p.Ref = clip(st.Extensions.SourceRepositoryURI), clip(st.Extensions.SourceRepositoryRef)
		p.Commit = clip(st.Extensions.SourceRepositoryDigest)
	}

	// The level follows from the signer that was verified, never from a level that the statement claims.
	p.SLSALevel = attachedLevel(p, st)
	return p, nil
}

// workflow is what the certificate says of the CI run; nil if it says nothing of one.
func workflow(st signed.Statement) *attestor.Workflow {
	ext := st.Extensions

	// Fulcio's certificates have the same address as subject and as Build Signer URI. One where they differ is not of
	// the form that the rules here are about.
	if ext.BuildSignerURI == "" || ext.BuildSignerURI != st.Subject || ext.Issuer != st.Issuer ||
		ext.SourceRepositoryURI == "" {
		return nil
	}
	return &attestor.Workflow{
		Issuer: clip(ext.Issuer), URI: clip(ext.BuildSignerURI), Commit: clip(ext.BuildSignerDigest),
		Caller: clip(ext.BuildConfigURI), Runner: clip(ext.RunnerEnvironment),
	}
}

// isWorkflow reports whether a builder's id names a GitHub workflow, in whatever form.
func isWorkflow(builder string) bool { return strings.Contains(builder, "/.github/workflows/") }

// attachedLevel returns the SLSA build level of a statement attached with cosign: 2,
// unless more or less is known of its signer. Which other workflows are as good as a
// build platform of level 3 is the policy's to say.
func attachedLevel(p attestor.Provenance, st signed.Statement) int {
	switch {
	// Level 2 asks for a build platform that signs, and this one names none.
	case p.Builder == "":
		return 1

	// SLSA v1.0, level 2: "Build ran using a hosted build platform on dedicated infrastructure, not an individual's
	// workstation". Whoever owns the runner can change what runs on it.
	case p.Workflow != nil && p.Workflow.Runner == "self-hosted":
		return 1

	// SLSA v1.0, level 3: "prevent secret material used to sign the provenance from
	// being accessible to the user-defined build steps". That is known of one builder,
	// the reusable workflow of slsa-github-generator, when its certificate names the
	// workflow itself at a release.
	case st.Issuer == githubIssuer && st.Subject == p.Builder &&
		strings.HasPrefix(p.Builder, githubGenerator) && strings.Contains(p.Builder, "@refs/tags/v"):
		return 3
	}
	return 2
}
