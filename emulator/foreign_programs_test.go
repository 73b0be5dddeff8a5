package emulator_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/emulator"
)

// TestCosignKeys: the package that cosign uses for gcpkms:// keys, with a version and without: it then asks for the
// enabled versions, the newest first.
func TestCosignKeys(t *testing.T) {
	needsAllTests(t)
	bin := filepath.Join(t.TempDir(), "gcpkms")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./gcpkms")
	build.Dir = filepath.Join("..", "tools", "clients")
	build.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	g := newGoogle(t, emulator.Options{})
	g.createKey(t)
	addr := serve(t, g.Emulator)

	key := "gcpkms://" + keyRing + "/cryptoKeys/gate"
	for _, ref := range []string{key, key + "/versions/1", key + "/cryptoKeyVersions/1"} {
		out, err := exec.CommandContext(ctxFor(t), bin, addr, ref).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "signed and verified") {
			t.Errorf("%s: %v\n%s", ref, err, out)
		}
	}
	if out, err := exec.CommandContext(ctxFor(t), bin, addr, "gcpkms://"+keyRing+"/cryptoKeys/none").CombinedOutput(); err == nil {
		t.Errorf("with a key that is not there: %s", out)
	}
}

// TestGoExample runs tools/emulator/go, which other people copy, against the emulator.
func TestGoExample(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles another module: run without -short")
	}
	g := newGoogle(t, emulator.Options{})
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "./...")
	cmd.Dir = filepath.Join("..", "tools", "emulator", "go")
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "EMULATOR="+serve(t, g.Emulator))
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestSignAndAttest")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestNodeExample runs tools/emulator/node with Google's clients for Node.
func TestNodeExample(t *testing.T) {
	needsAllTests(t)
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm is not on PATH: install Node.js to run its example")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "tools", "emulator", "node"))); err != nil {
		t.Fatal(err)
	}
	g := newGoogle(t, emulator.Options{})
	for _, args := range [][]string{{"ci", "--ignore-scripts", "--no-audit", "--no-fund"}, {"test"}} {
		cmd := exec.CommandContext(t.Context(), npm, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "EMULATOR="+serve(t, g.Emulator))
		out, err := cmd.CombinedOutput()
		if err != nil || args[0] == "test" && !bytes.Contains(out, []byte("# pass 1")) {
			t.Fatalf("npm %s: %v\n%s", args[0], err, out)
		}
	}
}
