package verify_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/attestor-gate/attestor"
)

const (
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	ociConfig      = "application/vnd.oci.image.config.v1+json"
	ociLayer       = "application/vnd.oci.image.layer.v1.tar"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerSchema1  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

func sum(b []byte) attestor.Digest {
	s := sha256.Sum256(b)
	return attestor.Digest("sha256:" + hex.EncodeToString(s[:]))
}

// do sends what a client of the registry would refuse to send.
func do(t testing.TB, method, url, contentType string, body []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s %s: %s: %s", method, url, resp.Status, b)
	}
}

func putBlob(t testing.TB, host, repo string, b []byte) attestor.Digest {
	t.Helper()
	do(t, http.MethodPost, fmt.Sprintf("http://%s/v2/%s/blobs/uploads/?digest=%s", host, repo, sum(b)), "application/octet-stream", b)
	return sum(b)
}

func putManifest(t testing.TB, host, repo, ref, mediaType string, b []byte) attestor.Digest {
	t.Helper()
	do(t, http.MethodPut, fmt.Sprintf("http://%s/v2/%s/manifests/%s", host, repo, ref), mediaType, b)
	return sum(b)
}

// desc is a descriptor, with what extra says besides.
func desc(mediaType string, b []byte, extra string) string {
	return descOf(mediaType, sum(b), len(b), extra)
}

func descOf(mediaType string, d attestor.Digest, size int, extra string) string {
	s := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d`, mediaType, d, size)
	if extra != "" {
		s += "," + extra
	}
	return s + "}"
}

// rawLayer is a layer with what is said of it, true or not.
type rawLayer struct {
	blob      []byte
	mediaType string          // default: tar
	diffID    attestor.Digest // default: of blob
	extra     string          // more of the descriptor
}

// rawImage is an image of one's own making.
type rawImage struct {
	layers      []rawLayer // default: one small layer
	os, arch    string     // default: linux, amd64
	variant     string
	user        string
	configExtra string // more of the config; replaces user
	extra       string // more of the manifest
	mediaType   string // what it is served as; default: OCI
	configType  string
}

// bytes returns manifest and config.
func (r rawImage) bytes() (manifest, config []byte) {
	r = r.defaults()
	var descs []string
	diffIDs := []attestor.Digest{}
	for _, l := range r.layers {
		mt, id := l.mediaType, l.diffID
		if mt == "" {
			mt = ociLayer
		}
		if id == "" {
			id = sum(l.blob)
		}
		descs, diffIDs = append(descs, desc(mt, l.blob, l.extra)), append(diffIDs, id)
	}
	ids, _ := json.Marshal(diffIDs)
	variant := ""
	if r.variant != "" {
		variant = fmt.Sprintf(`,"variant":%q`, r.variant)
	}
	config = fmt.Appendf(nil, `{"os":%q,"architecture":%q%s,"rootfs":{"type":"layers","diff_ids":%s},%s}`, r.os, r.arch, variant, ids, r.configExtra)
	extra := ""
	if r.extra != "" {
		extra = "," + r.extra
	}
	manifest = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]%s}`, r.mediaType, desc(r.configType, config, ""), strings.Join(descs, ","), extra)
	return manifest, config
}

func (r rawImage) defaults() rawImage {
	if r.layers == nil {
		r.layers = []rawLayer{{blob: tarOf(file{"hello", "world"})}}
	}
	for _, d := range []struct {
		field *string
		value string
	}{{&r.os, "linux"}, {&r.arch, "amd64"}, {&r.mediaType, ociManifest}, {&r.configType, ociConfig}, {&r.user, "65532:65532"}} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if r.configExtra == "" {
		user, _ := json.Marshal(r.user)
		r.configExtra = fmt.Sprintf(`"config":{"User":%s}`, user)
	}
	return r
}

// platform is the index's way to state the image's.
func (r rawImage) platform() string {
	r = r.defaults()
	return fmt.Sprintf(`"platform":{"os":%q,"architecture":%q}`, r.os, r.arch)
}

// entry is the image's entry in an index.
func (r rawImage) entry() string {
	m, _ := r.bytes()
	return desc(ociManifest, m, r.platform())
}

// pushRaw pushes layers, config and manifest as they are.
func pushRaw(t testing.TB, host, repo, tag string, r rawImage) attestor.Digest {
	t.Helper()
	manifest, config := r.bytes()
	r = r.defaults()
	for _, l := range r.layers {
		putBlob(t, host, repo, l.blob)
	}
	putBlob(t, host, repo, config)
	return putManifest(t, host, repo, tag, r.mediaType, manifest)
}

// pushIndex pushes an index of the given entries.
func pushIndex(t testing.TB, host, repo, tag string, entries ...string) attestor.Digest {
	t.Helper()
	return putManifest(t, host, repo, tag, ociIndex, fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, ociIndex, strings.Join(entries, ",")))
}

// file is an entry of a tar: a regular file, or by its content "->TARGET" a
// symlink, "=>TARGET" a hard link; a name with a slash at its end is a directory.
type file struct{ name, content string }

func tarOf(files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		switch {
		case strings.HasSuffix(f.name, "/"):
			h.Typeflag, h.Size = tar.TypeDir, 0
		case strings.HasPrefix(f.content, "->"):
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, f.content[2:], 0
		case strings.HasPrefix(f.content, "=>"):
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, f.content[2:], 0
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, f.content); err != nil {
				panic(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func zstded(b []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

func httpPost(url string) (*http.Response, error) {
	resp, err := http.Post(url, "", nil)
	if err != nil {
		return nil, err
	}
	return resp, resp.Body.Close()
}
