package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/attestor-gate/attestor"
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
		if len(ds) > 1 && outcome(d) == attestor.Pass && !overridden(d) {
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
	case overridden(d):
		return "🚨 break-glass"
	case outcome(d) == attestor.Pass:
		return "✅ passed"
	case outcome(d) == attestor.Undecided:
		return "⚠️ could not be decided"
	}
	return "❌ " + verdict(d)
}

func markdownTable(p func(string, ...any), ds []attestor.Decision) {
	p("| Verdict | Image | Reasons |\n| --- | --- | --- |\n")
	for _, d := range ds {
		var codes []string
		for _, f := range findings(d, refuses) {
			codes = appendNew(codes, string(f.code))
		}
		for i, c := range codes {
			codes[i] = code(c)
		}
		p("| %s | %s | %s |\n", mark(d), code(imageName(d)), strings.Join(codes, " "))
	}
}

func markdownDecision(p func(string, ...any), d attestor.Decision) {
	p("\n### %s %s\n\n", mark(d), code(imageName(d)))
	if d.BreakGlass != nil {
		p("> **Admitted by break-glass** by %s: %s\n\n", markdown(d.BreakGlass.By), markdown(d.BreakGlass.Reason))
	}
	p("%s\n\n", markdown(context(d)))
	p("| Check | Platform | Result | Found |\n| --- | --- | --- | --- |\n")
	for _, c := range d.Checks {
		p("| %s | %s | %s | %s |\n", markdown(c.Name), markdown(c.Platform), statusWord(c), markdown(fact(d, c)))
	}
	list := findings(d, refuses)
	if len(list) > 0 {
		p("\n**What to change**\n\n")
	}
	for _, f := range list {
		p("- %s", code(string(f.code)))
		if len(f.subjects) > 0 {
			p(" %s", markdown(some(f.subjects, 6)))
		}
		p(": %s", markdown(f.message))
		if f.fix != "" {
			p("  \n  **Fix:** %s", markdown(f.fix))
		}
		p("\n")
	}
	for _, f := range findings(d, warns) {
		p("- Warning %s: %s\n", code(string(f.code)), markdown(f.message))
	}
}
