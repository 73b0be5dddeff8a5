package verify_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify"
)

// newRegistry serves go-containerregistry's registry, through front where that
// is given.
func newRegistry(t testing.TB, front func(http.Handler) http.Handler) string {
	t.Helper()
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
	if front != nil {
		h = front(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// clock is what tests move time with.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newInspector(t testing.TB, host string, change func(*verify.Config)) *verify.Inspector {
	t.Helper()
	c := verify.Config{
		Registries: verify.Registries{Hosts: []verify.Registry{{Host: host}}},
		Limits:     verify.Limits{RetryDelay: time.Millisecond},
		Now:        (&clock{time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}).Now,
	}
	if change != nil {
		change(&c)
	}
	i, err := verify.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.CloseIdleConnections)
	return i
}

func parse(t testing.TB, ref string) attestor.Reference {
	t.Helper()
	r, err := attestor.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tag(t testing.TB, ref string) name.Tag {
	t.Helper()
	n, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func digest(t testing.TB, d interface{ Digest() (v1.Hash, error) }) attestor.Digest {
	t.Helper()
	h, err := d.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return attestor.Digest(h.String())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// baseImage is linux/ARCH with layers of random bytes.
func baseImage(t testing.TB, arch string, layers int) v1.Image {
	t.Helper()
	img := must(random.Image(512, int64(layers)))
	return configured(t, img, arch, "")
}

func configured(t testing.TB, img v1.Image, arch, user string) v1.Image {
	t.Helper()
	cf := must(img.ConfigFile()).DeepCopy()
	cf.OS, cf.Architecture, cf.Config.User = "linux", arch, user
	return must(mutate.ConfigFile(img, cf))
}

// onBase adds layers of random bytes.
func onBase(t testing.TB, base v1.Image, layers int, user string) v1.Image {
	t.Helper()
	img := base
	for range layers {
		img = must(mutate.AppendLayers(img, must(random.Layer(256, "application/vnd.docker.image.rootfs.diff.tar.gzip"))))
	}
	return configured(t, img, must(base.ConfigFile()).Architecture, user)
}

func index(t testing.TB, images ...v1.Image) v1.ImageIndex {
	t.Helper()
	var idx v1.ImageIndex = empty.Index
	for _, img := range images {
		cf := must(img.ConfigFile())
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: cf.OS, Architecture: cf.Architecture}}})
	}
	return idx
}

func push(t testing.TB, ref string, what any) {
	t.Helper()
	var err error
	switch w := what.(type) {
	case v1.Image:
		err = remote.Write(tag(t, ref), w)
	case v1.ImageIndex:
		err = remote.WriteIndex(tag(t, ref), w)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestThin(t *testing.T) {
	ctx := context.Background()
	host := newRegistry(t, nil)
	baseAMD, baseARM := baseImage(t, "amd64", 2), baseImage(t, "arm64", 2)
	push(t, host+"/base:1", index(t, baseAMD, baseARM))
	app := index(t, onBase(t, baseAMD, 1, "65532:65532"), onBase(t, baseARM, 2, "1000"))
	push(t, host+"/team/app:1", app)
	i := newInspector(t, host, nil)
	needs := attestor.Needs{Bases: []attestor.ApprovedBase{{Name: "b", Repository: host + "/base", Tags: []string{"1"}}}}
	r, err := i.Resolve(ctx, parse(t, host+"/team/app:1"), needs)
	if err != nil || len(r.Problems) > 0 || len(r.Children) != 2 {
		t.Fatalf("Resolve = %+v, %v", r, err)
	}
	for _, c := range r.Children {
		ev := i.Inspect(ctx, r, c, needs)
		if len(ev.Problems) > 0 || ev.Base.Evidence != attestor.LayersExact || ev.Base.Layers != 2 || !ev.Base.Current || ev.User.UID == nil {
			t.Errorf("Inspect(%s) = %+v", c.Platform, ev)
		}
	}
}
