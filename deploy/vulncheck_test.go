package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestVulncheck: govulncheck ends with 3 where it found something. What the script cannot read of that is no clean result.
func TestVulncheck(t *testing.T) {
	text, err := os.ReadFile("../tools/vulncheck.sh")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		output string
		status string
		fails  bool
	}{
		"none":          {"No vulnerabilities found.\n", "0", false},
		"not justified": {"Vulnerability #1: GO-2099-0001\n", "3", true},
		"another form":  {`{"finding": {"osv": "GO-2099-0001"}}` + "\n", "3", true},
		"no output":     {"", "3", true},
	} {
		t.Run(name, func(t *testing.T) {
			bin := t.TempDir()
			program := func(name, text string) {
				if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			program("curl", "exit 0\n")
			program("go", "cat <<'END'\n"+tt.output+"END\nexit "+tt.status+"\n")

			// Without justifications none of them is stale.
			root := t.TempDir()
			for file, content := range map[string]string{"docs/vulnerabilities.md": "# Vulnerabilities\n", "tools/vulncheck.sh": string(text)} {
				path := filepath.Join(root, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "sh", filepath.Join(root, "tools", "vulncheck.sh"))
			cmd.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if (err != nil) != tt.fails || !strings.Contains(string(out), "vulncheck:") {
				t.Errorf("%v, %s", err, out)
			}
		})
	}
}
