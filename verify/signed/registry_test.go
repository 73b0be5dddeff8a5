package signed_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sirupsen/logrus"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/signed"
)

// The registries that signatures are kept in: with the referrers API, without
// it (so that the fallback tag is used), and another implementation without.
var registries = map[string]func(t testing.TB) http.Handler{
	"referrers API": func(testing.TB) http.Handler {
		return registry.New(registry.WithReferrersSupport(true), registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	},
	"fallback tag": func(testing.TB) http.Handler {
		return registry.New(registry.WithReferrersSupport(false), registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	},
	"distribution": func(t testing.TB) http.Handler {
		c := &configuration.Configuration{Version: "0.1", Storage: configuration.Storage{"inmemory": {}}}
		c.Log.AccessLog.Disabled = true
		logrus.SetOutput(io.Discard) // it logs nowhere else
		app := handlers.NewApp(context.Background(), c)
		t.Cleanup(func() { _ = app.Shutdown() }) // what a test left open is not its subject
		return app
	},
}

// host is a registry on loopback with an image in it. What a test sets in
// intercept answers instead of the registry if it returns true.
type host struct {
	t         testing.TB
	repo      name.Repository
	image     attestor.Image
	requests  atomic.Int64
	intercept func(w http.ResponseWriter, r *http.Request) bool
}

func newHost(t testing.TB, h http.Handler) *host {
	t.Helper()
	s := &host{t: t}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if s.intercept == nil || !s.intercept(w, r) {
			h.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	repo, err := name.NewRepository(strings.TrimPrefix(srv.URL, "http://") + "/base/debian")
	if err != nil {
		t.Fatal(err)
	}

	s.repo = repo
	s.image = s.push()
	return s
}

// plain is a host with the referrers API.
func plain(t *testing.T) *host { return newHost(t, registries["referrers API"](t)) }

// push adds an image.
func (s *host) push() attestor.Image {
	s.t.Helper()
	img, err := random.Image(64, 1)
	if err != nil {
		s.t.Fatal(err)
	}

	d := s.digest(img)
	s.must(remote.Write(s.repo.Digest(d), img))
	return s.named(d)
}

func (s *host) named(digest string) attestor.Image {
	s.t.Helper()
	img, err := attestor.ParseImage(s.repo.Name() + "@" + digest)
	s.must(err)
	return img
}

func (s *host) digest(img v1.Image) string {
	s.t.Helper()
	h, err := img.Digest()
	s.must(err)
	return h.String()
}

func (s *host) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// An entry is one layer under a .sig or .att tag.
type entry struct {
	payload     []byte
	media       types.MediaType
	annotations map[string]string
}

// attach writes entries under the tag of img with the suffix sig or att.
func (s *host) attach(img attestor.Image, suffix string, entries ...entry) {
	s.t.Helper()
	list := make([]mutate.Addendum, len(entries))

	for i, e := range entries {
		if e.media == "" {
			e.media = "application/vnd.dev.cosign.simplesigning.v1+json"
		}
		list[i] = mutate.Addendum{Layer: static.NewLayer(e.payload, e.media), Annotations: e.annotations}
	}

	m, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), list...)
	s.must(err)
	s.must(remote.Write(s.repo.Tag("sha256-"+img.Digest().Hex()+"."+suffix), m))
}

// refer pushes a referrer of img with one layer, as cosign does bundles.
func (s *host) refer(img attestor.Image, media types.MediaType, blob []byte) {
	s.t.Helper()
	subject, err := remote.Head(s.repo.Digest(string(img.Digest())))
	s.must(err)
	m, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{Layer: static.NewLayer(blob, media)})
	s.must(err)
	m = mutate.ConfigMediaType(m, "application/vnd.oci.empty.v1+json")
	withSubject, ok := mutate.Subject(m, *subject).(v1.Image)
	if !ok {
		s.t.Fatal("not an image")
	}

	s.must(remote.Write(s.repo.Digest(s.digest(withSubject)), withSubject))
}

const bundleMedia = "application/vnd.dev.sigstore.bundle.v0.3+json"

// checker makes a Checker that does not wait between retries.
func checker(t testing.TB, c signed.Config) *signed.Checker {
	t.Helper()
	return within(t, c, 30*time.Second)
}

// within returns a Checker whose look-ups have the given time.
func within(t testing.TB, c signed.Config, timeout time.Duration) *signed.Checker {
	t.Helper()
	c.Remote = append(c.Remote, remote.WithRetryBackoff(remote.Backoff{Duration: time.Millisecond, Factor: 1, Steps: 2}))
	ch, err := signed.NewWithin(c, timeout)
	if err != nil {
		t.Fatal(err)
	}

	return ch
}

// refused asserts the one error for "looked, and none satisfies".
func refused(t *testing.T, signer string, err error, want string) {
	t.Helper()
	wantError(t, signer, err, attestor.CodeBaseUnsigned, want)
}

// unknown asserts the one error for "could not find out".
func unknown(t *testing.T, signer string, err error, want string) {
	t.Helper()
	wantError(t, signer, err, attestor.CodeBaseSignatureUnknown, want)
}

func wantError(t *testing.T, signer string, err error, code attestor.Code, want string) {
	t.Helper()
	e, ok := errors.AsType[*attestor.Error](err)
	if !ok || e.Kind != attestor.Upstream || e.Code != code || signer != "" {
		t.Fatalf("got signer %q, error %#v; want an error %s", signer, err, code)
	}
	if !strings.Contains(e.Msg, want) {
		t.Errorf("message %q, want it to contain %q", e.Msg, want)
	}
	if e.Fix == "" {
		t.Error("no fix")
	}
}

// file writes b to a temporary file.
func file(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}

	return path
}

// check asks a fresh Checker.
func (s *host) check(img attestor.Image, rule attestor.SignedBy) (string, error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	return checker(s.t, signed.Config{}).Check(ctx, img, rule)
}
