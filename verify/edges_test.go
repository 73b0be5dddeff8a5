package verify_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify"
)

// What is as large as a limit is read, and what is larger by one is refused.
func TestLimitsAreInclusive(t *testing.T) {
	top, lower := layer("x"), tarLayer(append(etc(root1000), file{"filler", strings.Repeat("x", 5000)})...)
	img := rawImage{User: "app", Layers: []rawLayer{lower, top}}
	manifest, configBytes := img.Bytes()
	const files = 3

	for _, tt := range []struct {
		name   string
		limits verify.Limits
		code   attestor.Code // "": read
	}{
		{"none", verify.Limits{}, ""},
		{"bytes of the manifest", verify.Limits{ManifestBytes: int64(len(manifest))}, ""},
		{"bytes of the manifest", verify.Limits{ManifestBytes: int64(len(manifest)) - 1}, attestor.CodeTooLarge},
		{"bytes of the config", verify.Limits{ConfigBytes: int64(len(configBytes))}, ""},
		{"bytes of the config", verify.Limits{ConfigBytes: int64(len(configBytes)) - 1}, attestor.CodeTooLarge},
		{"layers", verify.Limits{Layers: 2}, ""},
		{"layers", verify.Limits{Layers: 1}, attestor.CodeTooLarge},
		{"bytes of a layer", verify.Limits{LayerBytes: int64(len(lower.Blob))}, ""},
		{"bytes of a layer", verify.Limits{LayerBytes: int64(len(lower.Blob)) - 1}, attestor.CodeUserLookupFailed},
		{"bytes that it unpacks to", verify.Limits{UncompressedBytes: int64(len(lower.Blob))}, ""},
		{"bytes that it unpacks to", verify.Limits{UncompressedBytes: int64(len(lower.Blob)) - 1}, attestor.CodeUserLookupFailed},
		{"files of a layer", verify.Limits{LayerEntries: files}, ""},
		{"files of a layer", verify.Limits{LayerEntries: files - 1}, attestor.CodeUserLookupFailed},
		{"bytes of passwd", verify.Limits{PasswdBytes: int64(len(root1000))}, ""},
		{"bytes of passwd", verify.Limits{PasswdBytes: int64(len(root1000)) - 1}, attestor.CodeUserLookupFailed},
	} {
		t.Run(fmt.Sprint(tt.name, ", refused: ", tt.code != ""), func(t *testing.T) {
			host := newRegistry(t, nil)
			d := pushRaw(t, host, "app", "1", img)
			i := newInspector(t, host, func(c *config) { c.Limits = tt.limits })
			needs := attestor.Needs{ResolveNames: true}
			r, err := i.Resolve(t.Context(), parse(t, host+"/app@"+string(d)), needs)
			if err != nil {
				t.Fatal(err)
			}
			problems := r.Problems
			for _, c := range r.Children {
				problems = append(problems, i.Inspect(t.Context(), r, c, needs).Problems...)
			}

			var want []attestor.Code
			if tt.code != "" {
				want = append(want, tt.code)
			}
			wantCodes(t, problems, want...)
		})
	}
}

// As many entries as are judged.
func TestEntriesOfAnIndex(t *testing.T) {
	host := newRegistry(t, nil)
	amd, arm := rawImage{}, rawImage{Arch: "arm64"}
	pushRaw(t, host, "app", "c", amd)
	pushRaw(t, host, "app", "c", arm)
	pushIndex(t, host, "app", "1", amd.Entry(), arm.Entry())
	for most, want := range map[int][]attestor.Code{2: nil, 1: {attestor.CodeTooLarge}} {
		i := newInspector(t, host, func(c *config) { c.Limits.Descriptors = most })
		r, err := i.Resolve(t.Context(), parse(t, host+"/app:1"), attestor.Needs{})
		if err != nil {
			t.Fatal(err)
		}
		wantCodes(t, r.Problems, want...)
	}
}

// The manifests of an index have so many bytes together at most, by what the index says; of each no more is read than it says.
func TestManifestsOfAnIndex(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	amd, arm := rawImage{}, rawImage{Arch: "arm64"}
	large := rawImage{Arch: "s390x", Extra: `"annotations":{"a":"` + strings.Repeat("x", 100_000) + `"}`}
	statement := corpus.Attestation(corpus.InToto)
	for _, img := range []rawImage{amd, arm, large, statement} {
		pushRaw(t, host, "app", "c", img)
	}
	a, _ := amd.Bytes()
	b, _ := arm.Bytes()
	l, _ := large.Bytes()
	s, _ := statement.Bytes()
	sized := func(entry string, size int64) string { // which may lie
		return strings.NewReplacer(
			fmt.Sprintf(`"size":%d`, len(a)), fmt.Sprintf(`"size":%d`, size), fmt.Sprintf(`"size":%d`, len(b)), fmt.Sprintf(`"size":%d`, size),
			fmt.Sprintf(`"size":%d`, len(l)), fmt.Sprintf(`"size":%d`, size), fmt.Sprintf(`"size":%d`, len(s)), fmt.Sprintf(`"size":%d`, size),
		).Replace(entry)
	}
	sum, most := int64(len(a)+len(b)), int64(math.MaxInt64)

	for _, tt := range []struct {
		name    string
		limit   int64
		entries []string
		code    attestor.Code // "": judged
		says    string
		read    bool
	}{
		{"as many as are read", sum, []string{amd.Entry(), arm.Entry()}, "", "", true},
		{"one more", sum - 1, []string{amd.Entry(), arm.Entry()}, attestor.CodeTooLarge, fmt.Sprintf("more than %d bytes", sum-1), false},
		{"an attestation beside", sum, []string{amd.Entry(), arm.Entry(), corpus.AttestationEntry(amd.Digest(), s)}, attestor.CodeTooLarge, "", false},
		{"more than can be counted", 0, []string{sized(amd.Entry(), most), sized(arm.Entry(), most)}, attestor.CodeTooLarge, "", false},
		{"one that makes room for others", sum, []string{amd.Entry(), arm.Entry(), sized(large.Entry(), -int64(len(l)))},
			attestor.CodeManifestInvalid, "no valid digest or size", false},
		{"a statement of a negative size", 0, []string{amd.Entry(), sized(corpus.AttestationEntry(amd.Digest(), s), -1)},
			attestor.CodeAttestationManifestInvalid, "no valid digest or size", false},
		{"one that is longer than is said", 0, []string{sized(large.Entry(), 1000)}, attestor.CodeManifestInvalid,
			"has 1000 bytes, it has more", true},
		{"one that is shorter than is said", 0, []string{sized(large.Entry(), int64(len(l))+1)}, attestor.CodeManifestInvalid,
			fmt.Sprintf("has %d bytes, it has %d", len(l)+1, len(l)), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pushIndex(t, host, "app", "1", tt.entries...)
			f.set(nil)
			i := newInspector(t, host, func(c *config) { c.Limits.IndexBytes = tt.limit })
			r, all := inspectAll(t, i, host+"/app:1", attestor.Needs{})
			problems := r.Problems
			for _, ev := range all {
				problems = append(problems, ev.Problems...)
			}

			var want []attestor.Code
			if tt.code != "" {
				want = append(want, tt.code)
			}
			wantCodes(t, problems, want...)
			if len(problems) > 0 && !strings.Contains(problems[0].Message, tt.says) {
				t.Errorf("it says %q, want %q", problems[0].Message, tt.says)
			}
			read := slices.ContainsFunc([]rawImage{amd, arm, large, statement}, func(img rawImage) bool {
				return gets(f, manifestPath("app", img.Digest())) > 0
			})
			if tt.code == attestor.CodeTooLarge && read || tt.read && !read {
				t.Errorf("a manifest was read: %t", read)
			}
		})
	}
}

// Lines of accounts that are as long as all runtimes read.
func TestLinesOfAccounts(t *testing.T) {
	fill := func(line string, length int) []byte { return []byte(strings.Repeat("#", length) + "\n" + line) }
	for _, tt := range []struct {
		name    string
		longest int
		parse   func(content []byte) error
		line    string
	}{
		{"a user", 4 << 10, func(b []byte) error { _, _, err := verify.ParsePasswd(b, "app"); return err }, "app:x:1:1::/:"},
		{"a group", 32 << 10, func(b []byte) error { _, err := verify.ParseGroups(b, "app"); return err }, "app:x:1:"},
		{"users of a number", 4 << 10, func(b []byte) error { _, err := verify.ParseNames(b, 1); return err }, "app:x:1:1::/:"},
		{"members", 32 << 10, func(b []byte) error { _, _, err := verify.ParseMembers(b, []string{"app"}); return err }, "root:x:0:app"},
	} {
		if err := tt.parse(fill(tt.line, tt.longest)); err != nil {
			t.Errorf("%s, behind a line of %d bytes: %v", tt.name, tt.longest, err)
		}
		if err := tt.parse(fill(tt.line, tt.longest+1)); err == nil {
			t.Errorf("%s, behind a line of %d bytes: no error", tt.name, tt.longest+1)
		}
	}

	if _, gid, err := verify.ParsePasswd([]byte("app:x:1:2147483647::/:"), "app"); err != nil || gid != 2147483647 {
		t.Errorf("the largest gid: %d, %v", gid, err)
	}
	for _, line := range []string{"app:x:2147483648:1::/:", "app:x:1:2147483648::/:"} {
		if uid, gid, err := verify.ParsePasswd([]byte(line), "app"); err == nil {
			t.Errorf("%s: %d, %d", line, uid, gid)
		}
	}
}

// A file of accounts counts as it is above, whatever a layer below has in its place; a layer that hides all below it ends the
// search.
func TestWhatLiesBelowAccounts(t *testing.T) {
	huge := corpus.TarLayer(corpus.Etc(root1000 + strings.Repeat("#\n", 1<<20))...)
	forged := tarLayer(etc(appRoot)...).Forged(sum([]byte("other")))
	alone := tarLayer(file{"etc/passwd", root1000})
	for _, tt := range []struct {
		name   string
		layers []rawLayer
		codes  []attestor.Code
	}{
		{"a file that is too large", []rawLayer{huge, alone}, nil},
		{"a layer that is not what it says", []rawLayer{forged, alone}, []attestor.Code{attestor.CodeLayersMismatch}},
		{"a layer that is not what it says, below an opaque root",
			[]rawLayer{forged, tarLayer(file{".wh..wh..opq", ""}, file{"etc/passwd", root1000})}, nil},
		{"a layer that is not what it says, below a new /etc",
			[]rawLayer{forged, tarLayer(append(etc(root1000), file{"etc/group", corpus.Groups})...)}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "app", "1", rawImage{User: "app", Layers: tt.layers})
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{ResolveNames: true})
			wantCodes(t, ev.Problems, tt.codes...)
			if proven := value(ev.User.UID) == 1000; proven != (tt.codes == nil) {
				t.Errorf("user = %+v", ev.User)
			}
		})
	}
}

// A blob of nothing but a skippable frame is zstd from eight bytes on, as for containerd: number and length are whole.
func TestTheShortestSkippableFrame(t *testing.T) {
	frame := corpus.Skippable(0, "")
	if len(frame) != 8 {
		t.Fatalf("the frame has %d bytes", len(frame))
	}
	for _, tt := range []struct {
		name, mediaType string
		blob            []byte
		diffID          attestor.Digest
		codes           []attestor.Code
	}{
		{"whole", ociLayer + "+zstd", frame, sum(nil), nil},
		{"without its last byte", ociLayer + "+zstd", frame[:7], sum(frame[:7]), []attestor.Code{attestor.CodeLayerContradictory}},
		{"without its last byte, a plain tar", ociLayer, frame[:7], sum(frame[:7]), []attestor.Code{attestor.CodeUserUnresolved}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "app", "1", rawImage{User: "app", Layers: []rawLayer{tarLayer(etc(root1000)...),
				{Blob: tt.blob, MediaType: tt.mediaType, DiffID: tt.diffID}}})
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{ResolveNames: true})
			wantCodes(t, ev.Problems, tt.codes...)
		})
	}
}

// One layer with other content disproves what the config claims, whatever is not known of another one.
func TestOneLayerDisprovesABase(t *testing.T) {
	a, b := layer("a"), layer("b")
	large := func(as rawLayer, more int) rawLayer {
		return rawLayer{Blob: make([]byte, 2<<20+more), DiffID: as.DiffID}
	}
	for _, tt := range []struct {
		name    string
		layers  []rawLayer
		code    attestor.Code
		subject int // the layer that the problem is about
	}{
		{"the upper one", []rawLayer{large(a, 0), layer("y").Forged(b.DiffID)}, attestor.CodeLayersMismatch, 1},
		{"the lower one", []rawLayer{layer("y").Forged(a.DiffID), large(b, 0)}, attestor.CodeLayersMismatch, 0},
		{"both", []rawLayer{layer("y").Forged(a.DiffID), layer("z").Forged(b.DiffID)}, attestor.CodeLayersMismatch, 0},
		{"neither is known", []rawLayer{large(a, 0), large(b, 1)}, attestor.CodeLayerTooLarge, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "base", "1", rawImage{Layers: []rawLayer{a, b}})
			pushRaw(t, host, "app", "1", rawImage{Layers: tt.layers})
			i := newInspector(t, host, func(c *config) { c.Limits.LayerBytes = 1 << 20 })
			ev := inspectOne(t, i, host+"/app:1", basesOf(host, nil))
			wantCodes(t, ev.Problems, tt.code)

			p := ev.Problems[0]
			if p.Subject != string(sum(tt.layers[tt.subject].Blob)) || ev.Base.Evidence != "" {
				t.Errorf("problem = %+v, want one of layer %d; base = %+v", p, tt.subject, ev.Base)
			}
			denied := p.Status == attestor.StatusDeny
			if strings.Contains(p.Message, "the config claims the layers of base debian, but ") != denied ||
				strings.Contains(p.Fix, "FROM "+host+"/base@") != denied {
				t.Errorf("it says %q; %q", p.Message, p.Fix)
			}
		})
	}
}

// Where the index of a base and its manifest could be signed, one that could not be checked may be the one that is.
func TestTwoDigestsOfABaseMayBeSigned(t *testing.T) {
	amd := rawImage{Layers: layersOf("a")}
	child := sumManifest(amd)
	index := sum(corpus.Index(amd.Entry()))
	unknown := &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeRegistryDenied, Msg: "403"}

	for _, tt := range []struct {
		name   string
		tag    string
		signed attestor.Digest
		fails  map[attestor.Digest]error
		asked  []attestor.Digest
		code   attestor.Code
	}{
		{"neither", "index", "", nil, []attestor.Digest{index, child}, attestor.CodeBaseUnsigned},
		{"the index", "index", index, nil, []attestor.Digest{index}, ""},
		{"the manifest", "index", child, nil, []attestor.Digest{index, child}, ""},
		{"the manifest, and the index is not known", "index", child, map[attestor.Digest]error{index: unknown},
			[]attestor.Digest{index, child}, ""},
		{"neither, and the index is not known", "index", "", map[attestor.Digest]error{index: unknown},
			[]attestor.Digest{index, child}, attestor.CodeBaseSignatureUnknown},
		{"neither, and the manifest is not known", "index", "", map[attestor.Digest]error{child: unknown},
			[]attestor.Digest{index, child}, attestor.CodeBaseSignatureUnknown},
		{"neither, and the manifest fails without a reason", "index", "", map[attestor.Digest]error{child: &attestor.Error{Kind: attestor.Upstream}},
			[]attestor.Digest{index, child}, attestor.CodeBaseSignatureUnknown},
		{"a manifest by itself", "child", "", nil, []attestor.Digest{child}, attestor.CodeBaseUnsigned},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "base", "child", amd)
			pushIndex(t, host, "base", "index", amd.Entry())
			pushRaw(t, host, "app", "1", rawImage{Layers: layersOf("a", "x")})
			s := &signer{signed: map[attestor.Digest]bool{tt.signed: tt.signed != ""}, fails: tt.fails}
			i := newInspector(t, host, func(c *config) { c.Signatures = s })
			ev := inspectOne(t, i, host+"/app:1", basesOf(host, func(ab *attestor.ApprovedBase) {
				ab.Tags, ab.SignedBy = []string{tt.tag}, &attestor.SignedBy{Key: "/k.pub"}
			}))

			var want []attestor.Code
			if tt.code != "" {
				want = append(want, tt.code)
			}
			wantCodes(t, ev.Problems, want...)
			if len(want) > 0 && (ev.Problems[0].Status == attestor.StatusDeny) != (tt.code == attestor.CodeBaseUnsigned) {
				t.Errorf("problem = %+v", ev.Problems[0])
			}
			if !slices.Equal(s.asked, tt.asked) || (ev.Base.SignedBy != "") != (tt.code == "") {
				t.Errorf("asked for %s, want %s; base = %+v", s.asked, tt.asked, ev.Base)
			}
		})
	}
}

// A digest that the author names and that is not the base's is told; labels are inherited from bases, and prove nothing by it.
func TestHintOfAnotherBase(t *testing.T) {
	const told = "org.opencontainers.image.base.digest is not that of the base that was found"
	host := newRegistry(t, nil)
	amd := rawImage{Layers: layersOf("a")}
	child := pushRaw(t, host, "base", "c", amd)
	index := pushIndex(t, host, "base", "1", amd.Entry())
	for _, tt := range []struct {
		name, form string
		digest     string
		want       bool
	}{
		{"another digest", `"annotations":{"org.opencontainers.image.base.digest":%q}`, string(sum(nil)), true},
		{"the manifest's", `"annotations":{"org.opencontainers.image.base.digest":%q}`, string(child), false},
		{"the index's", `"annotations":{"org.opencontainers.image.base.digest":%q}`, string(index), false},
		{"no digest", `"annotations":{"org.opencontainers.image.base.digest":%q}`, "latest", false},
		{"another digest, by label", "", string(sum(nil)), false},
	} {
		img := rawImage{Layers: layersOf("a", "x")}
		if tt.form != "" {
			img.Extra = fmt.Sprintf(tt.form, tt.digest)
		} else {
			img.ConfigExtra = fmt.Sprintf(`"config":{"User":"1000:1000","Labels":{"org.opencontainers.image.base.digest":%q}}`, tt.digest)
		}
		pushRaw(t, host, "app", "1", img)
		b := inspectOne(t, newInspector(t, host, nil), host+"/app:1", basesOf(host, nil)).Base
		if b.Evidence != attestor.LayersExact || slices.Contains(b.Hints, told) != tt.want {
			t.Errorf("%s: hints %q, want that told: %t; base = %+v", tt.name, b.Hints, tt.want, b)
		}
	}
}

// What can be judged, and what is no platform at all.
func TestPlatformsThatAreJudged(t *testing.T) {
	long := strings.Repeat("a", 32)
	for s, want := range map[string]attestor.Code{
		"linux/amd64": "", "linux/arm/v7": "", "linux/" + long: "", "linux/arm/" + long: "", "linux/a.b_c-9": "",
		"linux/" + long + "a": attestor.CodePlatformMissing, "linux/arm/" + long + "a": attestor.CodePlatformMissing,
		"": attestor.CodePlatformMissing, "linux": attestor.CodePlatformMissing, "linux/": attestor.CodePlatformMissing,
		"/amd64": attestor.CodePlatformMissing, "unknown/amd64": attestor.CodePlatformMissing,
		"linux/unknown": attestor.CodePlatformMissing, "Linux/amd64": attestor.CodePlatformMissing,
		"linux/AMD64": attestor.CodePlatformMissing, "linux/arm/V7": attestor.CodePlatformMissing,
		"linux/arm/v7/x": attestor.CodePlatformMissing, "windows/amd64": attestor.CodePlatformUnsupported,
		"darwin/arm64": attestor.CodePlatformUnsupported,
	} {
		if got := codeOf(verify.CheckPlatform(s)); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

// A variant that only one of index and config states is no contradiction; every other difference is one.
func TestPlatformsThatAgree(t *testing.T) {
	for _, tt := range []struct {
		index, config string
		want          bool
	}{
		{"linux/amd64", "linux/amd64", true},
		{"linux/amd64/v3", "linux/amd64", true},
		{"linux/amd64", "linux/amd64/v3", true},
		{"linux/amd64/v2", "linux/amd64/v3", false},
		{"linux/x86_64", "linux/amd64", true},
		{"linux/arm64/v8", "linux/aarch64", true},
		{"linux/arm/v6", "linux/arm/v7", false},
		{"linux/arm/6", "linux/arm/v6", true},
		{"linux/amd64", "linux/arm64", false},
		{"linux/amd64", "windows/amd64", false},
		{"linux/amd64", "linux", false},
	} {
		if got := verify.PlatformsAgree(tt.index, tt.config); got != tt.want {
			t.Errorf("%s and %s agree: %t, want %t", tt.index, tt.config, got, tt.want)
		}
	}
}

// A name without a variant is about every variant; one with a variant is about this one in every spelling.
func TestPlatformsThatAreSelected(t *testing.T) {
	for _, tt := range []struct {
		platform string
		wanted   []string
		want     bool
	}{
		{"linux/s390x", nil, true},
		{"linux/amd64", []string{"linux/amd64"}, true},
		{"linux/amd64/v3", []string{"linux/amd64"}, true},
		{"linux/x86_64", []string{"linux/amd64"}, true},
		{"linux/amd64", []string{"linux/x86_64"}, true},
		{"linux/amd64", []string{"linux/arm64", "linux/amd64"}, true},
		{"linux/arm", []string{"linux/arm/v7"}, true},
		{"linux/arm/v6", []string{"linux/arm/v7"}, false},
		{"linux/amd64", []string{"linux/amd64/v3"}, false},
		{"linux/arm64", []string{"linux/arm64/v8"}, true},
		{"windows/amd64", []string{"linux/amd64"}, false},
		{"linux/arm64", []string{"linux/amd64"}, false},
	} {
		if got := verify.PlatformSelected(tt.platform, tt.wanted); got != tt.want {
			t.Errorf("%s by %q: %t, want %t", tt.platform, tt.wanted, got, tt.want)
		}
	}
}

// The size is what the manifest says of config and layers.
func TestSizeOfAnImage(t *testing.T) {
	host := newRegistry(t, nil)
	img := rawImage{Layers: layersOf("a", "b")}
	_, config := img.Bytes()
	pushRaw(t, host, "app", "1", img)
	want := int64(len(config) + len(img.Layers[0].Blob) + len(img.Layers[1].Blob))
	ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{})
	if ev.Config.Size != want || len(ev.Layers) != 2 {
		t.Errorf("size = %d, %d layers; want %d, 2", ev.Config.Size, len(ev.Layers), want)
	}
	for n, l := range img.Layers {
		if got := ev.Layers[n]; got.Digest != sum(l.Blob) || got.DiffID != l.DiffID || got.Size != int64(len(l.Blob)) {
			t.Errorf("layer %d = %+v", n, got)
		}
	}
}
