package emulator_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestForeignClientsAreCurrent: the table of other people's clients in docs/emulator.md has the versions that the tests run, and
// names tests that there are.
func TestForeignClientsAreCurrent(t *testing.T) {
	text := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	version := func(file, module string) string {
		t.Helper()
		m := regexp.MustCompile(regexp.QuoteMeta(module) + ` v([0-9.]+)`).FindStringSubmatch(text(file))
		if m == nil {
			t.Fatalf("%s does not name %s", file, module)
		}
		return m[1]
	}
	var node struct {
		Dependencies map[string]string `json:"dependencies"`
		Dev          map[string]string `json:"devDependencies"`
	}
	if err := json.Unmarshal([]byte(text("../tools/emulator/node/package.json")), &node); err != nil {
		t.Fatal(err)
	}
	for name, v := range node.Dev {
		if node.Dependencies == nil {
			node.Dependencies = map[string]string{}
		}
		node.Dependencies[name] = v
	}
	recorded := regexp.MustCompile(`of gcloud ([0-9.]+[0-9])`).FindStringSubmatch(text("../deploy/testdata/gcloud/README.md"))
	if recorded == nil {
		t.Fatal("nothing says which gcloud the recorded commands are of")
	}
	const goClients = "../tools/emulator/go/go.mod"
	want := []struct{ client, version string }{
		{"gcloud", recorded[1]},
		{"cosign's package", version("../tools/clients/go.mod", "github.com/sigstore/sigstore/pkg/signature/kms/gcp")},
		{"official clients for Node", "@google-cloud/kms " + node.Dependencies["@google-cloud/kms"] + ", @google-cloud/grafeas " +
			node.Dependencies["@google-cloud/grafeas"]},
		{"official Go clients", "kms " + version(goClients, "cloud.google.com/go/kms") + ", containeranalysis " +
			version(goClients, "cloud.google.com/go/containeranalysis")},
	}

	var tests strings.Builder
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		tests.WriteString(text(f))
	}
	_, section, _ := strings.Cut(text("../docs/emulator.md"), "## Other people's clients")
	section, _, _ = strings.Cut(section, "\n## ")
	seen := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$`).FindAllStringSubmatch(section, -1) {
		if row[1] == "client" || strings.HasPrefix(row[1], "---") {
			continue
		}
		named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(row[4], -1)
		if len(named) == 0 {
			t.Errorf("%s has no test", row[1])
		}
		for _, n := range named {
			if !strings.Contains(tests.String(), "\nfunc "+n[1]+"(") {
				t.Errorf("%s: there is no %s", row[1], n[1])
			}
		}
		for _, w := range want {
			if strings.HasPrefix(row[1], w.client) && row[2] != "those of go.mod" {
				seen[w.client] = true
				if row[2] != w.version {
					t.Errorf("%s: the document has %s, and the tests run %s", row[1], row[2], w.version)
				}
			}
		}
	}
	if len(seen) != len(want) {
		t.Errorf("the table has only %v", seen)
	}
}
