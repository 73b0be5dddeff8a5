package deploy_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"

	"github.com/attestor-gate/attestor/internal/testkit/slow"
)

const modulePath = "github.com/attestor-gate/attestor"

// releasedREADME is dist/README.md of a release of some version.
func releasedREADME(t *testing.T, version string, args ...string) string {
	t.Helper()
	dist := t.TempDir()
	if err := os.WriteFile(filepath.Join(dist, "attestor-linux-amd64"), []byte("a binary"), 0o600); err != nil {
		t.Fatal(err)
	}
	layout := `{"manifests":[{"digest":"sha256:` + strings.Repeat("b", 64) + `"}]}`
	if err := os.Mkdir(filepath.Join(dist, "image"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dist, "image", "index.json"), []byte(layout), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", append([]string{
		"run", "-C", "../tools/release", ".", "-dist", dist, "-version", version, "-commit", strings.Repeat("a", 40), "-epoch", "1",
		"-dockerfile", "../../Dockerfile", "-readme", "../../README.md",
	}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(dist, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReadmeNamesTheRelease: the README of a release installs that version, by the names of the files that a release
// has; the repository's own names no release, since the next does not exist.
func TestReadmeNamesTheRelease(t *testing.T) {
	t.Parallel()
	own, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`releases/download|go install|@v\d|docker run`)
	if m := named.FindString(string(own)); m != "" {
		t.Errorf("README.md says %q, of a release that does not exist", m)
	}

	got := releasedREADME(t, "v1.2.3", "-image", "registry.example/attestor")
	for _, want := range []string{
		"curl -fLO https://" + modulePath + "/releases/download/v1.2.3/attestor-linux-amd64\n",
		"curl -fLO https://" + modulePath + "/releases/download/v1.2.3/SHA256SUMS\n",
		"sha256sum --ignore-missing -c SHA256SUMS",
		"docker run --rm --network host registry.example/attestor:v1.2.3@sha256:" + strings.Repeat("b", 64) + " dev\n",
		fmt.Sprintf("`attestor-linux-amd64` is `sha256:%x`", sha256.Sum256([]byte("a binary"))),
		"go install " + modulePath + "/cmd/attestor@v1.2.3\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the README of a release lacks %q", want)
		}
	}
	if strings.Index(got, "curl -fLO") > strings.Index(got, "## Try it") || strings.Contains(got, "No release is published") {
		t.Error("how to install does not come first")
	}

	// Every file that it downloads is one that the release makes.
	made := append(ciBinaries(), "SHA256SUMS") // TestRelease makes them
	for _, m := range regexp.MustCompile(`releases/download/v1\.2\.3/(\S+)`).FindAllStringSubmatch(got, -1) {
		if !slices.Contains(made, m[1]) {
			t.Errorf("a release makes no %s", m[1])
		}
	}

	if got := releasedREADME(t, "v1.2.3"); strings.Contains(got, "docker run") {
		t.Error("an image is named that nobody said is published")
	}
	if got := releasedREADME(t, "0123abc"); got != string(own) {
		t.Error("a commit without a tag is no release, and README is changed")
	}
}

// TestGoInstall installs the program by go install from a module proxy that has this repository as a version: the zip
// keeps the limits of modules, and the installed binary knows its version.
func TestGoInstall(t *testing.T) {
	slow.Skip(t)
	commit, err := exec.CommandContext(t.Context(), "git", "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	// Go remembers what files a version has, since a version never changes: each commit is one of its own.
	v := module.Version{Path: modulePath, Version: "v0.0.1-c" + string(commit[:12])}
	proxy := t.TempDir()
	dir := filepath.Join(proxy, v.Path, "@v")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		t.Fatal(err)
	}

	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for suffix, text := range map[string]string{
		".mod": string(mod), ".info": fmt.Sprintf(`{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, v.Version),
	} {
		if err := os.WriteFile(filepath.Join(dir, v.Version+suffix), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "list"), []byte(v.Version+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, v.Version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	// What git has, as a proxy of the internet would make it: nothing that lies around here.
	clone := filepath.Join(t.TempDir(), "clone")
	if out, err := exec.CommandContext(t.Context(), "git", "clone", "-q", "--no-hardlinks", "..", clone).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := zip.CreateFromVCS(f, v, clone, "HEAD", ""); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	// Dependencies come from the cache that this test was compiled with. Ours is removed from it again.
	cache := goEnv(t, "GOMODCACHE")
	t.Cleanup(func() {
		unpacked := filepath.Join(cache, v.String())
		_ = exec.Command("chmod", "-R", "u+w", unpacked).Run() //nolint:noctx // a module's files are read-only
		_ = os.RemoveAll(unpacked)
		kept, _ := filepath.Glob(filepath.Join(cache, "cache", "download", v.Path, "@v", v.Version+".*"))
		for _, name := range append(kept, filepath.Join(cache, "cache", "download", v.Path, "@v", "list")) {
			_ = os.Remove(name)
		}
	})
	bin := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "install", v.Path+"/cmd/attestor@"+v.Version)
	cmd.Dir = bin
	cmd.Env = append(os.Environ(), "GOBIN="+bin, "GOPROXY=file://"+proxy+",file://"+cache+"/cache/download", "GONOSUMDB=*", "GONOSUMCHECK=1",
		"GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "attestor"), "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "attestor "+v.Version+" (") {
		t.Errorf("the installed binary says %q, %v", out, err)
	}
}
