package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit/internal/words"
	"github.com/attestor-gate/attestor/internal/plain"
)

// A terminal is one writer of text: errors are kept until Flush.
type terminal struct {
	*bufio.Writer
	colour bool
	width  int
}

// The colours are those that people have set for their terminal.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// paint must get text that is clean already.
func (t *terminal) paint(s string, codes ...string) string {
	if !t.colour || s == "" {
		return s
	}
	return "\x1b[" + strings.Join(codes, ";") + "m" + s + "\x1b[0m"
}

func (t *terminal) line(parts ...string) {
	_, _ = t.WriteString(strings.TrimRight(strings.Join(parts, ""), " ") + "\n") // bufio keeps the error
}

// wrap writes s indented, broken at spaces where it is too wide.
func (t *terminal) wrap(indent, s string, codes ...string) {
	room := max(t.width-len(indent), 30)
	for len(s) > 0 {
		cut := len(s)
		if utf8.RuneCountInString(s) > room {
			runes := 0
			last := 0
			for i, r := range s {
				if runes++; runes > room && last > 0 {
					break
				}
				if r == ' ' {
					last = i
				}
			}
			if last > 0 {
				cut = last
			}
		}
		t.line(indent, t.paint(s[:cut], codes...))
		s = strings.TrimLeft(s[cut:], " ")
	}
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// manyDecisions is where a list is told as a table rather than one by one.
const manyDecisions = 5

func writeText(w io.Writer, ds []attestor.Decision, o Options) error {
	t := &terminal{Writer: bufio.NewWriter(w), colour: o.Colour, width: o.Width}
	switch {
	case len(ds) == 0:
		t.line("no decisions")
	case len(ds) <= manyDecisions:
		for i, d := range ds {
			if i > 0 {
				t.line()
			}
			t.decision(d, o)
		}
	default:
		t.table(ds)
	}
	if len(ds) > 1 {
		t.line()
		t.totals(ds)
	}
	return t.Flush()
}

func (t *terminal) verdict(d attestor.Decision) string {
	switch words.Outcome(d) {
	case attestor.Pass:
		return t.paint("PASSED", bold, green)
	case attestor.Undecided:
		return t.paint("COULD NOT BE DECIDED", bold, yellow)
	}
	return t.paint(strings.ToUpper(words.Verdict(d)), bold, red)
}

// decision is one image in full.
func (t *terminal) decision(d attestor.Decision, o Options) {
	if d.BreakGlass != nil {
		t.banner(*d.BreakGlass)
	}
	t.line(t.verdict(d), "  ", t.paint(plain.Text(words.Name(d)), bold))
	if asked := plain.Text(d.Image.Requested); asked != "" && asked != plain.Text(words.Name(d)) {
		t.line(t.paint("asked for "+asked, dim))
	}
	t.line(t.paint(plain.Text(context(d)), dim))
	t.line()
	t.checks(d, o)
	for _, ref := range d.Deploy {
		t.line("  deploy  ", plain.Text(ref))
	}
}

// context is what governed, and how to find the decision again.
func context(d attestor.Decision) string {
	parts := []string{"no policy"}
	if d.Policy != nil {
		parts = []string{fmt.Sprintf("policy %s (%s)", d.Policy.Name, shortDigest(string(d.Policy.Digest)))}
	}
	switch {
	case d.Policy != nil && d.Policy.Mode == attestor.DryRun:
		parts = append(parts, "which is in dry run")
	case d.DryRun:
		parts = append(parts, "dry run")
	}
	if d.ID != "" {
		parts = append(parts, "decision "+d.ID)
	}
	parts = append(parts, fmt.Sprintf("%d ms", d.DurationMS))
	if d.Emulated {
		parts = append(parts, "emulated")
	}
	return strings.Join(parts, ", ")
}

func shortDigest(s string) string {
	if len(s) > len("sha256:")+12 && strings.HasPrefix(s, "sha256:") {
		return s[:len("sha256:")+12]
	}
	return s
}

func (t *terminal) banner(b attestor.BreakGlass) {
	t.line(t.paint("BREAK-GLASS: admitted in spite of the verdict", bold, red))
	t.wrap("  ", fmt.Sprintf("by %s: %s", plain.Text(b.By), plain.Text(b.Reason)))
	if b.Expires != nil {
		t.line("  until ", b.Expires.UTC().Format("2006-01-02 15:04 MST"))
	}
	t.line()
}

// checks is a line for each check, and beneath those that refuse or warn, why
// and what to do.
func (t *terminal) checks(d attestor.Decision, o Options) {
	name, platform := 0, 0
	for _, c := range d.Checks {
		name = max(name, utf8.RuneCountInString(plain.Text(c.Name)))
		platform = max(platform, utf8.RuneCountInString(plain.Text(c.Platform)))
	}
	for _, c := range d.Checks {
		word := words.Status(c)
		colour := map[string][]string{"ok": {green}, "refused": {bold, red}, "error": {bold, yellow}, "warning": {yellow}, "skipped": {dim}}[word]
		columns := []string{"  ", pad(plain.Text(c.Name), name), "  "}
		if platform > 0 {
			columns = append(columns, pad(plain.Text(c.Platform), platform), "  ")
		}
		columns = append(columns, t.paint(pad(word, len("refused")), colour...), "  ", t.paint(plain.Text(words.Fact(d, c)), dim))
		t.line(columns...)
		t.reasons(d, c, o)
		for _, e := range c.Exceptions {
			t.wrap("      ", exception(e), dim)
		}
	}
}

// maxReasons is how many things to change are told at once.
const maxReasons = 10

func (t *terminal) reasons(d attestor.Decision, c attestor.Check, o Options) {
	all := words.FindingsOf(c)
	for i, f := range all {
		if i == maxReasons && !o.All {
			t.line("      ", t.paint(fmt.Sprintf("… and %d more: attestor explain %s", len(all)-i, plain.Text(d.ID)), dim))
			return
		}
		head := t.paint(plain.Text(string(f.Code)), bold)
		if label := f.Label(); label != "" {
			head = t.paint(label, yellow) + " " + head
		}
		if len(f.Subjects) > 0 {
			head += "  " + plain.Text(words.Some(f.Subjects, 4))
		}
		t.line("      ", head)
		t.wrap("      ", plain.Text(f.Message))
		if f.Fix != "" {
			t.wrap("      ", "fix: "+plain.Text(f.Fix), green)
		}
	}
}

func exception(e attestor.AppliedException) string {
	state := "excepted until " + e.Expires
	if e.Expired {
		state = "exception expired " + e.Expires
	}
	return plain.Text(fmt.Sprintf("%s: %s, owner %s: %s", e.ID, state, e.Owner, e.Reason))
}

// table is a line for each image, those that need somebody first.
func (t *terminal) table(ds []attestor.Decision) {
	rank := map[attestor.Outcome]int{attestor.Deny: 0, attestor.Undecided: 1, attestor.Pass: 2}
	sorted := slices.Clone(ds)
	slices.SortStableFunc(sorted, func(a, b attestor.Decision) int {
		return rank[words.Outcome(a)] - rank[words.Outcome(b)]
	})
	verdictWidth := len("VERDICT")
	for _, d := range sorted {
		verdictWidth = max(verdictWidth, len(words.Verdict(d)))
	}
	t.line(t.paint(pad("VERDICT", verdictWidth)+"  IMAGE", bold))
	for _, d := range sorted {
		colour := map[attestor.Outcome]string{attestor.Pass: green, attestor.Deny: red, attestor.Undecided: yellow}[words.Outcome(d)]
		note := ""
		if words.Overridden(d) {
			note = "  " + t.paint("BREAK-GLASS", bold, red)
		}
		t.line(t.paint(pad(words.Verdict(d), verdictWidth), colour), "  ", plain.Text(words.Name(d)), note)
		for i, f := range words.Findings(d, attestor.Refuses) {
			if i == 3 {
				t.line(pad("", verdictWidth), "    ", t.paint("… attestor explain "+plain.Text(d.ID), dim))
				break
			}
			text := plain.Text(string(f.Code))
			if f.Count > 1 {
				text += fmt.Sprintf(" ×%d", f.Count)
			}
			if f.Fix != "" {
				text += "  fix: " + plain.Text(f.Fix)
			}
			t.wrap(pad("", verdictWidth)+"    ", text, dim)
		}
	}
}

// totals is the last line: how it went.
func (t *terminal) totals(ds []attestor.Decision) {
	count := map[attestor.Outcome]int{}
	broken, dry := 0, true
	for _, d := range ds {
		count[words.Outcome(d)]++
		if words.Overridden(d) {
			broken++
		}
		dry = dry && (d.DryRun || words.Outcome(d) == attestor.Pass)
	}
	refused := "refused"
	if dry {
		refused = "would be refused"
	}
	line := fmt.Sprintf("%s: %d passed, %d %s, %d could not be decided", words.Plural(len(ds), "image"),
		count[attestor.Pass], count[attestor.Deny], refused, count[attestor.Undecided])
	if broken > 0 {
		line += fmt.Sprintf(", %d admitted by break-glass", broken)
	}
	t.line(t.paint(line, bold))
}
