package signed_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/internal/testkit/toolbuild"
	"github.com/attestor-gate/attestor/verify/signed"
)

// A recorded is what a real cosign pushed; record/main.go made it.
type recorded struct {
	Version string
	Images  map[string]string
	Pushes  []struct{ Reference, MediaType, Manifest string }
	Blobs   map[string][]byte
}

// rawManifest is put as it is.
type rawManifest struct{ media, body string }

func (r rawManifest) RawManifest() ([]byte, error)        { return []byte(r.body), nil }
func (r rawManifest) MediaType() (types.MediaType, error) { return types.MediaType(r.media), nil }

// replay puts a recording into a registry.
func replay(t *testing.T, h *host, dir string) recorded {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "recording.json"))
	h.Must(err)
	var r recorded
	h.Must(json.Unmarshal(b, &r))

	for _, blob := range r.Blobs {
		h.Must(remote.WriteLayer(h.Repo, static.NewLayer(blob, types.OCILayer)))
	}

	for _, p := range r.Pushes {
		var ref name.Reference = h.Repo.Tag(p.Reference)
		if strings.HasPrefix(p.Reference, "sha256:") {
			ref = h.Repo.Digest(p.Reference)
		}
		h.Must(remote.Put(ref, rawManifest{p.MediaType, p.Manifest}))
	}
	return r
}

// TestRealCosign: what the real programs of both versions pushed is accepted,
// for what it is and by whom it is, and for nothing else.
func TestRealCosign(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join("testdata", "cosign-cli", "v*"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	for _, dir := range dirs {
		judgeRecording(t, dir, filepath.Base(dir))
	}
}

// judgeRecording is what holds for whatever a cosign of this version pushed.
func judgeRecording(t *testing.T, dir, version string) {
	t.Helper()
	const slsa = "https://slsa.dev/provenance/v0.2"
	rule := attestor.SignedBy{Key: filepath.Join(dir, "cosign.pub")}

	for kind, handler := range registries.Kinds() {
		t.Run(version+"/"+kind, func(t *testing.T) {
			h := newHost(t, handler(t, false))
			r := replay(t, h, dir)
			if !strings.HasPrefix(r.Version, version+".") || len(r.Images) != 4 {
				t.Fatalf("recorded by %s: %v", r.Version, r.Images)
			}

			for way, digest := range r.Images {
				img := h.Named(digest)
				got, err := h.check(img, rule)
				if strings.HasPrefix(way, "sign-") {
					if err != nil || !strings.HasPrefix(got, "key sha256:") {
						t.Errorf("%s: got %q, %v", way, got, err)
					}
				} else {
					refused(t, got, err, "")
				}

				got, err = h.check(img, newKey(t).rule())
				refused(t, got, err, "")
				list, _, err := checker(t, signed.Config{}).Attestations(t.Context(), img, rule, []string{slsa})
				if want := strings.HasPrefix(way, "attest-"); err != nil || (len(list) == 1) != want {
					t.Errorf("%s: attestations %v, %v", way, list, err)
				}
			}
		})
	}
}

// TestCosignToday has both versions of the program, built from source, sign
// anew, and judges that as it does the recordings.
func TestCosignToday(t *testing.T) {
	slow.Skip(t)
	for version, tool := range cosigns {
		judgeRecording(t, record(t, "-cosign", build(t, tool.module, tool.pkg)), version)
	}
}

// cosigns are built from modules of their own: ours has the library only.
var cosigns = map[string]struct{ module, pkg string }{
	"v2": {"cosign2", "github.com/sigstore/cosign/v2/cmd/cosign"},
	"v3": {"cosign3", "github.com/sigstore/cosign/v3/cmd/cosign"},
}

func build(t *testing.T, module, pkg string) string {
	t.Helper()
	bin, err := toolbuild.Build(t.Context(), module, pkg)
	if err != nil {
		t.Fatal(err)
	}

	return bin
}

// record runs the recorder into a directory, which it returns.
func record(t *testing.T, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"run", "../../internal/testkit/sigrecord", "-out", dir}, flags...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("recording with %q: %v\n%s", flags, err, out)
	}

	return dir
}
