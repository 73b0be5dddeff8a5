package summary_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
)

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// lies adds entries to every list of referrers.
type lies struct {
	next http.Handler
	mu   sync.Mutex
	told []v1.Descriptor // guarded by mu
}

func (l *lies) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, "/referrers/") {
		l.next.ServeHTTP(w, r)
		return
	}
	rec := httptest.NewRecorder()
	l.next.ServeHTTP(rec, r)
	var index v1.IndexManifest
	if err := json.Unmarshal(rec.Body.Bytes(), &index); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	l.mu.Lock()
	index.Manifests = append(slices.Clone(l.told), index.Manifests...)
	l.mu.Unlock()
	w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
	_ = json.NewEncoder(w).Encode(index)
}

func (l *lies) tell(d ...v1.Descriptor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = d
}

// manifestOf stores a manifest with these layers that refers to an image, and describes it as a list does.
func (w *world) manifestOf(img attestor.Image, layers ...[]byte) v1.Descriptor {
	w.t.Helper()
	subject, err := remote.Head(w.Repo.Digest(string(img.Digest())))
	w.Must(err)
	w.Must(remote.WriteLayer(w.Repo, static.NewLayer([]byte("{}"), "application/vnd.oci.empty.v1+json")))
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: "application/vnd.oci.image.manifest.v1+json", ArtifactType: bundleType, Subject: subject,
		Config: described([]byte("{}"), "application/vnd.oci.empty.v1+json"),
	}
	for _, b := range layers {
		w.Must(remote.WriteLayer(w.Repo, static.NewLayer(b, bundleType)))
		m.Layers = append(m.Layers, described(b, bundleType))
	}
	text, err := json.Marshal(m)
	w.Must(err)
	d := described(text, "application/vnd.oci.image.manifest.v1+json")
	d.ArtifactType = bundleType
	w.Must(remote.Put(w.Repo.Digest(d.Digest.String()), stored(text)))
	return d
}

func described(b []byte, media string) v1.Descriptor {
	d := attestor.DigestOf(b)
	return v1.Descriptor{MediaType: types.MediaType(media), Digest: v1.Hash{Algorithm: "sha256", Hex: d.Hex()}, Size: int64(len(b))}
}

// stored is a manifest that is put as it is.
type stored []byte

// RawManifest implements [remote.Taggable].
func (s stored) RawManifest() ([]byte, error) { return s, nil }

// MediaType says what it is.
func (stored) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// What others attach, and what a list claims of manifests that it has no business with, is neither taken for a summary
// nor deleted, and keeps none from being stored.
func TestReferrersOfOthers(t *testing.T) {
	l := &lies{next: registries.Kinds()["referrers API"](t, true)}
	w := newWorld(t, l)
	key := w.p256()
	p := w.publisher(key)

	// A statement of the gate's own about another image, under this image's subject as well.
	other := w.Push()
	ref, err := name.NewDigest(w.publish(p, judged{image: other}).Standing[0].Reference)
	w.Must(err)
	theirs, err := remote.Get(ref)
	w.Must(err)
	layers, err := func() ([]v1.Layer, error) {
		img, err := theirs.Image()
		if err != nil {
			return nil, err
		}
		return img.Layers()
	}()
	w.Must(err)
	var text bytes.Buffer
	body, err := layers[0].Compressed()
	w.Must(err)
	_, err = text.ReadFrom(body)
	w.Must(err)
	w.Must(body.Close())

	listed := theirs.Descriptor
	listed.ArtifactType = bundleType
	image, err := remote.Head(w.Repo.Digest(string(w.image.Digest())))
	w.Must(err)
	claimed, absent, vast := *image, described([]byte("nothing"), bundleType), listed
	claimed.ArtifactType, vast.Size = bundleType, 1<<40
	junk := []v1.Descriptor{
		w.manifestOf(w.image), w.manifestOf(w.image, []byte("not a bundle")), w.manifestOf(w.image, []byte("{}"), []byte("{} ")),
		w.manifestOf(w.image, text.Bytes()), w.manifestOf(w.image, bytes.Repeat([]byte(" "), 3<<20)),
	}
	l.tell(claimed, absent, vast, listed, listed)

	first := w.publish(p, judged{image: w.image}).Standing[0]
	w.advance(time.Second)
	second := w.publish(p, judged{image: w.image, policy: "two"}).Standing[0]
	if !first.Created || !second.Created {
		t.Errorf("published %+v and %+v", first, second)
	}
	gone, left, err := p.Revoke(t.Context(), []attestor.Image{w.image}, []attestor.SummaryNeeds{{}})
	if err != nil || len(gone) != 1 || gone[0].Reference != second.Reference || len(left) != 0 {
		t.Errorf("revoked: gone %+v, left %+v, %v", gone, left, err)
	}
	for _, d := range append(junk, listed, *image) {
		if _, err := remote.Head(w.Repo.Digest(d.Digest.String())); err != nil {
			t.Errorf("what is not the gate's is gone: %s: %v", d.Digest, err)
		}
	}
}

// An image with more referrers than are read has no summary: the one that stands, or that must go, may be among the
// rest.
func TestTooManyReferrers(t *testing.T) {
	l := &lies{next: registries.Kinds()["referrers API"](t, true)}
	w := newWorld(t, l)
	p := w.publisher(w.p256())
	var many []v1.Descriptor
	for n := range 65 {
		d := described(fmt.Appendf(nil, "referrer %d", n), "application/vnd.oci.image.manifest.v1+json")
		d.ArtifactType = "application/vnd.example"
		many = append(many, d)
	}
	l.tell(many[:62]...)
	w.publish(p, judged{image: w.image})

	l.tell(many...)
	before := w.writes()
	other := w.Push()
	pushed := w.writes()
	got, err := p.Summarize(t.Context(), w.authorized(judged{image: other}), begun)
	wantCode(t, err, attestor.CodeSummaryUnavailable)
	if len(got.Standing) != 0 || w.writes() != pushed || pushed == before {
		t.Errorf("published %+v by %d writes", got, w.writes()-pushed)
	}
	if _, _, err := p.Revoke(t.Context(), []attestor.Image{w.image}, []attestor.SummaryNeeds{{}}); err == nil {
		t.Error("a revocation says that nothing is left, of a list that it has not read")
	}
}
