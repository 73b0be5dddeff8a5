package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/plain"
)

// maxMarkdown is how many images are shown in full: a comment on a pull request
// ends at 65,536 characters.
const maxMarkdown = 20

// markdown is a writer of Markdown: errors are kept until Flush.
type markdown struct{ *bufio.Writer }

func (m markdown) p(format string, args ...any) { _, _ = fmt.Fprintf(m, format, args...) } // bufio keeps the error

// writeMarkdown writes for a pull request: of a record its summary, of anything
// else its parts.
func writeMarkdown(w io.Writer, d Document, _ Options) error {
	m := markdown{bufio.NewWriter(w)}

	if d.Summary != nil {
		m.summary(*d.Summary)
		return m.Flush()
	}

	for _, p := range d.Parts {
		m.part(p)
	}

	return m.Flush()
}

func (m markdown) part(p Part) {
	if p.Lead != "" {
		m.p("%s\n", plain.Markdown(p.Lead))
	}

	switch p.Layout {
	case ByCheck:
		m.byCheck(p)
	case ByFinding:
		m.byFinding(p)
	case AsTable:
		m.asTable(p)
	case AsList:
		m.asList(p)
	}
}

func (m markdown) asList(p Part) {
	if len(p.Subjects) == 0 {
		m.p("%s.\n", p.Empty)
	}
	for _, t := range p.Tables {
		m.table(t, len(t.Rows))
	}
	for _, n := range p.Notes {
		m.p("\n%s\n", plain.Markdown(n))
	}
}

func (m markdown) byCheck(p Part) {
	if len(p.Subjects) == 0 {
		m.p("%s.\n", p.Empty)
	}
	if len(p.Subjects) > 1 {
		m.overview(p.Subjects)
	}

	shown := 0
	for _, s := range p.Subjects {
		// Images that pass have a row in the overview, and need no section.
		if len(p.Subjects) > 1 && s.Verdict == attestor.Pass {
			continue
		}
		if shown++; shown > maxMarkdown {
			m.p("\nFurther images that did not pass are in the table above.\n")
			break
		}

		m.subject(s)
	}
}

func markdownVerdict(s Subject) string {
	// Break-glass comes first: the image runs, and was not approved. Everything that
	// is neither a pass nor undecided has the mark of a refusal.
	switch {
	case s.overridden():
		return "🚨 break-glass"
	case s.Verdict == attestor.Pass:
		return "✅ " + s.Words
	case s.Verdict == attestor.Undecided:
		return "⚠️ " + s.Words
	}

	return "❌ " + s.Words
}

func (m markdown) overview(subjects []Subject) {
	m.p("| Verdict | Image | Reasons |\n| --- | --- | --- |\n")

	for _, s := range subjects {
		var codes []string
		for _, f := range s.findings(attestor.Refuses) {
			codes = describe.AppendNew(codes, f.rule())
		}

		for i, c := range codes {
			codes[i] = plain.Code(c)
		}

		m.p("| %s | %s | %s |\n", markdownVerdict(s), plain.Code(s.Name), strings.Join(codes, " "))
	}
}

func (m markdown) subject(s Subject) {
	m.p("\n### %s %s\n\n", markdownVerdict(s), plain.Code(s.Name))

	if s.Override != nil {
		by, why := plain.Markdown(s.Override.By), plain.Markdown(s.Override.Reason)
		m.p("> **Admitted by break-glass** by %s: %s\n\n", by, why)
	}

	m.p("%s\n\n", plain.Markdown(s.Context))
	if s.Since != "" {
		m.p("%s\n\n", plain.Markdown(s.Since))
	}

	m.p("| Check | Platform | Result | Found |\n| --- | --- | --- | --- |\n")

	for _, i := range s.Items {
		m.p("| %s | %s | %s | %s |\n", plain.Markdown(i.Name), plain.Markdown(i.Platform), describe.Status(i.Check),
			plain.Markdown(i.Found))
	}

	list := s.findings(attestor.Refuses)
	if len(list) > 0 {
		m.p("\n**What to change**\n\n")
	}

	for _, f := range list {
		m.p("- %s", plain.Code(f.rule()))

		if len(f.Subjects) > 0 {
			m.p(" %s", plain.Markdown(describe.Some(f.Subjects, 6)))
		}

		m.p(": %s", plain.Markdown(f.Message))

		if f.Fix != "" {
			m.p("  \n  **Fix:** %s", plain.Markdown(f.Fix))
		}

		m.p("\n")
	}

	for _, f := range s.findings(attestor.Warns) {
		m.p("- Warning %s: %s\n", plain.Code(f.rule()), plain.Markdown(f.Message))
	}

	for _, f := range s.findings(attestor.Informs) {
		m.p("- Hint %s: %s\n", plain.Code(f.rule()), plain.Markdown(f.Message))
	}
}

func (m markdown) byFinding(p Part) {
	verdict := describe.Verdict(attestor.Decision{Verdict: p.Verdict})
	m.p("## %s: %s\n\nProfile %s, %s.\n", p.Title, verdict, plain.Code(p.Profile), p.Count)

	for _, s := range p.Subjects {
		m.p("\n### %s %s\n\n", plain.Markdown(s.Kind), plain.Code(s.Name))
		rows := 0
		for _, i := range s.Items {
			if !i.shown() {
				continue
			}
			if rows++; rows == 1 {
				m.p("| Rule | Result | Found | Fix |\n| --- | --- | --- | --- |\n")
			}

			m.finding(i)
		}

		if rows > 0 {
			m.p("\n")
		}

		m.p("%s\n", counts(s.Items))
	}
}

func (m markdown) finding(i Item) {
	fix := ""
	if i.fix() != "" {
		fix = plain.Code(i.fix()) // to be copied as it is
	}
	if excused := i.excused(); excused != "" {
		fix = strings.TrimSpace(fix + " Excepted: " + plain.Markdown(excused))
	}

	m.p("| %s | %s | %s | %s |\n", plain.Code(i.Name), markdownStatus(i.Status), plain.Markdown(i.message()), fix)
}

func markdownStatus(s attestor.Status) string {
	switch s {
	case attestor.StatusPass:
		return "✅ pass"
	case attestor.StatusWarn:
		return "⚠️ warn"
	case attestor.StatusSkipped:
		return "⏭️ skipped"
	case attestor.StatusDeny:
		return "❌ deny"
	}

	return "⚠️ error"
}

func (m markdown) asTable(p Part) {
	for _, t := range p.Tables {
		m.table(t, len(t.Rows))
	}

	for _, s := range p.Subjects {
		for n, i := range s.Items {
			if n == 0 {
				m.p("\n")
			}
			if i.Status.Refuses() {
				m.p("- ❌ %s: %s\n", plain.Code(i.Name), plain.Markdown(i.message()))
			}
		}
	}

	for _, n := range p.Notes {
		m.p("\n%s\n", plain.Markdown(n))
	}
}

// table shows at most so many rows.
func (m markdown) table(t Table, most int) {
	if len(t.Rows) == 0 {
		return
	}

	if t.Title != "" {
		m.p("\n### %s\n", t.Title)
	}

	var names, rules []string
	for _, c := range t.Columns {
		names = append(names, c.Name)
		rules = append(rules, map[bool]string{true: "---:", false: "---"}[c.Kind == Number])
	}

	m.p("\n| %s |\n| %s |\n", strings.Join(names, " | "), strings.Join(rules, " | "))

	for _, row := range t.Rows[:min(len(t.Rows), most)] {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cells[i] = plain.Markdown(cell); t.Columns[i].Kind == Code {
				cells[i] = plain.Code(cell)
			}
		}

		m.p("| %s |\n", strings.Join(cells, " | "))
	}

	if more := len(t.Rows) + t.Left - most; more > 0 {
		m.p("\nand %d more\n", more)
	}
}
