package report_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/report"
)

// TestPostureIsASection: in every form of a summary, harmless whoever wrote it.
func TestPostureIsASection(t *testing.T) {
	s := report.NewBuilder(report.SummaryOptions{Now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)}).Summary()
	s.Posture = &report.Posture{PostureReport: attestor.PostureReport{Profile: "hipaa", Services: 3, Verdict: attestor.Deny, Findings: []attestor.PostureFinding{
		{Service: "acme/us-east1/api", Rule: "INVOKER_AUTH", Status: attestor.StatusSkipped, Message: "not known", Fix: "give --iam"},
		{Service: "acme/us-east1/api", Rule: "CMEK", Status: attestor.StatusDeny, Message: "no key <script>\x1b[31m", Fix: "set --key"},
		{Service: "acme/us-east1/api", Kind: "job", Rule: "CMEK", Status: "unheard of", Message: "no key", Fix: "set --key"},
		{Service: "acme/us-east1/web", Rule: "PROBES", Status: attestor.StatusWarn, Message: "no probe"},
	}}}

	for f, want := range map[report.Format][]string{
		report.HTML:     {`id="posture"`, "2 of 3 services and jobs refused", "CMEK", "give --iam", "no key &lt;script&gt;"},
		report.JSON:     {`"posture": {`, `"rule": "CMEK"`},
		report.Markdown: {"### Services and jobs", "2 of 3 services and jobs refused", "`CMEK` | 2 | 0 | 0"},
		report.Text:     {"SERVICES AND JOBS", "2 of 3 services and jobs refused", "2        0       0           CMEK"},
	} {
		var b bytes.Buffer
		if err := report.Write(&b, f, report.Record(s, nil), report.Options{}); err != nil {
			t.Fatal(err)
		}

		for _, w := range want {
			if !strings.Contains(b.String(), w) {
				t.Errorf("%s lacks %q", f, w)
			}
		}

		if strings.Contains(b.String(), "\x1b[31m") || f != report.JSON && strings.Contains(b.String(), "<script>\x1b") {
			t.Errorf("%s shows what a service is called as it is", f)
		}
	}

	s.Posture = nil
	var b bytes.Buffer
	if err := report.Write(&b, report.HTML, report.Record(s, nil), report.Options{}); err != nil || strings.Contains(b.String(), `id="posture"`) {
		t.Errorf("a section without services: %v", err)
	}

	for want, p := range map[string]attestor.PostureReport{
		"1 service or job judged by profile hipaa, none refused":       {Profile: "hipaa", Services: 1, Verdict: attestor.Pass},
		"1,200 services and jobs could not be judged by profile hipaa": {Profile: "hipaa", Services: 1200, Verdict: attestor.Undecided},
		"2 services and jobs judged by profile hipaa, nothing passed":  {Profile: "hipaa", Services: 2},
		"1 of 2 services and jobs refused by profile strict":           {Profile: "strict", Services: 2, Verdict: attestor.Undecided, Findings: []attestor.PostureFinding{{Service: "a", Rule: "CMEK", Status: attestor.StatusError}}},
	} {
		if got := (report.Posture{PostureReport: p}).Headline(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
