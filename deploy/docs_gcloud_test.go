package deploy_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	inlineCode = regexp.MustCompile("`([^`\n]+)`")
	// aCommand is gcloud with the words before the first flag, and the rest up to what ends a command.
	aCommand = regexp.MustCompile(`\bgcloud ((?:[a-z][a-z0-9-]*)(?: [a-z][a-z0-9-]*)*)([^\n;|)\x60]*)`)
	aFlag    = regexp.MustCompile(`(?:^|\s)(--[a-z][a-z0-9-]*)`)
)

// codeOf is what a person would type: the code of a document, a whole script.
func codeOf(path, text string) string {
	text = strings.ReplaceAll(text, "\\\n", " ")
	var out []string
	fenced := !strings.HasSuffix(path, ".md")
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			fenced = !fenced
		case fenced && (strings.HasPrefix(strings.TrimSpace(line), "#") || strings.HasPrefix(strings.TrimSpace(line), "for ")):
		case fenced:
			out = append(out, line)
		default:
			for _, m := range inlineCode.FindAllStringSubmatch(line, -1) {
				out = append(out, m[1])
			}
		}
	}
	return strings.Join(out, "\n")
}

// wrongGcloud is what is wrong with the commands of gcloud in a text, and how many there are.
func wrongGcloud(known map[string][]string, code string) (wrong []string, n int) {
	for _, m := range aCommand.FindAllStringSubmatch(code, -1) {
		words := strings.Fields(m[1])
		var flags []string
		found := false
		for i := len(words); i > 0 && !found; i-- { // the last words may be what the command is about
			flags, found = known[strings.Join(words[:i], " ")]
		}
		n++
		if !found {
			wrong = append(wrong, "no such command is recorded: "+m[0])
			continue
		}
		for _, f := range aFlag.FindAllStringSubmatch(m[2], -1) {
			positive := strings.Replace(f[1], "--no-", "--", 1)
			if !slices.Contains(flags, f[1]) && !slices.Contains(flags, positive) && !slices.Contains(known[""], f[1]) {
				wrong = append(wrong, "it has no flag "+f[1]+": "+m[0])
			}
		}
	}
	return wrong, n
}

// TestDocumentedGcloudCommandsExist: each command of gcloud in a document or script is one of gcloud's, with flags that it
// has.
func TestDocumentedGcloudCommandsExist(t *testing.T) {
	known := recordedGcloud(t)
	total := 0
	for _, pattern := range []string{"../*.md", "../docs/*.md", "*/*.md", "*.sh", "*/*.sh"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			wrong, n := wrongGcloud(known, codeOf(path, string(text)))
			for _, w := range wrong {
				t.Errorf("%s: %s", path, w)
			}
			total += n
		}
	}
	if total < 50 { // the rollout guide, deploying and on-call have more
		t.Errorf("only %d commands were found", total)
	}
}

func recordedGcloud(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("testdata/gcloud/commands.json")
	if err != nil {
		t.Fatal(err)
	}
	var known map[string][]string
	if err := json.Unmarshal(text, &known); err != nil {
		t.Fatal(err)
	}
	return known
}

// TestWrongGcloudCommandsAreFound: a flag that is another command's, one after a line's end, and a command that is not there.
func TestWrongGcloudCommandsAreFound(t *testing.T) {
	known := recordedGcloud(t)
	for text, want := range map[string]int{
		"`gcloud run services describe gate --region us-east1`":                           0,
		"`gcloud run services describe gate --regions us-east1`":                          1,
		"```sh\ngcloud kms keys create log \\\n  --keyring gate --purposes signing\n```":  1,
		"```sh\ngcloud kms keys make log\n```":                                            1,
		"gcloud reads the file, as gcloud itself does":                                    0,
		"```sh\ngcloud run services describe gate --project p | grep -- --whatever\n```":  0,
		"```sh\ngcloud run services list --format json > a; attestor posture --nope\n```": 0,
	} {
		if wrong, _ := wrongGcloud(known, codeOf("a.md", text)); len(wrong) != want {
			t.Errorf("%s: %q, want %d", text, wrong, want)
		}
	}
}
