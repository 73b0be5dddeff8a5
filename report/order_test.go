package report_test

import (
	"bytes"
	"strings"
	"testing"
)

// Each page shows first what one came for.
func TestPagesShowFirstThings(t *testing.T) {
	s := newSite(t)
	for path, order := range map[string][]string{
		"/report":   {`id="break-glass"`, `aria-label="Headline"`, `<dl class="figures">`, `aria-label="What the report is about"`, `id="fixes"`},
		"/policies": {`What is on disk does not load`, `id="production"`},
		"/refused":  {"Refused", "What refuses it", "The other checks", "What was signed"},
	} {
		var b bytes.Buffer
		if err := s[path](&b); err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(b.String(), "<main")
		for _, next := range order {
			_, after, found := strings.Cut(rest, next)
			if !found {
				t.Errorf("%s: %q does not come after what is to be before it", path, next)
				break
			}
			rest = after
		}
	}
}

// A command that wraps in a narrow window is not broken within the name of a flag, and is the same text.
func TestFlagsAreNotBroken(t *testing.T) {
	var b bytes.Buffer
	if err := newSite(t)["/refused"](&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, flag := range []string{"--server", "--policy-text", "--policy"} {
		if !strings.Contains(page, ` <span class="flag">`+flag+`</span>`) {
			t.Errorf("%s may be broken after its hyphens", flag)
		}
	}
	if !strings.Contains(page, ".command .flag{white-space:nowrap}") {
		t.Error("no rule keeps a flag whole")
	}
}
