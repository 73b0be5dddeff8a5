package words

import (
	"fmt"
	"strings"
	"unicode"
)

// Plain is s for a terminal: one line, and nothing that moves the cursor,
// changes colours, or reorders text (control, format and private characters
// appear as their code).
func Plain(s string) string {
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

// Printable excludes, unlike a terminal, what Unicode calls format characters:
// bidirectional overrides and zero-width ones among them.
func Printable(r rune) bool { return r != unicode.ReplacementChar && unicode.IsPrint(r) }
