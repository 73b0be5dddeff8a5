package verify_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify"
)

// layer is a layer of one file, gzipped.
func layer(name string) rawLayer {
	b := tarOf(file{name, "content of " + name})
	return rawLayer{blob: gzipped(b), mediaType: ociLayer + "+gzip", diffID: sum(b)}
}

// recompressed is the same content in other bytes.
func (l rawLayer) recompressed(name string) rawLayer {
	l.blob, l.mediaType = zstded(tarOf(file{name, "content of " + name})), ociLayer+"+zstd"
	return l
}

func layersOf(names ...string) []rawLayer {
	var ls []rawLayer
	for _, n := range names {
		ls = append(ls, layer(n))
	}
	return ls
}

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
	a, b, c, d := layer("a"), layer("b"), layer("c"), layer("d")
	forged := func(l rawLayer, as attestor.Digest) rawLayer { l.diffID = as; return l }
	for _, tt := range []struct {
		name  string
		image []rawLayer
		least attestor.Level
		level attestor.Level
		n     int
		codes []attestor.Code
	}{
		{name: "built on it", image: []rawLayer{a, b, c}, level: attestor.LayersExact, n: 2},
		{name: "is it", image: []rawLayer{a, b}, level: attestor.LayersExact, n: 2},
		{name: "compressed again", image: []rawLayer{a.recompressed("a"), b.recompressed("b"), c}, level: attestor.DiffIDsVerified, n: 2},
		{name: "one layer compressed again", image: []rawLayer{a, b.recompressed("b"), c}, level: attestor.DiffIDsVerified, n: 2},
		{name: "compressed again, but layers-exact is asked for", image: []rawLayer{a.recompressed("a"), b, c}, least: attestor.LayersExact},
		{name: "claims a base it has not", image: []rawLayer{c, d}},
		{name: "layers reordered", image: []rawLayer{b, a, c}},
		{name: "a layer dropped", image: []rawLayer{b, c}},
		{name: "the upper layer dropped", image: []rawLayer{a, c}},
		{name: "a layer slipped between", image: []rawLayer{a, c, b}},
		{name: "a layer slipped beneath", image: []rawLayer{c, a, b}},
		{name: "squashed", image: layersOf("squashed")},
		{name: "from scratch", image: []rawLayer{d}},
		{name: "no layers", image: []rawLayer{}},
		{name: "forged diffIDs", image: []rawLayer{forged(c, a.diffID), forged(d, b.diffID), d}, codes: []attestor.Code{attestor.CodeLayersMismatch}},
		{name: "forged diffID of one layer", image: []rawLayer{a, forged(d, b.diffID), d}, codes: []attestor.Code{attestor.CodeLayersMismatch}},
		{name: "forged diffIDs, but layers-exact is asked for", image: []rawLayer{forged(c, a.diffID), forged(d, b.diffID), d}, least: attestor.LayersExact},
		{name: "layers that cannot be unpacked", image: []rawLayer{{blob: []byte{0x1f, 0x8b, 8, 0}, mediaType: ociLayer + "+gzip", diffID: a.diffID}, b}, codes: []attestor.Code{attestor.CodeLayersMismatch}},
		{name: "bytes after the packed ones", image: []rawLayer{{blob: append(a.blob[:len(a.blob):len(a.blob)], "more"...), mediaType: ociLayer + "+gzip", diffID: a.diffID}, b}, codes: []attestor.Code{attestor.CodeLayersMismatch}},
		{name: "the base's layers with diffIDs of their own", image: []rawLayer{forged(a, c.diffID), forged(b, d.diffID), c}, level: attestor.LayersExact, n: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			base := pushRaw(t, host, "base", "1", rawImage{layers: []rawLayer{a, b}})
			pushRaw(t, host, "app", "1", rawImage{layers: tt.image, extra: fmt.Sprintf(`"annotations":{"org.opencontainers.image.base.name":"%s/base:1","org.opencontainers.image.base.digest":%q}`, host, base)})
			needs := basesOf(host, nil)
			needs.BaseEvidence = tt.least
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", needs)
			wantCodes(t, ev.Problems, tt.codes...)
			if ev.Base.Evidence != tt.level || ev.Base.Layers != tt.n {
				t.Errorf("base = %+v, want %q by %d layers", ev.Base, tt.level, tt.n)
			}
			if tt.level != "" && (ev.Base.Digest != base || ev.Base.Reference != host+"/base@"+string(base) || ev.Base.Name != "debian" || !ev.Base.Current) {
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
		{"unpacks to more than is read", rawLayer{blob: bomb, mediaType: ociLayer + "+zstd"}, verify.Limits{UncompressedBytes: 1 << 20}},
		{"is larger than is read", rawLayer{blob: make([]byte, 2<<20)}, verify.Limits{LayerBytes: 1 << 20}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			a := layer("a")
			pushRaw(t, host, "base", "1", rawImage{layers: []rawLayer{a}})
			l := tt.layer
			l.diffID = a.diffID
			pushRaw(t, host, "app", "1", rawImage{layers: []rawLayer{l}})
			i := newInspector(t, host, func(c *verify.Config) { c.Limits = tt.limits })
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
	pushRaw(t, host, "base", "1", rawImage{layers: []rawLayer{a}})
	again := a.recompressed("a")
	pushRaw(t, host, "app", "1", rawImage{layers: []rawLayer{again, layer("b")}})
	i := newInspector(t, host, nil)
	for range 3 {
		if ev := inspectOne(t, i, host+"/app:1", basesOf(host, nil)); ev.Base.Evidence != attestor.DiffIDsVerified {
			t.Fatalf("base = %+v", ev.Base)
		}
	}
	n := 0
	for _, r := range f.requests() {
		if strings.HasSuffix(r, string(sum(again.blob))) && strings.HasPrefix(r, "GET") {
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
	pushRaw(t, host, "debian", "1", rawImage{layers: layersOf("a")})
	pushRaw(t, host, "java", "1", rawImage{layers: layersOf("a", "b")})
	pushRaw(t, host, "app", "1", rawImage{layers: layersOf("a", "b", "c")})
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

// One Inspector serves every policy: a base that one of them approves is none
// for another.
func TestBaseOfAnotherPolicy(t *testing.T) {
	host := newRegistry(t, nil)
	d := pushRaw(t, host, "base", "1", rawImage{layers: layersOf("a")})
	pushRaw(t, host, "base", "2", rawImage{layers: layersOf("z")})
	pushRaw(t, host, "mirror", "1", rawImage{layers: layersOf("z")})
	pushRaw(t, host, "app", "1", rawImage{layers: layersOf("a", "b")})
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

// The base of each platform is that platform's. What proves the pairing of a
// signed index and the manifest that was matched is the index's bytes.
func TestBaseIsOfThePlatform(t *testing.T) {
	host := newRegistry(t, nil)
	amd, arm := rawImage{layers: layersOf("amd")}, rawImage{arch: "arm64", layers: layersOf("arm")}
	amdDigest := pushRaw(t, host, "base", "c", amd)
	pushRaw(t, host, "base", "c", arm)
	idx := pushIndex(t, host, "base", "1", amd.entry(), arm.entry())
	onAMD := rawImage{layers: layersOf("amd", "x")}
	swapped := rawImage{arch: "arm64", layers: layersOf("amd", "x")}
	pushRaw(t, host, "app", "c", onAMD)
	pushRaw(t, host, "app", "c", swapped)
	pushIndex(t, host, "app", "1", onAMD.entry(), swapped.entry())
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

// Bases that every image would match are none.
func TestBasesOfNothingAreRefused(t *testing.T) {
	zeros := rawLayer{blob: make([]byte, 1024)}
	for name, base := range map[string]rawImage{
		"no layers":        {layers: []rawLayer{}},
		"one empty layer":  {layers: []rawLayer{zeros}},
		"two empty layers": {layers: []rawLayer{zeros, {blob: make([]byte, 10240)}}},
		"a gzipped one":    {layers: []rawLayer{{blob: gzipped(make([]byte, 1024)), mediaType: ociLayer + "+gzip", diffID: sum(make([]byte, 1024))}}},
	} {
		t.Run(name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "base", "1", base)
			pushRaw(t, host, "app", "1", rawImage{layers: append(append([]rawLayer{}, base.layers...), layer("x"))})
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", basesOf(host, nil))
			wantCodes(t, ev.Problems, attestor.CodeBaseUnresolved)
			if ev.Base.Evidence != "" {
				t.Errorf("base = %+v", ev.Base)
			}
		})
	}
}

// history is a TagHistory in memory, which can fail.
type history struct {
	mu     sync.Mutex
	points []attestor.TagPoint
	err    error
}

func (h *history) RecordTag(_ context.Context, p attestor.TagPoint) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return h.err
	}
	h.points = slices.DeleteFunc(h.points, func(q attestor.TagPoint) bool {
		return q.Repository == p.Repository && q.Tag == p.Tag && q.Digest == p.Digest && q.From.Equal(p.From)
	})
	h.points = append(h.points, p)
	return nil
}

func (h *history) TagHistory(_ context.Context, repository, tag string) ([]attestor.TagPoint, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []attestor.TagPoint
	for _, p := range h.points {
		if p.Repository == repository && p.Tag == tag {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b attestor.TagPoint) int { return a.From.Compare(b.From) })
	return out, h.err
}

// A tag moves on; images on the older base keep their evidence, with when it
// was superseded, and a restart forgets nothing.
func TestTagThatMovedOn(t *testing.T) {
	host := newRegistry(t, nil)
	store := &history{}
	now := &clock{time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	start := func() *verify.Inspector {
		return newInspector(t, host, func(c *verify.Config) { c.Now, c.History = now.Now, store })
	}
	needs := basesOf(host, func(ab *attestor.ApprovedBase) { ab.MaxBehind = 14 * 24 * time.Hour })
	old := pushRaw(t, host, "base", "1", rawImage{layers: layersOf("old")})
	pushRaw(t, host, "app", "1", rawImage{layers: layersOf("old", "x")})
	i := start()
	if b := inspectOne(t, i, host+"/app:1", needs).Base; !b.Current || b.Superseded != nil || b.Newest != old {
		t.Fatalf("base = %+v, want current", b)
	}
	now.now = now.now.AddDate(0, 0, 3)
	moved := now.now
	fresh := pushRaw(t, host, "base", "1", rawImage{layers: layersOf("new")})
	if err := i.RefreshBases(context.Background(), needs.Bases); err != nil {
		t.Fatal(err)
	}
	now.now = now.now.AddDate(0, 0, 2)
	for name, i := range map[string]*verify.Inspector{"same process": i, "after a restart": start()} {
		b := inspectOne(t, i, host+"/app:1", needs).Base
		if b.Evidence != attestor.LayersExact || b.Digest != old || b.Current || b.Superseded == nil || !b.Superseded.Equal(moved) || b.Newest != fresh {
			t.Errorf("%s: base = %+v, want superseded at %s by %s", name, b, moved, fresh)
		}
	}
	// Moved back: current again.
	pushRaw(t, host, "base", "1", rawImage{layers: layersOf("old")})
	now.now = now.now.AddDate(0, 0, 1)
	if b := inspectOne(t, i, host+"/app:1", needs).Base; !b.Current || b.Superseded != nil {
		t.Errorf("base = %+v, want current again", b)
	}
	if len(store.points) != 3 {
		t.Errorf("history = %+v, want three points", store.points)
	}
}

// After a restart, what a tag named within maxBehind must be read again before
// an image can be said not to be built on it; what was deleted since is gone.
func TestPastBaseThatCannotBeRead(t *testing.T) {
	old := sumManifest(rawImage{layers: layersOf("old")})
	for _, tt := range []struct {
		name   string
		status int
		behind time.Duration
		codes  []attestor.Code
	}{
		{"the registry fails", http.StatusInternalServerError, 30 * 24 * time.Hour, []attestor.Code{attestor.CodeBaseUnresolved}},
		{"it was deleted", http.StatusNotFound, 30 * 24 * time.Hour, nil},
		{"too long ago to count", http.StatusInternalServerError, 24 * time.Hour, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &front{}
			host := newRegistry(t, f.wrap)
			pushRaw(t, host, "base", "1", rawImage{layers: layersOf("new")})
			pushRaw(t, host, "app", "1", rawImage{layers: layersOf("old", "x")})
			f.set(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "base/manifests/"+string(old)) {
					return false
				}
				w.WriteHeader(tt.status)
				return true
			})
			now := &clock{time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)}
			moved := now.now.AddDate(0, 0, -3)
			store := &history{points: []attestor.TagPoint{
				{Repository: host + "/base", Tag: "1", Digest: old, From: now.now.AddDate(0, 0, -9), Until: &moved},
				{Repository: host + "/base", Tag: "1", Digest: sumManifest(rawImage{layers: layersOf("new")}), From: moved},
			}}
			i := newInspector(t, host, func(c *verify.Config) { c.Now, c.History = now.Now, store })
			ev := inspectOne(t, i, host+"/app:1", basesOf(host, func(ab *attestor.ApprovedBase) { ab.MaxBehind = tt.behind }))
			wantCodes(t, ev.Problems, tt.codes...)
			if ev.Base.Evidence != "" {
				t.Errorf("base = %+v", ev.Base)
			}
		})
	}
}

// An image that was admissible long ago is told by how much its base is out of
// date, once the past was read off the request path.
func TestLongOutdatedBaseIsNamed(t *testing.T) {
	host := newRegistry(t, nil)
	old := pushRaw(t, host, "base", "1", rawImage{layers: layersOf("old")})
	pushRaw(t, host, "base", "1", rawImage{layers: layersOf("new")})
	pushRaw(t, host, "app", "1", rawImage{layers: layersOf("old", "x")})
	now := &clock{time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)}
	moved := now.now.AddDate(-1, 0, 0)
	store := &history{points: []attestor.TagPoint{
		{Repository: host + "/base", Tag: "1", Digest: old, From: now.now.AddDate(-2, 0, 0), Until: &moved},
		{Repository: host + "/base", Tag: "1", Digest: sumManifest(rawImage{layers: layersOf("new")}), From: moved},
	}}
	i := newInspector(t, host, func(c *verify.Config) { c.Now, c.History = now.Now, store })
	needs := basesOf(host, nil)
	if err := i.RefreshBases(context.Background(), needs.Bases); err != nil {
		t.Fatal(err)
	}
	if b := inspectOne(t, i, host+"/app:1", needs).Base; b.Digest != old || b.Superseded == nil || !b.Superseded.Equal(moved) {
		t.Errorf("base = %+v, want superseded at %s", b, moved)
	}
}

// A fresh base is found although the tag was looked up a while ago.
func TestMissRefreshes(t *testing.T) {
	host := newRegistry(t, nil)
	now := &clock{time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	i := newInspector(t, host, func(c *verify.Config) { c.Now = now.Now })
	pushRaw(t, host, "base", "1", rawImage{layers: layersOf("old")})
	pushRaw(t, host, "app", "1", rawImage{layers: layersOf("old", "x")})
	inspectOne(t, i, host+"/app:1", basesOf(host, nil))
	pushRaw(t, host, "base", "1", rawImage{layers: layersOf("new")})
	pushRaw(t, host, "app", "2", rawImage{layers: layersOf("new", "x")})
	now.now = now.now.Add(2 * time.Minute)
	if b := inspectOne(t, i, host+"/app:2", basesOf(host, nil)).Base; !b.Current {
		t.Errorf("base = %+v, want current", b)
	}
}

// The base's registry goes down: known digests count until their valid-until,
// then it is not known what they are.
func TestBaseRegistryDown(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	now := &clock{time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	i := newInspector(t, host, func(c *verify.Config) { c.Now = now.Now })
	needs := basesOf(host, func(ab *attestor.ApprovedBase) { ab.MaxBehind = 24 * time.Hour })
	pushRaw(t, host, "base", "1", rawImage{layers: layersOf("a")})
	pushRaw(t, host, "app", "1", rawImage{layers: layersOf("a", "x")})
	pushRaw(t, host, "app", "2", rawImage{layers: layersOf("b", "x")})
	inspectOne(t, i, host+"/app:1", needs)
	f.set(func(w http.ResponseWriter, r *http.Request) bool {
		if isManifest(r, "base") {
			w.WriteHeader(http.StatusInternalServerError)
			return true
		}
		return false
	})
	now.now = now.now.Add(23 * time.Hour)
	ev := inspectOne(t, i, host+"/app:1", needs)
	wantCodes(t, ev.Problems)
	if !ev.Base.Current {
		t.Errorf("within maxBehind: base = %+v", ev.Base)
	}
	now.now = now.now.Add(2 * time.Hour)
	ev = inspectOne(t, i, host+"/app:1", needs)
	wantCodes(t, ev.Problems, attestor.CodeBaseUnresolved)
	if ev.Base.Evidence != "" || ev.Problems[0].Status != attestor.StatusError {
		t.Errorf("beyond maxBehind: %+v", ev)
	}
	// Another image is not "not built on it" either: that is not known.
	wantCodes(t, inspectOne(t, i, host+"/app:2", needs).Problems, attestor.CodeBaseUnresolved)
	// By digest, nothing needs to be asked again.
	pinned := needs
	d := sumManifest(rawImage{layers: layersOf("a")})
	pinned.Bases = []attestor.ApprovedBase{{Name: "p", Repository: host + "/base", Digests: []attestor.Digest{d}}}
	if b := inspectOne(t, i, host+"/app:1", pinned).Base; !b.Listed || b.Evidence != attestor.LayersExact {
		t.Errorf("pinned base = %+v", b)
	}
}

func sumManifest(r rawImage) attestor.Digest {
	m, _ := r.bytes()
	return sum(m)
}

func TestUnresolvedBase(t *testing.T) {
	host := newRegistry(t, nil)
	pushRaw(t, host, "base", "1", rawImage{layers: layersOf("a")})
	pushRaw(t, host, "app", "1", rawImage{layers: layersOf("b")})
	for name, change := range map[string]func(*attestor.ApprovedBase){
		"no such tag":        func(ab *attestor.ApprovedBase) { ab.Tags = []string{"1", "none"} },
		"no such repository": func(ab *attestor.ApprovedBase) { ab.Repository = host + "/none" },
		"no such digest":     func(ab *attestor.ApprovedBase) { ab.Digests = []attestor.Digest{sum(nil)} },
		"another registry":   func(ab *attestor.ApprovedBase) { ab.Repository = "registry.example/base" },
		"not a repository":   func(ab *attestor.ApprovedBase) { ab.Repository = "x y" },
	} {
		ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", basesOf(host, change))
		wantCodes(t, ev.Problems, attestor.CodeBaseUnresolved)
		if ev.Problems[0].Subject != "debian" {
			t.Errorf("%s: %+v", name, ev.Problems[0])
		}
	}
	t.Run("the history cannot be read", func(t *testing.T) {
		i := newInspector(t, host, func(c *verify.Config) { c.History = &history{err: errors.New("disk full")} })
		wantCodes(t, inspectOne(t, i, host+"/app:1", basesOf(host, nil)).Problems, attestor.CodeBaseUnresolved)
	})
}

// signer is a SignatureChecker that knows which digests are signed.
type signer struct {
	mu     sync.Mutex
	signed map[attestor.Digest]bool
	err    error
	asked  []attestor.Digest
}

func (s *signer) Check(_ context.Context, img attestor.Image, rule attestor.SignedBy) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, img.Digest())
	switch {
	case s.err != nil:
		return "", s.err
	case s.signed[img.Digest()]:
		return "key " + rule.Key, nil
	}
	return "", &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeBaseUnsigned, Msg: "no signature", Fix: "sign it"}
}

func TestBaseSignature(t *testing.T) {
	rule := &attestor.SignedBy{Key: "/k.pub"}
	amd := rawImage{layers: layersOf("a")}
	manifest := sumManifest(amd)
	for _, tt := range []struct {
		name    string
		signed  map[attestor.Digest]bool
		checker func(s *signer) verify.SignatureChecker
		code    attestor.Code
	}{
		{"index signed", map[attestor.Digest]bool{"index": true}, nil, ""},
		{"child signed", map[attestor.Digest]bool{manifest: true}, nil, ""},
		{"another digest signed", map[attestor.Digest]bool{sum(nil): true}, nil, attestor.CodeBaseUnsigned},
		{"not signed", nil, nil, attestor.CodeBaseUnsigned},
		{"not known", nil, func(s *signer) verify.SignatureChecker { s.err = errors.New("boom"); return s }, attestor.CodeBaseSignatureUnknown},
		{"registry denied", nil, func(s *signer) verify.SignatureChecker {
			s.err = &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeRegistryDenied, Msg: "403"}
			return s
		}, attestor.CodeBaseSignatureUnknown},
		{"nobody to ask", nil, func(*signer) verify.SignatureChecker { return nil }, attestor.CodeBaseSignatureUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "base", "c", amd)
			idx := pushIndex(t, host, "base", "1", amd.entry())
			pushRaw(t, host, "app", "1", rawImage{layers: layersOf("a", "x")})
			s := &signer{signed: map[attestor.Digest]bool{}}
			for d := range tt.signed {
				if d == "index" {
					d = idx
				}
				s.signed[d] = true
			}
			var checker verify.SignatureChecker = s
			if tt.checker != nil {
				checker = tt.checker(s)
			}
			i := newInspector(t, host, func(c *verify.Config) { c.Signatures = checker })
			ev := inspectOne(t, i, host+"/app:1", basesOf(host, func(ab *attestor.ApprovedBase) { ab.SignedBy = rule }))
			if tt.code != "" {
				wantCodes(t, ev.Problems, tt.code)
				if ev.Base.SignedBy != "" || ev.Base.Signer != "" {
					t.Errorf("base = %+v", ev.Base)
				}
				return
			}
			wantCodes(t, ev.Problems)
			if ev.Base.SignedBy != rule.Text() || ev.Base.Signer != "key /k.pub" {
				t.Errorf("base = %+v", ev.Base)
			}
		})
	}
}

// On day one nothing is remembered: the digest that the author names is read
// from the approved repository, and counts if it is signed, from when the tag
// was first seen elsewhere.
func TestHintOnDayOne(t *testing.T) {
	rule := &attestor.SignedBy{Key: "/k.pub"}
	old := sumManifest(rawImage{layers: layersOf("old")})
	for _, tt := range []struct {
		name   string
		rule   *attestor.SignedBy
		signed bool
		hint   attestor.Digest
		from   string // repository of the hint
		level  attestor.Level
		codes  []attestor.Code
	}{
		{name: "named and signed", rule: rule, signed: true, hint: old, from: "/base:1", level: attestor.LayersExact},
		{name: "named by digest alone", rule: rule, signed: true, hint: old, level: attestor.LayersExact},
		{name: "named, not signed", rule: rule, hint: old, from: "/base:1", level: attestor.LayersExact, codes: []attestor.Code{attestor.CodeBaseUnsigned}},
		{name: "named, no signature asked for", hint: old, from: "/base:1"},
		{name: "not named", rule: rule, signed: true},
		{name: "another digest named", rule: rule, signed: true, hint: sum(nil), from: "/base:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "base", "1", rawImage{layers: layersOf("old")})
			pushRaw(t, host, "base", "1", rawImage{layers: layersOf("new")})
			extra := ""
			if tt.hint != "" {
				extra = fmt.Sprintf(`"annotations":{"org.opencontainers.image.base.digest":%q`, tt.hint)
				if tt.from != "" {
					extra += fmt.Sprintf(`,"org.opencontainers.image.base.name":%q`, host+tt.from)
				}
				extra += "}"
			}
			pushRaw(t, host, "app", "1", rawImage{layers: layersOf("old", "x"), extra: extra})
			now := &clock{time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
			i := newInspector(t, host, func(c *verify.Config) {
				c.Signatures, c.Now = &signer{signed: map[attestor.Digest]bool{old: tt.signed}}, now.Now
			})
			ev := inspectOne(t, i, host+"/app:1", basesOf(host, func(ab *attestor.ApprovedBase) { ab.SignedBy = tt.rule }))
			wantCodes(t, ev.Problems, tt.codes...)
			if ev.Base.Evidence != tt.level {
				t.Errorf("base = %+v, want %q", ev.Base, tt.level)
			}
			if tt.level != "" && (ev.Base.Current || ev.Base.Listed || ev.Base.Superseded == nil || !ev.Base.Superseded.Equal(now.now)) {
				t.Errorf("base = %+v, want superseded when the tag was first seen", ev.Base)
			}
		})
	}
}

// statements is a ProvenanceSource.
type statements []attestor.Provenance

func (s statements) Provenance(context.Context, []attestor.Image, attestor.ProvenanceNeeds) ([]attestor.Provenance, []attestor.Problem) {
	return s, nil
}

// A squashed image shows nothing in its layers; a pinned builder's signed word
// counts where the policy lets it.
func TestAttestedBase(t *testing.T) {
	const builder = "https://builder.example"
	host := newRegistry(t, nil)
	base := pushRaw(t, host, "base", "1", rawImage{layers: layersOf("a")})
	pushRaw(t, host, "base", "debug", rawImage{layers: layersOf("debug")})
	pushRaw(t, host, "app", "1", rawImage{layers: layersOf("squashed")})
	says := func(builder string, repo string, d attestor.Digest) statements {
		return statements{{Builder: builder, Materials: map[string]attestor.Digest{repo: d}}}
	}
	for _, tt := range []struct {
		name  string
		says  statements
		least attestor.Level
		want  attestor.Level
	}{
		{"named by a pinned builder", says(builder, host+"/base", base), attestor.Attested, attestor.Attested},
		{"where the policy wants layers", says(builder, host+"/base", base), attestor.DiffIDsVerified, ""},
		{"where the policy does not say", says(builder, host+"/base", base), "", ""},
		{"by another builder", says("https://mallory.example", host+"/base", base), attestor.Attested, ""},
		{"another repository", says(builder, host+"/other", base), attestor.Attested, ""},
		{"another digest", says(builder, host+"/base", sum(nil)), attestor.Attested, ""},
		{"a digest under another tag", says(builder, host+"/base", sumManifest(rawImage{layers: layersOf("debug")})), attestor.Attested, ""},
		{"nobody", nil, attestor.Attested, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newInspector(t, host, func(c *verify.Config) { c.Provenance = tt.says })
			needs := basesOf(host, nil)
			needs.BaseEvidence, needs.Provenance = tt.least, &attestor.ProvenanceNeeds{Builders: []string{builder}}
			ev := inspectOne(t, i, host+"/app:1", needs)
			wantCodes(t, ev.Problems)
			if ev.Base.Evidence != tt.want || ev.Base.Layers != 0 {
				t.Errorf("base = %+v, want %q", ev.Base, tt.want)
			}
		})
	}
	t.Run("nobody to ask", func(t *testing.T) {
		needs := attestor.Needs{Provenance: &attestor.ProvenanceNeeds{}}
		wantCodes(t, inspectOne(t, newInspector(t, host, nil), host+"/app:1", needs).Problems, attestor.CodeProvenanceUnavailable)
	})
}

// crane's append, mutate and rebase, as ggcr does them.
func TestCraneImages(t *testing.T) {
	host := newRegistry(t, nil)
	oldBase, newBase := baseImage(t, "amd64", 3), baseImage(t, "amd64", 2)
	push(t, host+"/base:1", newBase)
	app := onBase(t, oldBase, 2, "1000")
	rebased := must(mutate.Rebase(app, oldBase, newBase))
	annotated := mutate.Annotations(rebased, map[string]string{"org.opencontainers.image.base.name": host + "/base:1", "org.opencontainers.image.base.digest": string(digest(t, newBase))}).(v1.Image)
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

func TestBaseStates(t *testing.T) {
	host := newRegistry(t, nil)
	d := pushRaw(t, host, "base", "1", rawImage{layers: layersOf("a")})
	i := newInspector(t, host, nil)
	needs := basesOf(host, nil)
	if got := i.Bases(needs.Bases); len(got) != 1 || got[0].Problem == "" || got[0].Tags[0].Digest != "" {
		t.Errorf("before: %+v", got)
	}
	if err := i.RefreshBases(context.Background(), needs.Bases); err != nil {
		t.Fatal(err)
	}
	got := i.Bases(needs.Bases)
	want := []verify.TagState{{Tag: "1", Digest: d, Since: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), Seen: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}}
	if diff := cmp.Diff(want, got[0].Tags); diff != "" || got[0].Problem != "" {
		t.Errorf("after (-want +got):\n%s%s", diff, got[0].Problem)
	}
	needs.Bases[0].Tags = []string{"none"}
	if err := i.RefreshBases(context.Background(), needs.Bases); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("RefreshBases = %v", err)
	}
}
