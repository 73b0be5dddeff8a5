package verify_test

import (
	"net/http"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
)

// The builders are the corpus's; these are their names here.
type (
	rawLayer = corpus.Layer
	rawImage = corpus.Image
)

const (
	ociManifest    = corpus.OCIManifest
	ociIndex       = corpus.OCIIndex
	ociConfig      = corpus.OCIConfig
	ociLayer       = corpus.OCILayer
	dockerManifest = corpus.DockerManifest
)

func sum(b []byte) attestor.Digest { return corpus.Sum(b) }

func desc(mediaType string, b []byte, extra string) string { return corpus.Desc(mediaType, b, extra) }

func putBlob(t testing.TB, host, repo string, b []byte) attestor.Digest {
	t.Helper()
	if err := corpus.PutBlob(t.Context(), http.DefaultClient, host, repo, b); err != nil {
		t.Fatal(err)
	}
	return sum(b)
}

func putManifest(t testing.TB, host, repo, ref, mediaType string, b []byte) attestor.Digest {
	t.Helper()
	if err := corpus.PutManifest(t.Context(), http.DefaultClient, host, repo, ref, mediaType, b); err != nil {
		t.Fatal(err)
	}
	return sum(b)
}

// pushRaw pushes layers, config and manifest as they are.
func pushRaw(t testing.TB, host, repo, tag string, r rawImage) attestor.Digest {
	t.Helper()
	manifest, config := r.Bytes()
	r = r.WithDefaults()

	for _, l := range r.Layers {
		putBlob(t, host, repo, l.Blob)
	}

	putBlob(t, host, repo, config)
	return putManifest(t, host, repo, tag, r.MediaType, manifest)
}

// pushIndex pushes an index of the given entries.
func pushIndex(t testing.TB, host, repo, tag string, entries ...string) attestor.Digest {
	t.Helper()
	return putManifest(t, host, repo, tag, ociIndex, corpus.Index(entries...))
}

// file is [corpus.File], to be written without field names.
type file struct{ name, content string }

func tarOf(files ...file) []byte {
	var out []corpus.File
	for _, f := range files {
		out = append(out, corpus.File{Name: f.name, Content: f.content})
	}
	return corpus.Tar(out...)
}

func gzipped(b []byte) []byte { return corpus.Gzip(b) }

func zstded(b []byte) []byte { return corpus.Zstd(b) }

func httpPost(url string) (*http.Response, error) {
	resp, err := http.Post(url, "", nil)
	if err != nil {
		return nil, err
	}
	return resp, resp.Body.Close()
}
