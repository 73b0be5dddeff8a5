package verify

import (
	"context"
	"errors"
	"mime"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/attestor-gate/attestor"
)

// The kinds of artifacts, as people read them.
const (
	artifactSignature   = "signature"
	artifactAttestation = "attestation"
	artifactSBOM        = "SBOM"
	artifactCache       = "build cache"
	artifactChart       = "Helm chart"
	artifactReferrers   = "list of referrers"
	artifactOther       = "other artifact"
)

// referrersTag is the tag under which clients list what refers to a digest where
// a registry has no referrers API: OCI distribution specification, "Referrers
// Tag Schema".
var referrersTag = regexp.MustCompile(`^sha256-[0-9a-f]{64}$`)

// Artifact returns the kind of artifact that img is: a signature, an SBOM, a
// build cache. It returns "" for an image, and for anything that some runtime
// could run. tag is one that names img; "" if none is known.
//
// The manifest decides. Whoever pushes chooses the tag, and what runs, runs by
// digest: a name such as sha256-….sig proves nothing, and an image that bears it
// is an image. The tag is consulted only about an index that lists nothing.
func (i *Inspector) Artifact(ctx context.Context, img attestor.Image, tag string) (string, error) {
	c, err := i.fetch.byDigest(ctx, img)
	if err != nil {
		return "", err
	}

	d, mt, err := i.document(img, c)
	if e, ok := errors.AsType[*attestor.Error](err); ok && e.Code == attestor.CodeArtifact {
		return artifactOther, nil // OCI's artifact manifest, which has no layers
	}
	if err != nil {
		return "", nil //nolint:nilerr // malformed, or of an old schema: to be judged, and refused with the reason
	}
	return i.artifact(ctx, img, d, mt, tag)
}

// artifact is [Inspector.Artifact] for a manifest that was read.
func (i *Inspector) artifact(ctx context.Context, img attestor.Image, d document, mt, tag string) (string, error) {
	if !isIndexType(mt) {
		return artifactKind(d), nil
	}

	// Entries that are no manifests cannot run: BuildKit lists the layers of a
	// build cache so.
	var manifests []descriptor
	cache := false
	for _, e := range *d.Manifests {
		if isManifestType(e.MediaType) {
			manifests = append(manifests, e)
		}
		cache = cache || artifactOfType(e.MediaType) == artifactCache
	}

	switch {
	// Too many to read each: it is judged as an image, and refused.
	case i.indexTooLarge(manifests) != nil:
		return "", nil //nolint:nilerr // the judge of the image gives the error
	case len(manifests) == 0 && cache:
		return artifactCache, nil
	case len(*d.Manifests) == 0 && referrersTag.MatchString(tag):
		return artifactReferrers, nil
	// What is in doubt is judged as an image.
	case len(manifests) < len(*d.Manifests) || len(manifests) == 0:
		return "", nil
	}

	// What an index says of its entries is its author's word: an image could be
	// listed as a signature. So each entry is read.
	for _, e := range manifests {
		if !isImageType(e.MediaType) {
			return "", nil
		}
		if _, err := attestor.ParseDigest(string(e.Digest)); err != nil {
			return "", nil //nolint:nilerr // to be judged, and refused with the reason
		}

		child, err := i.child(ctx, img.Sibling(e.Digest), e.Size)
		if err != nil {
			return "", err
		}
		if artifactKind(child) == "" {
			return "", nil
		}
	}
	return artifactReferrers, nil
}

// artifactKind is the kind of artifact that a manifest is, "" for what could run.
func artifactKind(d document) string {
	if !runnableConfig(d.Config.MediaType) {
		for _, t := range []string{d.ArtifactType, d.Config.MediaType} {
			if kind := artifactOfType(t); kind != "" {
				return kind
			}
		}

		for _, l := range *d.Layers {
			if kind := artifactOfType(l.MediaType); kind != "" {
				return kind
			}
		}
		return artifactOther
	}

	// cosign keeps signatures in manifests with the config of an image. Only
	// layers none of which is a filesystem tell them from one: a runtime skips
	// layers that it does not know, and runs the rest. The artifactType is not
	// consulted, since runtimes ignore it.
	kind := ""
	for _, l := range *d.Layers {
		of := artifactOfType(l.MediaType)
		if of == "" {
			return ""
		}
		if kind == "" {
			kind = of
		}
	}
	return kind
}

// runnableConfig reports whether some runtime runs a manifest with a config of
// this media type. Docker takes a missing or general type for an image's, as old
// registries served them; containerd's shims run WebAssembly.
func runnableConfig(mt string) bool {
	switch mt {
	case string(types.OCIConfigJSON),
		string(types.DockerConfigJSON),
		"",
		"application/octet-stream",
		"application/json",
		"text/html",
		"text/plain":
		return true
	}
	return strings.Contains(mt, "wasm")
}

// artifactOfType is the kind of artifact that a media type or artifactType
// belongs to; "" for one that is not known.
func artifactOfType(mt string) string {
	if parsed, _, err := mime.ParseMediaType(mt); err == nil {
		mt = parsed
	}

	switch mt {
	case "application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.dev.cosign.artifact.sig.v1+json",
		"application/vnd.cncf.notary.signature", "application/jose+json", "application/cose":
		return artifactSignature
	case "application/vnd.dsse.envelope.v1+json", mediaInToto:
		return artifactAttestation
	case "text/spdx",
		"text/spdx+json",
		"text/spdx+xml",
		"application/spdx+json",
		"application/vnd.syft+json",
		"application/vnd.dev.cosign.artifact.sbom.v1+json":
		return artifactSBOM
	case "application/vnd.buildkit.cacheconfig.v0":
		return artifactCache
	case "application/vnd.cncf.helm.config.v1+json",
		"application/vnd.cncf.helm.chart.content.v1.tar+gzip",
		"application/vnd.cncf.helm.chart.provenance.v1.prov":
		return artifactChart
	}

	switch {
	case strings.HasPrefix(mt, "application/vnd.dev.sigstore.bundle"):
		return artifactSignature
	case strings.HasPrefix(mt, "application/vnd.cyclonedx"):
		return artifactSBOM
	}
	return ""
}
