package verify_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/verify"
)

// buildah runs the real tool on storage of its own.
type buildah struct {
	*workshop
	bin string
}

func newBuildah(t *testing.T) *buildah {
	t.Helper()
	slow.Skip(t)
	bin, err := exec.LookPath("buildah")
	if err != nil {
		t.Fatal("buildah is not installed, and GATE_TEST_ALL=1: apt-get install buildah")
	}
	if os.Geteuid() != 0 {
		t.Fatal("buildah is run as root here; its rootless mode needs a user namespace")
	}

	return &buildah{workshop: newWorkshop(t), bin: bin}
}

func (b *buildah) run(args ...string) {
	b.t.Helper()
	b.workshop.run(b.bin, append([]string{"--storage-driver", "vfs", "--root", filepath.Join(b.dir, "root"),
		"--runroot", filepath.Join(b.dir, "run")}, args...)...)
}

// build builds a Containerfile and pushes it.
func (b *buildah) build(image, containerfile string, flags ...string) {
	b.t.Helper()
	b.write("Containerfile", containerfile)
	args := append([]string{"bud", "--isolation", "chroot", "--tls-verify=false", "-t", image, "-f", "Containerfile"}, flags...)
	b.run(append(args, ".")...)
	b.push(image, image)
}

func (b *buildah) push(image, to string, flags ...string) {
	b.t.Helper()
	b.run(append(append([]string{"push", "--tls-verify=false"}, flags...), image, "docker://"+to)...)
}

// Images built here and now, in both registries.
func TestBuildah(t *testing.T) {
	for kind, start := range bothRegistries() {
		t.Run(kind, func(t *testing.T) {
			b, host, second := newBuildah(t), start(t), start(t)
			b.write("rootfs/etc/passwd", root1000)
			b.write("rootfs/bin/app", string(bytes.Repeat([]byte("app "), 10_000)))
			b.write("hello", "hello")
			base, from := host+"/base:1", "FROM "+host+"/base:1\nCOPY hello /hello\nUSER "
			b.build(base, "FROM scratch\nCOPY rootfs/etc /etc\nCOPY rootfs/bin /bin\n", "--layers")
			b.build(host+"/oci:1", from+"65532:65532\n", "--format", "oci")
			b.build(host+"/docker:1", from+"65532\n", "--format", "docker")
			b.build(host+"/layers:1", from+"app\n", "--layers")
			b.build(host+"/squash:1", from+"65532\n", "--squash")
			b.build(host+"/copied:1", "FROM "+base+" AS base\nFROM scratch\nCOPY --from=base / /\nUSER 1000\n")
			b.build(host+"/onapp:1", "FROM "+host+"/oci:1\nCOPY hello /again\n")
			b.push(host+"/oci:1", second+"/zstd:1", "--compression-format", "zstd")
			layers := len(must(must(remote.Image(must(name.ParseReference(base)))).Layers()))

			needs := basesOf(host, nil)
			needs.ResolveNames = true

			for _, tt := range []struct {
				image string
				level attestor.Level
				uid   int64
				from  attestor.UserSource
			}{
				{host + "/base:1", attestor.LayersExact, 0, attestor.UserFromConfig},
				{host + "/oci:1", attestor.LayersExact, 65532, attestor.UserFromConfig},
				{host + "/docker:1", attestor.LayersExact, 65532, attestor.UserFromConfig},
				{host + "/layers:1", attestor.LayersExact, 1000, attestor.UserFromPasswd},
				{host + "/onapp:1", attestor.LayersExact, 65532, attestor.UserFromConfig},
				{host + "/squash:1", "", 65532, attestor.UserFromConfig},
				{host + "/copied:1", "", 1000, attestor.UserFromConfig},
				{second + "/zstd:1", attestor.DiffIDsVerified, 65532, attestor.UserFromConfig},
			} {
				i := newInspector(t, host, func(c *config) { c.Registries.Hosts = append(c.Registries.Hosts, verify.Registry{Host: second}) })
				ev := inspectOne(t, i, tt.image, needs)
				wantCodes(t, ev.Problems)
				want := 0
				if tt.level != "" {
					want = layers
				}
				if ev.Base.Evidence != tt.level || ev.Base.Layers != want {
					t.Errorf("%s: base = %+v, want %q by %d layers", tt.image, ev.Base, tt.level, want)
				}
				if value(ev.User.UID) != tt.uid || ev.User.Source != tt.from {
					t.Errorf("%s: user = %+v, want %d from %s", tt.image, ev.User, tt.uid, tt.from)
				}
			}
		})
	}
}
