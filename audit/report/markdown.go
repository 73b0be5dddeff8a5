package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit/internal/words"
	"github.com/attestor-gate/attestor/internal/plain"
)

// maxMarkdown is how many images are told in full: a comment on a pull request
// ends at 65,536 characters.
const maxMarkdown = 20

func writeMarkdown(w io.Writer, ds []attestor.Decision) error {
	b := bufio.NewWriter(w)
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(b, format, args...) } // bufio keeps the error
	if len(ds) == 0 {
		p("No decisions.\n")
	}
	if len(ds) > 1 {
		markdownTable(p, ds)
	}
	told := 0
	for _, d := range ds {
		if len(ds) > 1 && words.Outcome(d) == attestor.Pass && !words.Overridden(d) {
			continue
		}
		if told++; told > maxMarkdown {
			p("\nFurther images that did not pass are in the table above.\n")
			break
		}
		markdownDecision(p, d)
	}
	return b.Flush()
}

func mark(d attestor.Decision) string {
	switch {
	case words.Overridden(d):
		return "🚨 break-glass"
	case words.Outcome(d) == attestor.Pass:
		return "✅ passed"
	case words.Outcome(d) == attestor.Undecided:
		return "⚠️ could not be decided"
	}
	return "❌ " + words.Verdict(d)
}

func markdownTable(p func(string, ...any), ds []attestor.Decision) {
	p("| Verdict | Image | Reasons |\n| --- | --- | --- |\n")
	for _, d := range ds {
		var codes []string
		for _, f := range words.Findings(d, attestor.Refuses) {
			codes = words.AppendNew(codes, string(f.Code))
		}
		for i, c := range codes {
			codes[i] = plain.Code(c)
		}
		p("| %s | %s | %s |\n", mark(d), plain.Code(words.Name(d)), strings.Join(codes, " "))
	}
}

func markdownDecision(p func(string, ...any), d attestor.Decision) {
	p("\n### %s %s\n\n", mark(d), plain.Code(words.Name(d)))
	if d.BreakGlass != nil {
		p("> **Admitted by break-glass** by %s: %s\n\n", plain.Markdown(d.BreakGlass.By), plain.Markdown(d.BreakGlass.Reason))
	}
	p("%s\n\n", plain.Markdown(context(d)))
	p("| Check | Platform | Result | Found |\n| --- | --- | --- | --- |\n")
	for _, c := range d.Checks {
		p("| %s | %s | %s | %s |\n", plain.Markdown(c.Name), plain.Markdown(c.Platform), words.Status(c), plain.Markdown(words.Fact(d, c)))
	}
	list := words.Findings(d, attestor.Refuses)
	if len(list) > 0 {
		p("\n**What to change**\n\n")
	}
	for _, f := range list {
		p("- %s", plain.Code(string(f.Code)))
		if len(f.Subjects) > 0 {
			p(" %s", plain.Markdown(words.Some(f.Subjects, 6)))
		}
		p(": %s", plain.Markdown(f.Message))
		if f.Fix != "" {
			p("  \n  **Fix:** %s", plain.Markdown(f.Fix))
		}
		p("\n")
	}

	for _, f := range words.Findings(d, attestor.Warns) {
		p("- Warning %s: %s\n", plain.Code(string(f.Code)), plain.Markdown(f.Message))
	}
	for _, f := range words.Findings(d, attestor.Informs) {
		p("- Hint %s: %s\n", plain.Code(string(f.Code)), plain.Markdown(f.Message))
	}
}
