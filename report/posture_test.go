package report_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/report"
)

// TestPostureIsASection: in every form of a summary, harmless whoever wrote it.
func TestPostureIsASection(t *testing.T) {
	s := report.NewBuilder(report.SummaryOptions{Now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)}).Summary()
	s.Posture = report.Section(attestor.PostureReport{Profile: "hipaa", Services: 3, Verdict: attestor.Deny, Findings: []attestor.PostureFinding{
		{Service: "acme/us-east1/api", Rule: "INVOKER_AUTH", Status: attestor.StatusSkipped, Message: "not known", Fix: "give --iam"},
		{Service: "acme/us-east1/api", Rule: "CMEK", Owner: "payments", Status: attestor.StatusDeny, Message: "no key <script>\x1b[31m", Fix: "set --key"},
		{Service: "acme/us-east1/api", Kind: "job", Owner: "web <b>\x1b[31m", Rule: "CMEK", Status: "unheard of", Message: "no key", Fix: "set --key"},
		{Service: "acme/us-east1/web", Rule: "PROBES", Status: attestor.StatusWarn, Message: "no probe"},
	}}, map[string]string{"CMEK": "a key is set"})

	for f, want := range map[report.Format][]string{
		report.HTML: {`id="posture"`, "2 of 3 services and jobs refused", "CMEK", "give --iam",
			"no key &lt;script&gt;", "a key is set", "payments (1)", "web &lt;b&gt;", "no owner"},
		report.JSON:     {`"posture": {`, `"rule": "CMEK"`, `"name": "payments"`, `"means": "a key is set"`},
		report.Markdown: {"### Services and jobs", "2 of 3 services and jobs refused", "`CMEK` | 2 | 0 | 0 | payments"},
		report.Text:     {"SERVICES AND JOBS", "2 of 3 services and jobs refused", "2        0       0           CMEK", "payments (1), web"},
	} {
		var b bytes.Buffer
		if err := report.Write(&b, f, report.Record(s), report.Options{}); err != nil {
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
	if err := report.Write(&b, report.HTML, report.Record(s), report.Options{}); err != nil || strings.Contains(b.String(), `id="posture"`) {
		t.Errorf("a section without services: %v", err)
	}

	for want, p := range map[string]attestor.PostureReport{
		"1 service or job judged by profile hipaa, none refused":       {Profile: "hipaa", Services: 1, Verdict: attestor.Pass},
		"1,200 services and jobs could not be judged by profile hipaa": {Profile: "hipaa", Services: 1200, Verdict: attestor.Undecided},
		"2 services and jobs judged by profile hipaa, nothing passed":  {Profile: "hipaa", Services: 2},
		"1 of 2 services and jobs refused by profile strict": {Profile: "strict", Services: 2,
			Verdict:  attestor.Undecided,
			Findings: []attestor.PostureFinding{{Service: "a", Rule: "CMEK", Status: attestor.StatusError}}},
	} {
		if got := (report.Posture{PostureReport: p}).Headline(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Controls are grouped as [report.Section] says: what refuses most first, each with its owners, and with the fix of a refusal.
func TestPostureByControlAndOwner(t *testing.T) {
	finding := func(rule, owner, service string, status attestor.Status, fix string) attestor.PostureFinding {
		return attestor.PostureFinding{Rule: rule, Owner: owner, Service: service, Status: status, Fix: fix}
	}
	p := report.Section(attestor.PostureReport{Findings: []attestor.PostureFinding{
		finding("PROBES", "web", "a", attestor.StatusWarn, "add a probe"),
		finding("CMEK", "web", "a", attestor.StatusSkipped, "give the plan"),
		finding("CMEK", "web", "b", attestor.StatusDeny, "set --key"),
		finding("CMEK", "", "c", attestor.StatusError, "read it again"),
		finding("CMEK", "payments", "d", attestor.StatusDeny, "set --key"),
		finding("CMEK", "payments", "e", "unheard of", "set --key"),
		finding("CMEK", "payments", "f", attestor.StatusPass, ""),
		finding("VPC_EGRESS", "web", "a", attestor.StatusPass, ""),
		finding("VPC_EGRESS", "web", "b", attestor.StatusSkipped, ""),
	}}, nil)

	want := []report.PostureControl{
		{Rule: "CMEK", Fix: "set --key", PostureCount: report.PostureCount{Refused: 4, Skipped: 1}, Owners: []report.PostureOwner{
			{Name: "payments", PostureCount: report.PostureCount{Refused: 2}},
			{Name: "web", PostureCount: report.PostureCount{Refused: 1, Skipped: 1}},
			{Name: "", PostureCount: report.PostureCount{Refused: 1}},
		}},
		{Rule: "PROBES", Fix: "add a probe", PostureCount: report.PostureCount{Warned: 1}, Owners: []report.PostureOwner{
			{Name: "web", PostureCount: report.PostureCount{Warned: 1}},
		}},
	}
	if d := cmp.Diff(want, p.Controls); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}

	var order []string
	for _, c := range p.ByControl() {
		for _, f := range c.Findings {
			order = append(order, c.Rule+" "+f.Owner+" "+f.Service)
		}
	}
	if d := cmp.Diff([]string{"CMEK payments d", "CMEK payments e", "CMEK web a", "CMEK web b", "CMEK  c", "PROBES web a"}, order); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// A page lists a bounded number of findings, and says how many it leaves out.
func TestPosturePageIsBounded(t *testing.T) {
	var r attestor.PostureReport
	for i := range 20_000 {
		r.Findings = append(r.Findings, attestor.PostureFinding{
			Rule: "CMEK", Owner: fmt.Sprintf("team-%d", i%5000), Service: fmt.Sprintf("acme/us-east1/service-%d", i),
			Status: attestor.StatusDeny, Message: "no key",
		})
	}
	s := report.Summary{Posture: report.Section(r, nil)}

	var b bytes.Buffer
	if err := report.Write(&b, report.HTML, report.Record(s), report.Options{}); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 1<<20 || !strings.Contains(b.String(), "19,000 more; the format JSON has all") || !strings.Contains(b.String(), "4,994 more owners") {
		t.Errorf("%d bytes for 20,000 findings", b.Len())
	}
}
