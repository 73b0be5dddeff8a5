package referrers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/referrers"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
)

// host is a registry on loopback.
type host struct {
	*registries.Host
	t *testing.T
}

func newHost(t *testing.T, h http.Handler) *host {
	t.Helper()
	return &host{Host: registries.Start(t, h, "acme/app"), t: t}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func withAPI(t *testing.T) *host { t.Helper(); return newHost(t, registries.Memory(true)) }

// refer pushes a referrer of img with one layer.
func (s *host) refer(img attestor.Image, artifact types.MediaType, blob []byte) {
	s.t.Helper()
	s.Refer(s.Head(img), artifact, artifact, blob)
}

func client(t *testing.T) *referrers.Client {
	t.Helper()
	c, err := referrers.New(referrers.Config{Remote: []remote.Option{
		remote.WithRetryBackoff(remote.Backoff{Duration: time.Millisecond, Factor: 1, Steps: 2}),
	}})
	must(t, err)
	return c
}

func TestContract(t *testing.T) {
	for name, handler := range registries.Kinds() {
		t.Run(name, func(t *testing.T) {
			s := newHost(t, handler(t, false))
			blob := []byte(`{"spdxVersion":"SPDX-2.3"}`)
			with, without := s.Push(), s.Push()
			s.refer(with, "application/spdx+json", blob)
			contract.Referrers(t, client(t), func(l referrers.List) []v1.Descriptor { return l.Referrers },
				with, without, blob, referrers.ErrNone)
		})
	}
}

// listed answers a list of referrers: n of them, of which the one at bundle is of that
// type, and the rest SBOMs.
func listed(w http.ResponseWriter, n, bundle int) {
	list := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for i := range n {
		d := v1.Descriptor{
			MediaType: types.OCIManifestSchema1, ArtifactType: "application/spdx+json", Size: 100,
			Digest: v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%064x", i)},
		}
		if i == bundle {
			d.ArtifactType = "application/vnd.dev.sigstore.bundle.v0.3+json"
		}
		list.Manifests = append(list.Manifests, d)
	}
	w.Header().Set("Content-Type", string(types.OCIImageIndex))
	_ = json.NewEncoder(w).Encode(list) // who leaves early is not the subject
}

// A thousand referrers are one list that says that it is not whole, and has what was
// asked for before the rest.
func TestAThousandReferrers(t *testing.T) {
	for _, tt := range []struct {
		listed, given int
		whole         bool
	}{{0, 0, true}, {1, 1, true}, {64, 64, true}, {65, 64, false}, {1000, 64, false}} {
		s := withAPI(t)
		img := s.Push()
		s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/referrers/") {
				return false
			}
			listed(w, tt.listed, tt.listed-1)
			return true
		})

		got, err := client(t).List(t.Context(), img, "application/vnd.dev.sigstore.bundle")
		if err != nil || len(got.Referrers) != tt.given || got.Listed != tt.listed || got.Whole() != tt.whole {
			t.Errorf("%d: got %d of %d, whole %t, %v", tt.listed, len(got.Referrers), got.Listed, got.Whole(), err)
			continue
		}
		if tt.given > 0 && got.Referrers[0].Digest.Hex != fmt.Sprintf("%064x", tt.listed-1) {
			t.Errorf("%d: the first is %+v, want the bundle", tt.listed, got.Referrers[0])
		}
	}
}

// Pages without end are read until more referrers are known than are looked at.
func TestPagesEndAtTheLimit(t *testing.T) {
	s := withAPI(t)
	img := s.Push()
	pages := 0
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		pages++
		w.Header().Set("Link", "<?page="+strconv.Itoa(pages)+`>; rel="next"`)
		listed(w, 10, -1)
		return true
	})

	got, err := client(t).List(t.Context(), img)
	if err != nil || got.Whole() || len(got.Referrers) != 64 || pages != 7 {
		t.Errorf("got %d of %d in %d pages, %v", len(got.Referrers), got.Listed, pages, err)
	}
}

// A list, a manifest and a blob of other bytes than their limits or digests say are
// errors, and never a part of them.
func TestWhatIsTooLargeOrOfAnotherDigest(t *testing.T) {
	s := withAPI(t)
	img := s.Push()
	blob := bytes.Repeat([]byte("a"), 1000)
	s.refer(img, "application/spdx+json", blob)
	c := client(t)
	list, err := c.List(t.Context(), img)
	must(t, err)
	m, err := c.Manifest(t.Context(), img, list.Referrers[0])
	must(t, err)

	answer := func(path, body string) {
		s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, path) {
				return false
			}
			w.Header().Set("Content-Type", string(types.OCIImageIndex))
			_, _ = io.WriteString(w, body)
			return true
		})
	}

	answer("/referrers/", `{"manifests":[`+strings.Repeat(" ", referrers.MaxManifest)+`]}`)
	if got, err := client(t).List(t.Context(), img); err == nil {
		t.Errorf("a list that is too large: %+v", got)
	}
	answer("/manifests/", strings.Repeat(" ", referrers.MaxManifest)+`{}`)
	if got, err := client(t).Manifest(t.Context(), img, list.Referrers[0]); err == nil || errors.Is(err, referrers.ErrNone) {
		t.Errorf("a manifest that is too large: %+v, %v", got, err)
	}
	// Of few bytes, and taking hundreds of megabytes where they are decoded.
	answer("/referrers/", `{"manifests":[0`+strings.Repeat(",0", 200_001)+`]}`)
	if got, err := client(t).List(t.Context(), img); err == nil || len(got.Referrers) > 0 || !strings.Contains(err.Error(), "more than 200000 commas") {
		t.Errorf("a list of too many: %d, %v", got.Listed, err)
	}
	answer("/manifests/", `{"layers":[`+strings.Repeat("{},", 200_001)+`{}]}`)
	if got, err := client(t).Manifest(t.Context(), img, list.Referrers[0]); err == nil || !strings.Contains(err.Error(), "more than 200000 commas") {
		t.Errorf("a manifest of too many: %t, %v", got != nil, err)
	}
	answer("/referrers/", `{"schemaVersion":2,"manifests":[],"annotations":{"a":"`+strings.Repeat(",", 199_998)+`"}}`)
	if _, err := client(t).List(t.Context(), img); err != nil {
		t.Errorf("a list of as many as are read: %v", err)
	}
	answer("/manifests/", `{"subject":{"digest":"`+string(img.Digest())+`"}}`)
	if got, err := client(t).Manifest(t.Context(), img, list.Referrers[0]); err == nil || errors.Is(err, referrers.ErrNone) {
		t.Errorf("a manifest of another digest: %+v, %v", got, err)
	}
	answer("/blobs/", strings.Repeat("b", 1000))
	if got, err := client(t).Blob(t.Context(), img, m.Layers[0], 1000); err == nil || len(got) != 0 {
		t.Errorf("a blob of another digest: %d bytes, %v", len(got), err)
	}
	answer("/blobs/", strings.Repeat("a", 999))
	if got, err := client(t).Blob(t.Context(), img, m.Layers[0], 1000); err == nil || len(got) != 0 {
		t.Errorf("a part of the blob: %d bytes, %v", len(got), err)
	}
}

// Registries that fail, or whose addresses lead nowhere, are never empty ones.
func TestAFailureIsNoAbsence(t *testing.T) {
	for _, status := range []int{401, 403, 429, 500, 503} {
		s := withAPI(t)
		img := s.Push()
		s.refer(img, "application/spdx+json", []byte("{}"))
		list, err := client(t).List(t.Context(), img)
		must(t, err)
		s.Intercept(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(status); return true })

		if got, err := client(t).List(t.Context(), img); err == nil {
			t.Errorf("%d: a list: %+v", status, got)
		}
		if _, err := client(t).Manifest(t.Context(), img, list.Referrers[0]); err == nil || errors.Is(err, referrers.ErrNone) {
			t.Errorf("%d: a manifest: %v", status, err)
		}
		if _, err := client(t).Tagged(t.Context(), img, "sbom"); err == nil || errors.Is(err, referrers.ErrNone) {
			t.Errorf("%d: a tag: %v", status, err)
		}
	}
}

// A registry that never answers costs no more than the caller's time.
func TestAnEndlessWaitEndsWithTheContext(t *testing.T) {
	s := withAPI(t)
	img := s.Push()
	s.Intercept(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got, err := client(t).List(ctx, img); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%+v, %v", got, err)
	}
}

// A blob is not limited like a manifest, whatever parts of its repository's name are called.
func TestRepositoriesThatAreCalledManifests(t *testing.T) {
	for _, repo := range []string{"manifests", "acme/manifests/app", "acme/referrers/app"} {
		s := &host{Host: registries.Start(t, registries.Memory(true), repo), t: t}
		img := s.Push()
		blob := bytes.Repeat([]byte("a"), referrers.MaxManifest+1)
		s.refer(img, "application/spdx+json", blob)

		c := client(t)
		list, err := c.List(t.Context(), img)
		must(t, err)
		m, err := c.Manifest(t.Context(), img, list.Referrers[0])
		must(t, err)
		if got, err := c.Blob(t.Context(), img, m.Layers[0], 2*referrers.MaxManifest); err != nil || !bytes.Equal(got, blob) {
			t.Errorf("%s: %d bytes of %d, %v", repo, len(got), len(blob), err)
		}
	}
}
