package signed_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify/signed"
)

// run is a run of a reusable workflow, as GitHub describes it.
func run() corpus.Workflow {
	return corpus.Workflow{
		Issuer:       "https://token.actions.githubusercontent.com",
		Signer:       "https://github.com/acme/ci/.github/workflows/build.yml@refs/tags/v1",
		SignerCommit: "1111111111111111111111111111111111111111", Runner: "github-hosted",
		Source: "https://github.com/acme/app", SourceCommit: "2222222222222222222222222222222222222222",
		SourceRef: "refs/heads/main", Caller: "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main",
	}
}

// What a certificate says of a run comes with its statement, and only if the
// certificate's authority, time and identity verify.
func TestStatementsOfWorkflows(t *testing.T) {
	const predicate = "https://slsa.dev/provenance/v1"
	ci, w, no := corpus.NewFulcio(), run(), false
	root := file(t, ci.Root())
	rule := attestor.SignedBy{Issuer: w.Issuer, Subject: w.Signer, TrustedRoot: root, Transparency: &no}
	now := time.Now()

	other := run()
	other.Signer = "https://github.com/acme/ci/.github/workflows/build.yml@refs/tags/v1-evil"
	elsewhere := run()
	elsewhere.Issuer = "https://token.actions.evil.example"

	for name, tt := range map[string]struct {
		bundle func(img attestor.Image) []byte
		want   bool
	}{
		"verified": {func(img attestor.Image) []byte {
			return ci.Bundle(statement(img, predicate), w, now.Add(time.Hour))
		}, true},
		"expired": {func(img attestor.Image) []byte {
			return ci.Bundle(statement(img, predicate), w, now.Add(-time.Minute))
		}, false},
		"another workflow": {func(img attestor.Image) []byte {
			return ci.Bundle(statement(img, predicate), other, now.Add(time.Hour))
		}, false},
		"another issuer": {func(img attestor.Image) []byte {
			return ci.Bundle(statement(img, predicate), elsewhere, now.Add(time.Hour))
		}, false},
		"another authority": {func(img attestor.Image) []byte {
			return corpus.NewFulcio().Bundle(statement(img, predicate), w, now.Add(time.Hour))
		}, false},
		"another digest": {func(img attestor.Image) []byte {
			return ci.Bundle(statement(img.Sibling(attestor.Digest("sha256:"+cleared)), predicate), w, now.Add(time.Hour))
		}, false},
		"another type": {func(img attestor.Image) []byte {
			return ci.Bundle(statement(img, "https://example.com/other"), w, now.Add(time.Hour))
		}, false},
		"malformed": {func(img attestor.Image) []byte {
			b := ci.Bundle(statement(img, predicate), w, now.Add(time.Hour))
			return b[:len(b)-1]
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := plain(t)
			h.refer(h.image, bundleMedia, tt.bundle(h.image))
			list, _, err := checker(t, signed.Config{}).Attestations(t.Context(), h.image, rule, []string{predicate})
			if err != nil || (len(list) == 1) != tt.want || len(list) > 1 {
				t.Fatalf("%+v, %v", list, err)
			}
			if !tt.want {
				return
			}

			want := certificate.Extensions{
				Issuer: w.Issuer, BuildSignerURI: w.Signer, BuildSignerDigest: w.SignerCommit, RunnerEnvironment: w.Runner,
				SourceRepositoryURI: w.Source, SourceRepositoryDigest: w.SourceCommit, SourceRepositoryRef: w.SourceRef,
				BuildConfigURI: w.Caller,
			}
			if diff := cmp.Diff(want, list[0].Extensions); diff != "" || list[0].Subject != w.Signer || list[0].Issuer != w.Issuer {
				t.Errorf("subject %q, issuer %q, extensions (-want +got):\n%s", list[0].Subject, list[0].Issuer, diff)
			}
		})
	}
}

// cleared is no image's digest.
const cleared = "0000000000000000000000000000000000000000000000000000000000000000"
