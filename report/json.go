package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/attestor-gate/attestor/internal/plain"
)

func writeJSON(w io.Writer, d Document, _ Options) error { return writeValue(w, d.Value, "  ") }

func writeNDJSON(w io.Writer, d Document, _ Options) error {
	for v := range d.Values {
		if err := writeValue(w, v, ""); err != nil {
			return err
		}
	}

	return nil
}

// writeValue writes JSON that is safe to print: encoding/json escapes C0 controls,
// [escapeJSON] also the C1 controls and bidirectional overrides that terminals obey.
func writeValue(w io.Writer, v any, indent string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)

	// The value is encoded before the first byte is written: an encoding error
	// leaves no truncated document that a lenient parser would accept.
	if err := enc.Encode(v); err != nil {
		return err
	}

	_, err := w.Write(escapeJSON(b.Bytes()))
	return err
}

// escapeJSON escapes unprintable characters. It need not parse the text: JSON has
// characters beyond ASCII only within strings.
func escapeJSON(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r < 0x7f || plain.Printable(r):
			out = append(out, b[:n]...)
		case r > 0xffff:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}

		b = b[n:]
	}

	return out
}
