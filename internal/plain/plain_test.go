package plain_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/attestor-gate/attestor/internal/plain"
)

func TestText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                      "",
		"as it is, é 名":         "as it is, é 名",
		"two\nlines\tand\rmore": "two lines and more",
		"\x1b[2Jcleared":        `\u001b[2Jcleared`,
		"safe\u202etxt.exe":     `safe\u202etxt.exe`,
		"zero\u200bwidth":       `zero\u200bwidth`,
		"\U000e0041tag":         `\U000e0041tag`,
		"not utf8 \xff":         `not utf8 \ufffd`,
	} {
		if got := plain.Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestMarkdownAndCode(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"<img src=x>":    `&lt;img src\=x&gt;`,
		"[a](http://b)":  `\[a\]\(http\://b\)`,
		"a|b":            `a\|b`,
		"@everyone #1":   "@\u200beveryone \\#1",
		"&lt;script&gt;": `&amp;lt;script&amp;gt;`,
	} {
		if got := plain.Markdown(in); got != want {
			t.Errorf("Markdown(%q) = %q, want %q", in, got, want)
		}
	}

	for in, want := range map[string]string{"a": "`a`", "`": "`` ` ``", "": "`  `", "a``b": "```a``b```", "x|y": "`x\\|y`"} {
		if got := plain.Code(in); got != want {
			t.Errorf("Code(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCell(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "＝1"} {
		if got := plain.Cell(in); !strings.HasPrefix(got, "'") {
			t.Errorf("Cell(%q) = %q is a formula", in, got)
		}
	}

	if got := plain.Cell("a=b"); got != "a=b" {
		t.Errorf("Cell(a=b) = %q", got)
	}
}

func TestSARIF(t *testing.T) {
	t.Parallel()
	if got, want := plain.SARIF(`see [here](1) \`), `see \[here\](1) \\`; got != want {
		t.Errorf("SARIF = %q, want %q", got, want)
	}
}

// FuzzText holds every writer to what all of them promise.
func FuzzText(f *testing.F) {
	f.Add("=\x1b]8;;http://x\x07`|\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		for name, out := range map[string]string{"Text": plain.Text(s), "Cell": plain.Cell(s),
			"SARIF": plain.SARIF(s), "Code": plain.Code(s), "Markdown": plain.Markdown(s)} {
			for _, r := range out {
				if !plain.Printable(r) && (name != "Markdown" || r != '\u200b') {
					t.Fatalf("%s(%q) holds %U", name, s, r)
				}
			}
		}

		if c := strings.TrimLeftFunc(plain.Cell(s), unicode.IsSpace); c != "" && strings.ContainsRune("=+-@", rune(c[0])) {
			t.Fatalf("Cell(%q) begins as a formula", s)
		}
	})
}

// A text is bounded in bytes, never within a character, and keeps whatever else it holds.
func TestClip(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   string
		most int
		want string
	}{
		{"", 3, ""}, {"abc", 3, "abc"}, {"abcd", 3, "abc…"}, {"abcd", 0, "…"},
		{"aé", 3, "aé"}, {"aéb", 3, "aé…"}, {"aéb", 2, "a…"}, {"名前", 5, "名…"}, {"名", 1, "…"}, {"a😀b", 4, "a…"}, {"a😀b", 5, "a😀…"},
		{"\xff\xfe\xfdabc", 3, "\xff\xfe\xfd…"}, {"\x80\x80\x80\x80\x80\x80", 5, "\x80…"},
	} {
		if got := plain.Clip(tt.in, tt.most); got != tt.want {
			t.Errorf("Clip(%q, %d) = %q, want %q", tt.in, tt.most, got, tt.want)
		}
	}

	if got := plain.Quote("a\"\x1b\u202e"+strings.Repeat("x", 9), 6); got != `"a\"\x1b\u202e…"` {
		t.Errorf("Quote: %s", got)
	}
}
