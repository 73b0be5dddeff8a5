package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/strictjson"
)

// document has the fields of a manifest or an index that are judged.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *descriptor       `json:"config"`
	Layers        *[]descriptor     `json:"layers"`
	Manifests     *[]descriptor     `json:"manifests"`
	Annotations   map[string]string `json:"annotations"`
	FSLayers      json.RawMessage   `json:"fsLayers"` // schema 1
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      attestor.Digest   `json:"digest"`
	Size        int64             `json:"size"`
	URLs        []string          `json:"urls"`
	Annotations map[string]string `json:"annotations"`
	Platform    *platform         `json:"platform"`
}

// imageConfig has the fields of an image's config that are judged. Runtimes follow
// "config"; the "container_config" of old builders is not read.
type imageConfig struct {
	platform
	Created *time.Time `json:"created"`
	Config  struct {
		User         string              `json:"User"`
		Env          []string            `json:"Env"`
		Entrypoint   []string            `json:"Entrypoint"`
		Cmd          []string            `json:"Cmd"`
		ExposedPorts map[string]struct{} `json:"ExposedPorts"`
		Labels       map[string]string   `json:"Labels"`
	} `json:"config"`
	RootFS struct {
		Type    string            `json:"type"`
		DiffIDs []attestor.Digest `json:"diff_ids"`
	} `json:"rootfs"`
}

const (
	mediaOCIArtifact = "application/vnd.oci.artifact.manifest.v1+json"
	mediaInToto      = "application/vnd.in-toto+json"
	mediaDockerZstd  = "application/vnd.docker.image.rootfs.diff.tar.zstd"
	fixRebuild       = "build and push the image with a current builder"
)

func isIndexType(mt string) bool {
	return mt == string(types.OCIImageIndex) || mt == string(types.DockerManifestList)
}

func isImageType(mt string) bool {
	return mt == string(types.OCIManifestSchema1) || mt == string(types.DockerManifestSchema2)
}

func isSchema1(mt string) bool {
	return mt == string(types.DockerManifestSchema1) || mt == string(types.DockerManifestSchema1Signed)
}

func isLayerType(mt string) bool {
	return slices.Contains([]types.MediaType{
		types.OCILayer, types.OCILayerZStd, types.OCIUncompressedLayer,
		types.DockerLayer, types.DockerUncompressedLayer, mediaDockerZstd,
	}, types.MediaType(mt))
}

func isForeignType(mt string) bool {
	return slices.Contains([]types.MediaType{
		types.DockerForeignLayer, types.OCIRestrictedLayer, types.OCIUncompressedRestrictedLayer,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
	}, types.MediaType(mt))
}

// parseDocument decides from the bytes whether c is an image's manifest or an index,
// and returns its media type. It refuses bytes that two readers could take for
// different kinds: what is judged must be what a runtime runs.
func parseDocument(c content) (document, string, error) {
	header, _, err := mime.ParseMediaType(c.mediaType)
	if err != nil {
		header = c.mediaType
	}

	var d document
	if err := decodeStrict(c.bytes, &d); err != nil {
		switch e, _ := errors.AsType[*strictjson.Error](err); {
		case isSchema1(header):
			return schema1(c)
		case header != "" && !isManifestType(header):
			// A log-in page, say, which a proxy answers with 200.
			return document{}, "", fault(
				attestor.CodeRegistryMisbehaves,
				fmt.Sprintf("the registry answered with %q where a manifest was asked for", clip(header)),
				fixProxy,
				nil,
			)
		case e != nil && e.Fault == strictjson.TooLong:
			return document{}, "", fault(attestor.CodeTooLarge, "manifest "+string(c.digest)+": "+err.Error(),
				"push an image with fewer layers, or an index with fewer platforms", nil)
		}
		return document{}, "", invalidManifest(c, "%s", err)
	}

	if d.SchemaVersion == 1 || len(d.FSLayers) > 0 || isSchema1(header) || isSchema1(d.MediaType) {
		return schema1(c)
	}
	mt := d.kind(header)
	if err := d.checkKind(c, header, mt); err != nil {
		return document{}, "", err
	}
	return d, mt, nil
}

func invalidManifest(c content, format string, args ...any) *attestor.Error {
	return fault(
		attestor.CodeManifestInvalid, "manifest "+string(c.digest)+": "+fmt.Sprintf(format, args...), fixRebuild, nil,
	)
}

// kind returns the media type of a document that was served as header.
func (d document) kind(header string) string {
	// OCI image specification, manifest: mediaType "SHOULD be used" and may be missing. The
	// kind then follows from the content, and Docker or OCI from the header.
	switch {
	case d.MediaType != "":
		return d.MediaType
	case d.Manifests != nil && isIndexType(header), d.Manifests == nil && isImageType(header):
		return header
	case d.Manifests != nil:
		return string(types.OCIImageIndex)
	}
	return string(types.OCIManifestSchema1)
}

// checkKind refuses a document that another reader could take for another kind.
func (d document) checkKind(c content, header, mt string) error {
	index, image := d.Manifests != nil, d.Config != nil || d.Layers != nil

	// Media type, header and content must agree. A document with the fields of both kinds
	// would be an image to one reader and an index to another (CVE-2021-41190).
	switch {
	case mt == mediaOCIArtifact:
		return fault(
			attestor.CodeArtifact,
			string(c.digest)+" is an artifact manifest, not an image",
			"name the image itself",
			nil,
		)
	case !isIndexType(mt) && !isImageType(mt):
		return fault(
			attestor.CodeManifestUnsupported,
			fmt.Sprintf("%s has media type %q, which is neither an image nor an index", c.digest, clip(mt)),
			"push an OCI or Docker schema 2 image",
			nil,
		)
	case header != "" && header != mt:
		return servedAs(header, mt, c.digest)
	case d.SchemaVersion != 2:
		return invalidManifest(c, "schemaVersion is %d, want 2", d.SchemaVersion)
	case index && image:
		return invalidManifest(c, "it is an image and an index at once")
	case index != isIndexType(mt):
		return invalidManifest(c, "its content is not that of its media type %q", mt)
	case image && (d.Config == nil || d.Layers == nil):
		return invalidManifest(c, "config or layers are missing")
	case !index && !image:
		return invalidManifest(c, "it has neither config and layers nor manifests")
	}
	return nil
}

// isManifestType reports whether a media type names any kind of manifest.
func isManifestType(mt string) bool {
	return isIndexType(mt) || isImageType(mt) || isSchema1(mt) || mt == mediaOCIArtifact
}

const fixProxy = "check the registry, or a proxy in front of it; " +
	"if it was pushed under that type, push it again under its own"

// servedAs refuses a manifest that is served under another media type than its
// own. Runtimes go by the header or by the content, so that one manifest could
// be two things. The OCI distribution specification, "Pulling manifests": "If
// the manifest has a mediaType field, clients SHOULD reject unless the mediaType
// field's value matches the type specified by the Content-Type header".
func servedAs(header, mt string, d attestor.Digest) *attestor.Error {
	msg := fmt.Sprintf("manifest %s is %q, but the registry serves it as %q", d, mt, clip(header))
	if isManifestType(header) {
		// Registries keep the type that a manifest was pushed with.
		return fault(
			attestor.CodeManifestInvalid,
			msg,
			"push it again with the Content-Type "+mt+"; if the type stays wrong, check the registry",
			nil,
		)
	}
	return fault(attestor.CodeRegistryMisbehaves, msg, fixProxy, nil)
}

func schema1(c content) (document, string, error) {
	return document{}, "", fault(
		attestor.CodeSchema1,
		string(c.digest)+" is a Docker schema 1 manifest, whose content no digest pins",
		fixRebuild,
		nil,
	)
}

// checkImage refuses an image's manifest whose parts cannot be judged.
func checkImage(d document, limits limits) *attestor.Error {
	invalid := func(format string, args ...any) *attestor.Error {
		return fault(attestor.CodeManifestInvalid, "manifest: "+fmt.Sprintf(format, args...), fixRebuild, nil)
	}
	if mt := d.Config.MediaType; mt != string(types.OCIConfigJSON) && mt != string(types.DockerConfigJSON) {
		return foreignConfig(d)
	}

	if d.ArtifactType != "" && d.ArtifactType != d.Config.MediaType {
		return fault(
			attestor.CodeArtifact,
			fmt.Sprintf(
				"the manifest has artifactType %q: this is an artifact, not a runnable image", clip(d.ArtifactType),
			),
			"name the image itself",
			nil,
		)
	}

	if _, err := attestor.ParseDigest(string(d.Config.Digest)); err != nil {
		return invalid("config: %s", attestor.Message(err))
	}
	if d.Config.Size < 0 {
		return invalid("config has size %d", d.Config.Size)
	}

	if n := len(*d.Layers); n > limits.Layers {
		return fault(
			attestor.CodeTooLarge,
			fmt.Sprintf("the image has %d layers, at most %d are judged", n, limits.Layers),
			"build it with fewer layers",
			nil,
		)
	}

	for i, l := range *d.Layers {
		switch _, err := attestor.ParseDigest(string(l.Digest)); {
		case len(l.URLs) > 0 || isForeignType(l.MediaType):
			return fault(
				attestor.CodeForeignLayer,
				fmt.Sprintf("layer %d (%s) is fetched from elsewhere than its registry", i+1, clip(string(l.Digest))),
				"build the image so that every layer is pushed",
				nil,
			)
		case !isLayerType(l.MediaType):
			return fault(
				attestor.CodeManifestUnsupported,
				fmt.Sprintf("layer %d has media type %q, which is not a filesystem layer", i+1, clip(l.MediaType)),
				fixRebuild,
				nil,
			)
		case err != nil:
			return invalid("layer %d: %s", i+1, attestor.Message(err))
		case l.Size < 0:
			return invalid("layer %d has size %d", i+1, l.Size)
		}
	}
	return nil
}

// foreignConfig refuses a manifest whose config is not an image's, and names its kind.
func foreignConfig(d document) *attestor.Error {
	mt := d.Config.MediaType

	kind := artifactKind(d)
	if kind == "" {
		// Some runtimes run it nevertheless: a builder wrote it wrongly.
		return fault(
			attestor.CodeArtifact,
			fmt.Sprintf("the config has media type %q, which is not an image's", clip(mt)),
			"build the image with a builder that writes "+string(types.OCIConfigJSON),
			nil,
		)
	}

	return fault(
		attestor.CodeArtifact,
		fmt.Sprintf("the config has media type %q: this is an artifact (%s), not a runnable image", clip(mt), kind),
		"name the image itself",
		nil,
	)
}

// parseConfig decodes an image's config and compares it with its manifest.
func parseConfig(b []byte, d document) (imageConfig, *attestor.Error) {
	c, err := decodeConfig(b)
	if err == nil {
		err = c.fits(d)
	}
	if err != nil {
		return imageConfig{}, err
	}
	return c, nil
}

func invalidConfig(format string, args ...any) *attestor.Error {
	return fault(attestor.CodeManifestInvalid, "config: "+fmt.Sprintf(format, args...), fixRebuild, nil)
}

func decodeConfig(b []byte) (imageConfig, *attestor.Error) {
	var c imageConfig
	if err := decodeStrict(b, &c); err != nil {
		return imageConfig{}, invalidConfig("%s", err)
	}

	// OCI image specification, config: rootfs.type "MUST be set to layers".
	if c.RootFS.Type != "layers" {
		return imageConfig{}, invalidConfig("rootfs has type %q, want layers", clip(c.RootFS.Type))
	}

	for i, id := range c.RootFS.DiffIDs {
		if _, err := attestor.ParseDigest(string(id)); err != nil {
			return imageConfig{}, invalidConfig("diffID %d: %s", i+1, attestor.Message(err))
		}
	}
	return c, nil
}

// fits refuses a config that belongs to another manifest. Its diffIDs are compared with
// the layers by position, so that there must be as many.
func (c imageConfig) fits(d document) *attestor.Error {
	if got, want := len(c.RootFS.DiffIDs), len(*d.Layers); got != want {
		return invalidConfig("it names another number of layers (%d diffIDs) than the manifest (%d)", got, want)
	}
	return nil
}
