package signed_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/verify/signed"
)

// host is a registry on loopback with an image in it.
type host struct {
	*registries.Host
	t     testing.TB
	image attestor.Image
}

func newHost(t testing.TB, h http.Handler) *host {
	t.Helper()
	s := &host{t: t, Host: registries.Start(t, h, "base/debian")}
	s.image = s.Push()
	return s
}

// plain is a host with the referrers API.
func plain(t *testing.T) *host { return newHost(t, registries.Memory(true)) }

// An entry is one layer under a .sig or .att tag.
type entry struct {
	payload     []byte
	media       types.MediaType
	annotations map[string]string
}

// attach writes entries under the tag of img with the suffix sig or att.
func (s *host) attach(img attestor.Image, suffix string, entries ...entry) {
	s.t.Helper()
	s.Must(remote.Write(s.Repo.Tag("sha256-"+img.Digest().Hex()+"."+suffix), s.manifest(entries)))
}

// manifest has a layer for each entry.
func (s *host) manifest(entries []entry) v1.Image {
	s.t.Helper()
	list := make([]mutate.Addendum, len(entries))

	for i, e := range entries {
		if e.media == "" {
			e.media = "application/vnd.dev.cosign.simplesigning.v1+json"
		}
		list[i] = mutate.Addendum{Layer: static.NewLayer(e.payload, e.media), Annotations: e.annotations}
	}

	m, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), list...)
	s.Must(err)
	return m
}

// refer pushes a referrer of img with one layer, as cosign does bundles.
func (s *host) refer(img attestor.Image, media types.MediaType, blob []byte) {
	s.t.Helper()
	s.Refer(s.Head(img), "application/vnd.oci.empty.v1+json", media, blob)
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
