package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
)

// TestCorpusHasEveryCode: a code that an image, a document or a request can
// cause is caused by a case, or stands on the list of those that none can.
func TestCorpusHasEveryCode(t *testing.T) {
	caused := map[attestor.Code]bool{}
	for _, c := range corpus.All() {
		for _, code := range c.Want.Codes {
			caused[code] = true
		}
	}

	tests := testsOf(t)
	unreached := corpus.Unreached()

	for _, info := range attestor.Codes() {
		why, listed := unreached[info.Code]
		refuses := info.Status == attestor.StatusDeny || info.Status == attestor.StatusError

		switch {
		case listed && caused[info.Code]:
			t.Errorf("%s is on the list of codes without a case, and has one", info.Code)
		case refuses && !listed && !caused[info.Code]:
			t.Errorf("no case gives %s, and it is not on the list of those that none can", info.Code)
		}

		if !listed {
			continue
		}

		for _, m := range regexp.MustCompile(`Test[A-Za-z0-9]+`).FindAllString(why, -1) {
			if !strings.Contains(tests, "func "+m+"\n") {
				t.Errorf("%s: there is no %s", info.Code, m)
			}
		}
	}

	for code := range unreached {
		if !slices.ContainsFunc(attestor.Codes(), func(i attestor.CodeInfo) bool { return i.Code == code }) {
			t.Errorf("there is no code %s", code)
		}
	}
}

// TestThreatModelNamesCases finds every case that the threat model names in the
// corpus, and every case of the corpus, or its group, in the threat model.
func TestThreatModelNamesCases(t *testing.T) {
	text := read(t, "../../docs/threat-model.md")
	names, groups := map[string]bool{}, map[string]int{}

	for _, c := range corpus.All() {
		names[c.Name] = true
		groups[c.Group()]++
	}

	prefixes := map[string]bool{}
	for _, m := range regexp.MustCompile("`([a-z]+)/([^`]+)`").FindAllStringSubmatch(text, -1) {
		name := m[1] + "/" + m[2]
		if groups[m[1]] == 0 {
			if _, err := os.Stat("../../" + name); err != nil {
				t.Errorf("the threat model names %s, which is neither a case nor a file", name)
			}
			continue
		}

		prefix := strings.TrimSuffix(strings.TrimSuffix(name, "*"), "…")
		found := names[name] || prefix != name
		if prefix != name {
			found = false
			for n := range names {
				found = found || strings.HasPrefix(n, prefix)
			}
			prefixes[prefix] = true
		}
		if !found {
			t.Errorf("the threat model names %s, which is no case", name)
		}

		prefixes[name] = true
	}

	for name := range names {
		covered := false
		for p := range prefixes {
			covered = covered || strings.HasPrefix(name, p)
		}
		if !covered {
			t.Errorf("the threat model names neither %s nor its group", name)
		}
	}
}

// TestFuzzTargetsHaveCorpora: every fuzz target of the module has a committed
// corpus, small enough to be run with every test.
func TestFuzzTargetsHaveCorpora(t *testing.T) {
	out, err := exec.Command("grep", "-rHoE", `^func Fuzz[A-Za-z0-9]+`, "../..", "--include=*_test.go", "--exclude-dir=tools").Output()
	if err != nil {
		t.Fatal(err)
	}

	targets := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(targets) < 20 {
		t.Fatalf("%d fuzz targets", len(targets))
	}

	for _, target := range targets {
		file, name, _ := strings.Cut(target, ":func ")
		seeds, err := filepath.Glob(filepath.Join(filepath.Dir(file), "testdata", "fuzz", name, "*"))
		if err != nil || len(seeds) < 4 || len(seeds) > 100 {
			t.Errorf("%s in %s has a corpus of %d", name, filepath.Dir(file), len(seeds))
		}
	}
}
