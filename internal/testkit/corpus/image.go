package corpus

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/attestor-gate/attestor"
)

// Media types, as registries name them.
const (
	OCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	OCIIndex       = "application/vnd.oci.image.index.v1+json"
	OCIConfig      = "application/vnd.oci.image.config.v1+json"
	OCILayer       = "application/vnd.oci.image.layer.v1.tar"
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerSchema1  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	InToto         = "application/vnd.in-toto+json"
	octets         = "application/octet-stream"
)

// Sum is the digest of b.
func Sum(b []byte) attestor.Digest {
	s := sha256.Sum256(b)
	return attestor.Digest("sha256:" + hex.EncodeToString(s[:]))
}

// Desc is a descriptor of b, with what extra says besides.
func Desc(mediaType string, b []byte, extra string) string {
	return DescOf(mediaType, Sum(b), len(b), extra)
}

// DescOf is a descriptor that claims whatever it is given.
func DescOf(mediaType string, d attestor.Digest, size int, extra string) string {
	s := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d`, mediaType, d, size)
	if extra != "" {
		s += "," + extra
	}
	return s + "}"
}

// A Layer is a layer with what is said of it, true or not.
type Layer struct {
	Blob      []byte
	MediaType string          // default: tar
	DiffID    attestor.Digest // default: of Blob
	Extra     string          // more of the descriptor
}

// Recompressed is a layer of one file with the same content in other bytes.
func (l Layer) Recompressed(name string) Layer {
	l.Blob, l.MediaType = Zstd(Tar(File{name, "content of " + name})), OCILayer+"+zstd"
	return l
}

// Forged is l with the diffID of something else.
func (l Layer) Forged(as attestor.Digest) Layer {
	l.DiffID = as
	return l
}

// LayerOf is a layer of one file, gzipped.
func LayerOf(name string) Layer {
	b := Tar(File{name, "content of " + name})
	return Layer{Blob: Gzip(b), MediaType: OCILayer + "+gzip", DiffID: Sum(b)}
}

// LayersOf is a layer for each name.
func LayersOf(names ...string) []Layer {
	var ls []Layer
	for _, n := range names {
		ls = append(ls, LayerOf(n))
	}
	return ls
}

// TarLayer is an uncompressed layer.
func TarLayer(files ...File) Layer { return Layer{Blob: Tar(files...)} }

// An Image is an image of one's own making: what no client of a registry
// would send.
type Image struct {
	Layers      []Layer // default: one small layer
	OS, Arch    string  // default: linux, amd64; or [Absent], [Empty]
	Variant     string
	User        string // default: 65532:65532
	ConfigExtra string // more of the config; replaces User
	Extra       string // more of the manifest
	MediaType   string // what it is served as; default: OCI
	ConfigType  string
}

// Absent is an OS or architecture that the config does not have, Empty one that
// it leaves empty.
const (
	Absent = "\x00absent"
	Empty  = "\x00empty"
)

// field is a config's field with its comma, or nothing.
func field(name, value string) string {
	switch value {
	case Absent:
		return ""
	case Empty:
		value = ""
	}
	return fmt.Sprintf("%q:%q,", name, value)
}

// Bytes returns manifest and config.
func (i Image) Bytes() (manifest, config []byte) {
	i = i.WithDefaults()
	var descs []string
	diffIDs := []attestor.Digest{}
	for _, l := range i.Layers {
		mt, id := l.MediaType, l.DiffID
		if mt == "" {
			mt = OCILayer
		}
		if id == "" {
			id = Sum(l.Blob)
		}
		descs, diffIDs = append(descs, Desc(mt, l.Blob, l.Extra)), append(diffIDs, id)
	}

	ids, _ := json.Marshal(diffIDs) // strings
	platform := field("os", i.OS) + field("architecture", i.Arch)
	if i.Variant != "" {
		platform += field("variant", i.Variant)
	}

	config = fmt.Appendf(nil, `{%s"rootfs":{"type":"layers","diff_ids":%s},%s}`, platform, ids, i.ConfigExtra)
	extra := ""
	if i.Extra != "" {
		extra = "," + i.Extra
	}
	manifest = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]%s}`, i.MediaType,
		Desc(i.ConfigType, config, ""), strings.Join(descs, ","), extra)
	return manifest, config
}

// Digest is that of the manifest.
func (i Image) Digest() attestor.Digest {
	m, _ := i.Bytes()
	return Sum(m)
}

// WithDefaults fills in what was left out.
func (i Image) WithDefaults() Image {
	if i.Layers == nil {
		i.Layers = []Layer{{Blob: Tar(File{"hello", "world"})}}
	}
	for _, d := range []struct {
		field *string
		value string
	}{{&i.OS, "linux"}, {&i.Arch, "amd64"}, {&i.MediaType, OCIManifest}, {&i.ConfigType, OCIConfig},
		{&i.User, "65532:65532"}} {
		if *d.field == "" {
			*d.field = d.value
		}
	}

	if i.ConfigExtra == "" {
		i.ConfigExtra = UserConfig(i.User)
	}
	return i
}

// UserConfig is the part of a config that sets a user, "" too.
func UserConfig(user string) string {
	b, _ := json.Marshal(user) // a string
	return fmt.Sprintf(`"config":{"User":%s}`, b)
}

// Platform is the index's way to state the image's.
func (i Image) Platform() string {
	i = i.WithDefaults()
	variant := ""
	if i.Variant != "" {
		variant = fmt.Sprintf(`,"variant":%q`, i.Variant)
	}
	return fmt.Sprintf(`"platform":{"os":%q,"architecture":%q%s}`, i.OS, i.Arch, variant)
}

// Entry is the image's entry in an index.
func (i Image) Entry() string {
	m, _ := i.Bytes()
	return Desc(OCIManifest, m, i.Platform())
}

// Index is an index of the given entries.
func Index(entries ...string) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, OCIIndex, strings.Join(entries, ","))
}

// AttestationEntry is BuildKit's way to list an attestation about a sibling;
// change replaces parts of it.
func AttestationEntry(about attestor.Digest, manifest []byte, change ...string) string {
	s := Desc(OCIManifest, manifest, fmt.Sprintf(`"platform":{"os":"unknown","architecture":"unknown"},`+
		`"annotations":{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":%q}`, about))
	return strings.NewReplacer(change...).Replace(s)
}

// Attestation is a manifest as BuildKit writes them, with layers of the given type.
func Attestation(layerType string) Image {
	return Image{OS: "unknown", Arch: "unknown",
		Layers: []Layer{{Blob: []byte(`{"_type":"https://in-toto.io/Statement/v1"}`), MediaType: layerType,
			Extra: `"annotations":{"in-toto.io/predicate-type":"https://slsa.dev/provenance/v1"}`}}}
}

// Many are entries of so many platforms, of one image.
func Many(n int) []string {
	m, _ := Image{}.Bytes()
	var entries []string
	for k := range n {
		entries = append(entries,
			Desc(OCIManifest, m, fmt.Sprintf(`"platform":{"os":"linux","architecture":"amd64","variant":"x%d"}`, k)))
	}
	return entries
}

func repeated[T any](n int, v T) []T {
	s := make([]T, n)
	for k := range s {
		s[k] = v
	}
	return s
}
