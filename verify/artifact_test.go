package verify_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/ociregistry"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
)

const (
	simpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	dsse          = "application/vnd.dsse.envelope.v1+json"
	emptyConfig   = "application/vnd.oci.empty.v1+json"
	cacheConfig   = "application/vnd.buildkit.cacheconfig.v0"
)

// attached is a manifest as cosign writes them: an image's config, and a layer
// for each signature or statement.
func attached(mediaType string) v1.Image {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	return must(mutate.AppendLayers(img, static.NewLayer([]byte(`{"critical":{}}`), types.MediaType(mediaType))))
}

// raw is a manifest with a config and layers of the given types, whose blobs are
// not needed.
func raw(config, more string, layers ...string) []byte {
	var list []string
	for _, l := range layers {
		list = append(list, desc(l, []byte(l), ""))
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q%s,"config":%s,"layers":[%s]}`, ociManifest, more,
		desc(config, []byte("{}"), ""), strings.Join(list, ","))
}

// What no runtime runs is known for what it is, by its manifest; all else is an
// image, to be judged, whatever its tag or its artifactType says.
func TestArtifacts(t *testing.T) {
	host := newRegistry(t, nil)
	i := newInspector(t, host, nil)
	const gz = ociLayer + "+gzip"
	hex := strings.Repeat("a", 64)
	signature, image := raw(ociConfig, "", simpleSigning), raw(ociConfig, "", gz)

	for n, tt := range []struct {
		name, tag, mediaType string
		manifest             []byte
		kind                 string
	}{
		{"a signature of cosign", "sha256-" + hex + ".sig", ociManifest, signature, "signature"},
		{"several signatures", "", ociManifest, raw(ociConfig, "", simpleSigning, simpleSigning), "signature"},
		{"a signature without the tag", "v1", ociManifest, signature, "signature"},
		{"an attestation of cosign", "sha256-" + hex + ".att", ociManifest, raw(ociConfig, "", dsse), "attestation"},
		{"an SBOM of cosign", "sha256-" + hex + ".sbom", ociManifest, raw(ociConfig, "", "text/spdx+json"), "SBOM"},
		{"an SBOM in CycloneDX", "", ociManifest, raw(ociConfig, "", "application/vnd.cyclonedx+json"), "SBOM"},
		{"a bundle of Sigstore", "", ociManifest,
			raw(emptyConfig, `,"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"`,
				"application/vnd.dev.sigstore.bundle.v0.3+json"), "signature"},
		{"a signature of Notation", "", ociManifest, raw("application/vnd.cncf.notary.signature", "", "application/jose+json"), "signature"},
		{"a build cache as a manifest", "cache", ociManifest, raw(cacheConfig, "", gz, gz), "build cache"},
		{"a build cache as an index", "cache", ociIndex,
			fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s,%s]}`, ociIndex,
				desc(gz, []byte("l"), ""), desc(cacheConfig, []byte("c"), "")), "build cache"},
		{"a Helm chart", "1.2.3", ociManifest, raw("application/vnd.cncf.helm.config.v1+json", "",
			"application/vnd.cncf.helm.chart.content.v1.tar+gzip"), "Helm chart"},
		{"an artifact of a type that nobody knows", "v1", ociManifest, raw("application/vnd.acme.model.v1+json", "", gz), "other artifact"},
		{"an artifact without a config", "v1", ociManifest, raw(emptyConfig, `,"artifactType":"application/vnd.acme.thing"`, emptyConfig), "other artifact"},
		{"an empty list of referrers", "sha256-" + hex, ociIndex,
			fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, ociIndex), "list of referrers"},

		// Twins that could run.
		{"an image under a signature's tag", "sha256-" + hex + ".sig", ociManifest, image, ""},
		{"an image under an attestation's tag", "sha256-" + hex + ".att", ociManifest, image, ""},
		{"an image under the tag of referrers", "sha256-" + hex, ociManifest, image, ""},
		{"an image with one layer of a signature", "sha256-" + hex + ".sig", ociManifest, raw(ociConfig, "", gz, simpleSigning), ""},
		{"an image with a layer of an unknown type", "", ociManifest, raw(ociConfig, "", "application/vnd.acme.thing"), ""},
		{"an image without layers", "sha256-" + hex + ".sig", ociManifest, raw(ociConfig, ""), ""},
		{"an image that calls itself a signature", "", ociManifest, raw(ociConfig, `,"artifactType":"`+simpleSigning+`"`, gz), ""},
		{"an image with a config that Docker takes for one", "", ociManifest, raw("application/octet-stream", `,"artifactType":"`+simpleSigning+`"`, gz), ""},
		{"WebAssembly, which containerd's shims run", "", ociManifest, raw("application/vnd.wasm.config.v0+json", "", "application/wasm"), ""},
		{"an index of nothing under an ordinary tag", "v1", ociIndex, fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, ociIndex), ""},
		{"what is no manifest", "sha256-" + hex + ".sig", ociManifest, []byte(`{"schemaVersion":2}`), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			repo := fmt.Sprint("r", n)
			d := putManifest(t, host, repo, "x", tt.mediaType, tt.manifest)
			img := must(attestor.ParseImage(host + "/" + repo + "@" + string(d)))
			got, err := i.Artifact(t.Context(), img, tt.tag)
			if err != nil || got != tt.kind {
				t.Errorf("got %q, %v; want %q", got, err, tt.kind)
			}

			r, err := i.Resolve(t.Context(), parse(t, img.String()), attestor.Needs{})
			if err != nil {
				t.Fatal(err)
			}

			if r.Artifact != "" && len(r.Problems) == 0 {
				t.Errorf("%q has no problem: an artifact is never judged to be good", r.Artifact)
			}
		})
	}
}

// An index is a list of referrers only if each entry was read and is one: its
// author says what the entries are, and may be lying.
func TestIndexThatHidesAnImage(t *testing.T) {
	own, err := ociregistry.New("") // takes an index whose children are missing
	if err != nil {
		t.Fatal(err)
	}

	host := newRegistry(t, func(http.Handler) http.Handler { return own })
	i := newInspector(t, host, nil)
	signature, image := raw(ociConfig, "", simpleSigning), raw(ociConfig, "", ociLayer+"+gzip")
	putManifest(t, host, "app", "s", ociManifest, signature)
	putManifest(t, host, "app", "i", ociManifest, image)
	tag := "sha256-" + strings.Repeat("a", 64)
	lie := fmt.Sprintf(`"artifactType":%q`, simpleSigning)

	for _, tt := range []struct {
		name    string
		entries []string
		kind    string
		fails   bool
	}{
		{"signatures", []string{desc(ociManifest, signature, lie)}, "list of referrers", false},
		{"signatures that are not said to be", []string{desc(ociManifest, signature, "")}, "list of referrers", false},
		{"an image that is said to be a signature", []string{desc(ociManifest, signature, lie), desc(ociManifest, image, lie)}, "", false},
		{"an index within", []string{desc(ociIndex, []byte("{}"), lie)}, "", false},
		{"an entry beside that is no manifest", []string{desc(ociManifest, signature, lie), desc("application/vnd.acme", nil, "")}, "", false},
		{"what is missing", []string{desc(ociManifest, []byte("gone"), lie)}, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := pushIndex(t, host, "app", tag, tt.entries...)
			got, err := i.Artifact(t.Context(), must(attestor.ParseImage(host+"/app@"+string(d))), tag)
			if got != tt.kind || (err != nil) != tt.fails {
				t.Errorf("got %q, %v; want %q", got, err, tt.kind)
			}
		})
	}
}

// What clients really push, to registries with and without a referrers API.
func TestArtifactsOfRealClients(t *testing.T) {
	own, err := ociregistry.New("")
	if err != nil {
		t.Fatal(err)
	}

	serving := func(h http.Handler) func(testing.TB) string {
		return func(t testing.TB) string { return newRegistry(t, func(http.Handler) http.Handler { return h }) }
	}

	withoutAPI := registries.Memory(false)
	for title, start := range map[string]func(testing.TB) string{
		"with a referrers API": func(t testing.TB) string { return newRegistry(t, nil) },
		"without one":          serving(withoutAPI), "of attestor dev": serving(own), "distribution": newDistribution,
	} {
		t.Run(title, func(t *testing.T) {
			host := start(t)
			img := baseImage(t, "amd64", 1)
			push(t, host+"/app:v1", img)
			h := must(img.Digest())
			prefix := host + "/app:" + h.Algorithm + "-" + h.Hex
			push(t, prefix+".sig", attached(simpleSigning))
			push(t, prefix+".att", attached(dsse))

			// With a subject, ggcr keeps the list under the fallback tag itself.
			refers := mutate.ConfigMediaType(attached(dsse), emptyConfig)
			subject := v1.Descriptor{MediaType: must(img.MediaType()), Digest: h, Size: must(img.Size())}
			push(t, host+"/app:bundle", mutate.Subject(refers, subject).(v1.Image))

			want := map[string]string{host + "/app:v1": "", prefix + ".sig": "signature", prefix + ".att": "attestation", host + "/app:bundle": "attestation"}
			if _, err := remote.Get(must(name.ParseReference(prefix))); err == nil {
				want[prefix] = "list of referrers"
			}

			i := newInspector(t, host, nil)
			for ref, kind := range want {
				r := parse(t, ref)
				at := must(i.Pin(t.Context(), r))
				if got, err := i.Artifact(t.Context(), at, r.Tag()); err != nil || got != kind {
					t.Errorf("%s: got %q, %v; want %q", ref, got, err, kind)
				}
			}
		})
	}
}
