package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// onCallPage is read when somebody was woken up: each of its commands is run by a script.
const onCallPage = "../../docs/on-call.md"

// onCallCommands are the commands of each section of a page, by the section's heading.
func onCallCommands(text string) map[string][]string {
	out := map[string][]string{}
	for _, section := range strings.Split(text, "\n## ")[1:] {
		heading, body, _ := strings.Cut(section, "\n")
		for _, block := range fenced(body, "sh") {
			for line := range strings.Lines(block) {
				out[heading] = append(out[heading], strings.TrimSpace(line))
			}
		}
	}
	return out
}

// onCall is `oncall SECTION N CODE`: it runs the section's N-th command as the page prints it, with the script's service,
// image, decision and attestor in the place of the page's examples, and wants that exit code.
func onCall(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: oncall SECTION N CODE")
	}
	commands := onCallCommands(ts.ReadFile(ts.Getenv("ONCALL")))[args[0]]
	n, err := strconv.Atoi(args[1])
	if err != nil || n < 1 || n > len(commands) {
		ts.Fatalf("section %q has %d commands", args[0], len(commands))
	}

	words := regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(commands[n-1], -1)
	for i, w := range words {
		w = strings.Trim(w, `"`)
		switch w {
		case "IMAGE", "ID":
			w = ts.Getenv(w)
		}
		words[i] = strings.NewReplacer("https://gate.acme.example", ts.Getenv("ATTESTOR_SERVER"),
			"projects/acme-security/attestors/gate", "projects/dev/attestors/gate").Replace(w)
	}
	exitCode(ts, false, append([]string{args[2]}, words...))
}

// TestOnCallCommandsAreRun: a script runs every command of the page, and every symptom of its table has a section.
func TestOnCallCommandsAreRun(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("testdata/script/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, s := range scripts {
		all += "\n" + read(t, s)
	}

	page := read(t, onCallPage)
	commands := onCallCommands(page)
	for heading, list := range commands {
		for i, command := range list {
			if !strings.Contains(all, fmt.Sprintf("\noncall '%s' %d ", heading, i+1)) {
				t.Errorf("no script runs %q of section %q", command, heading)
			}
		}
	}

	symptoms := regexp.MustCompile(`(?m)^\| \[([^]]+)\]\(#`).FindAllStringSubmatch(page, -1)
	if len(symptoms) != 8 {
		t.Errorf("the table has %d symptoms", len(symptoms))
	}
	for _, m := range symptoms {
		if len(commands[m[1]]) == 0 {
			t.Errorf("symptom %q has no commands", m[1])
		}
	}
}
