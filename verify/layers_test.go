package verify_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify"
)

// Two images share a layer, and one's manifest lies about its size: read at the
// same time, the one who lies is refused and the other one is not.
func TestALyingSizeFailsNobodyElse(t *testing.T) {
	f := &front{}
	host := newRegistry(t, f.wrap)
	a := layer("a")
	pushRaw(t, host, "base", "1", rawImage{Layers: []rawLayer{a}})
	shared := a.Recompressed("a")
	img := rawImage{Layers: []rawLayer{shared, layer("b")}}
	pushRaw(t, host, "app", "1", img)
	honest, _ := img.Bytes()
	size := fmt.Sprintf(`"size":%d`, len(shared.Blob))
	lying := bytes.Replace(honest, []byte(size), []byte(fmt.Sprintf(`"size":%d`, len(shared.Blob)-1)), 1)
	if bytes.Equal(lying, honest) {
		t.Fatalf("no %s in %s", size, honest)
	}

	putManifest(t, host, "app", "lying", ociManifest, lying)

	var readers atomic.Int64
	both := make(chan struct{})
	f.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, string(sum(shared.Blob))) {
			if readers.Add(1) == 2 {
				close(both)
			}
			select {
			case <-both: // the other one reads it too
			case <-r.Context().Done():
			}
		}
		return false
	})

	i := newInspector(t, host, nil)
	found := make(chan attestor.PlatformEvidence)
	go func() { found <- inspectOne(t, i, host+"/app:lying", basesOf(host, nil)) }()
	if ev := inspectOne(t, i, host+"/app:1", basesOf(host, nil)); ev.Base.Evidence != attestor.DiffIDsVerified {
		t.Errorf("the honest image: %+v", ev)
	}

	wantCodes(t, (<-found).Problems, attestor.CodeContentMismatch)
}

// What is read from a layer is what a runtime unpacks from it: by its first
// bytes, to its end, and with the diffID that the config lists.
func TestLayersAreReadAsRuntimesDo(t *testing.T) {
	for _, tt := range corpus.LayerCases() {
		t.Run(tt.Name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "app", "1", rawImage{User: "app", Layers: tt.Layers})
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{ResolveNames: true})

			wantCodes(t, ev.Problems, tt.Codes...)
			if got := value(ev.User.UID); got != tt.UID {
				t.Errorf("uid = %d, want %d", got, tt.UID)
			}
		})
	}
}

// A contradiction is told by its witnesses: media type, first bytes and diffID.
func TestContradictionsNameTheirWitnesses(t *testing.T) {
	content := tarOf(etc(root1000)...)
	other := sum([]byte("other"))

	for _, tt := range []struct {
		name  string
		layer rawLayer
		says  []string
	}{
		{"media type and first bytes", rawLayer{Blob: corpus.Zstd(content), MediaType: ociLayer + "+gzip", DiffID: sum(content)},
			[]string{"is zstd by its first bytes", "its media type " + ociLayer + "+gzip says gzip", string(sum(content))}},
		{"first bytes and diffID", rawLayer{Blob: corpus.Gzip(content), MediaType: ociLayer + "+gzip", DiffID: other},
			[]string{"is gzip by its first bytes", "unpacks to " + string(sum(content)), "lists diffID " + string(other)}},
		{"a compression that containerd lacks", rawLayer{Blob: corpus.EmptyXz(), MediaType: ociLayer + "+gzip", DiffID: other},
			[]string{"compressed with xz", "gzip and zstd are allowed"}},
		{"a stream that breaks off", rawLayer{Blob: corpus.Gzip(content)[:50], MediaType: ociLayer + "+gzip", DiffID: other},
			[]string{"is gzip by its first bytes", "cannot be unpacked", "unexpected EOF"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "app", "1", rawImage{User: "app", Layers: []rawLayer{tt.layer}})
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{ResolveNames: true})
			if len(ev.Problems) != 1 || ev.Problems[0].Status != attestor.StatusDeny {
				t.Fatalf("problems = %+v, want one denial", ev.Problems)
			}

			for _, want := range append(tt.says, string(sum(tt.layer.Blob))) {
				if !strings.Contains(ev.Problems[0].Message, want) {
					t.Errorf("it says %q, without %q", ev.Problems[0].Message, want)
				}
			}
		})
	}
}

// What is known of a blob counts for another image only as far as that image's
// own manifest and config agree with it.
func TestKnownLayersAreComparedAgain(t *testing.T) {
	host := newRegistry(t, nil)
	good := tarLayer(etc(root1000)...).Gzipped()
	pushRaw(t, host, "app", "1", rawImage{User: "app", Layers: []rawLayer{good}})
	pushRaw(t, host, "app", "2", rawImage{User: "app", Layers: []rawLayer{good.Forged(sum([]byte("other")))}})
	mislabelled := good
	mislabelled.MediaType = ociLayer + "+zstd"
	pushRaw(t, host, "app", "3", rawImage{User: "app", Layers: []rawLayer{mislabelled}})
	honest, _ := rawImage{User: "app", Layers: []rawLayer{good}}.Bytes()
	size := fmt.Sprintf(`"size":%d`, len(good.Blob))
	putManifest(t, host, "app", "4", ociManifest, bytes.Replace(honest, []byte(size), fmt.Appendf(nil, `"size":%d`, len(good.Blob)+1), 1))

	i := newInspector(t, host, nil)
	for _, tt := range []struct {
		tag   string
		codes []attestor.Code
	}{
		{"1", nil},
		{"2", []attestor.Code{attestor.CodeLayersMismatch}},
		{"3", []attestor.Code{attestor.CodeLayerContradictory}},
		{"4", []attestor.Code{attestor.CodeUserLookupFailed}},
		{"1", nil},
	} {
		ev := inspectOne(t, i, host+"/app:"+tt.tag, attestor.Needs{ResolveNames: true})
		wantCodes(t, ev.Problems, tt.codes...)
	}
}

// A window, or a frame in one segment, takes the memory that it asks for: more
// than is allowed is an error before it is taken.
func TestZstdWindows(t *testing.T) {
	for name, frame := range map[string]string{
		"a window of 256 MiB":             "\x28\xb5\x2f\xfd\x00\x90\x01\x00\x00",
		"a segment of 60 GiB":             "\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x0f\x00\x00\x00\x01\x00\x00",
		"a segment after a skipped frame": "P*M\x18\x00\x00\x00\x00\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x0f\x00\x00\x00\x01\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			host := newRegistry(t, nil)
			pushRaw(t, host, "app", "1", rawImage{User: "app", Layers: []rawLayer{{Blob: []byte(frame), MediaType: ociLayer + "+zstd", DiffID: sum(nil)}}})
			ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{ResolveNames: true})
			wantCodes(t, ev.Problems, attestor.CodeUserLookupFailed)
			if want := "a zstd window of more than 134217728 bytes, the largest that is read"; !strings.Contains(ev.Problems[0].Message, want) {
				t.Errorf("it says %q, want %q", ev.Problems[0].Message, want)
			}
		})
	}
}

// zstdFrame is a frame of one raw block, with the byte that says its window: 2 to the power of 10 and its upper five bits,
// and an eighth of that for each of the lower three (RFC 8878, 3.1.1.1.2).
func zstdFrame(window byte, content []byte) []byte {
	n := len(content)<<3 | 1 // raw, and the last
	return append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, window, byte(n), byte(n >> 8), byte(n >> 16)}, content...)
}

// Large windows are for few layers at a time: which one a layer may have is known by its first frame.
func TestWindowsByTheFirstFrame(t *testing.T) {
	const usual, most = 32 << 20, 128 << 20
	segment := func(size uint32) []byte {
		return binary.LittleEndian.AppendUint32([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0}, size)
	}
	for _, tt := range []struct {
		name string
		head []byte
		want uint64
	}{
		{"32 MiB", zstdFrame(15<<3, nil), usual},
		{"36 MiB", zstdFrame(15<<3|1, nil), most},
		{"64 MiB", zstdFrame(16<<3, nil), most},
		{"256 MiB", zstdFrame(18<<3, nil), most},
		{"a segment of 32 MiB", segment(usual), usual},
		{"a segment of one byte more", segment(usual + 1), most},
		{"a skippable frame", corpus.Skippable(0, "some content"), most},
		{"half a header", []byte{0x28, 0xb5, 0x2f, 0xfd}, most},
		{"gzip", corpus.Gzip([]byte("content")), usual},
		{"a tar", tarOf(file{"a", ""}), usual},
		{"nothing", nil, usual},
	} {
		if got := verify.WindowOf(tt.head[:min(len(tt.head), 17)]); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}

	content := tarOf(etc(root1000)...)
	first, second := content[:600], content[600:]
	for name, tt := range map[string]struct {
		blob  []byte
		codes []attestor.Code
	}{
		"two frames of 8 MiB":        {append(zstdFrame(13<<3, first), zstdFrame(13<<3, second)...), nil},
		"of 8 MiB and then of 1 MiB": {append(zstdFrame(13<<3, first), zstdFrame(10<<3, second)...), nil},
		"of 8 MiB and then of 64 MiB": {append(zstdFrame(13<<3, first), zstdFrame(16<<3, second)...),
			[]attestor.Code{attestor.CodeUserLookupFailed}},
	} {
		host := newRegistry(t, nil)
		l := rawLayer{Blob: tt.blob, MediaType: ociLayer + "+zstd", DiffID: sum(content)}
		pushRaw(t, host, "app", "1", rawImage{User: "app", Layers: []rawLayer{l}})
		ev := inspectOne(t, newInspector(t, host, nil), host+"/app:1", attestor.Needs{ResolveNames: true})
		wantCodes(t, ev.Problems, tt.codes...)
		if len(tt.codes) > 0 && !strings.Contains(ev.Problems[0].Message, "more than 33554432 bytes, the largest that is read behind a frame") {
			t.Errorf("%s: it says %q", name, ev.Problems[0].Message)
		}
	}
}

// Whoever reads a layer goes through the reader that proves it: nobody else in
// the package opens blobs, but for what is compared with its digest as a whole.
func TestLayersAreOpenedInOnePlace(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}

	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}

		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}

		for _, decl := range parsed.Decls {
			ast.Inspect(decl, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}

				sel, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || sel.Sel.Name != "open" && sel.Sel.Name != "Compressed" && sel.Sel.Name != "Uncompressed" && sel.Sel.Name != "walk" {
					return true
				}

				in := decl.(*ast.FuncDecl).Name.Name
				allowed := map[string]string{"blob": "open", "open": "Compressed", "unpack": "open walk"}
				if !strings.Contains(allowed[in], sel.Sel.Name) {
					t.Errorf("%s: %s calls %s", name, in, sel.Sel.Name)
				}

				return true
			})
		}
	}
}
