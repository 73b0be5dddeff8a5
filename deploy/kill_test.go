package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestKillCountsWhatRan: `make kill` counts a batch only if its kills were done, and only for the code that they were done
// to.
func TestKillCountsWhatRan(t *testing.T) {
	text, err := os.ReadFile("../tools/kill.sh")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write("tools/kill.sh", string(text))
	write("go.mod", "module example\n")

	// It notes each call of its own, and says what go test -v would, for each database by its part of -run.
	const says = `#!/bin/sh
echo call >>calls
part=$(expr "$*" : '.*/^\([a-z_]*\)\$')
`
	run := func(program string) (out string, calls int, err error) {
		t.Helper()
		write("calls", "")
		write("fake-go", says+program)
		cmd := exec.CommandContext(t.Context(), "bash", "tools/kill.sh", "40")
		cmd.Dir, cmd.Env = root, append(os.Environ(), "GO="+filepath.Join(root, "fake-go"))
		b, err := cmd.CombinedOutput()
		made, readErr := os.ReadFile(filepath.Join(root, "calls"))
		if readErr != nil {
			t.Fatal(readErr)
		}
		return string(b), strings.Count(string(made), "call"), err
	}
	const passes = `echo "    kill_test.go:1: 20 kills, 1 answers"; echo "    --- PASS: TestKill/$part (1.00s)"; echo "ok   x"` + "\n"

	for name, program := range map[string]string{
		"a failure":         "echo '--- FAIL: TestKill'; exit 1\n",
		"no test of a name": "echo 'testing: warning: no tests to run'; echo 'ok   x'\n",
		"skipped":           `echo "    --- SKIP: TestKill/$part (0.00s)"; echo "ok   x"` + "\n",
		"fewer kills":       strings.Replace(passes, "20 kills", "4 kills", 1),
	} {
		if out, calls, err := run(program); err == nil || calls != 1 {
			t.Errorf("%s: %v after %d calls: %s", name, err, calls, out)
		}
	}

	out, calls, err := run(passes)
	if err != nil || calls != 6 || !strings.Contains(out, "two_instances: 40 kills of this code") {
		t.Errorf("what passed: %v after %d calls: %s", err, calls, out)
	}
	if out, calls, err := run(passes); err != nil || calls != 0 {
		t.Errorf("once more: %v after %d calls: %s", err, calls, out)
	}
	write("main.go", "package main\n")
	if out, calls, err := run(passes); err != nil || calls != 6 {
		t.Errorf("with other code: %v after %d calls: %s", err, calls, out)
	}
}
