package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/internal/testkit/toolbuild"
)

// TestReleaseSignature signs the provenance of a release and verifies a binary by the commands of docs/deploy.md, with a
// key in a file and without the public log, which is not reached from here.
func TestReleaseSignature(t *testing.T) {
	slow.Skip(t)
	cosign, err := toolbuild.Build(t.Context(), "cosign3", "github.com/sigstore/cosign/v3/cmd/cosign")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	dist := filepath.Dir(releasedCI(t, "v1.2.3", ciBinaries()))
	if err := os.CopyFS(filepath.Join(dir, "dist"), os.DirFS(dist)); err != nil {
		t.Fatal(err)
	}
	run := func(line string) (string, error) {
		args := strings.Fields(line)
		cmd := exec.CommandContext(t.Context(), cosign, args[1:]...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "COSIGN_PASSWORD=test", "COSIGN_YES=true")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(line string) {
		t.Helper()
		if out, err := run(line); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}

	text := string(read(t, "../docs/deploy.md"))
	sign := regexp.MustCompile(`(?m)^cosign attest-blob .*$`).FindString(text)
	verify := regexp.MustCompile(`(?m)^cosign verify-blob-attestation .*$`).FindString(text)
	if sign == "" || !strings.HasSuffix(verify, " attestor-linux-amd64") {
		t.Fatalf("docs/deploy.md has %q and %q", sign, verify)
	}
	must("cosign generate-key-pair --output-key-prefix attestor")
	must("cosign generate-key-pair --output-key-prefix other")
	must(strings.Replace(sign, "gcpkms://KEY", "attestor.key", 1) + " --tlog-upload=false --use-signing-config=false")

	verify = strings.TrimSuffix(verify, " attestor-linux-amd64") + " --insecure-ignore-tlog=true "
	for _, name := range ciBinaries() {
		must(verify + "dist/" + name)
	}

	// Another key, another file, another statement.
	if out, err := run(strings.Replace(verify, "attestor.pub", "other.pub", 1) + "dist/attestor-linux-amd64"); err == nil {
		t.Errorf("another key verifies: %s", out)
	}
	changed := filepath.Join(dir, "changed")
	if err := os.WriteFile(changed, []byte("the bytes of attestor-linux-amd64, and more"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(verify + changed); err == nil {
		t.Errorf("a changed binary verifies: %s", out)
	}
	bundle := filepath.Join(dir, "provenance.sigstore.json")
	edited := regexp.MustCompile(`"payload": *"[^"]{8}`).ReplaceAll(read(t, bundle), []byte(`"payload":"eyJmYWtlI`))
	if err := os.WriteFile(bundle, edited, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(verify + "dist/attestor-linux-amd64"); err == nil {
		t.Errorf("an edited statement verifies: %s", out)
	}
}
