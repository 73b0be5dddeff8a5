package main

import (
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commandPaths are the words after `attestor` of every command that does something itself.
func commandPaths(root *cobra.Command) []string {
	var out []string
	for _, c := range visible(root) {
		out = append(out, strings.TrimPrefix(c.CommandPath(), "attestor "))
	}
	return out
}

// TestEveryCommandHasExitCodes holds the table to the commands that there are.
func TestEveryCommandHasExitCodes(t *testing.T) {
	t.Parallel()
	table, paths := exitCodes(), commandPaths(rootCommand())
	for _, path := range paths {
		if table[path][0] == "" || table[path][2] == "" {
			t.Errorf("%q: the table has no code 0 or no code 2", path)
		}
	}
	for path := range table {
		if !slices.Contains(paths, path) {
			t.Errorf("the table lists %q, which is no command", path)
		}
	}
}

// TestEveryExitCodeIsShown finds, for every cell of the table, a script that runs the command and wants that code; and
// no script that wants a code which the table does not have.
func TestEveryExitCodeIsShown(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/script/*.txt")
	if err != nil || len(scripts) < 10 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}

	shown := map[string]map[int]bool{}
	show := func(path string, code int) {
		if shown[path] == nil {
			shown[path] = map[int]bool{}
		}
		shown[path][code] = true
	}

	run := regexp.MustCompile(`(?m)^(?:code (\d) |(exec) )attestor (.+)$`)
	for _, script := range scripts {
		text := read(t, script)
		for _, m := range run.FindAllStringSubmatch(text, -1) {
			c, _, err := rootCommand().Find(strings.Fields(m[3]))
			if err != nil || !acts(c) {
				continue
			}
			code, _ := strconv.Atoi(m[1]) // exec wants 0
			show(strings.TrimPrefix(c.CommandPath(), "attestor "), code)
		}

		// These start a process, and want it to end well by a signal.
		for word, path := range map[string]string{"dev": "dev", "served": "serve", "emulate": "emulator"} {
			if regexp.MustCompile(`(?m)^` + word + `\b`).MatchString(text) {
				show(path, 0)
			}
		}
	}

	table := exitCodes()
	for path, row := range table {
		for code, means := range row {
			if !shown[path][code] {
				t.Errorf("no script shows that attestor %s ends with %d: %s", path, code, means)
			}
		}
	}
	for path, codes := range shown {
		for code := range codes {
			if table[path][code] == "" {
				t.Errorf("a script wants attestor %s to end with %d, which the table does not have", path, code)
			}
		}
	}
}

// TestExitZero is --exit-zero: 1 becomes 0, every other code stays.
func TestExitZero(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]int{0: 0, 1: 0, 2: 2, 3: 3} {
		for _, tt := range []struct {
			exitZero bool
			want     int
		}{{false, code}, {true, want}} {
			got := 0
			if e, ok := endsWith(code, tt.exitZero).(*exit); ok { //nolint:errorlint // of endsWith itself
				got = e.code
			}
			if got != tt.want {
				t.Errorf("endsWith(%d, %v) ends with %d, want %d", code, tt.exitZero, got, tt.want)
			}
		}
	}
}
