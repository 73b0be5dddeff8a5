package ociregistry_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor/internal/ociregistry"
)

func serve(t *testing.T, dir string) string {
	t.Helper()
	r, err := ociregistry.New(dir)
	if err != nil {
		t.Fatal(err)
	}

	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func TestImagesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	img, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}

	want, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}

	ref, err := name.NewTag(serve(t, dir) + "/team/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}

	again, err := name.NewTag(serve(t, dir) + "/team/app:v1")
	if err != nil {
		t.Fatal(err)
	}

	got, err := remote.Image(again)
	if err != nil {
		t.Fatal(err)
	}

	layers, err := got.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("layers: %d, %v", len(layers), err)
	}

	rc, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}

	if _, err := io.Copy(io.Discard, rc); err != nil {
		t.Errorf("reading a layer: %v", err)
	}
	if d, err := got.Digest(); err != nil || d != want {
		t.Errorf("got %v, %v, want %v", d, err, want)
	}

	tags, err := remote.List(again.Repository)
	if err != nil || len(tags) != 1 || tags[0] != "v1" {
		t.Errorf("tags: %v, %v", tags, err)
	}
}

func TestAnyManifestIsStored(t *testing.T) {
	host := serve(t, "")
	for name, body := range map[string]string{
		"no-json": "this is not JSON",
		"missing-children": `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",` +
			`"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":2,` +
			`"digest":"sha256:` + strings.Repeat("0", 64) + `"}]}`,
	} {
		url := "http://" + host + "/v2/bad/manifests/" + name
		req, err := http.NewRequest(http.MethodPut, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}

		req.Header.Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}

		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s", name, resp.Status)
		}

		resp, err = http.Get(url)
		if err != nil {
			t.Fatal(err)
		}

		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, []byte(body)) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestReferrersAndPages(t *testing.T) {
	host := serve(t, "")
	repo, err := name.NewRepository(host + "/app")
	if err != nil {
		t.Fatal(err)
	}

	for _, tag := range []string{"a", "b", "c"} {
		img, err := random.Image(10, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(repo.Tag(tag), img); err != nil {
			t.Fatal(err)
		}
	}

	tags, err := remote.List(repo, remote.WithPageSize(2))
	if err != nil || strings.Join(tags, "") != "abc" {
		t.Errorf("got %v, %v", tags, err)
	}

	d := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("1", 64)}
	idx, err := remote.Referrers(repo.Digest(d.String()))
	if err != nil {
		t.Fatal(err)
	}

	m, err := idx.IndexManifest()
	if err != nil || len(m.Manifests) != 0 {
		t.Errorf("got %v, %v", m, err)
	}
	if _, err := remote.Image(repo.Tag("missing")); err == nil {
		t.Error("a missing tag was found")
	}
}

// TestUploadTime: a manifest tells since when it is there, and the same bytes under another tag change nothing.
func TestUploadTime(t *testing.T) {
	dir := t.TempDir()
	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	at := func(address, tag string) string {
		resp, err := http.Get("http://" + address + "/v2/team/app/manifests/" + tag)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.Header.Get("Last-Modified")
	}

	address := serve(t, dir)
	for _, tag := range []string{"v1", "v2"} {
		ref, err := name.NewTag(address + "/team/app:" + tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, img); err != nil {
			t.Fatal(err)
		}
	}
	first := at(address, "v1")
	if _, err := http.ParseTime(first); err != nil {
		t.Fatalf("Last-Modified %q: %v", first, err)
	}
	for what, got := range map[string]string{"another tag": at(address, "v2"), "after a restart": at(serve(t, dir), "v1")} {
		if got != first {
			t.Errorf("%s: %s, want %s", what, got, first)
		}
	}
}
