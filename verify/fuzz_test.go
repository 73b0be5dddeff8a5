package verify_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify"
)

// seeds adds the fixtures as a corpus; one that is empty would test nothing.
func seeds(f *testing.F) {
	f.Helper()
	files, err := filepath.Glob("testdata/images/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}

	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// FuzzManifest: what is accepted is an image or an index and not both, and an
// ordinary decoder reads the same from it.
func FuzzManifest(f *testing.F) {
	seeds(f)
	f.Add([]byte(`{"schemaVersion":2,"Layers":[],"config":{}}`))
	f.Add([]byte(`{"schemaVersion":1,"fsLayers":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		mt, layers, manifests, err := verify.ParseDocument(b, "")
		if err != nil {
			if codeOf(err) == "" {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}

		var d map[string]json.RawMessage
		if err := json.Unmarshal(b, &d); err != nil {
			t.Fatalf("accepted what is not an object: %v", err)
		}

		var list []json.RawMessage
		key, n := "layers", layers
		if strings.Contains(mt, "index") || strings.Contains(mt, "list") {
			key, n = "manifests", manifests
		}
		if err := json.Unmarshal(d[key], &list); err != nil || len(list) != n {
			t.Fatalf("%s: %d by key %q, %d read", mt, len(list), key, n)
		}
	})
}

// FuzzConfig: the user that is judged is the one under the exact keys
// config.User, which is where every runtime looks.
func FuzzConfig(f *testing.F) {
	seeds(f)
	f.Add([]byte(`{"config":{"User":"1","user":"0"},"rootfs":{"type":"layers","diff_ids":[]}}`))
	f.Add([]byte(`{"config":{"User":"1"},"Config":{"User":"0"},"rootfs":{"type":"layers","diff_ids":[]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for n := range 4 {
			user, diffIDs, err := verify.ParseConfig(b, n)
			if err != nil {
				continue
			}
			if diffIDs != n {
				t.Fatalf("%d diffIDs for %d layers", diffIDs, n)
			}

			var d, c map[string]json.RawMessage
			if err := json.Unmarshal(b, &d); err != nil {
				t.Fatal(err)
			}

			want := ""
			if raw, ok := d["config"]; ok && string(raw) != "null" {
				if err := json.Unmarshal(raw, &c); err != nil {
					t.Fatal(err)
				}
				if raw, ok := c["User"]; ok {
					if err := json.Unmarshal(raw, &want); err != nil {
						t.Fatal(err)
					}
				}
			}
			if user != want {
				t.Fatalf("user %q, want %q", user, want)
			}
		}
	})
}

var provenUser = regexp.MustCompile(`^[1-9][0-9]{0,9}(:(0|[1-9][0-9]{0,9}|[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?))?$`)

// FuzzUser: a uid other than root is proven only by canonical decimal digits,
// and whatever proves none has a problem that says so.
func FuzzUser(f *testing.F) {
	for _, s := range []string{"", "0", "65532:65532", ":1000", "root", "app", "4294967296", " 0", "1000:1:2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, p := verify.ParseUser(s)
		switch {
		case u.UID == nil && p == nil:
			t.Fatalf("%q: no uid and no problem", s)
		case u.UID != nil && *u.UID != 0 && (p != nil || !provenUser.MatchString(s) || *u.UID > 1<<31-1 || *u.UID < 0):
			t.Fatalf("%q is uid %d", s, *u.UID)
		case p != nil && (p.Check != attestor.CheckUser || p.Status != attestor.StatusDeny):
			t.Fatalf("%q: %+v", s, p)
		}
	})
}

// FuzzPasswd: a user that is found has one line, of seven fields, with the
// uid in plain digits.
func FuzzPasswd(f *testing.F) {
	f.Add([]byte(root1000), "app")
	f.Add([]byte(" app:x:0:0::/:\napp:x:1:1::/:"), "app")
	f.Add([]byte("short:x"), "short")
	f.Fuzz(func(t *testing.T, content []byte, name string) {
		uid, gid, err := verify.ParsePasswd(content, name)
		if err != nil {
			return
		}

		if uid < 0 || uid > 1<<31-1 || gid < 0 || gid > 1<<31-1 {
			t.Fatalf("uid %d, gid %d", uid, gid)
		}

		n := 0
		for line := range bytes.SplitSeq(content, []byte("\n")) {
			if first, _, ok := bytes.Cut(bytes.TrimSpace(line), []byte(":")); ok && string(bytes.TrimSpace(first)) == name {
				n++
			}
		}

		if n != 1 {
			t.Fatalf("%d lines for %q", n, name)
		}
	})
}

// FuzzTarLayer: any bytes are read to an end, and a file that is found was in
// them.
func FuzzTarLayer(f *testing.F) {
	f.Add(tarOf(etc(root1000)...))
	f.Add(tarOf(file{"etc/", ""}, file{"etc/.wh.passwd", ""}))
	f.Add(tarOf(file{"x", "->etc"}, file{"x/passwd", appRoot}))
	f.Add([]byte("not a tar"))
	f.Fuzz(func(t *testing.T, b []byte) {
		content, decided, refused := verify.PasswdEffect(bytes.NewReader(b))
		if decided && !refused && len(content) > 0 && !bytes.Contains(b, content[:min(len(content), 512)]) {
			t.Fatalf("found %q, which is not in the layer", content)
		}
	})
}

// FuzzGroups: a group that is found has one line, with its gid in plain digits.
func FuzzGroups(f *testing.F) {
	f.Add([]byte(corpus.Groups), "app")
	f.Add([]byte(" app:x:0:\napp:x:1:"), "app")
	f.Add([]byte("short:x"), "short")
	f.Fuzz(func(t *testing.T, content []byte, name string) {
		gid, err := verify.ParseGroups(content, name)
		if err != nil {
			return
		}

		if gid < 0 || gid > 1<<31-1 {
			t.Fatalf("gid %d", gid)
		}

		n := 0
		for line := range bytes.SplitSeq(content, []byte("\n")) {
			if first, _, ok := bytes.Cut(bytes.TrimSpace(line), []byte(":")); ok && string(bytes.TrimSpace(first)) == name {
				n++
			}
		}

		if n != 1 {
			t.Fatalf("%d lines for %q", n, name)
		}
	})
}

// FuzzLayer: a blob is read as containerd reads it, or both fail.
func FuzzLayer(f *testing.F) {
	for _, c := range corpus.LayerCases() {
		for _, l := range c.Layers {
			f.Add(l.Blob)
		}
	}
	f.Fuzz(func(t *testing.T, blob []byte) {
		compression, got, err := verify.OpenLayer(bytes.NewReader(blob))
		switch {
		case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded), verify.IsTooLarge(err):
			return // a limit of the gate's own
		case compression == "bzip2", compression == "xz":
			if err == nil {
				t.Fatalf("read %s", compression)
			}
			return
		}

		want, wantErr := containerd(blob)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%s: %v; containerd: %v", compression, err, wantErr)
		}
		if err == nil && got != want {
			t.Fatalf("%s: diffID %s; containerd's is %s", compression, got, want)
		}
	})
}

// containerd is the diffID that containerd computes: DecompressStream of
// pkg/archive/compression at v2, with its magic numbers and its libraries' own
// defaults, read to the end as core/diff/apply does.
func containerd(blob []byte) (attestor.Digest, error) {
	r := iotest.OneByteReader(bytes.NewReader(blob))
	switch {
	case bytes.HasPrefix(blob, []byte{0x1f, 0x8b, 0x08}):
		z, err := gzip.NewReader(r)
		if err != nil {
			return "", err
		}
		r = z
	case bytes.HasPrefix(blob, []byte{0x28, 0xb5, 0x2f, 0xfd}),
		len(blob) >= 8 && binary.LittleEndian.Uint32(blob[:4])&0xfffffff0 == 0x184d2a50:
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return "", err
		}
		defer z.Close()
		r = z
	}

	unpacked, err := io.ReadAll(r)
	return sum(unpacked), err
}
