package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit/internal/words"
	"github.com/attestor-gate/attestor/internal/junit"
	"github.com/attestor-gate/attestor/internal/plain"
)

// writeJUnit writes a suite for each image, and a case for each check.
func writeJUnit(w io.Writer, ds []attestor.Decision, o Options) error {
	suites := make([]junit.Suite, 0, len(ds)+len(o.Suites))
	for _, d := range ds {
		suites = append(suites, suite(d))
	}
	return junit.Write(w, append(suites, o.Suites...))
}

func suite(d attestor.Decision) junit.Suite {
	s := junit.Suite{
		Name: plain.Text(words.Name(d)), Time: fmt.Sprintf("%.3f", float64(d.DurationMS)/1000),
		Timestamp: d.Time.UTC().Format("2006-01-02T15:04:05"),
	}
	for _, c := range d.Checks {
		k := junit.Case{Name: plain.Text(strings.TrimSpace(c.Name + " " + c.Platform)), Class: s.Name}
		detail := junitText(c)
		switch {
		case c.Status == attestor.StatusDeny:
			k.Failure = detail
		case words.Refuses(c):
			k.Error = detail
		case c.Status == attestor.StatusSkipped:
			k.Skipped = &junit.Detail{Message: detail.Message}
		default:
			k.Output = detail.Text
		}
		s.Cases = append(s.Cases, k)
	}
	// A decision that refuses without a check that does must not look green.
	if words.Outcome(d) != attestor.Pass && !slices.ContainsFunc(s.Cases, func(k junit.Case) bool { return k.Failure != nil || k.Error != nil }) {
		s.Cases = append(s.Cases, junit.Case{Name: "verdict", Class: s.Name, Failure: &junit.Detail{Message: words.Verdict(d)}})
	}
	return s
}

func junitText(c attestor.Check) *junit.Detail {
	d := &junit.Detail{}
	var lines []string
	refused := false
	for i, r := range c.WithSeverities().Reasons {
		// The headline is the first reason that refuses, or else the first.
		if i == 0 || r.Severity == attestor.Refuses && !refused {
			d.Message, d.Type = plain.Text(r.Message), plain.Text(string(r.Code))
			refused = r.Severity == attestor.Refuses
		}

		line := strings.TrimSpace(fmt.Sprintf("%s %s %s: %s", words.Label(r.Severity), r.Code, r.Subject, r.Message))
		if r.Fix != "" {
			line += " (fix: " + r.Fix + ")"
		}
		lines = append(lines, plain.Text(line))
	}
	d.Text = strings.Join(lines, "\n")
	return d
}
