package verify_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/verify"
)

// newRegistry serves go-containerregistry's registry, through front where that
// is given.
func newRegistry(t testing.TB, front func(http.Handler) http.Handler) string {
	t.Helper()
	h := registries.Memory(true)
	if front != nil {
		h = front(h)
	}
	return registries.Serve(t, h)
}

// clock is what tests move time with, while a record's own work reads it.
type clock struct{ at atomic.Pointer[time.Time] }

func clockAt(t time.Time) *clock {
	c := &clock{}
	c.set(t)
	return c
}

func (c *clock) Now() time.Time  { return *c.at.Load() }
func (c *clock) set(t time.Time) { c.at.Store(&t) }

// config is that of an Inspector, with limits that the product does not set.
type config struct {
	verify.Config
	Limits verify.Limits
}

func newInspector(t testing.TB, host string, change func(*config)) *verify.Inspector {
	t.Helper()
	c := config{
		Config: verify.Config{
			Registries: verify.Registries{Hosts: []verify.Registry{{Host: host}}},
			Now:        clockAt(time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)).Now,
		},
		Limits: verify.Limits{RetryDelay: time.Millisecond},
	}

	if change != nil {
		change(&c)
	}

	i, err := verify.NewWithLimits(c.Config, c.Limits)
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
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: cf.OS, Architecture: cf.Architecture}}})
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

// codeOf is the reason code of an error.
func codeOf(err error) attestor.Code {
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		return e.Code
	}
	return ""
}

// wantCodes compares reason codes, in order, and demands that each problem
// says something and carries the status that its code is documented with.
func wantCodes(t testing.TB, problems []attestor.Problem, want ...attestor.Code) {
	t.Helper()
	var got []attestor.Code

	for _, p := range problems {
		got = append(got, p.Code)
		if p.Message == "" || p.Check == "" {
			t.Errorf("problem %s has no message or check: %+v", p.Code, p)
		}
		if p.Status != attestor.StatusDeny && p.Status != attestor.StatusError {
			t.Errorf("problem %s has status %q", p.Code, p.Status)
		}
	}

	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("reason codes (-want +got):\n%s\n%+v", diff, problems)
	}
}

// inspectAll resolves and inspects every child.
func inspectAll(t testing.TB, i *verify.Inspector, ref string, needs attestor.Needs) (attestor.Resolved, []attestor.PlatformEvidence) {
	t.Helper()
	r, err := i.Resolve(context.Background(), parse(t, ref), needs)
	if err != nil {
		t.Fatalf("Resolve(%s): %v", ref, err)
	}

	var all []attestor.PlatformEvidence
	for _, c := range r.Children {
		all = append(all, i.Inspect(context.Background(), r, c, needs))
	}

	return r, all
}

// inspectOne is inspectAll for what has one platform and no problem as a whole.
func inspectOne(t testing.TB, i *verify.Inspector, ref string, needs attestor.Needs) attestor.PlatformEvidence {
	t.Helper()
	r, all := inspectAll(t, i, ref, needs)
	if len(r.Problems) > 0 || len(all) != 1 {
		t.Fatalf("Resolve(%s) = %+v, want one child and no problem", ref, r)
	}

	return all[0]
}
