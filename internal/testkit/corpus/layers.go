package corpus

import (
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// A LayerCase is an image's layers, lowest first, whose /etc/passwd is read for
// the user app.
type LayerCase struct {
	Name   string
	Layers []Layer
	UID    int64           // -1: not proven
	Codes  []attestor.Code // none: what every runtime unpacks is what is proven
}

// Media types of layers.
const (
	gzipLayer  = OCILayer + "+gzip"
	zstdLayer  = OCILayer + "+zstd"
	dockerTar  = "application/vnd.docker.image.rootfs.diff.tar"
	dockerGzip = dockerTar + ".gzip"
	dockerZstd = dockerTar + ".zstd"
)

// LayerCases are layers in every form that runtimes unpack, and in forms that
// they refuse or differ about.
func LayerCases() []LayerCase {
	return slices.Concat(honestLayers(), polyglots(), mislabelled(), brokenLayers())
}

// honestLayers are what runtimes take (containerd#6177, moby#42862): whatever
// frames and members a layer has, they are one stream.
func honestLayers() []LayerCase {
	content := Tar(Etc(Root1000)...)
	first, second := halves(content)

	var out []LayerCase
	add := func(name, mediaType string, blob []byte) {
		out = append(out,
			LayerCase{Name: name, Layers: []Layer{{Blob: blob, MediaType: mediaType, DiffID: Sum(content)}}, UID: 1000})
	}
	add("a plain tar", OCILayer, content)
	add("Docker's plain tar", dockerTar, content)
	add("Docker's plain tar, which is gzip", dockerTar, Gzip(content))
	add("Docker's plain tar, which is zstd", dockerTar, Zstd(content))
	add("Docker's gzip", dockerGzip, Gzip(content))
	add("Docker's zstd", dockerZstd, Zstd(content))

	add("gzip", gzipLayer, Gzip(content))
	add("gzip of two members", gzipLayer, packed(Gzip(first), Gzip(second)))
	add("gzip with empty members", gzipLayer, packed(Gzip(nil), Gzip(first), Gzip(nil), Gzip(second), Gzip(nil)))

	add("zstd", zstdLayer, Zstd(content))
	add("zstd of two frames", zstdLayer, packed(Zstd(first), Zstd(second)))
	add("zstd with empty frames", zstdLayer, packed(EmptyZstd(), Zstd(first), EmptyZstd(), Zstd(second), EmptyZstd()))
	add("zstd with empty blocks", zstdLayer, ZstdBlocks(nil, first, nil, second, nil))
	for number := range byte(16) {
		add("zstd after a skippable frame by number "+string("0123456789abcdef"[number]), zstdLayer,
			packed(Skippable(number, "pzstd"), Zstd(content)))
	}

	add("zstd after an empty skippable frame", zstdLayer, packed(Skippable(0, ""), Zstd(content)))
	add("zstd with skippable frames before, between and after", zstdLayer,
		packed(Skippable(0, "a"), Skippable(1, "b"), Zstd(first), Skippable(2, strings.Repeat("c", 1000)), Zstd(second),
			Skippable(3, "d")))

	return append(out,
		LayerCase{Name: "an empty blob above", Layers: []Layer{TarLayer(Etc(Root1000)...),
			{Blob: nil, MediaType: gzipLayer, DiffID: Sum(nil)}}, UID: 1000},
		LayerCase{Name: "nothing but a skippable frame above", UID: 1000,
			Layers: []Layer{TarLayer(Etc(Root1000)...), {Blob: Skippable(0, "x"), MediaType: zstdLayer,
				DiffID: Sum(nil)}}},
		LayerCase{Name: "a lie below the layer that decides", UID: 1000,
			Layers: []Layer{TarLayer(File{"a", ""}).Forged(Sum([]byte("b"))), TarLayer(Accounts(Root1000, Groups)...)}},
		LayerCase{Name: "a lie below the layer that has the users, where the groups are looked for", UID: 1000,
			Layers: []Layer{TarLayer(File{"a", ""}).Forged(Sum([]byte("b"))), TarLayer(Etc(Root1000)...)},
			Codes:  []attestor.Code{attestor.CodeLayersMismatch}},
	)
}

// polyglots have two contents: one for who takes them for plain tars, one for
// who decompresses them.
func polyglots() []LayerCase {
	harmless, root := Etc(Root1000), Tar(Etc(appRoot)...)
	hidesRoot, hidesUser := Polyglot(harmless, root), Polyglot(Etc(appRoot), Tar(harmless...))

	one := func(name string, l Layer, uid int64, codes ...attestor.Code) LayerCase {
		return LayerCase{Name: name, Layers: []Layer{l}, UID: uid, Codes: codes}
	}
	gzipHead := StartingWith("\x1f\x8b\x08", harmless...)
	zstdHead := StartingWith("\x28\xb5\x2f\xfd", harmless...)
	return []LayerCase{
		one("zstd with a tar in its skippable frame: root is unpacked",
			Layer{Blob: hidesRoot, MediaType: zstdLayer, DiffID: Sum(root)}, 0, attestor.CodeUserRootDisguised),
		one("zstd with a tar in its skippable frame: a user is unpacked", Layer{Blob: hidesUser, MediaType: zstdLayer,
			DiffID: Sum(Tar(harmless...))}, 1000),
		one("zstd with a tar in its skippable frame, with the tar's diffID",
			Layer{Blob: hidesRoot, MediaType: zstdLayer}, -1, attestor.CodeLayersMismatch),
		one("the same as a plain tar", Layer{Blob: hidesRoot, MediaType: OCILayer}, -1,
			attestor.CodeLayerContradictory),
		one("the same as a plain tar, with the frame's diffID",
			Layer{Blob: hidesRoot, MediaType: OCILayer, DiffID: Sum(root)}, -1, attestor.CodeLayerContradictory),
		one("the same as Docker's plain tar", Layer{Blob: hidesRoot, MediaType: dockerTar}, -1,
			attestor.CodeLayersMismatch),
		one("a tar that begins like gzip", Layer{Blob: gzipHead, MediaType: OCILayer}, -1,
			attestor.CodeLayerContradictory),
		one("a tar that begins like gzip, said to be gzip", Layer{Blob: gzipHead, MediaType: gzipLayer}, -1,
			attestor.CodeLayersMismatch),
		one("a tar that begins like zstd", Layer{Blob: zstdHead, MediaType: OCILayer}, -1,
			attestor.CodeLayerContradictory),
		one("a tar that begins like zstd, as Docker's plain tar", Layer{Blob: zstdHead, MediaType: dockerTar}, -1,
			attestor.CodeLayersMismatch),
		one("a tar that begins like bzip2", Layer{Blob: StartingWith("BZh", harmless...), MediaType: OCILayer}, -1,
			attestor.CodeLayerContradictory),
		one("a tar that begins like xz", Layer{Blob: StartingWith("\xfd7zXZ\x00", harmless...), MediaType: OCILayer},
			-1, attestor.CodeLayerContradictory),
	}
}

// mislabelled layers have a media type, first bytes or a diffID that the others
// contradict.
func mislabelled() []LayerCase {
	content := Tar(Etc(Root1000)...)
	var out []LayerCase
	add := func(name, mediaType string, blob []byte, diffID attestor.Digest, code attestor.Code) {
		out = append(out, LayerCase{Name: name, Layers: []Layer{{Blob: blob, MediaType: mediaType, DiffID: diffID}},
			UID: -1, Codes: []attestor.Code{code}})
	}

	for _, tt := range []struct {
		name, mediaType string
		blob            []byte
	}{
		{"gzip as a plain tar", OCILayer, Gzip(content)},
		{"zstd as a plain tar", OCILayer, Zstd(content)},
		{"pzstd as a plain tar", OCILayer, packed(Skippable(0, "x"), Zstd(content))},
		{"a plain tar as gzip", gzipLayer, content},
		{"a plain tar as zstd", zstdLayer, content},
		{"gzip as zstd", zstdLayer, Gzip(content)},
		{"zstd as gzip", gzipLayer, Zstd(content)},
		{"gzip as Docker's zstd", dockerZstd, Gzip(content)},
		{"a plain tar as Docker's gzip", dockerGzip, content},
	} {
		add(tt.name, tt.mediaType, tt.blob, Sum(content), attestor.CodeLayerContradictory)
		if !slices.Equal(tt.blob, content) {
			add(tt.name+", with the blob's diffID", tt.mediaType, tt.blob, Sum(tt.blob),
				attestor.CodeLayerContradictory)
		}
	}

	for _, mediaType := range []string{OCILayer, gzipLayer, dockerTar} {
		add("bzip2 as "+mediaType, mediaType, EmptyBzip2(), Sum(nil), attestor.CodeLayerContradictory)
		add("xz as "+mediaType, mediaType, EmptyXz(), Sum(nil), attestor.CodeLayerContradictory)
	}

	other := Sum(Tar(Etc(appRoot)...))
	add("a plain tar with another diffID", OCILayer, content, other, attestor.CodeLayersMismatch)
	add("gzip with another diffID", gzipLayer, Gzip(content), other, attestor.CodeLayersMismatch)
	add("gzip with the blob's diffID", gzipLayer, Gzip(content), Sum(Gzip(content)), attestor.CodeLayersMismatch)
	add("zstd with another diffID", zstdLayer, Zstd(content), other, attestor.CodeLayersMismatch)
	add("an empty blob with a tar's diffID", gzipLayer, nil, Sum(content), attestor.CodeLayersMismatch)
	return append(out, LayerCase{Name: "a layer above that is not what its diffID says", UID: -1,
		Codes:  []attestor.Code{attestor.CodeLayersMismatch},
		Layers: []Layer{TarLayer(Etc(Root1000)...), TarLayer(File{"a", "1"}).Gzipped().Forged(other)}})
}

// brokenLayers cannot be unpacked by the libraries that containerd uses.
func brokenLayers() []LayerCase {
	content := Tar(Etc(Root1000)...)
	gz, zs := Gzip(content), Zstd(content)
	var out []LayerCase
	add := func(name, mediaType string, blob []byte) {
		out = append(out, LayerCase{Name: name, UID: -1, Codes: []attestor.Code{attestor.CodeLayersMismatch},
			Layers: []Layer{{Blob: blob, MediaType: mediaType, DiffID: Sum(content)}}})
	}

	add("gzip and other bytes", gzipLayer, packed(gz, []byte("more bytes after it")))
	add("gzip and zeros", gzipLayer, packed(gz, make([]byte, 512)))
	add("gzip and one byte", gzipLayer, packed(gz, []byte{0x1f}))
	add("gzip and zstd", gzipLayer, packed(gz, zs))
	add("gzip cut short", gzipLayer, gz[:len(gz)-1])
	add("gzip with a wrong length", gzipLayer, tampered(gz))
	add("zstd and other bytes", zstdLayer, packed(zs, []byte("more bytes after it")))
	add("zstd and zeros", zstdLayer, packed(zs, make([]byte, 512)))
	add("zstd and one byte", zstdLayer, packed(zs, []byte{0x28}))
	add("zstd and gzip", zstdLayer, packed(zs, gz))
	add("zstd cut short", zstdLayer, zs[:len(zs)-1])
	add("zstd with a wrong checksum", zstdLayer, tampered(zs))
	add("zstd and half of a skippable frame", zstdLayer, packed(zs, Skippable(0, "xxxx")[:10]))
	add("a skippable frame that is longer than the layer", zstdLayer, []byte("P*M\x18\xff\xff\xff\xffxxxx"))
	return out
}

func layers() []Case {
	var out []Case
	for _, tt := range LayerCases() {
		out = append(out, Case{Name: "layers/" + tt.Name, Policy: resolveNames, Want: judged(tt.Codes...), Arrange: func(p *Place) {
			p.Push(Image{User: "app", Layers: tt.Layers})
		}})
	}
	return out
}
