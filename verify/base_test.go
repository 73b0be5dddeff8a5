package verify_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify"
)

func layer(name string) rawLayer { return corpus.LayerOf(name) }

func layersOf(names ...string) []rawLayer { return corpus.LayersOf(names...) }

// basesOf approves base:1 of a registry.
func basesOf(host string, change func(*attestor.ApprovedBase)) attestor.Needs {
	ab := attestor.ApprovedBase{Name: "debian", Repository: host + "/base", Tags: []string{"1"}}
	if change != nil {
		change(&ab)
	}
	return attestor.Needs{BaseRequired: true, Bases: []attestor.ApprovedBase{ab}}
}

// What an image's layers prove, and what they do not.
func TestBaseEvidence(t *testing.T) {
	for _, tt := range corpus.Bases() {
		t.Run(tt.Name, func(t *testing.T) {
			host := newRegistry(t, nil)
			base := pushRaw(t, host, "base", "1", corpus.Base())
			pushRaw(t, host, "app", "1", rawImage{Layers: tt.Layers,
				Extra: fmt.Sprintf(`"annotations":{"org.opencontainers.image.base.name":"%s/base:1",`+
					`"org.opencontainers.image.base.digest":%q}`, host, base)})
			needs := basesOf(host, nil)
			needs.BaseEvidence = tt.Least
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", needs)
			wantCodes(t, ev.Problems, tt.Codes...)
			if ev.Base.Evidence != tt.Level || ev.Base.Layers != tt.N {
				t.Errorf("base = %+v, want %q by %d layers", ev.Base, tt.Level, tt.N)
			}
			if tt.Level != "" && (ev.Base.Digest != base || ev.Base.Reference != host+"/base@"+string(base) || ev.Base.Name != "debian" || !ev.Base.Current) {
				t.Errorf("base = %+v, want %s", ev.Base, base)
			}
			if len(ev.Base.Hints) < 2 {
				t.Errorf("hints = %q, want what the annotations claim", ev.Base.Hints)
			}
		})
	}
}

func TestBaseLayerBombs(t *testing.T) {
	bomb := zstded(make([]byte, 8<<20))
	for _, tt := range []struct {
		name   string
		layer  rawLayer
		limits verify.Limits
	}{
		{"unpacks to more than is read", rawLayer{Blob: bomb, MediaType: ociLayer + "+zstd"}, verify.Limits{UncompressedBytes: 1 << 20}},
		{"is larger than is read", rawLayer{Blob: make([]byte, 2<<20)}, verify.Limits{LayerBytes: 1 << 20}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			a := layer("a")
			pushRaw(t, host, "base", "1", rawImage{Layers: []rawLayer{a}})
			l := tt.layer
			l.DiffID = a.DiffID
			pushRaw(t, host, "app", "1", rawImage{Layers: []rawLayer{l}})
			i := newInspector(t, host, func(c *config) { c.Limits = tt.limits })
			ev := inspectOne(t, i, host+"/app:1", basesOf(host, nil))
			wantCodes(t, ev.Problems, attestor.CodeLayerTooLarge)
			if ev.Problems[0].Status != attestor.StatusError || ev.Base.Evidence != "" {
				t.Errorf("evidence = %+v", ev)
			}
		})
	}
}

// A layer is hashed once; afterwards its diffID is known.
func TestLayersAreHashedOnce(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	a := layer("a")
	pushRaw(t, host, "base", "1", rawImage{Layers: []rawLayer{a}})
	again := a.Recompressed("a")
	pushRaw(t, host, "app", "1", rawImage{Layers: []rawLayer{again, layer("b")}})
	i := newInspector(t, host, nil)

	for range 3 {
		if ev := inspectOne(t, i, host+"/app:1", basesOf(host, nil)); ev.Base.Evidence != attestor.DiffIDsVerified {
			t.Fatalf("base = %+v", ev.Base)
		}
	}

	n := 0
	for _, r := range f.requests() {
		if strings.HasSuffix(r, string(sum(again.Blob))) && strings.HasPrefix(r, "GET") {
			n++
		}
	}

	if n != 1 {
		t.Errorf("the layer was read %d times, want once", n)
	}
}

// Of bases of bases, the one with the most layers counts, where it is approved.
func TestLongestBaseWins(t *testing.T) {
	host := newRegistry(t, nil)
	pushRaw(t, host, "debian", "1", rawImage{Layers: layersOf("a")})
	pushRaw(t, host, "java", "1", rawImage{Layers: layersOf("a", "b")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("a", "b", "c")})
	debian := attestor.ApprovedBase{Name: "debian", Repository: host + "/debian", Tags: []string{"1"}}
	java := attestor.ApprovedBase{Name: "java", Repository: host + "/java", Tags: []string{"1"}}

	for _, tt := range []struct {
		name  string
		bases []attestor.ApprovedBase
		want  string
		n     int
	}{
		{"both approved", []attestor.ApprovedBase{debian, java}, "java", 2},
		{"in the other order", []attestor.ApprovedBase{java, debian}, "java", 2},
		{"the lower one only", []attestor.ApprovedBase{debian}, "debian", 1},
	} {
		ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{Bases: tt.bases})
		if ev.Base.Name != tt.want || ev.Base.Layers != tt.n {
			t.Errorf("%s: base = %+v, want %s", tt.name, ev.Base, tt.want)
		}
	}
}

// One Inspector serves every policy: a base that one of them approves does not
// count for another.
func TestBaseOfAnotherPolicy(t *testing.T) {
	host := newRegistry(t, nil)
	d := pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	pushRaw(t, host, "base", "2", rawImage{Layers: layersOf("z")})
	pushRaw(t, host, "mirror", "1", rawImage{Layers: layersOf("z")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("a", "b")})
	i := newInspector(t, host, nil)

	for _, tt := range []struct {
		name  string
		needs attestor.Needs
		want  attestor.Level
	}{
		{"by tag", basesOf(host, nil), attestor.LayersExact},
		{"another tag", basesOf(host, func(ab *attestor.ApprovedBase) { ab.Tags = []string{"2"} }), ""},
		{"another repository", basesOf(host, func(ab *attestor.ApprovedBase) { ab.Repository = host + "/mirror" }), ""},
		{"by digest", basesOf(host, func(ab *attestor.ApprovedBase) { ab.Tags, ab.Digests = nil, []attestor.Digest{d} }), attestor.LayersExact},
		{"nothing approved", attestor.Needs{BaseRequired: true}, ""},
	} {
		ev := inspectOne(t, i, host+"/app:1", tt.needs)
		wantCodes(t, ev.Problems)
		if ev.Base.Evidence != tt.want {
			t.Errorf("%s: base = %+v", tt.name, ev.Base)
		}
	}
}

// The same base in two repositories is approved in the one that the policy
// names, and named by it.
func TestBaseInTwoRepositories(t *testing.T) {
	host := newRegistry(t, nil)
	pushRaw(t, host, "base", "1", rawImage{Layers: layersOf("a")})
	pushRaw(t, host, "mirror", "1", rawImage{Layers: layersOf("a")})
	pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("a", "b")})
	i := newInspector(t, host, nil)

	for _, repo := range []string{"/base", "/mirror", "/base"} {
		b := inspectOne(t, i, host+"/app:1", basesOf(host, func(ab *attestor.ApprovedBase) { ab.Repository = host + repo })).Base
		if !strings.HasPrefix(b.Reference, host+repo+"@") || !b.Current {
			t.Errorf("base = %+v, want one of %s", b, repo)
		}
	}
}

// The base of each platform is that platform's. What proves the pairing of a
// signed index and the manifest that was matched is the index's bytes.
func TestBaseIsOfThePlatform(t *testing.T) {
	host := newRegistry(t, nil)
	amd, arm := rawImage{Layers: layersOf("amd")}, rawImage{Arch: "arm64", Layers: layersOf("arm")}
	amdDigest := pushRaw(t, host, "base", "c", amd)
	pushRaw(t, host, "base", "c", arm)
	idx := pushIndex(t, host, "base", "1", amd.Entry(), arm.Entry())
	onAMD := rawImage{Layers: layersOf("amd", "x")}
	swapped := rawImage{Arch: "arm64", Layers: layersOf("amd", "x")}
	pushRaw(t, host, "app", "c", onAMD)
	pushRaw(t, host, "app", "c", swapped)
	pushIndex(t, host, "app", "1", onAMD.Entry(), swapped.Entry())

	for _, tt := range []struct {
		name   string
		change func(*attestor.ApprovedBase)
		ref    attestor.Digest // what the reference names; "": no base
	}{
		{"by tag", nil, idx},
		{"by the index's digest", func(ab *attestor.ApprovedBase) { ab.Tags, ab.Digests = nil, []attestor.Digest{idx} }, idx},
		{"by the manifest's digest", func(ab *attestor.ApprovedBase) { ab.Tags, ab.Digests = nil, []attestor.Digest{amdDigest} }, amdDigest},
	} {
		_, all := inspectAll(t, newInspector(t, host, nil), host+"/app:1", basesOf(host, tt.change))
		if len(all) != 2 {
			t.Fatalf("%s: %+v", tt.name, all)
		}
		if b := all[0].Base; b.Digest != amdDigest || b.Reference != host+"/base@"+string(tt.ref) {
			t.Errorf("%s: base = %+v, want %s by %s", tt.name, b, amdDigest, tt.ref)
		}
		if b := all[1].Base; b.Evidence != "" {
			t.Errorf("%s: arm64 on amd64's base is proven: %+v", tt.name, b)
		}
	}
}

// A base that has no image for a variant is built on by that of an older one, and by no other.
func TestBaseOfAnOlderVariant(t *testing.T) {
	of := func(arch, variant string, layers ...string) rawImage {
		return rawImage{Arch: arch, Variant: variant, Layers: layersOf(layers...)}
	}
	plain, v3 := of("amd64", "", "plain"), of("amd64", "v3", "v3")
	for _, tt := range []struct {
		name  string
		base  []rawImage
		image rawImage
		want  bool
	}{
		{"a newer machine's image", []rawImage{plain}, of("amd64", "v2", "plain", "x"), true},
		{"two steps newer", []rawImage{plain, of("amd64", "v2", "v2")}, of("amd64", "v4", "v2", "x"), true},
		{"arm64", []rawImage{of("arm64", "v8", "arm")}, of("arm64", "v9", "arm", "x"), true},
		{"arm", []rawImage{of("arm", "v6", "arm")}, of("arm", "v7", "arm", "x"), true},
		{"its own variant's", []rawImage{plain, v3}, of("amd64", "v3", "v3", "x"), true},
		{"an older one's, though there is its own", []rawImage{plain, v3}, of("amd64", "v3", "plain", "x"), false},
		{"a newer one's", []rawImage{v3}, of("amd64", "v2", "v3", "x"), false},
		{"a newer one's, for no variant", []rawImage{v3}, of("amd64", "", "v3", "x"), false},
		{"another architecture's", []rawImage{plain}, of("arm64", "v9", "plain", "x"), false},
		{"a variant that nobody knows", []rawImage{plain}, of("amd64", "v5", "plain", "x"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			var entries []string
			for _, b := range tt.base {
				pushRaw(t, host, "base", "c", b)
				entries = append(entries, b.Entry())
			}
			pushIndex(t, host, "base", "1", entries...)
			pushRaw(t, host, "app", "1", tt.image)

			// By the base's index, and by its only manifest where both say a variant.
			tags := []string{"1"}
			if len(tt.base) == 1 && tt.base[0].Variant != "" && tt.image.Variant != "" {
				tags = append(tags, "c")
			}
			for _, tag := range tags {
				needs := basesOf(host, func(ab *attestor.ApprovedBase) { ab.Tags = []string{tag} })
				ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", needs)
				wantCodes(t, ev.Problems)
				if got := ev.Base.Evidence != ""; got != tt.want {
					t.Errorf("by %s: base = %+v, want one: %t", tag, ev.Base, tt.want)
				}
			}
		})
	}
}

// Bases that every image would match do not count.
func TestBasesOfNothingAreRefused(t *testing.T) {
	zeros := rawLayer{Blob: make([]byte, 1024)}
	for name, base := range map[string]rawImage{
		"no layers":        {Layers: []rawLayer{}},
		"one empty layer":  {Layers: []rawLayer{zeros}},
		"two empty layers": {Layers: []rawLayer{zeros, {Blob: make([]byte, 10240)}}},
		"a gzipped one":    {Layers: []rawLayer{{Blob: gzipped(make([]byte, 1024)), MediaType: ociLayer + "+gzip", DiffID: sum(make([]byte, 1024))}}},
	} {
		t.Run(name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "base", "1", base)
			pushRaw(t, host, "app", "1", rawImage{Layers: append(append([]rawLayer{}, base.Layers...), layer("x"))})
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", basesOf(host, nil))
			wantCodes(t, ev.Problems, attestor.CodeBaseUnresolved)
			if ev.Base.Evidence != "" {
				t.Errorf("base = %+v", ev.Base)
			}
		})
	}
}

// crane's append, mutate and rebase, as ggcr does them.
func TestCraneImages(t *testing.T) {
	host := newRegistry(t, nil)
	oldBase, newBase := baseImage(t, "amd64", 3), baseImage(t, "amd64", 2)
	push(t, host+"/base:1", newBase)
	app := onBase(t, oldBase, 2, "1000")
	rebased := must(mutate.Rebase(app, oldBase, newBase))
	annotated := mutate.Annotations(rebased, map[string]string{"org.opencontainers.image.base.name": host + "/base:1",
		"org.opencontainers.image.base.digest": string(digest(t, newBase))}).(v1.Image)

	for name, tt := range map[string]struct {
		image v1.Image
		want  attestor.Level
	}{
		"appended":                        {onBase(t, newBase, 1, "1000"), attestor.LayersExact},
		"rebased":                         {annotated, attestor.LayersExact},
		"not rebased yet":                 {app, ""},
		"appended to nothing":             {onBase(t, must(mutate.ConfigFile(empty.Image, must(newBase.ConfigFile()))), 0, "1"), "invalid"},
		"mutated config, layers the same": {configured(t, newBase, "amd64", "1000"), attestor.LayersExact},
	} {
		t.Run(name, func(t *testing.T) {
			push(t, host+"/app:1", tt.image)
			i := newInspector(t, host, nil)
			r, all := inspectAll(t, i, host+"/app:1", basesOf(host, nil))
			if tt.want == "invalid" {
				wantCodes(t, r.Problems, attestor.CodeManifestInvalid) // diffIDs without layers
				return
			}
			if all[0].Base.Evidence != tt.want {
				t.Errorf("base = %+v, want %q", all[0].Base, tt.want)
			}
		})
	}

	if _, err := remote.Head(must(name.ParseReference(host + "/app:1"))); err != nil {
		t.Fatal(err)
	}
}
