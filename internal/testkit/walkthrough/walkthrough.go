// Package walkthrough follows docs/adding.md: it makes the edits that a section describes in an overlay over the
// source, so that a test can compile them and count the files that they touch.
package walkthrough

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// An Overlay is the source as it is after a section was followed. The source itself stays as it is.
type Overlay struct {
	file  string
	root  string
	Files []string // that the section writes or changes, relative to the module; tests are not among them
}

var (
	block = regexp.MustCompile("(?s)\n   ```go\n(.*?)\n   ```")
	step  = regexp.MustCompile("(Write|In) `([^`]+)`(?:, after `([^`]+)`)?")
)

// Follow makes the edits of a section. A step reads "Write `FILE`", with the whole file in the block of Go below it, or
// "In `FILE`, after `TEXT`", with lines that go below the first line that holds the text. root is the module's
// directory.
func Follow(t *testing.T, root, section string) Overlay {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "adding.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, body, found := strings.Cut(string(text), "\n## "+section+"\n")
	if !found {
		t.Fatalf("docs/adding.md has no section %q", section)
	}
	body, _, _ = strings.Cut(body, "\n## ")

	files, done := map[string]string{}, 0

	// A block belongs to the last step above it.
	for _, at := range block.FindAllStringSubmatchIndex(body, -1) {
		steps := step.FindAllStringSubmatch(body[done:at[0]], -1)
		if len(steps) == 0 {
			t.Fatalf("%s: a block of Go without a step before it", section)
		}
		last := steps[len(steps)-1]
		lines := strings.ReplaceAll(strings.TrimPrefix(body[at[2]:at[3]], "   "), "\n   ", "\n") + "\n"
		files[last[2]] = edited(t, root, files[last[2]], last, lines)
		done = at[1]
	}
	if len(files) == 0 {
		t.Fatalf("%s has no step", section)
	}
	return write(t, root, files)
}

// edited is a file after one step.
func edited(t *testing.T, root, before string, step []string, lines string) string {
	t.Helper()
	if step[1] == "Write" {
		return lines
	}

	// A file may be changed by several steps.
	if before == "" {
		text, err := os.ReadFile(filepath.Join(root, step[2]))
		if err != nil {
			t.Fatal(err)
		}
		before = string(text)
	}

	anchor := strings.Index(before, step[3])
	if step[3] == "" || anchor < 0 {
		t.Fatalf("%s does not hold %q", step[2], step[3])
	}
	anchor += strings.Index(before[anchor:], "\n") + 1
	return before[:anchor] + lines + before[anchor:]
}

func write(t *testing.T, root string, files map[string]string) Overlay {
	t.Helper()
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dir, replaced := t.TempDir(), map[string]string{}
	o := Overlay{file: filepath.Join(dir, "overlay.json"), root: absolute}
	for name, text := range files {
		// One directory for all: the path becomes the name.
		copied := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		replaced[filepath.Join(absolute, name)] = copied
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "_test.go") {
			o.Files = append(o.Files, name)
		}
	}
	slices.Sort(o.Files)

	// The go command, -overlay: a JSON object whose field Replace maps each path to the file that stands for it.
	list, err := json.Marshal(map[string]any{"Replace": replaced})
	if err == nil {
		err = os.WriteFile(o.file, list, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// Go runs a command of go on the source as it is after the section, in the module's directory.
func (o Overlay) Go(t *testing.T, verb string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{verb, "-overlay=" + o.file}, args...)...)
	cmd.Dir = o.root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s %s after %v: %v\n%s", verb, strings.Join(args, " "), o.Files, err, out)
	}
	return string(out)
}
