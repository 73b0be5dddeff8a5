package posture

import (
	"fmt"
	"strings"
	"unicode"
)

// plain is s on one line, without what could steer a terminal or hide text.
func plain(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// clip bounds what is quoted from a document.
func clip(s string) string {
	const most = 120
	r := []rune(plain(s))
	if len(r) > most {
		return string(r[:most]) + "…"
	}
	return string(r)
}

// quote is a value of a document in a message.
func quote(s string) string { return `"` + clip(s) + `"` }

// markdown is s as literal text in GitHub's Markdown, in a table cell too.
func markdown(s string) string {
	var b strings.Builder
	for _, r := range plain(s) {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '@':
			b.WriteString("@\u200b") // a mention needs a name right after it
		case strings.ContainsRune("\\`*_{}[]()#+-.!|~$^=:", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// code is s in a Markdown code span that s cannot end.
func code(s string) string {
	s = strings.ReplaceAll(plain(s), "|", `\|`)
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if s == "" || strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + s + fence
}

// embedded is s in a SARIF message, where [text](1) would be a link.
func embedded(s string) string {
	return strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`).Replace(plain(s))
}
