package corpus

import (
	"fmt"
	"strings"

	"github.com/attestor-gate/attestor"
)

// An IndexCase is an index, and what resolving it finds.
type IndexCase struct {
	Name      string
	Entries   []string
	Platforms []string // the policy's
	Children  []string // that are judged
	Left      []string // that the policy leaves out
	Codes     []attestor.Code
}

// IndexParts are what the entries of [Indexes] name, to be pushed beside them.
func IndexParts() (images []Image, others []Manifest) {
	arm, windows := indexImages()
	return []Image{{}, arm, windows, Attestation(InToto), Attestation(OCILayer)}, []Manifest{
		{MediaType: OCIManifest, Bytes: layerless()}, {MediaType: OCIIndex, Bytes: Index(arm.Entry())},
	}
}

func indexImages() (arm, windows Image) {
	return Image{Arch: "arm64", Layers: []Layer{TarLayer(File{"arm", "64"})}},
		Image{OS: "windows", Layers: []Layer{TarLayer(File{"win", "dows"})}}
}

func layerless() []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[]}`, OCIManifest,
		Desc(OCIConfig, []byte("{}"), ""))
}

// Indexes are well- and ill-made indexes.
func Indexes() []IndexCase {
	amd := Image{}
	arm, windows := indexImages()
	amdManifest, _ := amd.Bytes()
	genuine, _ := Attestation(InToto).Bytes()
	fake, _ := Attestation(OCILayer).Bytes()
	empty, nested := layerless(), Index(arm.Entry())
	return []IndexCase{
		{Name: "two platforms", Entries: []string{amd.Entry(), arm.Entry()},
			Children: []string{"linux/amd64", "linux/arm64"}},
		{Name: "one of two platforms asked for", Entries: []string{amd.Entry(), arm.Entry()},
			Platforms: []string{"linux/arm64/v8"}, Children: []string{"linux/arm64"}, Left: []string{"linux/amd64"}},
		{Name: "the platform asked for, spelt differently", Entries: []string{amd.Entry(),
			strings.Replace(arm.Entry(), `"architecture":"arm64"`, `"architecture":"aarch64"`, 1)},
			Platforms: []string{"linux/arm64"}, Children: []string{"linux/aarch64"}, Left: []string{"linux/amd64"}},
		{Name: "every variant of the platform asked for", Entries: []string{amd.Entry(),
			strings.Replace(amd.Entry(), `"architecture":"amd64"`, `"architecture":"amd64","variant":"v3"`, 1)},
			Platforms: []string{"linux/amd64"}, Children: []string{"linux/amd64", "linux/amd64/v3"}},
		{Name: "none of the platforms asked for", Entries: []string{amd.Entry()}, Platforms: []string{"linux/s390x"},
			Left: []string{"linux/amd64"}, Codes: []attestor.Code{attestor.CodePlatformNotAllowed}},
		{Name: "Windows left out by the policy", Entries: []string{amd.Entry(), windows.Entry()},
			Platforms: []string{"linux/amd64"}, Children: []string{"linux/amd64"}, Left: []string{"windows/amd64"}},
		{Name: "Windows", Entries: []string{amd.Entry(), windows.Entry()}, Children: []string{"linux/amd64"},
			Codes: []attestor.Code{attestor.CodePlatformUnsupported}},
		{Name: "nothing in it", Codes: []attestor.Code{attestor.CodeNoPlatforms}},
		{Name: "nothing but an attestation", Entries: []string{AttestationEntry(Sum(amdManifest), genuine)},
			Codes: []attestor.Code{attestor.CodeNoPlatforms, attestor.CodeAttestationManifestInvalid}},
		{Name: "no platform", Entries: []string{Desc(OCIManifest, amdManifest, "")},
			Codes: []attestor.Code{attestor.CodePlatformMissing}},
		{Name: "empty platform", Entries: []string{Desc(OCIManifest, amdManifest, `"platform":{}`)},
			Codes: []attestor.Code{attestor.CodePlatformMissing}},
		{Name: "an invalid platform",
			Entries: []string{Desc(OCIManifest, amdManifest, `"platform":{"os":"linux","architecture":"amd64\n"}`)},
			Codes:   []attestor.Code{attestor.CodePlatformMissing}},
		{Name: "duplicate platform", Entries: []string{amd.Entry(), amd.Entry()}, Children: []string{"linux/amd64"},
			Codes: []attestor.Code{attestor.CodePlatformDuplicate}},
		{Name: "duplicate platform, spelt differently", Entries: []string{arm.Entry(),
			strings.Replace(arm.Entry(), `"architecture":"arm64"`, `"architecture":"arm64","variant":"v8"`, 1)},
			Children: []string{"linux/arm64"}, Codes: []attestor.Code{attestor.CodePlatformDuplicate}},
		{Name: "nested index", Entries: []string{amd.Entry(),
			Desc(OCIIndex, nested, `"platform":{"os":"linux","architecture":"arm64"}`)},
			Children: []string{"linux/amd64"}, Codes: []attestor.Code{attestor.CodeNestedIndex}},
		{Name: "schema 1 child", Entries: []string{Desc(DockerSchema1, amdManifest, amd.Platform())},
			Codes: []attestor.Code{attestor.CodeSchema1}},
		{Name: "artifact child", Entries: []string{Desc("application/vnd.oci.artifact.manifest.v1+json", amdManifest,
			amd.Platform())}, Codes: []attestor.Code{attestor.CodeArtifact}},
		{Name: "child of unknown type", Entries: []string{Desc("application/json", amdManifest, amd.Platform())},
			Codes: []attestor.Code{attestor.CodeManifestUnsupported}},
		{Name: "child with a URL", Entries: []string{Desc(OCIManifest, amdManifest, amd.Platform()+
			`,"urls":["https://elsewhere.example/m"]`)}, Codes: []attestor.Code{attestor.CodeForeignLayer}},
		{Name: "child of negative size", Entries: []string{DescOf(OCIManifest, Sum(amdManifest), -1, amd.Platform())},
			Codes: []attestor.Code{attestor.CodeManifestInvalid}},

		{Name: "genuine attestation", Entries: []string{amd.Entry(), AttestationEntry(Sum(amdManifest), genuine)},
			Children: []string{"linux/amd64"}},
		{Name: "attestation about no sibling", Entries: []string{amd.Entry(), AttestationEntry(Sum(nested), genuine)},
			Children: []string{"linux/amd64"}, Codes: []attestor.Code{attestor.CodeAttestationManifestInvalid}},
		{Name: "attestation about itself", Entries: []string{amd.Entry(), AttestationEntry(Sum(genuine), genuine)},
			Children: []string{"linux/amd64"}, Codes: []attestor.Code{attestor.CodeAttestationManifestInvalid}},
		{Name: "image posing as attestation", Entries: []string{amd.Entry(), AttestationEntry(Sum(amdManifest), fake)},
			Children: []string{"linux/amd64"}, Codes: []attestor.Code{attestor.CodeAttestationManifestInvalid}},
		{Name: "attestation for a real platform", Entries: []string{amd.Entry(), AttestationEntry(Sum(amdManifest),
			genuine, `{"os":"unknown","architecture":"unknown"}`, `{"os":"linux","architecture":"arm64"}`)},
			Children: []string{"linux/amd64"}, Codes: []attestor.Code{attestor.CodeAttestationManifestInvalid}},
		{Name: "attestation of another type", Entries: []string{amd.Entry(),
			AttestationEntry(Sum(amdManifest), genuine, `attestation-manifest`, `something-else`)},
			Children: []string{"linux/amd64"}, Codes: []attestor.Code{attestor.CodeAttestationManifestInvalid}},
		{Name: "attestation without statements",
			Entries:  []string{amd.Entry(), AttestationEntry(Sum(amdManifest), empty)},
			Children: []string{"linux/amd64"}, Codes: []attestor.Code{attestor.CodeAttestationManifestInvalid}},
		{Name: "unknown platform, not marked", Entries: []string{amd.Entry(),
			Desc(OCIManifest, genuine, `"platform":{"os":"unknown","architecture":"unknown"}`)},
			Children: []string{"linux/amd64"}, Codes: []attestor.Code{attestor.CodeAttestationManifestInvalid}},
		{Name: "attestation whose size is wrong", Entries: []string{amd.Entry(),
			AttestationEntry(Sum(amdManifest), genuine, fmt.Sprintf(`"size":%d`, len(genuine)), `"size":7`)},
			Children: []string{"linux/amd64"}, Codes: []attestor.Code{attestor.CodeManifestInvalid}},

		{Name: "200 platforms", Entries: Many(200), Codes: []attestor.Code{attestor.CodeTooLarge}},
	}
}

// An ImageCase is an image by itself, and the code of what is wrong with it.
type ImageCase struct {
	Name  string
	Image Image
	Code  attestor.Code // "": nothing
}

// Images are well- and ill-made images.
func Images() []ImageCase {
	layer := Tar(File{"a", "b"})
	nul := strings.Repeat("x", 100)

	return []ImageCase{
		{"plain", Image{}, ""},
		{"gzip and zstd layers", Image{Layers: []Layer{{Blob: Gzip(layer), MediaType: OCILayer + "+gzip"},
			{Blob: Zstd(layer), MediaType: OCILayer + "+zstd"}}}, ""},
		{"no layers", Image{Layers: []Layer{}}, ""},
		{"unknown fields", Image{Extra: `"org.example":{"a":[1]}`}, ""},
		{"foreign layer", Image{Layers: []Layer{{Blob: layer, Extra: `"urls":["https://elsewhere.example/l"]`}}},
			attestor.CodeForeignLayer},
		{"non-distributable layer", Image{Layers: []Layer{
			{Blob: layer, MediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"}}},
			attestor.CodeForeignLayer},
		{"encrypted layer", Image{Layers: []Layer{{Blob: layer, MediaType: OCILayer + "+gzip+encrypted"}}},
			attestor.CodeManifestUnsupported},
		{"artifact by config", Image{ConfigType: "application/vnd.oci.empty.v1+json"}, attestor.CodeArtifact},
		{"artifact by type", Image{Extra: `"artifactType":"application/vnd.example"`}, attestor.CodeArtifact},
		{"artifact manifest", Image{MediaType: "application/vnd.oci.artifact.manifest.v1+json"}, attestor.CodeArtifact},
		{"unknown media type", Image{MediaType: "application/vnd.example"}, attestor.CodeManifestUnsupported},
		{"image and index at once", Image{Extra: `"manifests":[]`}, attestor.CodeManifestInvalid},
		{"duplicate key", Image{Extra: `"layers":[]`}, attestor.CodeManifestInvalid},
		{"key in another case", Image{Extra: `"Layers":[]`}, attestor.CodeManifestInvalid},
		{"user in another case", Image{ConfigExtra: `"config":{"User":"1000","user":"0"}`},
			attestor.CodeManifestInvalid},
		{"user twice", Image{ConfigExtra: `"config":{"User":"1000","User":"0"}`}, attestor.CodeManifestInvalid},
		{"config twice", Image{ConfigExtra: `"config":{"User":"0"},"config":{"User":"1000"}`},
			attestor.CodeManifestInvalid},
		{"labels that look like fields",
			Image{ConfigExtra: `"config":{"User":"1000","Labels":{"user":"0","USER":"0","Digest":"x"}}`}, ""},
		{"user of another type", Image{ConfigExtra: `"config":{"User":1000}`}, attestor.CodeManifestInvalid},
		{"no os", Image{OS: Absent}, attestor.CodePlatformMissing},
		{"an empty os", Image{OS: Empty}, attestor.CodePlatformMissing},
		{"os twice", Image{ConfigExtra: `"config":{"User":"1"},"os":"linux"`}, attestor.CodeManifestInvalid},
		{"unknown platform", Image{OS: "unknown", Arch: "unknown"}, attestor.CodePlatformMissing},
		{"Windows", Image{OS: "windows"}, attestor.CodePlatformUnsupported},
		{"WebAssembly", Image{OS: "wasip1", Arch: "wasm"}, attestor.CodePlatformUnsupported},
		{"deep nesting", Image{Extra: `"x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200)},
			attestor.CodeManifestInvalid},
		{"not UTF-8", Image{ConfigExtra: "\"config\":{\"User\":\"1\xff\"}"}, attestor.CodeManifestInvalid},
		{"300 layers", Image{Layers: repeated(300, Layer{Blob: layer})}, attestor.CodeTooLarge},
		{"annotations beyond a manifest's size",
			Image{Extra: `"annotations":{"a":"` + strings.Repeat(nul, 50_000) + `"}`}, attestor.CodeTooLarge},
		{"labels beyond a config's size", Image{ConfigExtra: `"config":{"User":"1","Labels":{"a":"` + strings.Repeat(
			nul, 11_000) + `"}}`}, attestor.CodeTooLarge},
	}
}

// A ManifestCase is the bytes of a manifest, and the code of what is wrong
// with them.
type ManifestCase struct {
	Name, MediaType string
	Bytes           []byte
	Code            attestor.Code // "": nothing
}

// Manifests are the bytes of a manifest; they name the config of the zero
// [Image].
func Manifests() []ManifestCase {
	good, config := Image{}.Bytes()
	// configured is the good manifest with another descriptor of its config.
	configured := func(descriptor string) []byte {
		return []byte(strings.Replace(string(good), Desc(OCIConfig, config, ""), descriptor, 1))
	}

	return []ManifestCase{
		{"good", OCIManifest, good, ""},
		{"empty", OCIManifest, nil, attestor.CodeManifestInvalid},
		{"not JSON", OCIManifest, []byte("<html>"), attestor.CodeManifestInvalid},
		{"null", OCIManifest, []byte("null"), attestor.CodeManifestInvalid},
		{"an array", OCIManifest, []byte("[]"), attestor.CodeManifestInvalid},
		{"empty object", OCIManifest, []byte("{}"), attestor.CodeManifestInvalid},
		{"trailing data", OCIManifest, append(append([]byte{}, good...), "{}"...), attestor.CodeManifestInvalid},
		{"served as an index", OCIIndex, []byte(strings.Replace(string(good), `"layers"`, `"manifests":[],"layers"`,
			1)), attestor.CodeManifestInvalid},
		{"served as Docker's, saying OCI", DockerManifest, good, attestor.CodeManifestInvalid},
		{"served as text", "text/plain", good, attestor.CodeRegistryMisbehaves},
		{"schema 1, signed", DockerSchema1, []byte(`{"schemaVersion":1,"fsLayers":[],"signatures":[]}`),
			attestor.CodeSchema1},
		{"schema 1 served as 2", DockerManifest, []byte(`{"schemaVersion":1,"fsLayers":[]}`), attestor.CodeSchema1},
		{"schemaVersion 3", OCIManifest, []byte(strings.Replace(string(good), `"schemaVersion":2`, `"schemaVersion":3`,
			1)), attestor.CodeManifestInvalid},
		{"no config", OCIManifest, []byte(`{"schemaVersion":2,"layers":[]}`), attestor.CodeManifestInvalid},
		{"config of null", OCIManifest, []byte(`{"schemaVersion":2,"config":null,"layers":[]}`),
			attestor.CodeManifestInvalid},
		{"config that is the manifest of nothing", OCIManifest,
			configured(DescOf(OCIConfig, Sum([]byte("none")), 4, "")), attestor.CodeContentMissing},
		{"config of negative size", OCIManifest, configured(DescOf(OCIConfig, Sum(config), -1, "")),
			attestor.CodeManifestInvalid},
		{"config of another size", OCIManifest, configured(DescOf(OCIConfig, Sum(config), len(config)-1, "")),
			attestor.CodeContentMismatch},
		{"fewer layers than diffIDs", OCIManifest, fmt.Appendf(nil, `{"schemaVersion":2,"config":%s,"layers":[]}`,
			Desc(OCIConfig, config, "")), attestor.CodeManifestInvalid},
		{"no media type", OCIManifest, []byte(strings.Replace(string(good), `"mediaType":"`+OCIManifest+`",`, "", 1)),
			""},
		{"no media type, served as Docker's", DockerManifest,
			[]byte(strings.Replace(string(good), `"mediaType":"`+OCIManifest+`",`, "", 1)), ""},
	}
}

// A ChildCase is the only entry of an index, of the zero [Image] or
// [ArtifactImage], and what is wrong with that child.
type ChildCase struct {
	Name, Entry string
	Code        attestor.Code
}

// ArtifactImage is an artifact that says so by its config.
func ArtifactImage() Image { return Image{ConfigType: "application/vnd.example+json"} }

// Children are entries that do not agree with what they name, or do.
func Children() []ChildCase {
	amd := Image{}
	m, _ := amd.Bytes()
	am, _ := ArtifactImage().Bytes()
	return []ChildCase{
		{"another platform in the config", Desc(OCIManifest, m, `"platform":{"os":"linux","architecture":"arm64"}`),
			attestor.CodePlatformMismatch},
		{"a variant of another",
			Desc(OCIManifest, m, `"platform":{"os":"linux","architecture":"amd64","variant":"v3"}`), ""},
		{"a wrong size", DescOf(OCIManifest, Sum(m), len(m)+1, amd.Platform()), attestor.CodeManifestInvalid},
		{"an artifact", Desc(OCIManifest, am, amd.Platform()), attestor.CodeArtifact},
		{"listed as Docker's", Desc(DockerManifest, m, amd.Platform()), ""},
	}
}

func platforms() []Case {
	var out []Case
	images, others := IndexParts()
	for _, tt := range Indexes() {
		policy := AnyBase
		if tt.Platforms != nil {
			policy = "\n  platforms: [" + strings.Join(tt.Platforms, ", ") + "]" + policy
		}
		want := judged(tt.Codes...)
		mends := ""
		if tt.Name == "genuine attestation" {
			mends = "platforms/image posing as attestation"
		}

		out = append(out, Case{Name: "platforms/" + tt.Name, Policy: policy, Want: want, Mends: mends, Arrange: func(p *Place) {
			for _, i := range images {
				p.PushTo(p.Repo, "child", i)
			}
			for _, m := range others {
				p.Manifest("child", m.MediaType, m.Bytes)
			}
			p.Manifest("1", OCIIndex, Index(tt.Entries...))
		}})
	}

	for _, tt := range Children() {
		var codes []attestor.Code
		if tt.Code != "" { // nothing more was read of that child
			codes = append(codes, tt.Code, attestor.CodeUserLookupFailed)
		}
		out = append(out, Case{Name: "platforms/child with " + tt.Name, Policy: AnyBase, Want: judged(codes...), Arrange: func(p *Place) {
			p.PushTo(p.Repo, "child", Image{})
			p.PushTo(p.Repo, "child", ArtifactImage())
			p.Manifest("1", OCIIndex, Index(tt.Entry))
		}})
	}
	return out
}
