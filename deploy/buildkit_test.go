package deploy_test

import (
	"archive/tar"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/internal/testkit/toolbuild"
)

// wholeBuilder pushes an image that needs nothing mounted, since BuildKit
// mounts nothing of this machine's: Go, a shell and touch. Modules come from
// this machine's cache, over HTTP.
func (w workshop) wholeBuilder(t *testing.T, to, proxy string) string {
	t.Helper()
	goroot := goEnv(t, "GOROOT")
	files := []string{"/bin/sh", "/usr/bin/touch"}

	for _, name := range []string{"bin", "pkg", "src", "lib", "VERSION", "go.env"} {
		files = append(files, filepath.Join(goroot, name))
	}

	libraries, err := exec.CommandContext(t.Context(), "ldd", "/bin/sh", "/usr/bin/touch").Output()
	if err != nil {
		t.Fatal(err)
	}

	for _, file := range regexp.MustCompile(`/\S+\.so\S*`).FindAllString(string(libraries), -1) {
		if !slices.Contains(files, file) {
			files = append(files, file)
		}
	}

	if out, err := exec.CommandContext(t.Context(), "tar",
		append([]string{"-chPf", filepath.Join(w.dir, "whole.tar")}, files...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	dockerfile := "FROM scratch\nADD whole.tar /\nWORKDIR /tmp\nENV PATH=" + goroot +
		"/bin:/usr/bin:/bin HOME=/tmp GOTOOLCHAIN=local GOPROXY=" + proxy + " GOSUMDB=off\n"
	if err := os.WriteFile(filepath.Join(w.dir, "Whole"), []byte(dockerfile), 0o600); err != nil {
		t.Fatal(err)
	}

	w.run(t, "bud", "--isolation", "chroot", "-t", to, "-f", "Whole", ".")
	w.run(t, "push", "--tls-verify=false", to, "docker://"+to)
	return to
}

// dockerArguments are what make image gives docker build, as buildctl spells
// them.
func dockerArguments(t *testing.T, variables ...string) (arguments []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", append([]string{"-C", "..", "--no-print-directory", "-n", "image"}, variables...)...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}

	m := regexp.MustCompile(`docker build --provenance=false (.*) \.; fi`).FindStringSubmatch(string(out))
	if m == nil {
		t.Fatalf("make image does not run docker build:\n%s", out)
	}

	fields := strings.Fields(m[1])
	for len(fields) >= 2 {
		switch fields[0] {
		case "--build-arg":
			arguments = append(arguments, "--opt", "build-arg:"+fields[1])
		case "-t": // where it goes is ours
		default:
			t.Fatalf("make image says %s, which this test does not know", fields[0])
		}
		fields = fields[2:]
	}

	if len(fields) > 0 {
		t.Fatalf("make image says %q, which this test does not know", fields)
	}
	return arguments
}

// TestImageByBuildKit builds the Dockerfile as docker build does, twice, and
// compares what came of it.
func TestImageByBuildKit(t *testing.T) {
	slow.Skip(t)
	host := registries.Serve(t, registries.Memory(false))
	if out, err := exec.CommandContext(t.Context(), "go", "mod", "download").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	proxy := serve(t, http.FileServer(http.Dir(filepath.Join(goEnv(t, "GOMODCACHE"), "cache", "download"))))
	w := newWorkshop(t)
	base, builder := w.base(t, host+"/base/static:1"), w.wholeBuilder(t, host+"/base/builder:1", proxy)
	daemon, err := toolbuild.StartBuildKit(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		if said, err := daemon.Close(); err != nil || t.Failed() {
			t.Errorf("buildkitd ended: %v, and said:\n%s", err, said)
		}
	})

	arguments := append(dockerArguments(t, "VERSION=v0.0.0-test", "COMMIT=0123456789ab",
		"SOURCE_DATE_EPOCH=1700000000", "BASE="+base, "BUILDER="+builder), "--no-cache")
	var made []built

	for tag, from := range twoPlaces(t) {
		start, to := time.Now(), host+"/gate/attestor:"+tag
		if err := daemon.Build(t.Context(), from, to, arguments...); err != nil {
			t.Fatal(err)
		}

		made = append(made, image(t, to))
		t.Logf("built in %s", time.Since(start).Round(time.Second))
	}

	if made[0].Digest != made[1].Digest {
		t.Errorf("two builds of the same sources are %s and %s", made[0].Digest, made[1].Digest)
	}

	checkConfig(t, made[0], base)
	checkOneLayer(t, made[0], image(t, base))
	ref := host + "/gate/attestor@" + made[0].Digest.String()
	judgeImage(t, host, ref, base)
	runImage(t, w, ref)
}

// checkOneLayer: the base's layers as they are, and one with one file.
func checkOneLayer(t *testing.T, img, base built) {
	t.Helper()
	ours, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}

	theirs, err := base.Layers()
	if err != nil {
		t.Fatal(err)
	}

	if len(ours) != len(theirs)+1 {
		t.Fatalf("%d layers on a base of %d", len(ours), len(theirs))
	}

	for i := range theirs {
		if a, b := digestOf(t, ours[i]), digestOf(t, theirs[i]); a != b {
			t.Errorf("layer %d is %s, the base's %s", i, a, b)
		}
	}

	if got, want := entries(t, ours[len(theirs)]), []string{"attestor"}; !slices.Equal(got, want) {
		t.Errorf("the layer has %q, want %q", got, want)
	}
}

func digestOf(t *testing.T, l v1.Layer) v1.Hash {
	t.Helper()
	digest, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}

	return digest
}

// entries are the files of a layer, by their modes and times as the build gives them.
func entries(t *testing.T, l v1.Layer) (names []string) {
	t.Helper()
	text, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = text.Close() }()

	for r := tar.NewReader(text); ; {
		h, err := r.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}

		names = append(names, strings.Trim(h.Name, "/"))
		if h.Mode&0o7777 != 0o755 || h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(time.Unix(1700000000, 0)) {
			t.Errorf("%s has mode %o, owner %d:%d, and is of %s", h.Name, h.Mode, h.Uid, h.Gid, h.ModTime)
		}
	}
}
