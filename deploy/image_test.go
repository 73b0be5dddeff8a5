package deploy_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
)

// workshop builds images with buildah on storage of its own.
type workshop struct {
	bin, dir string
}

func newWorkshop(t *testing.T) workshop {
	t.Helper()
	bin := part(t, "buildah", "")
	if os.Geteuid() != 0 {
		if os.Getenv("GATE_REQUIRE_PARTS") == "1" {
			t.Fatal("buildah is run as root here; its rootless mode needs a user namespace")
		}
		t.Skip("buildah is run as root here; its rootless mode needs a user namespace")
	}

	return workshop{bin: bin, dir: t.TempDir()}
}

func (w workshop) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), w.bin, append([]string{"--storage-driver", "vfs", "--root",
		filepath.Join(w.dir, "root"), "--runroot", filepath.Join(w.dir, "run")}, args...)...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "HOME="+w.dir, "TMPDIR="+w.dir)
	return cmd
}

func (w workshop) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.command(t, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("buildah %q: %v\n%s", args, err, out)
	}

	return strings.TrimSpace(string(out))
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}

	return strings.TrimSpace(string(out))
}

// builder is an image with nothing of its own: this machine's programs, Go
// among them, and its module and build caches are mounted while it builds.
func (w workshop) builder(t *testing.T) (mounts []string) {
	t.Helper()
	root := filepath.Join(w.dir, "rootfs")

	for _, dir := range []string{"usr", "etc/ssl", "tmp", "root", "cache/build", "cache/mod", "proc", "dev", "sys"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}

	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			t.Fatal(err)
		}
	}

	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	goroot := goEnv(t, "GOROOT")
	file := fmt.Sprintf("FROM scratch\nCOPY rootfs /\nENV PATH=%s/bin:/usr/bin:/bin GOCACHE=/cache/build "+
		"GOMODCACHE=/cache/mod GOTOOLCHAIN=local GOPROXY=%s HOME=/root\n", goroot, goEnv(t, "GOPROXY"))
	if err := os.WriteFile(filepath.Join(w.dir, "Builder"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}

	w.run(t, "bud", "--isolation", "chroot", "-t", "localhost/builder", "-f", "Builder", ".")
	mounts = []string{"-v", "/usr:/usr:ro", "-v", "/etc/ssl:/etc/ssl:ro", "-v", goEnv(t, "GOCACHE") + ":/cache/build",
		"-v", goEnv(t, "GOMODCACHE") + ":/cache/mod"}
	if !strings.HasPrefix(goroot, "/usr/") {
		mounts = append(mounts, "-v", goroot+":"+goroot+":ro")
	}

	return mounts
}

// base stands for distroless: certificates would be its only files that matter.
func (w workshop) base(t *testing.T, to string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(w.dir, "base", "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "base", "etc", "passwd"),
		[]byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "Base"), []byte("FROM scratch\nCOPY base /\nUSER 65532\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	w.run(t, "bud", "--isolation", "chroot", "--timestamp", "1600000000", "-t", to, "-f", "Base", ".")
	w.run(t, "push", "--tls-verify=false", to, "docker://"+to)
	return to[:strings.LastIndex(to, ":")] + "@" + image(t, to).Digest.String()
}

// sources copies what git has, so that two builds have nothing but it in common.
func sources(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "-C", "..", "ls-files", "-z", "--", ".", ":!deploy", ":!docs", ":!**/testdata/**").Output()
	if err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	for file := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join("..", file))
		if os.IsNotExist(err) {
			continue // removed, and not committed yet
		}

		to := filepath.Join(dir, file)
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, text, 0o600)); err != nil {
			t.Fatal(err)
		}
	}

	return dir
}

// twoPlaces are two copies of one state of the sources, whatever happens to
// those meanwhile.
func twoPlaces(t *testing.T) map[string]string {
	t.Helper()
	once, again := sources(t), t.TempDir()
	if err := os.CopyFS(again, os.DirFS(once)); err != nil {
		t.Fatal(err)
	}

	return map[string]string{"once": once, "again": again}
}

type built struct {
	Digest v1.Hash
	v1.Image
}

func image(t *testing.T, reference string) built {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}

	img, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}

	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}

	return built{digest, img}
}

// TestImage builds the Dockerfile twice, from two places, on a base of this
// machine; has the gate judge the result by our strictest policy and attest to
// it; and runs it.
func TestImage(t *testing.T) {
	slow.Skip(t)
	host := registries.Serve(t, registries.Memory(false))
	var digests []v1.Hash
	var w workshop
	var base string

	for tag, from := range twoPlaces(t) {
		w = newWorkshop(t)
		base = w.base(t, host+"/base/static:1")
		mounts, to := w.builder(t), host+"/gate/attestor:"+tag
		start := time.Now()
		w.run(t, append(append([]string{"bud", "--isolation", "chroot", "--tls-verify=false", "--format", "oci",
			"--identity-label=false", "--timestamp", "1700000000"}, mounts...),
			"--build-arg", "BUILDER=localhost/builder", "--build-arg", "BASE="+base, "--build-arg",
			"VERSION=v0.0.0-test", "--build-arg", "COMMIT=0123456789ab", "-t", to, from)...)

		w.run(t, "push", "--tls-verify=false", to, "docker://"+to)
		digests = append(digests, image(t, to).Digest)
		t.Logf("built in %s", time.Since(start).Round(time.Second))
	}

	if digests[0] != digests[1] {
		t.Errorf("two builds of the same sources are %s and %s", digests[0], digests[1])
	}

	ref := host + "/gate/attestor@" + digests[0].String()
	checkImage(t, image(t, ref), base)
	judgeImage(t, host, ref, base)
	runImage(t, w, ref)
	emulatorImage(t, w, host, ref)
}

// checkConfig: who runs what, and where it is from.
func checkConfig(t *testing.T, img built, base string) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}

	if config.Config.User != "65532:65532" || !slices.Equal(config.Config.Entrypoint, []string{"/attestor"}) || len(config.Config.ExposedPorts) != 0 {
		t.Errorf("user %q, entry point %q, ports %v", config.Config.User, config.Config.Entrypoint, config.Config.ExposedPorts)
	}
	if l := config.Config.Labels; l["org.opencontainers.image.version"] != "v0.0.0-test" ||
		l["org.opencontainers.image.revision"] != "0123456789ab" ||
		l["org.opencontainers.image.licenses"] != "Apache-2.0" || l["org.opencontainers.image.base.name"] != base {
		t.Errorf("labels %v", l)
	}
}

func checkImage(t *testing.T, img built, base string) {
	t.Helper()
	checkConfig(t, img, base)
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}

	if a := manifest.Annotations; a["org.opencontainers.image.base.digest"] == "" || !strings.HasSuffix(base,
		a["org.opencontainers.image.base.digest"]) || a["org.opencontainers.image.base.name"] != base {
		t.Errorf("annotations %v", a)
	}
	if len(manifest.Layers) != 2 {
		t.Errorf("%d layers, want the base's and the program's", len(manifest.Layers))
	}

	var size int64
	for _, l := range manifest.Layers {
		size += l.Size
	}

	t.Logf("image %.1f MB compressed", float64(size)/1e6)
	if size > 40e6 {
		t.Errorf("the image has %d bytes", size)
	}
}
