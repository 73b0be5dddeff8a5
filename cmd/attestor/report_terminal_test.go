package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// A report that a person reads is text, unless another form was asked for. A pipe and a file get HTML, as before.
func TestReportsOnATerminalAreText(t *testing.T) {
	t.Parallel()
	tty, err := exec.LookPath("script")
	if err != nil {
		t.Skip("script, which lends a program a terminal, is not installed: apt-get install bsdutils")
	}

	dir := t.TempDir()
	path, err := newOutside(t).WriteConfig(dir, standin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := config.Load(path, os.Getenv, engine.ProfileProblem)
	if err != nil {
		t.Fatal(err)
	}
	s, err := engine.OpenStore(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	decide(t, s, "first")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	host := registries.Serve(t, registries.Memory(false))
	repos := fill(t, host, 1, 2)
	write(t, dir, "policy.yaml", sweptPolicy)
	write(t, dir, "swept.yaml", fmt.Sprintf(sweptConfig, host, "swept.db"))
	env := append(append(os.Environ(), "TERM=xterm", "COLUMNS=120"), emulated(t)...)

	const html, text = "<!doctype html", " pass ("
	reports, audits := "report --config "+path, "audit --config swept.yaml "+repos[0]
	for _, tt := range []struct {
		name, args string
		terminal   bool
		variable   string
		want, not  string
	}{
		{"a report on a terminal", reports, true, "", text, html},
		{"a report in colour or not", reports + " -o text", true, "", text, html},
		{"a report as asked for", reports + " -o html", true, "", html, text},
		{"a report as a variable asks for", reports, true, "ATTESTOR_OUTPUT=html", html, text},
		{"a piped report", reports, false, "", html, text},
		{"a report in a file", reports + " --output-file report.html", true, "", "", text},
		{"an audit on a terminal", audits, true, "", text, html},
		{"a piped audit", audits, false, "", html, text},
	} {
		cmd := exec.CommandContext(t.Context(), program(t), strings.Fields(tt.args)...)
		if tt.terminal {
			cmd = exec.CommandContext(t.Context(), tty, "-qec", program(t)+" "+tt.args, "/dev/null")
		}
		cmd.Dir, cmd.Env = dir, env
		if tt.variable != "" {
			cmd.Env = append(env[:len(env):len(env)], tt.variable)
		}
		out, err := cmd.Output()
		if _, refused := err.(*exec.ExitError); err != nil && !refused { //nolint:errorlint // of this very call
			t.Fatal(err)
		}

		said := strings.ToLower(string(out))
		if !strings.Contains(said, tt.want) || strings.Contains(said, tt.not) {
			t.Errorf("%s: it prints no %q, or %q:\n%.500s", tt.name, tt.want, tt.not, out)
		}
	}

	kept, err := os.ReadFile(filepath.Join(dir, "report.html"))
	if err != nil || !strings.Contains(strings.ToLower(string(kept)), html) {
		t.Errorf("the file has %.200s, %v", kept, err)
	}
}
