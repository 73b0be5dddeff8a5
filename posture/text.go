package posture

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

// writeText writes what a person must act on, then what was well in one line.
func writeText(w io.Writer, r Report, o Options) error {
	b := bufio.NewWriter(w)
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(b, format, args...) } // bufio keeps the error
	paint := func(s, colour string) string {
		if !o.Colour {
			return s
		}
		return "\x1b[" + colour + "m" + s + "\x1b[0m"
	}
	const bold, dim, red, green, yellow = "1", "2", "31", "32", "33"
	for _, g := range groups(r.Findings) {
		head := plain.Text(g[0].Kind + " " + g[0].Service)
		p("%s\n", paint(head, bold))
		if g[0].File != "" {
			p("%s\n", paint(fmt.Sprintf("%s:%d", plain.Text(g[0].File), max(g[0].Line, 1)), dim))
		}
		for _, f := range g {
			excused := plain.Text(f.excused())
			colour := yellow
			switch {
			case f.Status == attestor.StatusPass && excused != "":
				colour = green
			case f.Status == attestor.StatusPass, f.Status == attestor.StatusSkipped && !f.told:
				continue
			case f.Status == attestor.StatusDeny:
				colour = red
			}
			p("  %s  %s\n", paint(fmt.Sprintf("%-7s", plain.Text(string(f.Status))), colour), paint(f.Rule, bold))
			p("           %s\n", plain.Text(f.Message()))
			if f.Fix != "" {
				p("           fix: %s\n", plain.Text(f.Fix))
			}
			if excused != "" {
				p("           excepted: %s\n", excused)
			}
		}
		p("  %s\n\n", paint(tally(g), dim))
	}
	colour := map[attestor.Outcome]string{attestor.Pass: green, attestor.Deny: red, attestor.Undecided: yellow}[r.Verdict]
	p("%s  %s, profile %s\n", paint(strings.ToUpper(verdict(r)), bold+";"+colour), plural(r.Services), plain.Text(r.Profile))
	return b.Flush()
}
