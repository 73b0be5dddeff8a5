package page

import (
	"io"
	"unicode/utf8"

	"github.com/attestor-gate/attestor/internal/plain"
)

// Clean returns a writer of HTML in which characters that nobody sees, but that
// reorder or hide text (bidirectional overrides, zero-width ones, controls),
// stand as their code. Tags are not for it: templates have escaped them.
func Clean(w io.Writer) io.Writer { return &cleaner{w: w} }

type cleaner struct {
	w    io.Writer
	rest []byte // of a character that the next call completes
}

func (c *cleaner) Write(p []byte) (int, error) {
	in := append(c.rest, p...)

	// A character may be cut in two by a write: its beginning waits for the rest.
	whole := len(in)
	for i := 1; i < utf8.UTFMax && i <= len(in); i++ {
		if b := in[len(in)-i]; utf8.RuneStart(b) {
			if !utf8.FullRune(in[len(in)-i:]) {
				whole = len(in) - i
			}
			break
		}
	}

	c.rest = append([]byte(nil), in[whole:]...)
	out := make([]byte, 0, whole)
	for in = in[:whole]; len(in) > 0; {
		r, n := utf8.DecodeRune(in)
		if r == '\n' || r == '\t' || plain.Printable(r) {
			out = append(out, in[:n]...)
		} else {
			out = append(out, plain.Text(string(r))...)
		}

		in = in[n:]
	}

	if _, err := c.w.Write(out); err != nil {
		return 0, err
	}

	return len(p), nil
}
