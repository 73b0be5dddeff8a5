package registries

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/attestor-gate/attestor"
)

// Serve serves a registry on loopback until the test ends, and returns its HOST:PORT.
func Serve(tb testing.TB, h http.Handler) string {
	tb.Helper()
	srv := httptest.NewServer(h)
	tb.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// An Intercept answers instead of the registry if it returns true.
type Intercept = func(w http.ResponseWriter, r *http.Request) bool

// A Host is a registry on loopback with one repository. It counts its requests, and a test may answer some of them.
type Host struct {
	tb   testing.TB
	Repo name.Repository

	mu        sync.Mutex
	intercept Intercept      // guarded by mu
	requests  map[string]int // by method; guarded by mu
}

// Start serves a registry until the test ends, with that repository.
func Start(tb testing.TB, h http.Handler, repository string) *Host {
	tb.Helper()
	s := &Host{tb: tb, requests: map[string]int{}}
	host := Serve(tb, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests[r.Method]++
		intercept := s.intercept
		s.mu.Unlock()

		// Outside of the lock: an answer may wait for another request.
		if intercept == nil || !intercept(w, r) {
			h.ServeHTTP(w, r)
		}
	}))

	repo, err := name.NewRepository(host + "/" + repository)
	s.Must(err)
	s.Repo = repo
	return s
}

// Must ends the test on an error.
func (s *Host) Must(err error) {
	s.tb.Helper()
	if err != nil {
		s.tb.Fatal(err)
	}
}

// Intercept has f answer in the registry's place from now on; nil: the registry answers everything.
func (s *Host) Intercept(f Intercept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// Requests counts the requests of these methods, or all of them.
func (s *Host) Requests(methods ...string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range methods {
		n += s.requests[m]
	}

	if len(methods) == 0 {
		for _, of := range s.requests {
			n += of
		}
	}
	return n
}

// Push writes an image of random bytes by its digest.
func (s *Host) Push() attestor.Image {
	s.tb.Helper()
	img, err := random.Image(64, 1)
	s.Must(err)

	d := s.Digest(img)
	s.Must(remote.Write(s.Repo.Digest(d), img))
	return s.Named(d)
}

// Named is the image of the repository with that digest.
func (s *Host) Named(digest string) attestor.Image {
	s.tb.Helper()
	img, err := attestor.ParseImage(s.Repo.Name() + "@" + digest)
	s.Must(err)
	return img
}

// Digest is an image's.
func (s *Host) Digest(img v1.Image) string {
	s.tb.Helper()
	h, err := img.Digest()
	s.Must(err)
	return h.String()
}

// Refer pushes a referrer of a digest with one layer. The manifest has the media type config as its config's.
func (s *Host) Refer(about v1.Descriptor, config, media types.MediaType, blob []byte) {
	s.tb.Helper()
	layer := mutate.Addendum{Layer: static.NewLayer(blob, media)}
	m, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layer)
	s.Must(err)

	referrer, ok := mutate.Subject(mutate.ConfigMediaType(m, config), about).(v1.Image)
	if !ok {
		s.tb.Fatal("a manifest with a subject is not an image")
	}
	s.Must(remote.Write(s.Repo.Digest(s.Digest(referrer)), referrer))
}

// Head is the descriptor of an image that the registry has.
func (s *Host) Head(img attestor.Image) v1.Descriptor {
	s.tb.Helper()
	d, err := remote.Head(s.Repo.Digest(string(img.Digest())))
	s.Must(err)
	return *d
}
