package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// TestMigrateDocs runs the commands of docs/migrate.md on the files that it shows.
func TestMigrateDocs(t *testing.T) {
	text := read(t, "../../docs/migrate.md")
	t.Chdir(t.TempDir())
	files := regexp.MustCompile("(?s)Save this as `([a-z.]+)`:\n\n```[a-z]+\n(.*?)```").FindAllStringSubmatch(text, -1)
	for _, m := range files {
		if err := os.WriteFile(m[1], []byte(m[2]), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	sessions := fenced(text, "console")
	if len(files) != 3 || len(sessions) != 4 {
		t.Fatalf("docs/migrate.md has %d files and %d commands", len(files), len(sessions))
	}
	for _, session := range sessions {
		command, want, _ := strings.Cut(strings.TrimPrefix(strings.TrimRight(session, "\n"), "$ attestor "), "\n")
		var out, errs bytes.Buffer
		code := run(strings.Fields(strings.ReplaceAll(command, "'", "")), strings.NewReader(""), &out, &errs)
		pattern := `(?s)\A` + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + `\n?\z`
		if code != attestor.ExitPass || !regexp.MustCompile(pattern).MatchString(out.String()) {
			t.Errorf("%s: exit code %d %s\nwant\n%s\ngot\n%s", command, code, errs.String(), want, out.String())
		}
		if _, err := policy.Parse(policy.Source{Name: "policy.yaml", Text: out.Bytes()}); err != nil {
			t.Errorf("%s: %v", command, err)
		}
	}
}

// TestPolicyImport: a lost requirement writes nothing to standard output, and says why on standard error.
func TestPolicyImport(t *testing.T) {
	lost := filepath.Join("policy", "migrate", "testdata", "public", "voucher-config.toml")
	args := []string{"--images", "gcr.io/acme/**", "--attestor", "projects/acme/attestors/gate"}
	code, out, errs := policyRun(t, "", append([]string{"import", lost}, args...)...)
	if code != attestor.ExitDeny || out != "" || !strings.Contains(errs, "lost      "+lost+": checks.provenance: ") ||
		!strings.Contains(errs, "no policy is written") {
		t.Errorf("%d %q %s", code, out, errs)
	}

	text, err := os.ReadFile(lost)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Policy string `json:"policy"`
		Fields []struct {
			Source, Path, Treatment, Note string
		} `json:"fields"`
	}
	var stdout, stderr bytes.Buffer
	code = run(append([]string{"policy", "import", "-", "-o", "json", "--placeholders"}, args...), bytes.NewReader(text), &stdout, &stderr)
	if err := json.Unmarshal(stdout.Bytes(), &answer); err != nil {
		t.Fatalf("%v\n%s", err, stdout.String())
	}
	if _, err := policy.Parse(policy.Source{Name: "policy.yaml", Text: []byte(answer.Policy)}); err != nil || code != attestor.ExitPass || stderr.Len() > 0 {
		t.Errorf("%d %v %s", code, err, stderr.String())
	}
	if len(answer.Fields) < 10 || answer.Fields[0].Source != "-" {
		t.Errorf("%+v", answer.Fields)
	}
}
