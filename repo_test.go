package attestor_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/mod/zip"
)

// What hosted workflows run is pinned to a commit, or to a digest if it is a container, may read the repository and
// nothing else, and leaves no credentials behind.
func TestWorkflows(t *testing.T) {
	files, err := filepath.Glob(".github/workflows/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no workflows: %v", err)
	}
	const copied = "deploy/github/scan-import.yml" // which asks for credentials of Google's
	files = append(files, copied)

	uses := regexp.MustCompile(`uses: +(\S+)(.*)`)
	pinned := regexp.MustCompile(`^[\w./-]+@[0-9a-f]{40}$`)
	container := regexp.MustCompile(`(?m)^\s*(?:container|image):(.*)$`)
	byDigest := regexp.MustCompile(`^ [\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}$`)

	for _, f := range files {
		text := read(t, f)
		permissions := "\npermissions:\n  contents: read\n"
		if f == copied {
			permissions = "\npermissions: {contents: read, id-token: write}\n"
		}
		if !strings.Contains(text, permissions) {
			t.Errorf("%s: the workflow's permissions are not %s", f, strings.TrimSpace(permissions))
		}
		for _, m := range container.FindAllStringSubmatch(text, -1) {
			if m[1] != "" && !byDigest.MatchString(m[1]) {
				t.Errorf("%s: container%s: want a tag and a digest", f, m[1])
			}
		}
		for _, m := range uses.FindAllStringSubmatch(text, -1) {
			if !pinned.MatchString(m[1]) || !strings.HasPrefix(m[2], " # v") {
				t.Errorf("%s: %s: want a commit, and its version as a comment", f, m[1])
			}
			if strings.HasPrefix(m[1], "actions/checkout@") && !strings.Contains(text, "persist-credentials: false") {
				t.Errorf("%s: the checkout keeps its credentials", f)
			}
		}
	}
}

// Whatever tells people or machines to call make names a target that there is,
// and make help lists every target.
func TestMakeTargets(t *testing.T) {
	makefile := read(t, "Makefile")
	var targets []string

	for _, m := range regexp.MustCompile(`(?m)^([a-z][a-z-]*):(?:[^=\n].*)?$`).FindAllStringSubmatch(makefile, -1) {
		targets = append(targets, m[1])
		if !strings.Contains(m[0], " ## ") {
			t.Errorf("Makefile: %s has no help text", m[1])
		}
	}

	files := []string{"README.md", "CONTRIBUTING.md", ".ci/run"}
	for _, pattern := range []string{".github/workflows/*.yml", "docs/*.md"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}

	named := regexp.MustCompile("(?m)(?:^|[`]|run: +)make((?: [a-z][a-z-]*)+)")
	for _, f := range files {
		for _, m := range named.FindAllStringSubmatch(read(t, f), -1) {
			for _, target := range strings.Fields(m[1]) {
				if !slices.Contains(targets, target) {
					t.Errorf("%s: make %s: the Makefile has no such target", f, target)
				}
			}
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}

	return string(b)
}

// maxColumns is the longest line of Go, with tabs of four. What is read without a second look ends at 120.
const maxColumns = 160

// No line of Go is too long to stand beside another file, in tests as little as in the product.
func TestNoLongLines(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}

		files++
		n := 0
		for line := range strings.Lines(read(t, path)) {
			n++
			columns := utf8.RuneCountInString(strings.ReplaceAll(strings.TrimRight(line, "\n"), "\t", "    "))
			if columns > maxColumns {
				t.Errorf("%s:%d has %d columns; %d is the limit", path, n, columns, maxColumns)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 1000 {
		t.Errorf("%d files of Go: this test would prove nothing", files)
	}
}

// The module can be had by go install: no file has a name that module zips
// refuse, such as one that Windows reserves.
func TestModuleCanBeZipped(t *testing.T) {
	checked, err := zip.CheckDir(".")
	if err != nil {
		t.Fatal(err)
	}

	if len(checked.Valid) < 1000 {
		t.Errorf("%d files are in the module: this test would prove nothing", len(checked.Valid))
	}

	for _, f := range checked.Invalid {
		t.Errorf("%s: %v", f.Path, f.Err)
	}

	if checked.SizeError != nil {
		t.Error(checked.SizeError)
	}
}

// maxFile is the size of the largest file that may be committed, in bytes; the largest that belongs here has 0.7 MB.
const maxFile = 1 << 20

// No file that is committed is so large that it must be something built: a program of 27 MB was, once.
func TestNoBuiltFiles(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z").Output()
	if err != nil {
		t.Skipf("this is no clone, and has no list of what is committed: %v", err)
	}

	names := strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
	if len(names) < 1000 {
		t.Errorf("%d files are committed: this test would prove nothing", len(names))
	}

	for _, name := range names {
		info, err := os.Lstat(name)
		if err == nil && info.Size() > maxFile {
			t.Errorf("%s has %d bytes, and the limit is %d: if it is built, .gitignore should name it", name, info.Size(), maxFile)
		}
	}
}
