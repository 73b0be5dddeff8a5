// Package plain encodes untrusted text for where it is shown: in a message, a
// terminal, Markdown, a spreadsheet, SARIF. html/template does so for HTML.
package plain

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text is s for a terminal: one line, without characters that move the cursor,
// change colours or reorder text. Control, format and private characters appear
// as their code.
func Text(s string) string {
	clean := true
	for _, r := range s {
		if !Printable(r) {
			clean = false
			break
		}
	}

	if clean {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case Printable(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// Clip is s, or its first part of at most most bytes and an ellipsis, so that a text from outside cannot fill a
// message. It does not cut a character in two, and drops nothing else.
func Clip(s string, most int) string {
	if len(s) <= most {
		return s
	}

	// Only the last character can have been cut: what was not UTF-8 before it stays as it was.
	end := most
	for end > 0 && most-end < utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// Quote is s in quotes with every character visible, of at most most bytes before quoting.
func Quote(s string, most int) string { return strconv.Quote(Clip(s, most)) }

// Printable reports whether r is shown as it is. Unicode's format characters are
// not, such as bidirectional overrides and zero-width spaces: by them an attacker
// makes a text look like another.
func Printable(r rune) bool { return r != unicode.ReplacementChar && unicode.IsPrint(r) }

// Markdown is s as literal text in GitHub's Markdown, in a table cell too: no
// markup, link, image, HTML, mention or issue reference comes of it.
func Markdown(s string) string {
	var b strings.Builder
	for _, r := range Text(s) {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '@':
			b.WriteString("@\u200b") // a mention needs a name right after it
		case r < 0x80 && (unicode.IsPunct(r) || unicode.IsSymbol(r)) && !strings.ContainsRune(`,'";%?/`, r):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Code is s in a Markdown code span that s cannot end.
func Code(s string) string {
	s = strings.ReplaceAll(Text(s), "|", `\|`) // a table's column ends at a bare "|", in a code span too
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}

	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") || s == "" {
		s = " " + s + " "
	}
	return fence + s + fence
}

// Cell is s for a spreadsheet, which would evaluate a text that looks like a
// formula.
func Cell(s string) string {
	s = Text(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		return r
	}, s))

	if t := strings.TrimLeftFunc(s, unicode.IsSpace); t != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(t)[0]) {
		return "'" + s
	}
	return s
}

// SARIF is s in a SARIF message, where [text](1) would be a link.
func SARIF(s string) string {
	return strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`).Replace(Text(s))
}
