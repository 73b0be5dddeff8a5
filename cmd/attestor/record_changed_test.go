package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// TestExplainOfAChangedRecord: a record that was changed, removed from the log or moved to another time is explained
// with exit code 1, in every form, through a service too. One that is as it was recorded ends with 0.
func TestExplainOfAChangedRecord(t *testing.T) {
	l := newLoggedRecord(t)
	l.write(t, `UPDATE decisions SET packed = (SELECT packed FROM decisions WHERE id = 'first') WHERE id = 'second'`)
	l.write(t, `UPDATE decisions SET policy = 'another' WHERE id = 'third'`)

	here := []string{"--config", filepath.Join(filepath.Dir(l.conf.Store.SQLite), "attestor.yaml")}
	there := []string{"--server", l.service}
	for _, tt := range []struct {
		name, id string
		flags    []string
		code     int
		stdout   string
	}{
		{name: "unchanged", id: "first", code: 0, stdout: "registry.example/app:v1"},
		{name: "unchanged, JSON", id: "first", flags: []string{"-o", "json"}, code: 0, stdout: `"first"`},
		{name: "another body", id: "second", code: 1, stdout: "CHANGED SINCE IT WAS RECORDED"},
		{name: "another body, JSON", id: "second", flags: []string{"-o", "json"}, code: 1, stdout: `"changed"`},
		{name: "another body, policy's text", id: "second", flags: []string{"--policy-text"}, code: 1},
		{name: "another column", id: "third", code: 1, stdout: "CHANGED SINCE IT WAS RECORDED"},
		{name: "another column, policy's text", id: "third", flags: []string{"--policy-text"}, code: 1},
	} {
		for where, flags := range map[string][]string{"here": here, "through a service": there} {
			t.Run(tt.name+" "+where, func(t *testing.T) {
				var stdout, stderr bytes.Buffer
				args := slices.Concat([]string{"explain", tt.id}, flags, tt.flags)
				if code := run(args, strings.NewReader(""), &stdout, &stderr); code != tt.code {
					t.Errorf("exit code %d, want %d: %s%s", code, tt.code, &stdout, &stderr)
				}
				if !strings.Contains(stdout.String(), tt.stdout) {
					t.Errorf("stdout is %q, want %q in it", &stdout, tt.stdout)
				}
				if tt.stdout == "" && (stdout.Len() > 0 || !strings.Contains(stderr.String(), "changed since it was recorded")) {
					t.Errorf("stdout is %q, stderr %q: want why no text is printed", &stdout, &stderr)
				}
			})
		}
	}
}

// TestRestoreAsDocumented runs the commands of docs/record.md on a database that was put back to its backup.
func TestRestoreAsDocumented(t *testing.T) {
	text := read(t, "../../docs/record.md")
	_, text, found := strings.Cut(text, "## Restore from a backup\n")
	text, _, _ = strings.Cut(text, "\n## ")
	steps := fenced(text, "sh")
	if !found || len(steps) != 3 {
		t.Fatalf("docs/record.md restores in %d steps, want 3: restore and verify, name the new history, verify it", len(steps))
	}

	// Two decisions are in the backup. A third one is recorded and lost.
	dir := t.TempDir()
	key := filepath.Join(dir, "log.pem")
	if err := makeLogKey(key); err != nil {
		t.Fatal(err)
	}
	path, err := newOutside(t).WriteConfig(dir, standin.Options{More: "log: {key: " + key + ", origin: gate.acme.example/decisions}"})
	if err != nil {
		t.Fatal(err)
	}
	gateDecides(t, path, "first", "second")
	documented(t, dir, 0, "mkdir backup; cp decisions.db backup")
	gateDecides(t, path, "third")
	documented(t, dir, 0, steps[2])

	// Verifying says that decisions were lost. Under another name the log is whole.
	if out := documented(t, dir, 1, steps[0]); !strings.Contains(out, "put back to an earlier state") {
		t.Errorf("the restored database is verified with %q", out)
	}
	documented(t, dir, 0, steps[1])
	gateDecides(t, path)
	if out := documented(t, dir, 0, steps[2]); !strings.Contains(out, "2 records compared") ||
		!strings.Contains(out, "Compared with a signed checkpoint: ") {
		t.Errorf("the new history is verified with %q", out)
	}

	for name, origin := range map[string]string{
		"lost.checkpoint": "gate.acme.example/decisions\n4\n", "last.checkpoint": "gate.acme.example/decisions/2\n3\n",
	} {
		if got := read(t, filepath.Join(dir, name)); !strings.HasPrefix(got, origin) {
			t.Errorf("%s is %q, want one of %q", name, got, origin)
		}
	}
}

// documented runs a block of commands as they are written, and returns what they print.
func documented(t *testing.T, dir string, code int, block string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", block)
	cmd.Dir = dir
	out, _ := cmd.CombinedOutput() // its exit code is compared
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("%s\nends with %d, want %d: %s", block, got, code, out)
	}
	return string(out)
}

// gateDecides runs the part of a gate that keeps the record: it records decisions, and signs the log before it ends.
func gateDecides(t *testing.T, path string, ids ...string) {
	t.Helper()
	conf, err := config.Load(path, os.Getenv, engine.ProfileProblem)
	if err != nil {
		t.Fatal(err)
	}
	s, err := engine.OpenStore(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	decide(t, s, ids...)

	ctx, stop := context.WithCancel(t.Context())
	s.KeepLog(ctx, func(err error) {
		if err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		stop()
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
