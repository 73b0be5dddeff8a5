package verify_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify"
)

func attestationEntry(about attestor.Digest, manifest []byte, change ...string) string {
	s := desc(ociManifest, manifest, fmt.Sprintf(`"platform":{"os":"unknown","architecture":"unknown"},"annotations":{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":%q}`, about))
	return strings.NewReplacer(change...).Replace(s)
}

// attestation is a manifest as BuildKit writes them, with layers of the given type.
func attestation(layerType string) rawImage {
	return rawImage{os: "unknown", arch: "unknown", layers: []rawLayer{{blob: []byte(`{"_type":"https://in-toto.io/Statement/v1"}`), mediaType: layerType,
		extra: `"annotations":{"in-toto.io/predicate-type":"https://slsa.dev/provenance/v1"}`}}}
}

func TestIndex(t *testing.T) {
	const inToto = "application/vnd.in-toto+json"
	amd, arm := rawImage{}, rawImage{arch: "arm64", layers: []rawLayer{{blob: tarOf(file{"arm", "64"})}}}
	windows := rawImage{os: "windows", layers: []rawLayer{{blob: tarOf(file{"win", "dows"})}}}
	amdManifest, _ := amd.bytes()
	genuine, _ := attestation(inToto).bytes()
	fake, _ := attestation(ociLayer).bytes()
	empty := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[]}`, ociManifest, desc(ociConfig, []byte("{}"), "")))
	nested := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, ociIndex, arm.entry())

	for _, tt := range []struct {
		name      string
		entries   []string
		platforms []string // the policy's
		children  []string
		left      []string
		codes     []attestor.Code
	}{
		{name: "two platforms", entries: []string{amd.entry(), arm.entry()}, children: []string{"linux/amd64", "linux/arm64"}},
		{name: "one of two platforms asked for", entries: []string{amd.entry(), arm.entry()}, platforms: []string{"linux/arm64/v8"}, children: []string{"linux/arm64"}, left: []string{"linux/amd64"}},
		{name: "every variant of the platform asked for", entries: []string{amd.entry(), strings.Replace(amd.entry(), `"architecture":"amd64"`, `"architecture":"amd64","variant":"v3"`, 1)}, platforms: []string{"linux/amd64"}, children: []string{"linux/amd64", "linux/amd64/v3"}},
		{name: "none of the platforms asked for", entries: []string{amd.entry()}, platforms: []string{"linux/s390x"}, left: []string{"linux/amd64"}, codes: []attestor.Code{attestor.CodePlatformNotAllowed}},
		{name: "Windows left out by the policy", entries: []string{amd.entry(), windows.entry()}, platforms: []string{"linux/amd64"}, children: []string{"linux/amd64"}, left: []string{"windows/amd64"}},
		{name: "Windows", entries: []string{amd.entry(), windows.entry()}, children: []string{"linux/amd64"}, codes: []attestor.Code{attestor.CodePlatformUnsupported}},
		{name: "nothing in it", codes: []attestor.Code{attestor.CodeNoPlatforms}},
		{name: "nothing but an attestation", entries: []string{attestationEntry(sum(amdManifest), genuine)}, codes: []attestor.Code{attestor.CodeNoPlatforms, attestor.CodeAttestationManifestInvalid}},
		{name: "no platform", entries: []string{desc(ociManifest, amdManifest, "")}, codes: []attestor.Code{attestor.CodePlatformMissing}},
		{name: "empty platform", entries: []string{desc(ociManifest, amdManifest, `"platform":{}`)}, codes: []attestor.Code{attestor.CodePlatformMissing}},
		{name: "a platform that is none", entries: []string{desc(ociManifest, amdManifest, `"platform":{"os":"linux","architecture":"amd64\n"}`)}, codes: []attestor.Code{attestor.CodePlatformMissing}},
		{name: "duplicate platform", entries: []string{amd.entry(), amd.entry()}, children: []string{"linux/amd64"}, codes: []attestor.Code{attestor.CodePlatformDuplicate}},
		{name: "duplicate platform, spelt differently", entries: []string{arm.entry(), strings.Replace(arm.entry(), `"architecture":"arm64"`, `"architecture":"arm64","variant":"v8"`, 1)}, children: []string{"linux/arm64"}, codes: []attestor.Code{attestor.CodePlatformDuplicate}},
		{name: "nested index", entries: []string{amd.entry(), desc(ociIndex, nested, `"platform":{"os":"linux","architecture":"arm64"}`)}, children: []string{"linux/amd64"}, codes: []attestor.Code{attestor.CodeNestedIndex}},
		{name: "schema 1 child", entries: []string{desc(dockerSchema1, amdManifest, amd.platform())}, codes: []attestor.Code{attestor.CodeSchema1}},
		{name: "artifact child", entries: []string{desc("application/vnd.oci.artifact.manifest.v1+json", amdManifest, amd.platform())}, codes: []attestor.Code{attestor.CodeArtifact}},
		{name: "child of unknown type", entries: []string{desc("application/json", amdManifest, amd.platform())}, codes: []attestor.Code{attestor.CodeManifestUnsupported}},
		{name: "child with a URL", entries: []string{desc(ociManifest, amdManifest, amd.platform()+`,"urls":["https://elsewhere.example/m"]`)}, codes: []attestor.Code{attestor.CodeForeignLayer}},
		{name: "child of negative size", entries: []string{descOf(ociManifest, sum(amdManifest), -1, amd.platform())}, codes: []attestor.Code{attestor.CodeManifestInvalid}},

		{name: "genuine attestation", entries: []string{amd.entry(), attestationEntry(sum(amdManifest), genuine)}, children: []string{"linux/amd64"}},
		{name: "attestation about no sibling", entries: []string{amd.entry(), attestationEntry(sum(nested), genuine)}, children: []string{"linux/amd64"}, codes: []attestor.Code{attestor.CodeAttestationManifestInvalid}},
		{name: "attestation about itself", entries: []string{amd.entry(), attestationEntry(sum(genuine), genuine)}, children: []string{"linux/amd64"}, codes: []attestor.Code{attestor.CodeAttestationManifestInvalid}},
		{name: "image posing as attestation", entries: []string{amd.entry(), attestationEntry(sum(amdManifest), fake)}, children: []string{"linux/amd64"}, codes: []attestor.Code{attestor.CodeAttestationManifestInvalid}},
		{name: "attestation for a real platform", entries: []string{amd.entry(), attestationEntry(sum(amdManifest), genuine, `{"os":"unknown","architecture":"unknown"}`, `{"os":"linux","architecture":"arm64"}`)}, children: []string{"linux/amd64"}, codes: []attestor.Code{attestor.CodeAttestationManifestInvalid}},
		{name: "attestation of another type", entries: []string{amd.entry(), attestationEntry(sum(amdManifest), genuine, `attestation-manifest`, `something-else`)}, children: []string{"linux/amd64"}, codes: []attestor.Code{attestor.CodeAttestationManifestInvalid}},
		{name: "attestation without statements", entries: []string{amd.entry(), attestationEntry(sum(amdManifest), empty)}, children: []string{"linux/amd64"}, codes: []attestor.Code{attestor.CodeAttestationManifestInvalid}},
		{name: "unknown platform, not marked", entries: []string{amd.entry(), desc(ociManifest, genuine, `"platform":{"os":"unknown","architecture":"unknown"}`)}, children: []string{"linux/amd64"}, codes: []attestor.Code{attestor.CodeAttestationManifestInvalid}},
		{name: "attestation whose size is wrong", entries: []string{amd.entry(), attestationEntry(sum(amdManifest), genuine, fmt.Sprintf(`"size":%d`, len(genuine)), `"size":7`)}, children: []string{"linux/amd64"}, codes: []attestor.Code{attestor.CodeManifestInvalid}},

		{name: "200 platforms", entries: many(200), codes: []attestor.Code{attestor.CodeTooLarge}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			for _, r := range []rawImage{amd, arm, windows, attestation(inToto), attestation(ociLayer)} {
				pushRaw(t, host, "app", "child", r)
			}
			putManifest(t, host, "app", "child", ociManifest, empty)
			putManifest(t, host, "app", "child", ociIndex, nested)
			d := pushIndex(t, host, "app", "1", tt.entries...)
			r, err := newInspector(t, host, nil).Resolve(context.Background(), parse(t, host+"/app:1"), attestor.Needs{Platforms: tt.platforms})
			if err != nil {
				t.Fatal(err)
			}
			if !r.Index || r.Image.Digest() != d || r.MediaType != ociIndex {
				t.Errorf("resolved %+v, want index %s", r, d)
			}
			wantCodes(t, r.Problems, tt.codes...)
			if diff := cmp.Diff(tt.children, platforms(r.Children), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("children (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.left, platforms(r.Left), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
		})
	}
}

// many are entries of so many platforms, of one image.
func many(n int) []string {
	m, _ := rawImage{}.bytes()
	var entries []string
	for k := range n {
		entries = append(entries, desc(ociManifest, m, fmt.Sprintf(`"platform":{"os":"linux","architecture":"amd64","variant":"x%d"}`, k)))
	}
	return entries
}

func platforms(children []attestor.Child) []string {
	var s []string
	for _, c := range children {
		s = append(s, c.Platform)
	}
	return s
}

// What is wrong with one child is in that child's evidence.
func TestChild(t *testing.T) {
	amd := rawImage{}
	m, _ := amd.bytes()
	artifact := rawImage{configType: "application/vnd.example+json"}
	am, _ := artifact.bytes()
	for _, tt := range []struct {
		name  string
		entry string
		code  attestor.Code
	}{
		{"another platform in the config", desc(ociManifest, m, `"platform":{"os":"linux","architecture":"arm64"}`), attestor.CodePlatformMismatch},
		{"a variant of another", desc(ociManifest, m, `"platform":{"os":"linux","architecture":"amd64","variant":"v3"}`), ""},
		{"a wrong size", descOf(ociManifest, sum(m), len(m)+1, amd.platform()), attestor.CodeManifestInvalid},
		{"an artifact", desc(ociManifest, am, amd.platform()), attestor.CodeArtifact},
		{"listed as Docker's", desc(dockerManifest, m, amd.platform()), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "app", "child", amd)
			pushRaw(t, host, "app", "child", artifact)
			pushIndex(t, host, "app", "1", tt.entry)
			r, all := inspectAll(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{})
			wantCodes(t, r.Problems)
			var want []attestor.Code
			if tt.code != "" {
				want = append(want, tt.code)
			}
			wantCodes(t, all[0].Problems, want...)
		})
	}
}

// An image by itself: what is wrong with it is in the answer of Resolve.
func TestImage(t *testing.T) {
	layer := tarOf(file{"a", "b"})
	nul := strings.Repeat("x", 100)
	for _, tt := range []struct {
		name  string
		image rawImage
		code  attestor.Code
	}{
		{"plain", rawImage{}, ""},
		{"gzip and zstd layers", rawImage{layers: []rawLayer{{blob: gzipped(layer), mediaType: ociLayer + "+gzip"}, {blob: zstded(layer), mediaType: ociLayer + "+zstd"}}}, ""},
		{"no layers", rawImage{layers: []rawLayer{}}, ""},
		{"unknown fields", rawImage{extra: `"org.example":{"a":[1]}`}, ""},
		{"foreign layer", rawImage{layers: []rawLayer{{blob: layer, extra: `"urls":["https://elsewhere.example/l"]`}}}, attestor.CodeForeignLayer},
		{"non-distributable layer", rawImage{layers: []rawLayer{{blob: layer, mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"}}}, attestor.CodeForeignLayer},
		{"encrypted layer", rawImage{layers: []rawLayer{{blob: layer, mediaType: ociLayer + "+gzip+encrypted"}}}, attestor.CodeManifestUnsupported},
		{"artifact by config", rawImage{configType: "application/vnd.oci.empty.v1+json"}, attestor.CodeArtifact},
		{"artifact by type", rawImage{extra: `"artifactType":"application/vnd.example"`}, attestor.CodeArtifact},
		{"artifact manifest", rawImage{mediaType: "application/vnd.oci.artifact.manifest.v1+json"}, attestor.CodeArtifact},
		{"unknown media type", rawImage{mediaType: "application/vnd.example"}, attestor.CodeManifestUnsupported},
		{"image and index at once", rawImage{extra: `"manifests":[]`}, attestor.CodeManifestInvalid},
		{"duplicate key", rawImage{extra: `"layers":[]`}, attestor.CodeManifestInvalid},
		{"key in another case", rawImage{extra: `"Layers":[]`}, attestor.CodeManifestInvalid},
		{"user in another case", rawImage{configExtra: `"config":{"User":"1000","user":"0"}`}, attestor.CodeManifestInvalid},
		{"user twice", rawImage{configExtra: `"config":{"User":"1000","User":"0"}`}, attestor.CodeManifestInvalid},
		{"config twice", rawImage{configExtra: `"config":{"User":"0"},"config":{"User":"1000"}`}, attestor.CodeManifestInvalid},
		{"labels that look like fields", rawImage{configExtra: `"config":{"User":"1000","Labels":{"user":"0","USER":"0","Digest":"x"}}`}, ""},
		{"user of another type", rawImage{configExtra: `"config":{"User":1000}`}, attestor.CodeManifestInvalid},
		{"no os", rawImage{configExtra: `"config":{"User":"1"},"os":""`}, attestor.CodeManifestInvalid},
		{"unknown platform", rawImage{os: "unknown", arch: "unknown"}, attestor.CodePlatformMissing},
		{"Windows", rawImage{os: "windows"}, attestor.CodePlatformUnsupported},
		{"WebAssembly", rawImage{os: "wasip1", arch: "wasm"}, attestor.CodePlatformUnsupported},
		{"deep nesting", rawImage{extra: `"x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200)}, attestor.CodeManifestInvalid},
		{"not UTF-8", rawImage{configExtra: "\"config\":{\"User\":\"1\xff\"}"}, attestor.CodeManifestInvalid},
		{"300 layers", rawImage{layers: slicesOf(300, rawLayer{blob: layer})}, attestor.CodeTooLarge},
		{"annotations beyond a manifest's size", rawImage{extra: `"annotations":{"a":"` + strings.Repeat(nul, 50_000) + `"}`}, attestor.CodeTooLarge},
		{"labels beyond a config's size", rawImage{configExtra: `"config":{"User":"1","Labels":{"a":"` + strings.Repeat(nul, 11_000) + `"}}`}, attestor.CodeTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			d := pushRaw(t, host, "app", "1", tt.image)
			// By digest: what is wrong is a denial of that digest.
			r, err := newInspector(t, host, nil).Resolve(context.Background(), parse(t, host+"/app@"+string(d)), attestor.Needs{})
			if err != nil {
				t.Fatal(err)
			}
			if r.Image.Digest() != d {
				t.Errorf("resolved %s, want %s", r.Image, d)
			}
			if tt.code == "" {
				wantCodes(t, r.Problems)
				return
			}
			wantCodes(t, r.Problems, tt.code)
			if r.Problems[0].Status != attestor.StatusDeny || r.Problems[0].Check != attestor.CheckPlatforms || len(r.Children) > 0 {
				t.Errorf("resolved %+v, want a denial and nothing to judge", r)
			}
		})
	}
}

func slicesOf[T any](n int, v T) []T {
	s := make([]T, n)
	for k := range s {
		s[k] = v
	}
	return s
}

func TestManifestBytes(t *testing.T) {
	good, config := rawImage{}.bytes()
	for _, tt := range []struct {
		name, mediaType string
		bytes           []byte
		code            attestor.Code
	}{
		{"empty", ociManifest, nil, attestor.CodeManifestInvalid},
		{"not JSON", ociManifest, []byte("<html>"), attestor.CodeManifestInvalid},
		{"null", ociManifest, []byte("null"), attestor.CodeManifestInvalid},
		{"an array", ociManifest, []byte("[]"), attestor.CodeManifestInvalid},
		{"empty object", ociManifest, []byte("{}"), attestor.CodeManifestInvalid},
		{"trailing data", ociManifest, append(append([]byte{}, good...), "{}"...), attestor.CodeManifestInvalid},
		{"served as an index", ociIndex, []byte(strings.Replace(string(good), `"layers"`, `"manifests":[],"layers"`, 1)), attestor.CodeManifestInvalid},
		{"served as Docker's, saying OCI", dockerManifest, good, attestor.CodeManifestInvalid},
		{"served as text", "text/plain", good, attestor.CodeManifestInvalid},
		{"schema 1, signed", dockerSchema1, []byte(`{"schemaVersion":1,"fsLayers":[],"signatures":[]}`), attestor.CodeSchema1},
		{"schema 1 served as 2", dockerManifest, []byte(`{"schemaVersion":1,"fsLayers":[]}`), attestor.CodeSchema1},
		{"schemaVersion 3", ociManifest, []byte(strings.Replace(string(good), `"schemaVersion":2`, `"schemaVersion":3`, 1)), attestor.CodeManifestInvalid},
		{"no config", ociManifest, []byte(`{"schemaVersion":2,"layers":[]}`), attestor.CodeManifestInvalid},
		{"config of null", ociManifest, []byte(`{"schemaVersion":2,"config":null,"layers":[]}`), attestor.CodeManifestInvalid},
		{"config that is the manifest of nothing", ociManifest, fmt.Appendf(nil, `{"schemaVersion":2,"config":%s,"layers":[]}`, descOf(ociConfig, sum([]byte("none")), 4, "")), attestor.CodeRegistryMisbehaves},
		{"config of negative size", ociManifest, fmt.Appendf(nil, `{"schemaVersion":2,"config":%s,"layers":[]}`, descOf(ociConfig, sum(config), -1, "")), attestor.CodeTooLarge},
		{"config of another size", ociManifest, fmt.Appendf(nil, `{"schemaVersion":2,"config":%s,"layers":[]}`, descOf(ociConfig, sum(config), len(config)-1, "")), attestor.CodeContentMismatch},
		{"fewer layers than diffIDs", ociManifest, fmt.Appendf(nil, `{"schemaVersion":2,"config":%s,"layers":[]}`, desc(ociConfig, config, "")), attestor.CodeManifestInvalid},
		{"no media type", ociManifest, []byte(strings.Replace(string(good), `"mediaType":"`+ociManifest+`",`, "", 1)), ""},
		{"no media type, served as Docker's", dockerManifest, []byte(strings.Replace(string(good), `"mediaType":"`+ociManifest+`",`, "", 1)), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			putBlob(t, host, "app", config)
			d := putManifest(t, host, "app", "1", tt.mediaType, tt.bytes)
			r, err := newInspector(t, host, nil).Resolve(context.Background(), parse(t, host+"/app@"+string(d)), attestor.Needs{})
			if err != nil {
				t.Fatal(err)
			}
			var want []attestor.Code
			if tt.code != "" {
				want = append(want, tt.code)
			}
			wantCodes(t, r.Problems, want...)
		})
	}
}

// The author's claims are recorded, bounded; values of the environment are not.
func TestClaims(t *testing.T) {
	host := newRegistry(t, nil)
	pushRaw(t, host, "app", "1", rawImage{
		extra:       `"annotations":{"org.opencontainers.image.title":"app"}`,
		configExtra: `"config":{"User":"1000","Env":["PATH=/bin","DB_PASSWORD=hunter2","TOKEN_FILE=/run/t","API_KEY=","KEY=AKIAABCDEFGHIJKLMNOP"],"Labels":{"team":"a","big":"` + strings.Repeat("x", 70_000) + `"},"ExposedPorts":{"8080/tcp":{}},"Entrypoint":["/app"],"Cmd":["-v"]}`,
	})
	got := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{}).Config
	if len(got.Labels["big"]) > 66_000 {
		t.Errorf("label big has %d bytes", len(got.Labels["big"]))
	}
	got.Labels["big"], got.Size = "", 0
	want := attestor.ImageConfig{
		User: "1000", Labels: map[string]string{"team": "a", "big": ""}, Annotations: map[string]string{"org.opencontainers.image.title": "app"},
		EnvNames: []string{"PATH", "DB_PASSWORD", "TOKEN_FILE", "API_KEY", "KEY"}, SecretEnv: []string{"DB_PASSWORD", "KEY"},
		Entrypoint: []string{"/app"}, Cmd: []string{"-v"}, ExposedPorts: []string{"8080/tcp"}, Clipped: []string{"labels"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

// What was left out is not to be taken for what is not there.
func TestClaimsSayWhatWasClipped(t *testing.T) {
	many := func(form string) string {
		var list []string
		for n := range 300 {
			list = append(list, fmt.Sprintf(form, n))
		}
		return strings.Join(list, ",")
	}
	host := newRegistry(t, nil)
	pushRaw(t, host, "app", "1", rawImage{
		extra: `"annotations":{` + many(`"a%d":""`) + `}`,
		configExtra: `"config":{"Env":[` + many(`"TOKEN_%d=x"`) + `],"Labels":{` + many(`"l%d":""`) + `},"ExposedPorts":{` + many(`"%d/tcp":{}`) +
			`},"Entrypoint":[` + many(`"e%d"`) + `],"Cmd":[` + many(`"c%d"`) + `]}`,
	})
	got := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{}).Config.Clipped
	want := []string{"labels", "annotations", "envNames", "secretEnv", "entrypoint", "cmd", "exposedPorts"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("clipped (-want +got):\n%s", diff)
	}
}

// The smallest limits still have their reasons.
func TestLimits(t *testing.T) {
	host := newRegistry(t, nil)
	push(t, host+"/app:1", index(t, configured(t, baseImage(t, "amd64", 1), "amd64", "1"), configured(t, baseImage(t, "arm64", 1), "arm64", "1")))
	i := newInspector(t, host, func(c *verify.Config) { c.Limits.Descriptors = 1 })
	r, err := i.Resolve(context.Background(), parse(t, host+"/app:1"), attestor.Needs{})
	if err != nil {
		t.Fatal(err)
	}
	wantCodes(t, r.Problems, attestor.CodeTooLarge)
}
