package signed_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/verify/signed"
)

const publicGood = "../../deploy/policies/bases/trust/sigstore-public-good.json"

// TestPublicGoodRoot: the trusted root that is delivered is the one that
// Sigstore's root keyholders signed.
func TestPublicGoodRoot(t *testing.T) {
	top, err := metadata.Root().FromBytes(tuf.DefaultRoot())
	if err != nil {
		t.Fatal(err)
	}

	targets, err := metadata.Targets().FromFile(filepath.Join("testdata", "public-good", "tuf-targets.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := top.VerifyDelegate("targets", targets); err != nil {
		t.Fatal(err)
	}

	b, err := os.ReadFile(publicGood)
	if err != nil {
		t.Fatal(err)
	}

	target, ok := targets.Signed.Targets["trusted_root.json"]
	if !ok {
		t.Fatal("the metadata names no trusted root")
	}
	if err := target.VerifyLengthHashes(b); err != nil {
		t.Fatal(err)
	}
}

// genuine puts the recorded public-good signature beside an image that claims
// the digest, in a registry of our own.
func genuine(t *testing.T, digest string) (*host, attestor.Image) {
	t.Helper()
	h := plain(t)
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", "public-good", name))
		h.Must(err)
		return b
	}

	var m v1.Manifest
	h.Must(json.Unmarshal(read("sig-manifest.json"), &m))
	img := h.Named(digest)
	h.attach(img, "sig", entry{payload: read("payload.json"), annotations: m.Layers[0].Annotations})
	return h, img
}

// TestPublicGoodSignature verifies a genuine signature by a GitHub workflow,
// offline: chain, certificate timestamp, log entry, claim and identity.
func TestPublicGoodSignature(t *testing.T) {
	const (
		signedDigest = "sha256:c05263d2ff654c3a94243662440913f045075d59c436e2c69e9145ec2b87a321"
		github       = "https://token.actions.githubusercontent.com"
		workflow     = "https://github.com/salrashid123/go-bazel-github-workflow/.github/workflows/release.yaml@refs/tags/v0.0.30"
	)

	root := publicGood
	exact := attestor.SignedBy{Issuer: github, Subject: workflow, TrustedRoot: root}
	pattern := attestor.SignedBy{Issuer: github, SubjectRegexp: `https://github\.com/salrashid123/` +
		`go-bazel-github-workflow/\.github/workflows/release\.yaml@refs/tags/v[0-9.]+`, TrustedRoot: root}
	h, img := genuine(t, signedDigest)

	for _, rule := range []attestor.SignedBy{exact, pattern} {
		got, err := h.check(img, rule)
		if err != nil || got != workflow+" ("+github+")" {
			t.Errorf("got %q, %v", got, err)
		}
	}

	refusals := map[string]struct {
		rule   attestor.SignedBy
		digest string
		want   string
	}{
		"wrong digest":      {exact, "sha256:" + strings.Repeat("0", 64), "another digest"},
		"wrong tag":         {attestor.SignedBy{Issuer: github, Subject: strings.TrimSuffix(workflow, "0"), TrustedRoot: root}, signedDigest, "by " + workflow},
		"wrong issuer":      {attestor.SignedBy{Issuer: "https://accounts.google.com", Subject: workflow, TrustedRoot: root}, signedDigest, "by " + workflow},
		"part of a pattern": {attestor.SignedBy{Issuer: github, SubjectRegexp: `release\.yaml`, TrustedRoot: root}, signedDigest, "by " + workflow},
		"another Sigstore": {attestor.SignedBy{Issuer: github, Subject: workflow,
			TrustedRoot: newSigstore(t).root(false)}, signedDigest,
			"c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d is not in the trusted root"},
	}

	for name, tt := range refusals {
		t.Run(name, func(t *testing.T) {
			h, img := genuine(t, tt.digest)
			got, err := h.check(img, tt.rule)
			refused(t, got, err, tt.want)
		})
	}
}

// TestAttestations: statements attached in either way, by whom the rule
// names, of the types asked for, and no others.
func TestAttestations(t *testing.T) {
	key, sig := newKey(t), newSigstore(t)
	const want, other = "https://slsa.dev/provenance/v1", "https://example.com/other"

	for kind, handler := range registries.Kinds() {
		t.Run(kind, func(t *testing.T) {
			h := newHost(t, handler(t, false))
			h.attach(h.image, "att",
				key.envelope(statement(h.image, want)), key.envelope(statement(h.image, other)), newKey(t).envelope(statement(h.image, want)))

			h.refer(h.image, bundleMedia, key.bundle(statement(h.image, want)))
			h.refer(h.image, bundleMedia, sig.bundle(statement(h.image, want), true))
			h.refer(h.image, bundleMedia, sig.bundle(statement(h.image, other), true))

			for name, tt := range map[string]struct {
				rule  attestor.SignedBy
				count int
				by    string
			}{
				"key":     {key.rule(), 2, ""},
				"keyless": {sig.rule(), 1, subject},
				"nobody":  {newKey(t).rule(), 0, ""},
			} {
				list, _, err := checker(t, signed.Config{}).Attestations(t.Context(), h.image, tt.rule, []string{want})
				if err != nil || len(list) != tt.count {
					t.Fatalf("%s: %d statements, %v; want %d", name, len(list), err, tt.count)
				}

				for _, st := range list {
					if st.PredicateType != want || st.Subject != tt.by || string(st.Payload) != string(statement(h.image, want)) {
						t.Errorf("%s: %+v", name, st)
					}
					// Whoever reads the statement learns who made it: a key by its id, an identity with its issuer.
					byKey, byIdentity := strings.HasPrefix(st.Signer, "key ") && st.Issuer == "", st.Signer != "" && st.Issuer == issuer
					if tt.by == "" && !byKey || tt.by != "" && !byIdentity {
						t.Errorf("%s: by %q, issuer %q", name, st.Signer, st.Issuer)
					}
				}
			}
		})
	}

	h := plain(t)
	_, _, err := checker(t, signed.Config{}).Attestations(t.Context(), h.image, attestor.SignedBy{}, []string{want})
	unknown(t, "", err, "neither a key nor an identity")
}
