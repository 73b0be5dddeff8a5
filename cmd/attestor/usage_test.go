package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestUsageSaysWhatWasMeant is what a slip of the pen is answered with.
func TestUsageSaysWhatWasMeant(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]string{
		"chek":                                  `"chek" is not a command of attestor; did you mean check?`,
		"decisions lst":                         `"lst" is not a command of attestor decisions; did you mean list?`,
		"policy explian":                        "did you mean explain?",
		"completion bsh":                        `"bsh" is not a command of attestor completion; did you mean bash?`,
		"something":                             "it has attest, audit, check",
		"check --polcy p.yaml":                  "there is no flag --polcy; did you mean --policy?",
		"verify --attestr a img":                "did you mean --attestor?",
		"report --since":                        "flag needs an argument: --since",
		"attest --zzz img":                      "there is no flag --zzz",
		"verify":                                "say which image: attestor verify IMAGE",
		"posture":                               "say which definitions",
		"import":                                "say which report",
		"policy lint":                           "say which policies",
		"policy test":                           "say which test files",
		"explain":                               "say which decision",
		"explain a b":                           `"b" is one argument too many`,
		"policy explain a b":                    `"b" is one argument too many`,
		"decisions prove":                       "say which decision, by its id: attestor decisions prove ID",
		"decisions list x":                      `"x" is one argument too many: attestor decisions list takes flags only`,
		"revoke a.example/b:v1":                 "the required flag --reason TEXT is missing: ",
		"decisions export -o json":              "there is no flag -o, as in -o",
		"decisions list --limit many":           `--limit: "many" is not a whole number such as 10`,
		"doctor --allow-remote-emulator=maybe":  `--allow-remote-emulator: "maybe" is not true or false`,
		"decisions list --limit -1":             "--limit is less than 0",
		"events list --limit -1":                "--limit is less than 0",
		"audit --at-once 0 a.example/b":         "--at-once is less than 1",
		"policy test --min-coverage -1 x":       "--min-coverage is less than 0",
		"help chek":                             `"chek" is not a command of attestor; did you mean check?`,
		"help decisions lst":                    `"lst" is not a command of attestor decisions; did you mean list?`,
		"help check images":                     `"images" is one argument too many: attestor check has no commands of its own`,
		"import r.json":                         "the required flag --note NOTE is missing: ",
		"serve":                                 "the required flag --config FILE is missing: ",
		"check --server h:1 a.example/b:1":      `--server "h:1" is not a URL such as https://gate.example or http://127.0.0.1:8080`,
		"decisions prune --before x --config c": `--before: "x" is not a time`,
		"decisions list --verdict maybe --server http://127.0.0.1:1":      "use pass, deny or error",
		"attest --server http://127.0.0.1:1 --break-glass= a.example/b:1": "--break-glass has no reason: say why this cannot wait",
		"check --wait 10minutes x":                                        "numbers with units, such as 90s, 1.5h, 2d or 1d12h",
	} {
		var out, errs bytes.Buffer
		if code := run(strings.Fields(command), strings.NewReader(""), &out, &errs); code != 2 || !strings.Contains(errs.String(), want) {
			t.Errorf("attestor %s: code %d, want 2 and %q\n%s", command, code, want, errs.String())
		}
	}
}

// TestABinaryFileHasNoLine says of what no parser reads that it is no text, and not a line that nobody finds.
func TestABinaryFileHasNoLine(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "b.yaml")
	if err := os.WriteFile(name, []byte{1, 2, 3}, 0o600); err != nil {
		t.Fatal(err)
	}

	var out, errs bytes.Buffer
	code := run([]string{"posture", name}, strings.NewReader(""), &out, &errs)
	if code != 2 || strings.Contains(errs.String(), "line 0") || !strings.Contains(errs.String(), "as that of a binary file") {
		t.Errorf("code %d: %s", code, errs.String())
	}
}

// TestExamplesAreRight finds an example for every command, and every flag of it among the command's.
func TestExamplesAreRight(t *testing.T) {
	t.Parallel()
	invoked := regexp.MustCompile(`(?:^|\| )attestor ([^|>]*)`)
	for _, c := range visible(rootCommand()) {
		matches := 0
		for line := range strings.Lines(c.Example) {
			for _, m := range invoked.FindAllStringSubmatch(strings.TrimSpace(line), -1) {
				got, rest, err := rootCommand().Find(strings.Fields(m[1]))
				if err != nil || got == got.Root() {
					t.Errorf("%s: its example is of no command: %s", c.CommandPath(), m[0])
					continue
				}
				if got.CommandPath() == c.CommandPath() {
					matches++
				}
				for _, arg := range rest {
					if flag, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "="); strings.HasPrefix(arg, "--") && got.Flags().Lookup(flag) == nil {
						t.Errorf("%s: the example has %s, which is no flag", c.CommandPath(), arg)
					}
				}
			}
		}
		if matches == 0 {
			t.Errorf("%s has no example", c.CommandPath())
		}
	}
}

// TestManPages finds a page for every command, whole and without a line that roff would take for a macro.
func TestManPages(t *testing.T) {
	t.Parallel()
	pages := manPages(rootCommand())
	if want := len(visible(rootCommand())) + 1; len(pages) != want {
		t.Fatalf("%d pages, want %d", len(pages), want)
	}

	macro := regexp.MustCompile(`^\.(TH|SH|TP|PP|B|nf|fi)\b`)
	for _, p := range pages {
		text := string(p.text)
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION"} {
			if !strings.Contains(text, ".SH "+section+"\n") {
				t.Errorf("%s has no %s", p.name, section)
			}
		}
		for line := range strings.Lines(text) {
			if (strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'")) && !macro.MatchString(line) {
				t.Errorf("%s: roff would not print %q", p.name, line)
			}
		}
	}
}
