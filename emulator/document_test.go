package emulator_test

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// block is a fenced block of a Markdown document.
type block struct{ info, text string }

func blocks(t *testing.T, path string) []block {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	var out []block
	for i, part := range strings.Split(string(b), "\n```") {
		if i%2 == 1 {
			info, text, _ := strings.Cut(part, "\n")
			out = append(out, block{info, text + "\n"})
		}
	}

	return out
}

// TestDocumentExample: the Go code in the document is that of Example.
func TestDocumentExample(t *testing.T) {
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}

	found := false
	for _, b := range blocks(t, "../docs/emulator.md") {
		if b.info != "go" {
			continue
		}

		found = true
		indented := "\t" + strings.ReplaceAll(strings.TrimSpace(b.text), "\n", "\n\t")
		if !strings.Contains(string(example), indented) {
			t.Errorf("not in example_test.go:\n%s", b.text)
		}
	}

	if !found {
		t.Error("the document has no Go example")
	}
}

// TestDocument runs the document's commands, in order, in one shell.
func TestDocument(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the program: run without -short")
	}

	for _, tool := range []string{"bash", "curl", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not on PATH: install it to run the document's commands", tool)
		}
	}

	_, err := exec.LookPath("gcloud")
	withGcloud := err == nil
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "bin", "attestor"), "../cmd/attestor")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building attestor: %v\n%s", err, out)
	}

	t.Setenv("PATH", filepath.Join(dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))

	addr := freeAddress(t)
	var script strings.Builder
	script.WriteString("set -euo pipefail\n")
	server := 0

	for _, b := range blocks(t, "../docs/emulator.md") {
		text := strings.ReplaceAll(b.text, "127.0.0.1:9090", addr)
		switch b.info {
		case "sh":
			if server == 0 {
				runShell(t, dir, "set -euo pipefail\n"+text)
				continue
			}
			script.WriteString(text)
		case "sh gcloud":
			if withGcloud {
				script.WriteString(text)
			}
		case "sh server":
			server++
			startServer(t, dir, text)
		}
	}

	if server != 1 {
		t.Fatalf("the document starts the emulator %d times, want once", server)
	}

	runShell(t, dir, script.String())
	if !withGcloud {
		t.Skip("gcloud is not on PATH: install the Google Cloud CLI to run its commands too; the others passed")
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func runShell(t *testing.T, dir, script string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\nrunning\n%s", err, out, script)
	}
}

// startServer runs the emulator until the test ends, and waits until it is ready.
func startServer(t *testing.T, dir, command string) {
	t.Helper()
	cmd := exec.Command("bash", "-c", "exec "+command)
	cmd.Dir = dir
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	ready := make(chan string, 1)
	go func() {
		var said strings.Builder
		for sc := bufio.NewScanner(stderr); sc.Scan(); {
			said.WriteString(sc.Text() + "\n")
			if sc.Text() == "attestor: ready" {
				ready <- said.String()
			}
		}
		close(ready)
	}()

	said, ok := <-ready
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("stopping the emulator: %v", err)
		}
		for range ready { // until stderr is read, as Wait asks
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the emulator did not end cleanly: %v", err)
		}
	})

	if !ok {
		t.Fatal("the emulator ended before it was ready")
	}

	for _, want := range []string{": 2 objects", "no security boundary", "CLOUD_KMS_EMULATOR_HOST"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is missing from what it says on start:\n%s", want, said)
		}
	}
}
