package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/plain"
)

// The document that CI systems read as test results.
type (
	junitSuites struct {
		XMLName xml.Name `xml:"testsuites"`
		junitCounts
		Suites []junitSuite `xml:"testsuite"`
	}
	junitCounts struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Skipped  int `xml:"skipped,attr"`
	}
	junitSuite struct {
		Name string `xml:"name,attr"`
		junitCounts
		Time      string      `xml:"time,attr,omitempty"`      // seconds
		Timestamp string      `xml:"timestamp,attr,omitempty"` // UTC, without a zone
		Cases     []junitCase `xml:"testcase"`
	}
	// At most one of Failure, Error and Skipped is set; none means that it passed.
	junitCase struct {
		Name    string       `xml:"name,attr"`
		Class   string       `xml:"classname,attr"`
		File    string       `xml:"file,attr,omitempty"`
		Line    int          `xml:"line,attr,omitempty"`
		Failure *junitDetail `xml:"failure"`
		Error   *junitDetail `xml:"error"`
		Skipped *junitDetail `xml:"skipped"`
		Output  string       `xml:"system-out,omitempty"`
	}
	junitDetail struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// writeJUnit writes a suite for each subject, and a case for each item.
func writeJUnit(w io.Writer, d Document, _ Options) error {
	var all junitSuites
	// CI systems go by the counts of failures and errors, never by a verdict. Each
	// part and each subject that does not pass, and is not overridden, has at least one red case.
	for _, p := range d.Parts {
		refused := false
		for _, s := range p.Subjects {
			suite := junitSubject(s)
			refused = refused || suite.red()
			all.add(suite)
		}

		// A part may be denied although no item is, as when nothing passed.
		if p.Verdict != attestor.Pass && !refused {
			all.add(junitSuite{Name: p.Name, Cases: []junitCase{junitVerdict(p.Name, p.Verdict, "nothing passed")}})
		}
	}

	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}

	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")

	if err := enc.Encode(all); err != nil {
		return err
	}

	_, err := io.WriteString(w, "\n")

	return err
}

func (all *junitSuites) add(s junitSuite) {
	for _, c := range s.Cases {
		s.count(c)
		all.count(c)
	}
	all.Suites = append(all.Suites, s)
}

func (n *junitCounts) count(c junitCase) {
	n.Tests++

	switch {
	case c.Failure != nil:
		n.Failures++
	case c.Error != nil:
		n.Errors++
	case c.Skipped != nil:
		n.Skipped++
	}
}

// red reports whether a case fails.
func (s junitSuite) red() bool {
	for _, c := range s.Cases {
		if c.Failure != nil || c.Error != nil {
			return true
		}
	}
	return false
}

func junitSubject(s Subject) junitSuite {
	suite := junitSuite{Name: plain.Text(s.Name)}
	if s.Verdict != "" {
		suite.Time = fmt.Sprintf("%.3f", s.Duration.Seconds())
		suite.Timestamp = s.Time.UTC().Format("2006-01-02T15:04:05")
	}

	for _, i := range s.Items {
		suite.Cases = append(suite.Cases, junitItem(i, suite.Name))
	}

	// So may a subject, as an image whose every check was skipped.
	if s.Verdict != "" && s.Verdict != attestor.Pass && !suite.red() {
		c := junitCase{Name: "verdict", Class: suite.Name, Failure: &junitDetail{Message: s.Words}}
		suite.Cases = append(suite.Cases, c)
	}
	if s.Excused != "" {
		for i := range suite.Cases {
			suite.Cases[i].excuse(plain.Text(s.Excused))
		}
	}

	return suite
}

// excuse makes a red case one that was skipped, with what it was red for: an override was granted so that the pipeline
// goes on, and whoever reads the report sees in spite of what.
func (c *junitCase) excuse(why string) {
	refusal := cmp.Or(c.Failure, c.Error)
	if refusal == nil {
		return
	}
	c.Failure, c.Error = nil, nil
	c.Skipped = &junitDetail{Message: why, Text: cmp.Or(refusal.Text, refusal.Message)}
}

func junitVerdict(class string, verdict attestor.Outcome, refused string) junitCase {
	c := junitCase{Name: "verdict", Class: class}
	if verdict == attestor.Undecided {
		c.Error = &junitDetail{Message: "could not be decided"}
	} else {
		c.Failure = &junitDetail{Message: refused}
	}

	return c
}

func junitItem(i Item, class string) junitCase {
	c := junitCase{
		Name: plain.Text(strings.TrimSpace(i.Name + " " + i.Platform)), Class: cmp.Or(plain.Text(i.Group), class),
		File: plain.Text(i.File), Line: i.Line,
	}

	// A status that this version does not know refuses, and becomes an error here.
	detail := junitDetailOf(i)
	switch {
	case i.Status == attestor.StatusDeny:
		c.Failure = detail
	case i.Status.Refuses():
		c.Error = detail
	case i.Status == attestor.StatusSkipped:
		c.Skipped = &junitDetail{Message: detail.Message}
	case i.named():
		c.Output = strings.TrimSpace(detail.Message + " " + plain.Text(i.excused()))
	default:
		c.Output = detail.Text
	}

	return c
}

func junitDetailOf(i Item) *junitDetail {
	headline := i.headline()
	d := &junitDetail{Message: plain.Text(headline.Message), Type: plain.Text(string(headline.Code))}
	if i.named() {
		d.Text = plain.Text(headline.Fix)
		return d
	}

	var lines []string
	for _, r := range i.WithSeverities().Reasons {
		line := strings.TrimSpace(fmt.Sprintf("%s %s %s: %s", describe.Label(r.Severity), r.Code, r.Subject, r.Message))
		if r.Fix != "" {
			line += " (fix: " + r.Fix + ")"
		}

		lines = append(lines, plain.Text(line))
	}

	d.Text = strings.Join(lines, "\n")

	return d
}
