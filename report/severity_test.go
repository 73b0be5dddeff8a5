package report_test

import (
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/report"
)

// remarked is a decision with one check and one reason, with another that refuses first where the check must refuse for
// some reason of its own.
func remarked(status attestor.Status, severity attestor.ReasonSeverity) attestor.Decision {
	d := passed(1)
	reasons := []attestor.Reason{{Code: attestor.CodeUserTooLow, Severity: severity, Message: "the sentence", Fix: "the fix"}}
	if status.Refuses() {
		d.Verdict = attestor.Deny
		if severity != attestor.Refuses {
			reasons = append(reasons, attestor.Reason{Code: attestor.CodeUserRoot, Severity: attestor.Refuses, Message: "another", Fix: "other"})
		}
	}

	d.Checks = []attestor.Check{{Name: attestor.CheckUser, Platform: "linux/amd64", Status: status, Reasons: reasons}}
	return d
}

// TestEncodersGoBySeverity: for every status and severity, each format counts as a refusal what refuses, shows as a
// warning what warns, as a hint what informs of a check that was made, and nothing else.
func TestEncodersGoBySeverity(t *testing.T) {
	for _, status := range []attestor.Status{attestor.StatusDeny, attestor.StatusError, attestor.StatusWarn, attestor.StatusPass, attestor.StatusSkipped} {
		for _, severity := range []attestor.ReasonSeverity{attestor.Refuses, attestor.Warns, attestor.Informs} {
			if severity == attestor.Refuses && !status.Refuses() {
				continue // no Decision has it: see the root package's test of contradictions
			}
			t.Run(fmt.Sprintf("%s %s", status, severity), func(t *testing.T) {
				d := remarked(status, severity)
				shown := severity != attestor.Informs || status != attestor.StatusSkipped
				label := map[attestor.ReasonSeverity]string{attestor.Refuses: "", attestor.Warns: "warning ", attestor.Informs: "hint "}[severity]

				sarifShows(t, d, severity, shown)
				csvShows(t, d, severity)
				junitShows(t, d, severity, label)
				summaryShows(t, d, severity)

				text := encode(t, report.Text, report.Options{}, d)
				if shown != regexp.MustCompile(`(?m)^ +`+label+`USER_TOO_LOW$`).MatchString(text) {
					t.Errorf("text:\n%s", text)
				}
				if many := encode(t, report.Text, report.Options{}, d, d, d, d, d, d); strings.Contains(many,
					"USER_TOO_LOW") != (severity == attestor.Refuses) {
					t.Errorf("text, as a table:\n%s", many)
				}

				explained := audit.Explain(attestor.Record{Decision: d})
				if shown != strings.Contains(explained, "  - "+label+"USER_TOO_LOW: the sentence\n") {
					t.Errorf("explain:\n%s", explained)
				}

				item := "- " + strings.ToUpper(label[:min(1, len(label))]) + label[min(1, len(label)):] + "`USER_TOO_LOW`"
				if markdown := encode(t, report.Markdown, report.Options{}, d); shown != strings.Contains(markdown, item) {
					t.Errorf("markdown lacks %q:\n%s", item, markdown)
				}
			})
		}
	}
}

func sarifShows(t *testing.T, d attestor.Decision, severity attestor.ReasonSeverity, shown bool) {
	t.Helper()
	var doc struct {
		Runs []struct {
			Results []struct{ RuleID, Level string } `json:"results"`
		} `json:"runs"`
	}

	if err := json.Unmarshal([]byte(encode(t, report.SARIF, report.Options{}, d)), &doc); err != nil {
		t.Fatal(err)
	}

	level := ""
	for _, r := range doc.Runs[0].Results {
		if r.RuleID == "USER_TOO_LOW" {
			level += r.Level
		}
	}

	want := map[attestor.ReasonSeverity]string{attestor.Refuses: "error", attestor.Warns: "warning", attestor.Informs: "note"}[severity]
	if !shown {
		want = ""
	}
	if level != want {
		t.Errorf("SARIF has level %q, want %q", level, want)
	}
}

func csvShows(t *testing.T, d attestor.Decision, severity attestor.ReasonSeverity) {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(encode(t, report.CSV, report.Options{}, d))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}

	row := map[string]string{}
	for i, name := range rows[0] {
		row[name] = rows[1][i]
	}

	if refuses := severity == attestor.Refuses; strings.Contains(row["reason_codes"], "USER_TOO_LOW") != refuses || row["first_fix"] == "the fix" != refuses {
		t.Errorf("CSV: %q, %q", row["reason_codes"], row["first_fix"])
	}
}

func junitShows(t *testing.T, d attestor.Decision, severity attestor.ReasonSeverity, label string) {
	t.Helper()
	type detail struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}

	var doc struct {
		Suites []struct {
			Cases []struct {
				Failure *detail `xml:"failure"`
				Error   *detail `xml:"error"`
				Skipped *detail `xml:"skipped"`
				Output  string  `xml:"system-out"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}

	if err := xml.Unmarshal([]byte(encode(t, report.JUnit, report.Options{}, d)), &doc); err != nil {
		t.Fatal(err)
	}

	c := doc.Suites[0].Cases[0]
	line := label + "USER_TOO_LOW : the sentence (fix: the fix)"

	switch d.Checks[0].Status {
	case attestor.StatusDeny, attestor.StatusError:
		failed := c.Failure
		if d.Checks[0].Status == attestor.StatusError {
			failed = c.Error
		}

		headline := "another"
		if severity == attestor.Refuses {
			headline = "the sentence"
		}
		if failed == nil || failed.Message != headline || !strings.HasPrefix(failed.Text, line) {
			t.Errorf("JUnit: %+v, want %q first and %q", failed, line, headline)
		}

	case attestor.StatusSkipped:
		if c.Failure != nil || c.Error != nil || c.Skipped == nil {
			t.Errorf("JUnit: %+v is not skipped", c)
		}

	default:
		if c.Failure != nil || c.Error != nil || c.Skipped != nil || c.Output != line {
			t.Errorf("JUnit: %+v, want %q", c, line)
		}
	}
}

func summaryShows(t *testing.T, d attestor.Decision, severity attestor.ReasonSeverity) {
	t.Helper()
	b := report.NewBuilder(report.SummaryOptions{Now: day})
	b.Add(attestor.Record{Decision: d})
	counted := 0

	for _, r := range b.Summary().Reasons {
		if r.Code == attestor.CodeUserTooLow {
			counted += r.Images
		}
	}

	if counted == 1 != (severity == attestor.Refuses) {
		t.Errorf("the summary counts %d images: %+v", counted, b.Summary().Reasons)
	}
}
