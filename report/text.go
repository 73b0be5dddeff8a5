package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
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

		// Characters are counted, not bytes, and a word that is longer than the line stays whole.
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

// manySubjects is where a list is shown as a table rather than one by one.
const manySubjects = 5

// writeText writes for a person at a terminal: of a record its summary, of
// anything else its parts.
func writeText(w io.Writer, d Document, o Options) error {
	t := &terminal{Writer: bufio.NewWriter(w), colour: o.Colour, width: o.Width}

	if d.Summary != nil {
		t.summary(*d.Summary)
		return t.Flush()
	}

	for _, p := range d.Parts {
		t.part(p, o)
	}

	return t.Flush()
}

func (t *terminal) part(p Part, o Options) {
	if p.Lead != "" {
		t.line(plain.Text(p.Lead))
	}

	switch {
	case p.Layout == ByFinding:
		t.byFinding(p)
	case p.Layout == AsTable:
		t.asTable(p)
	case p.Layout == AsList && len(p.Subjects) > 0:
		t.tables(p)
	case len(p.Subjects) == 0:
		t.line(strings.ToLower(p.Empty))
	case len(p.Subjects) <= manySubjects:
		for i, s := range p.Subjects {
			if i > 0 {
				t.line()
			}
			t.subject(s, o)
		}
	default:
		t.overview(p.Subjects)
	}

	// Notes stand apart from lines of checks, which look alike.
	if (p.Layout == ByCheck || p.Layout == AsList) && len(p.Notes) > 0 {
		t.line()
	}

	for _, n := range p.Notes {
		t.line(t.paint(plain.Text(n), t.noteColour(p)...))
	}
}

// noteColour sets off the totals of images; other notes are plain.
func (t *terminal) noteColour(p Part) []string {
	if p.Layout == ByCheck {
		return []string{bold}
	}
	return nil
}

// verdictColour is yellow for what could not be decided, and red for anything
// unknown.
func verdictColour(o attestor.Outcome) string {
	switch o {
	case attestor.Pass:
		return green
	case attestor.Undecided:
		return yellow
	}

	return red
}

// subject is one image in full.
func (t *terminal) subject(s Subject, o Options) {
	if s.Override != nil {
		t.banner(*s.Override)
	}

	t.line(t.paint(strings.ToUpper(s.Words), bold, verdictColour(s.Verdict)), "  ", t.paint(plain.Text(s.Name), bold))

	if asked := plain.Text(s.Asked); asked != "" && asked != plain.Text(s.Name) {
		t.line(t.paint("asked for "+asked, dim))
	}

	t.line(t.paint(plain.Text(s.Context), dim))
	if s.Since != "" {
		t.line(plain.Text(s.Since))
	}
	t.line()

	t.items(s, o)

	for _, ref := range s.Deploy {
		t.line("  deploy  ", plain.Text(ref))
	}
	if o.Links != "" && s.ID != "" {
		t.line(t.paint(plain.Text(strings.TrimRight(o.Links, "/")+"/decisions/"+s.ID), dim))
	}
}

func (t *terminal) banner(b attestor.BreakGlass) {
	t.line(t.paint("BREAK-GLASS: admitted in spite of the verdict", bold, red))
	t.wrap("  ", fmt.Sprintf("by %s: %s", plain.Text(b.By), plain.Text(b.Reason)))

	if b.Expires != nil {
		t.line("  until ", b.Expires.UTC().Format("2006-01-02 15:04 MST"))
	}

	t.line()
}

// items is a line for each check, and beneath it its reasons and what to do.
func (t *terminal) items(s Subject, o Options) {
	name, platform := 0, 0
	for _, i := range s.Items {
		name = max(name, utf8.RuneCountInString(plain.Text(i.Name)))
		platform = max(platform, utf8.RuneCountInString(plain.Text(i.Platform)))
	}

	colours := map[string][]string{"ok": {green}, "refused": {bold, red}, "error": {bold, yellow}, "warning": {yellow},
		"skipped": {dim}}
	for _, i := range s.Items {
		word := describe.Status(i.Check)
		columns := []string{"  ", pad(plain.Text(i.Name), name), "  "}
		if platform > 0 {
			columns = append(columns, pad(plain.Text(i.Platform), platform), "  ")
		}

		t.line(append(columns, t.paint(pad(word, len("refused")), colours[word]...), "  ",
			t.paint(plain.Text(i.Found), dim))...)

		t.reasons(s, i, o)

		for _, e := range i.Exceptions {
			t.wrap("      ", exceptionLine(e), dim)
		}
	}
}

// wayToAll is what to type to see a whole decision.
func (o Options) wayToAll(id string) string {
	if o.Explain == Unrecorded {
		return "-o markdown and -o json have all"
	}
	return cmp.Or(o.Explain, "attestor explain") + " " + plain.Text(id)
}

// maxReasons is how many things to change are shown at once.
const maxReasons = 10

func (t *terminal) reasons(s Subject, i Item, o Options) {
	all := describe.FindingsOf(i.Check)
	for n, f := range all {
		if n == maxReasons {
			ways := shortestWay(all[n:])
			if more := len(all) - n - len(ways); more > 0 {
				t.line("      ", t.paint(fmt.Sprintf("… and %d more: %s", more, o.wayToAll(s.ID)), dim))
			}
			for _, way := range ways {
				t.reason(way)
			}
			return
		}
		t.reason(f)
	}
}

// shortestWay ends a list that was cut: whoever reads ten findings of a hundred needs to know what clears them all.
func shortestWay(rest []describe.Finding) (out []describe.Finding) {
	for _, f := range rest {
		if f.Code == attestor.CodeShortestWay {
			out = append(out, f)
		}
	}
	return out
}

// reason is one thing to change.
func (t *terminal) reason(f describe.Finding) {
	head := t.paint(plain.Text(string(f.Code)), bold)
	if label := f.Label(); label != "" {
		head = t.paint(label, yellow) + " " + head
	}
	if len(f.Subjects) > 0 {
		head += "  " + plain.Text(describe.Some(f.Subjects, 4))
	}

	t.line("      ", head)
	t.wrap("      ", plain.Text(f.Message))

	if f.Fix != "" {
		// Not broken at the terminal's width: a fix may be a command, which works as it
		// is printed only in one line.
		t.line("      ", t.paint("fix: "+plain.Text(f.Fix), green))
	}
}

func exceptionLine(e attestor.AppliedException) string {
	state := "excepted until " + e.Expires
	if e.Expired {
		state = "exception expired " + e.Expires
	}

	return plain.Text(fmt.Sprintf("%s: %s, owner %s: %s", e.ID, state, e.Owner, e.Reason))
}

// overview is a line for each image, those that need somebody first.
func (t *terminal) overview(subjects []Subject) {
	// A stable sort: images of the same verdict keep the order in which they were asked for.
	rank := map[attestor.Outcome]int{attestor.Deny: 0, attestor.Undecided: 1, attestor.Pass: 2}
	sorted := slices.Clone(subjects)
	slices.SortStableFunc(sorted, func(a, b Subject) int { return rank[a.Verdict] - rank[b.Verdict] })

	width := len("VERDICT")
	for _, s := range sorted {
		width = max(width, len(s.Words))
	}

	t.line(t.paint(pad("VERDICT", width)+"  IMAGE", bold))

	for _, s := range sorted {
		note := ""
		if s.overridden() {
			note = "  " + t.paint("BREAK-GLASS", bold, red)
		}

		t.line(t.paint(pad(s.Words, width), verdictColour(s.Verdict)), "  ", plain.Text(s.Name), note)

		for i, f := range s.findings(attestor.Refuses) {
			if i == 3 {
				t.line(pad("", width), "    ", t.paint("… attestor explain "+plain.Text(s.ID), dim))
				break
			}

			text := plain.Text(f.rule())
			if f.Count > 1 {
				text += fmt.Sprintf(" ×%d", f.Count)
			}
			if f.Fix != "" {
				text += "  fix: " + plain.Text(f.Fix)
			}

			t.wrap(pad("", width)+"    ", text, dim)
		}
	}
}

// byFinding is of each service what a person must act on, then the rest in one
// line.
func (t *terminal) byFinding(p Part) {
	for _, s := range p.Subjects {
		t.line(t.paint(plain.Text(s.Kind+" "+s.Name), bold))

		if s.File != "" {
			t.line(t.paint(fmt.Sprintf("%s:%d", plain.Text(s.File), max(s.Line, 1)), dim))
		}

		for _, i := range s.Items {
			if i.shown() {
				t.finding(i)
			}
		}

		t.line("  ", t.paint(counts(s.Items), dim))
		t.line()
	}

	verdict := strings.ToUpper(describe.Verdict(attestor.Decision{Verdict: p.Verdict}))
	t.line(t.paint(verdict, bold, verdictColour(p.Verdict)), "  ", p.Count, ", profile ", plain.Text(p.Profile))
}

func (t *terminal) finding(i Item) {
	colour := yellow
	switch i.Status {
	case attestor.StatusPass:
		colour = green
	case attestor.StatusDeny:
		colour = red
	}

	t.line("  ", t.paint(pad(plain.Text(string(i.Status)), len("skipped")), colour), "  ",
		t.paint(plain.Text(i.Name), bold))
	t.line("           ", plain.Text(i.message()))

	// A fix of several lines is to be pasted, and stays on them.
	for n, line := range strings.Split(i.fix(), "\n") {
		switch {
		case n > 0:
			t.line("                ", plain.Text(line))
		case line != "":
			t.line("           fix: ", plain.Text(line))
		}
	}
	if excused := i.excused(); excused != "" {
		t.line("           excepted: ", plain.Text(excused))
	}
}

// tally counts what became of a subject's rules.
func counts(items []Item) string {
	words := []struct {
		status attestor.Status
		word   string
	}{
		{attestor.StatusPass, "passed"}, {attestor.StatusDeny, "refused"}, {attestor.StatusError, "undecided"},
		{attestor.StatusWarn, "warned"}, {attestor.StatusSkipped, "skipped"},
	}

	counts := map[attestor.Status]int{}
	for _, i := range items {
		if i.Status == attestor.StatusDeny || !i.Status.Refuses() {
			counts[i.Status]++
		} else {
			counts[attestor.StatusError]++ // anything unknown
		}
	}

	var out []string
	for _, w := range words {
		if counts[w.status] > 0 {
			out = append(out, fmt.Sprintf("%d %s", counts[w.status], w.word))
		}
	}

	return strings.Join(out, ", ")
}

// asTable is the part's tables, and a line for each item that refuses.
func (t *terminal) asTable(p Part) {
	t.tables(p)
	for _, s := range p.Subjects {
		for _, i := range s.Items {
			if i.Status.Refuses() {
				t.line(plain.Text(fmt.Sprintf("%s:%d: %s: %s", i.File, i.Line, i.Name, i.message())))
			}
		}
	}
}

func (t *terminal) tables(p Part) {
	for i, table := range p.Tables {
		if i > 0 {
			t.line()
		}
		for n, row := range table.aligned() {
			if n == 0 {
				row = strings.ToUpper(row)
			}
			t.line(row)
		}
	}
}

// aligned is the head and the rows with columns of equal width; the last
// column is as wide as it is.
func (t Table) aligned() []string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = c.Name
	}

	all := append([][]string{names}, t.Rows...)

	widths := make([]int, len(t.Columns))
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(plain.Text(cell)))
		}
	}

	out := make([]string, 0, len(all))
	for _, row := range all {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cells[i] = plain.Text(cell); i < len(row)-1 {
				cells[i] = pad(cells[i], widths[i])
			}
		}

		out = append(out, strings.Join(cells, "  "))
	}

	return out
}
