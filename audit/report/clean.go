package report

import (
	"strings"
	"unicode"

	"github.com/attestor-gate/attestor/audit/internal/words"
)

// markdown is s as literal text in GitHub's Markdown, in a table cell too: no
// markup, link, image, HTML, mention or issue reference comes of it.
func markdown(s string) string {
	var b strings.Builder
	for _, r := range words.Plain(s) {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '@':
			b.WriteString("@\u200b") // a mention needs a name right after it
		case r < 0x80 && (unicode.IsPunct(r) || unicode.IsSymbol(r)) && r != ',' && r != '\'' && r != '"' && r != ';' && r != '%' && r != '?' && r != '/':
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
	s = strings.ReplaceAll(words.Plain(s), "|", `\|`) // a table's column ends at a bare "|", in a code span too
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") || s == "" {
		s = " " + s + " "
	}
	return fence + s + fence
}

// cell is s for a spreadsheet, which would run what looks like a formula.
func cell(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r == '\r' {
			return ' '
		}
		return r
	}, s)
	s = words.Plain(s)
	if t := strings.TrimLeftFunc(s, unicode.IsSpace); t != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(t)[0]) {
		return "'" + s
	}
	return s
}

// embedded is s in a SARIF message, where [text](1) would be a link.
func embedded(s string) string {
	return strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`).Replace(words.Plain(s))
}
