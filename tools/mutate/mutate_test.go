package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/testkit/slow"
)

// sampled runs the command on a copy of the sample module.
func sampled(t *testing.T, dir string, args ...string) (code int, out, progress string) {
	t.Helper()
	t.Chdir(dir)
	args = append([]string{"-dir", filepath.Join(dir, "results"), "-equivalent", "equivalent.txt", "-deciding",
		"deciding.txt", "-known", "survivors.txt"}, args...)
	var stdout, stderr bytes.Buffer
	code, err := run(t.Context(), append(args, "."), &stdout, &stderr)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}

	return code, stdout.String(), stderr.String()
}

func sampleModule(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/sample")); err != nil {
		t.Fatal(err)
	}

	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSurvivorsAreThoseThatNoTestNotices(t *testing.T) {
	dir := sampleModule(t)
	write(t, filepath.Join(dir, "deciding.txt"), "other.go\n")

	code, out, progress := sampled(t, dir)

	if code != 0 || strings.Contains(out, " Tested ") {
		t.Errorf("exit %d; every mutant of Tested has a test that notices it:\n%s", code, out)
	}

	for _, want := range []string{
		"sample.go Careless return #1", "sample.go Careless empty #1 `list`", "sample.go Careless true #1 `s != \"\"`",
		"sample.go Careless remove #1 `n++`",
		"sample.go:30: unreached", "sample.go Forgotten false #1 `a`", "sample.go Forgotten true #1 `a || b`",
		"-         case a || b:", "+         case false || b:",
	} {
		if !strings.Contains(strings.ReplaceAll(out, "\t", "        "), want) {
			t.Errorf("the report does not have %q:\n%s", want, out)
		}
	}

	t.Run("again, nothing is tried", func(t *testing.T) {
		_, again, progress := sampled(t, dir)
		if !strings.Contains(progress, " 0 to be tried") || again != out {
			t.Errorf("%s\n%s", progress, again)
		}
	})

	t.Run("comments and layout change nothing", func(t *testing.T) {
		for name, changes := range map[string][]string{
			"sample.go": {
				"\tfor _, s := range list {\n", "\n\tfor _, s := range list { // each\n\n\t\t// why\n",
				"\t\t\tn++\n", "\t\t\tn++ /* one more */\n\t\t\t// done\n",
				`errors.New("too many")`, "errors.New(\n\t\t\t\"too many\", // not /* a limit\n\t\t)",
			},
			"sample_test.go": {"\tfor n, want", "\t// Both sides.\n\n\tfor n, want"},
		} {
			path := filepath.Join(dir, name)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.NewReplacer(changes...).Replace(string(text))
			if strings.Count(changed, "//") == strings.Count(string(text), "//") {
				t.Fatalf("%s did not change", name)
			}
			write(t, path, changed)
		}

		if _, _, progress := sampled(t, dir); !strings.Contains(progress, " 0 to be tried") {
			t.Error(progress)
		}
	})

	t.Run("survivors are tried again when tests change", func(t *testing.T) {
		path := filepath.Join(dir, "sample_test.go")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}

		write(t, path, strings.Replace(string(text), `{ sample.Careless([]string{"a", ""}) }`,
			`{ if sample.Careless([]string{"a", ""}) != 1 { panic("wrong") } }`, 1))

		_, out, later := sampled(t, dir)
		if strings.Contains(out, "Careless") || strings.Contains(later, " 0 to be tried") || later == progress {
			t.Errorf("%s\n%s", later, out)
		}
	})
}

func TestASurvivorInAFileThatDecidesFails(t *testing.T) {
	dir := sampleModule(t)
	write(t, filepath.Join(dir, "deciding.txt"), "sample.go\n")
	if code, out, _ := sampled(t, dir); code != 1 {
		t.Fatalf("exit %d:\n%s", code, out)
	}

	// Each survivor is excused: the exit is 0. One is excused that a test kills: it is an error, as is one that is not there.
	_, out, _ := sampled(t, dir)
	var list strings.Builder

	for line := range strings.Lines(out) {
		if id := strings.TrimSpace(line); strings.HasPrefix(line, "  sample.go ") {
			list.WriteString(id + " => nobody looks\n")
		}
	}

	write(t, filepath.Join(dir, "equivalent.txt"), list.String())
	if code, out, _ := sampled(t, dir); code != 0 || !strings.Contains(out, "| all | ") {
		t.Errorf("exit %d:\n%s", code, out)
	}

	for name, extra := range map[string]string{
		"killed":    "sample.go Tested boundary #1 `n >= 10` => wrong\n",
		"not there": "sample.go Tested boundary #1 `n >= 12` => it is gone\n",
	} {
		write(t, filepath.Join(dir, "equivalent.txt"), list.String()+extra)
		if code, out, _ := sampled(t, dir); code != 1 {
			t.Errorf("%s: exit %d:\n%s", name, code, out)
		}
	}
}

// A survivor that is known does not fail, and is told all the same.
func TestSurvivorsThatAreKnown(t *testing.T) {
	dir := sampleModule(t)
	write(t, filepath.Join(dir, "deciding.txt"), "sample.go\n")
	_, out, _ := sampled(t, dir)
	var list strings.Builder

	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "  sample.go ") {
			list.WriteString(strings.TrimSpace(line) + "\n")
		}
	}

	write(t, filepath.Join(dir, "survivors.txt"), list.String())
	code, out, _ := sampled(t, dir)
	if code != 0 || !strings.Contains(out, "survived in a file that decides, as is known") {
		t.Errorf("exit %d:\n%s", code, out)
	}

	_, rest, _ := strings.Cut(list.String(), "\n")
	write(t, filepath.Join(dir, "survivors.txt"), rest)
	if code, out, _ := sampled(t, dir); code != 1 {
		t.Errorf("with one more than is known: exit %d:\n%s", code, out)
	}
}

func TestTokens(t *testing.T) {
	const original = `f(a, "// b") ; return c`
	for text, same := range map[string]bool{
		"f(\n\ta,\n\t\"// b\",\n)\nreturn c\n":                      true,
		"f(a, /* its name */ \"// b\") // why\n\n// then\nreturn c": true,
		`f(a, "// c"); return c`:                                    false,
		`f(a, "//  b"); return c`:                                   false,
		`f(a, "// b"); returnc`:                                     false,
		`f(a); "// b"; return c`:                                    false,
		"f(a, \"// b\"); return c\n//go:noinline":                   false,
		"f(a, \"// b\"); return c\n// Output:\n// 1":                false,
	} {
		if got := string(tokens([]byte(text))) == string(tokens([]byte(original))); got != same {
			t.Errorf("%q is the same: %t, want %t", text, got, same)
		}
	}

	one, two := tokens([]byte("f()\n// Output:\n// 1\n")), tokens([]byte("f()\n// Output:\n// 2\n"))
	if string(one) == string(two) {
		t.Error("what an example has to print does not count")
	}

	if got := oneLine(uncommented([]byte("f(a, // its\n\t/* b */ `// c`)"))); got != "f(a, `// c`)" {
		t.Errorf("without comments: %s", got)
	}
}

// The lists of this project name files that there are: a file that was renamed
// would decide without anybody looking.
func TestListsNameFilesThatExist(t *testing.T) {
	deciding, err := readLines("deciding.txt")
	if err != nil || len(deciding) == 0 {
		t.Fatalf("%d files decide, %v", len(deciding), err)
	}

	for _, name := range deciding {
		if _, err := os.Stat(filepath.Join("..", "..", name)); err != nil {
			t.Error(err)
		}
	}

	excused, err := readEquivalents("equivalent.txt")
	if err != nil || len(excused) == 0 {
		t.Fatalf("%d are equivalent, %v", len(excused), err)
	}

	known, err := readLines("survivors.txt")
	if err != nil {
		t.Fatal(err)
	}

	for _, id := range known {
		if _, both := excused[movable(id)]; both {
			t.Errorf("%s is listed as equivalent and as a survivor", id)
		}
	}
}

func TestTheSampleIsFixed(t *testing.T) {
	dir := sampleModule(t)
	_, first, _ := sampled(t, dir, "-sample", "5", "-seed", "7")
	_, second, progress := sampled(t, dir, "-sample", "5", "-seed", "7")
	if first != second || !strings.Contains(progress, " 5 chosen, 0 to be tried") {
		t.Errorf("%s\n%s\n%s", progress, first, second)
	}
}

// A mutant whose tests were only slow is not killed: they get four times the time before that is believed.
func TestASlowMachineKillsNothing(t *testing.T) {
	slow.Skip(t)
	dir := sampleModule(t)
	write(t, filepath.Join(dir, "sample_test.go"), `package sample_test

import (
	"os"
	"testing"
	"time"

	"sample"
)

// The first run of a mutant of Tested takes too long.
func TestTested(*testing.T) {
	if sample.Tested(9, false) == nil && sample.Tested(11, false) != nil {
		return
	}
	if f, err := os.OpenFile("ran", os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		f.Close()
		time.Sleep(time.Hour)
	}
}
`)

	_, out, progress := sampled(t, dir, "-file", "sample.go")
	if _, err := os.Stat(filepath.Join(dir, "ran")); err != nil {
		t.Fatal("no mutant was slow:", err)
	}
	if strings.Contains(out, "| 1 |") || !strings.Contains(out, "| all | 0 |") {
		t.Errorf("a mutant that no test fails for was killed:\n%s\n%s", progress, out)
	}
}
