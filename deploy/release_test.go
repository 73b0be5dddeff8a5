package deploy_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
)

// release runs tools/release/release.sh in a clone of its own, and returns
// every file that it made.
func release(t *testing.T, w workshop, commit string, env ...string) map[string][]byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "clone")

	for _, args := range [][]string{{"clone", "-q", "--no-hardlinks", "..", dir}, {"-C", dir, "checkout", "-q", commit}} {
		if out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}

	storage := filepath.Join(w.dir, "storage.conf")
	if err := os.WriteFile(storage, fmt.Appendf(nil, "[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n",
		filepath.Join(w.dir, "root"), filepath.Join(w.dir, "run")), 0o600); err != nil {
		t.Fatal(err)
	}

	cmd := exec.CommandContext(t.Context(), "tools/release/release.sh")
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "CONTAINERS_STORAGE_CONF="+storage, "TMPDIR="+w.dir), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	files := map[string][]byte{}
	dist := filepath.Join(dir, "dist")
	err := filepath.WalkDir(dist, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}

		rel, err := filepath.Rel(dist, path)
		if err != nil {
			return err
		}

		files[rel], err = os.ReadFile(path)
		return err
	})

	if err != nil {
		t.Fatal(err)
	}

	if index, ok := files["image/index.json"]; ok {
		checkIndex(t, dist, index)
	}
	return files
}

// maxBinary is how large the stripped program may be on any platform. Who fetches it in each build waits for it.
const maxBinary = 75e6

// TestRelease makes a release twice, in two places, and compares every byte.
func TestRelease(t *testing.T) {
	slow.Skip(t)
	host := registries.Serve(t, registries.Memory(false))
	commit, err := exec.CommandContext(t.Context(), "git", "rev-parse", "HEAD").Output() // somebody may commit meanwhile
	if err != nil {
		t.Fatal(err)
	}

	base := newWorkshop(t).bases(t, host+"/base/static:1") // once: the order of its platforms is chance
	var made []map[string][]byte

	for range 2 {
		w := newWorkshop(t)
		mounts := w.builder(t)
		builder := host + "/builder:1" // for the other platform a local image would be taken for the wrong one
		w.run(t, "push", "--tls-verify=false", "localhost/builder", "docker://"+builder)
		made = append(made, release(t, w, strings.TrimSpace(string(commit)), "VERSION=v0.0.0-test", "BASE="+base,
			"BUILDER="+builder, "BUILD_FLAGS=--isolation chroot --tls-verify=false "+strings.Join(mounts, " ")))
	}

	for name, text := range made[0] {
		if !bytes.Equal(text, made[1][name]) {
			t.Errorf("%s differs", name)
		}
	}

	if len(made[0]) != len(made[1]) {
		t.Errorf("%d and %d files", len(made[0]), len(made[1]))
	}

	for _, name := range ciBinaries() {
		if n := len(made[0][name]); n < 10e6 || n > maxBinary {
			t.Errorf("%s has %d bytes, want at most %d", name, n, int(maxBinary))
		}

		var bom struct {
			BOMFormat  string `json:"bomFormat"`
			Components []struct {
				Name     string            `json:"name"`
				Licenses []json.RawMessage `json:"licenses"`
			} `json:"components"`
		}

		if err := json.Unmarshal(made[0][name+".cdx.json"], &bom); err != nil || bom.BOMFormat != "CycloneDX" || len(bom.Components) < 100 {
			t.Errorf("%s: SBOM of %d components, %v", name, len(bom.Components), err)
		}

		t.Logf("%s: %.1f MB, %d modules", name, float64(len(made[0][name]))/1e6, len(bom.Components))
	}

	checkProvenance(t, made[0])
	checkSums(t, made[0])
}

// bases is an index of both platforms, whose only layer runs nowhere.
func (w workshop) bases(t *testing.T, to string) string {
	t.Helper()
	w.base(t, to) // writes its files
	w.run(t, "bud", "--platform", "linux/amd64,linux/arm64", "--manifest", "localhost/bases", "--isolation", "chroot",
		"--format", "oci", "--identity-label=false", "--timestamp", "1600000000", "-f", "Base", ".")
	file := filepath.Join(w.dir, "digest")
	w.run(t, "manifest", "push", "--all", "--tls-verify=false", "--digestfile", file, "localhost/bases", "docker://"+to)
	digest, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	return to[:strings.LastIndex(to, ":")] + "@" + strings.TrimSpace(string(digest))
}

// checkIndex: one image for each platform, each with our user.
func checkIndex(t *testing.T, dist string, text []byte) {
	t.Helper()
	path, err := layout.FromPath(filepath.Join(dist, "image"))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}

	outer, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}

	list, err := outer.IndexManifest()
	if err != nil || len(list.Manifests) != 1 {
		t.Fatalf("%v, %v", list, err)
	}

	index, err := outer.ImageIndex(list.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}

	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}

	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
		img, err := index.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}

		config, err := img.ConfigFile()
		if err != nil || config.Architecture != m.Platform.Architecture || config.Config.User != "65532:65532" {
			t.Errorf("%s: %v, %v", m.Platform, config, err)
		}
	}

	slices.Sort(platforms)
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("platforms %v", platforms)
	}
}

func checkProvenance(t *testing.T, files map[string][]byte) {
	t.Helper()
	var s struct {
		Type          string `json:"_type"`
		PredicateType string `json:"predicateType"`
		Subject       []struct {
			Name   string            `json:"name"`
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
		Predicate struct {
			BuildDefinition struct {
				ResolvedDependencies []struct {
					URI    string            `json:"uri"`
					Digest map[string]string `json:"digest"`
				} `json:"resolvedDependencies"`
			} `json:"buildDefinition"`
		} `json:"predicate"`
	}

	if err := json.Unmarshal(files["provenance.json"], &s); err != nil ||
		s.Type != "https://in-toto.io/Statement/v1" || s.PredicateType != "https://slsa.dev/provenance/v1" {
		t.Errorf("provenance: %v\n%s", err, files["provenance.json"])
	}

	named := map[string]bool{}
	for _, subject := range s.Subject {
		named[subject.Name] = true
		if subject.Name == "image" {
			if !bytes.Contains(files["image/index.json"], []byte(subject.Digest["sha256"])) {
				t.Errorf("the provenance is of another image: %s", subject.Digest)
			}
			continue
		}
		if sum := sha256.Sum256(files[subject.Name]); subject.Digest["sha256"] != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: the provenance has %s", subject.Name, subject.Digest)
		}
	}

	want := []string{"image"}
	for _, name := range ciBinaries() {
		want = append(want, name, name+".cdx.json")
	}
	for _, want := range want {
		if !named[want] {
			t.Errorf("the provenance does not name %s", want)
		}
	}

	if d := s.Predicate.BuildDefinition.ResolvedDependencies; len(d) != 3 || len(d[0].Digest["gitCommit"]) != 40 {
		t.Errorf("made from %v", d)
	}
}

func checkSums(t *testing.T, files map[string][]byte) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(string(files["SHA256SUMS"])), "\n")
	if len(lines) != len(files)-1 {
		t.Errorf("%d checksums of %d files", len(lines), len(files)-1)
	}

	for _, line := range lines {
		sum, name, _ := strings.Cut(line, "  ")
		if got := sha256.Sum256(files[name]); hex.EncodeToString(got[:]) != sum {
			t.Errorf("%s: %s", name, sum)
		}
	}
}
