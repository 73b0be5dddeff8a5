package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit/internal/words"
)

// The elements that CI systems read: one suite an image, one case a check.
type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name      string      `xml:"name,attr"`
	Tests     int         `xml:"tests,attr"`
	Failures  int         `xml:"failures,attr"`
	Errors    int         `xml:"errors,attr"`
	Skipped   int         `xml:"skipped,attr"`
	Time      string      `xml:"time,attr"`
	Timestamp string      `xml:"timestamp,attr"`
	Cases     []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string       `xml:"name,attr"`
	Class   string       `xml:"classname,attr"`
	Failure *junitDetail `xml:"failure"`
	Error   *junitDetail `xml:"error"`
	Skipped *junitDetail `xml:"skipped"`
	Output  string       `xml:"system-out,omitempty"`
}

type junitDetail struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

func writeJUnit(w io.Writer, ds []attestor.Decision) error {
	var all junitSuites
	for _, d := range ds {
		s := suite(d)
		all.Tests, all.Failures, all.Errors, all.Skipped = all.Tests+s.Tests, all.Failures+s.Failures, all.Errors+s.Errors, all.Skipped+s.Skipped
		all.Suites = append(all.Suites, s)
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

func suite(d attestor.Decision) junitSuite {
	s := junitSuite{
		Name: words.Plain(words.Name(d)), Time: fmt.Sprintf("%.3f", float64(d.DurationMS)/1000),
		Timestamp: d.Time.UTC().Format("2006-01-02T15:04:05"),
	}
	for _, c := range d.Checks {
		k := junitCase{Name: words.Plain(strings.TrimSpace(c.Name + " " + c.Platform)), Class: s.Name}
		detail := junitText(c)
		switch {
		case c.Status == attestor.StatusDeny:
			k.Failure = detail
			s.Failures++
		case words.Refuses(c):
			k.Error = detail
			s.Errors++
		case c.Status == attestor.StatusSkipped:
			k.Skipped = &junitDetail{Message: detail.Message}
			s.Skipped++
		default:
			k.Output = detail.Text
		}
		s.Tests++
		s.Cases = append(s.Cases, k)
	}
	// A decision that refuses without a check that does must not look green.
	if words.Outcome(d) != attestor.Pass && s.Failures+s.Errors == 0 {
		s.Cases = append(s.Cases, junitCase{Name: "verdict", Class: s.Name, Failure: &junitDetail{Message: words.Verdict(d)}})
		s.Tests++
		s.Failures++
	}
	return s
}

func junitText(c attestor.Check) *junitDetail {
	d := &junitDetail{}
	var lines []string
	for i, r := range c.Reasons {
		if i == 0 {
			d.Message, d.Type = words.Plain(r.Message), words.Plain(string(r.Code))
		}
		line := fmt.Sprintf("%s %s: %s", r.Code, r.Subject, r.Message)
		if r.Fix != "" {
			line += " (fix: " + r.Fix + ")"
		}
		lines = append(lines, words.Plain(line))
	}
	d.Text = strings.Join(lines, "\n")
	return d
}
