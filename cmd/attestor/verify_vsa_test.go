package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/internal/vsa"
)

// rawReferrer is a manifest that is put as it is.
type rawReferrer []byte

// RawManifest implements [remote.Taggable].
func (r rawReferrer) RawManifest() ([]byte, error) { return r, nil }

// MediaType says what it is.
func (rawReferrer) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// The verifier of a foreign producer's summaries.
const foreignVerifier = "https://producer.example/verifier"

// A foreignProducer attaches summaries to images that it pushes.
type foreignProducer struct {
	t    *testing.T
	repo name.Repository
}

// summarized pushes an image with a bundle that sign makes of the summary.
func (f foreignProducer) summarized(sign func(statement []byte) []byte, change func(*vsa.Predicate)) string {
	f.t.Helper()
	must := func(err error) {
		f.t.Helper()
		if err != nil {
			f.t.Fatal(err)
		}
	}
	img, err := random.Image(64, 1)
	must(err)
	digest, err := img.Digest()
	must(err)
	ref := f.repo.Digest(digest.String())
	must(remote.Write(ref, img))

	p := vsa.Predicate{
		Verifier: vsa.Verifier{ID: foreignVerifier}, TimeVerified: time.Now().UTC().Truncate(time.Second),
		ResourceURI: "oci://" + f.repo.Name(), Policy: vsa.Resource{URI: "https://producer.example/policy"},
		VerificationResult: vsa.Passed, VerifiedLevels: []string{"SLSA_BUILD_LEVEL_2"},
	}
	change(&p)
	statement, err := vsa.New(f.repo.Name(), digest.Hex, p).Encode()
	must(err)
	bundle, config := sign(statement), []byte("{}")
	subject, err := remote.Head(ref)
	must(err)
	describe := func(b []byte) v1.Descriptor {
		return v1.Descriptor{
			MediaType: corpus.BundleMedia, Size: int64(len(b)), Digest: v1.Hash{Algorithm: "sha256", Hex: attestor.DigestOf(b).Hex()},
		}
	}
	m, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Subject: subject, Config: describe(config), Layers: []v1.Descriptor{describe(bundle)},
	})
	must(err)
	for _, b := range [][]byte{config, bundle} {
		must(remote.WriteLayer(f.repo, static.NewLayer(b, corpus.BundleMedia)))
	}
	must(remote.Put(f.repo.Digest(string(attestor.DigestOf(m))), rawReferrer(m)))
	return ref.String()
}

// TestVerifyVSAOfAnyProducer: a summary that another producer signed without a key, with a certificate, a log entry and
// a timestamp, counts by the identity, and by no other; nor does one by a key, or one that says something else.
func TestVerifyVSAOfAnyProducer(t *testing.T) {
	srv := httptest.NewServer(registry.New(registry.WithReferrersSupport(true),
		registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
	t.Cleanup(srv.Close)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	repo, err := name.NewRepository(strings.TrimPrefix(srv.URL, "http://") + "/acme/api")
	must(err)
	sigstore, dir := corpus.NewSigstore(), t.TempDir()
	trusted, other, public := filepath.Join(dir, "root.json"), filepath.Join(dir, "other.json"), filepath.Join(dir, "key.pub")
	key := corpus.NewKey()
	must(os.WriteFile(trusted, sigstore.Root(false), 0o600))
	must(os.WriteFile(other, corpus.NewSigstore().Root(false), 0o600))
	must(os.WriteFile(public, key.PublicPEM(), 0o600))

	producer := foreignProducer{t, repo}
	summarized := producer.summarized
	keyless := func(statement []byte) []byte { return sigstore.Bundle(statement, true) }
	asItIs := func(*vsa.Predicate) {}
	good := summarized(keyless, asItIs)

	by := []string{"--issuer", corpus.SignerIssuer, "--subject", corpus.SignerSubject, "--trusted-root", trusted, "--verifier", foreignVerifier}
	with := func(flag, value string) []string {
		out := append([]string{}, by...)
		for i, f := range out {
			if f == flag {
				out[i+1] = value
				return out
			}
		}
		return append(out, flag, value)
	}
	for what, tt := range map[string]struct {
		image string
		flags []string
		want  int
	}{
		"the pass":             {good, by, 0},
		"by an expression":     {good, append(append([]string{}, by[:2]...), append([]string{"--subject-regexp", `release@[a-z.]+`}, by[4:]...)...), 0},
		"with a level and age": {good, append(with("--level", "SLSA_BUILD_LEVEL_1"), "--max-age", "1h"), 0},
		"another subject":      {good, with("--subject", "mallory@bases.example.com"), attestor.ExitDeny},
		"another issuer":       {good, with("--issuer", "https://accounts.google.com"), attestor.ExitDeny},
		"another root":         {good, with("--trusted-root", other), attestor.ExitDeny},
		"another verifier":     {good, with("--verifier", foreignVerifier+"/2"), attestor.ExitDeny},
		"a higher level":       {good, with("--level", "SLSA_BUILD_LEVEL_3"), attestor.ExitDeny},
		"a key":                {good, []string{"--key", public, "--verifier", foreignVerifier}, attestor.ExitDeny},
		"signed by a key":      {summarized(key.Bundle, asItIs), by, attestor.ExitDeny},
		"and asked for by it":  {summarized(key.Bundle, asItIs), []string{"--key", public, "--verifier", foreignVerifier}, 0},
		"refused": {summarized(keyless, func(p *vsa.Predicate) {
			p.VerificationResult, p.VerifiedLevels = vsa.Failed, []string{vsa.Failed}
		}), by, attestor.ExitDeny},
		"of another repository": {summarized(keyless, func(p *vsa.Predicate) { p.ResourceURI += "-evil" }), by, attestor.ExitDeny},
		"too old": {summarized(keyless, func(p *vsa.Predicate) {
			p.TimeVerified = p.TimeVerified.Add(-2 * time.Hour)
		}), with("--max-age", "1h"), attestor.ExitDeny},
		"an identity by anybody": {summarized(func(s []byte) []byte { return corpus.NewSigstore().Bundle(s, true) }, asItIs), by, attestor.ExitDeny},
	} {
		var out bytes.Buffer
		c := rootCommand()
		c.SetArgs(append([]string{"verify", "--vsa", tt.image}, tt.flags...))
		c.SetOut(&out)
		c.SetErr(&out)
		code, err := 0, c.ExecuteContext(t.Context())
		if e, ok := errors.AsType[*exit](err); ok {
			code = e.code
		} else if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if code != tt.want {
			t.Errorf("%s: exit code %d, want %d\n%s", what, code, tt.want, out.String())
		}
	}
}
