package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/posture"
	"github.com/attestor-gate/attestor/report"
)

// met is what a sweep judges of some definitions.
func met(t *testing.T, definitions ...audit.Definition) (*servicesFound, *attestor.PostureReport, error) {
	t.Helper()
	p, ok := posture.Builtin("hipaa")
	if !ok {
		t.Fatal("no profile hipaa")
	}

	found := &servicesFound{profile: &p}
	for _, d := range definitions {
		found.seen(d)
	}

	r, err := found.judge(t.Context(), nil)
	return found, r, err
}

func told(t *testing.T, f report.Format, r *attestor.PostureReport) string {
	t.Helper()
	out, err := (&reportFlags{format: string(f)}).collector(time.Now())
	if err != nil {
		t.Fatal(err)
	}

	out.posture = r
	var b bytes.Buffer
	if err := out.write(&b); err != nil {
		t.Fatal(err)
	}

	return b.String()
}

func definition(kind, name, text string) audit.Definition {
	full := "projects/acme/locations/us-east1/" + kind + "/" + name
	return audit.Definition{Name: full, Text: []byte(strings.Replace(text, "{", `{"name": "`+full+`", `, 1))}
}

// TestSweepTellsAsPostureDoes: a sweep's findings about services and jobs are
// the same results and cases as those of attestor posture.
func TestSweepTellsAsPostureDoes(t *testing.T) {
	service := definition("services", "api", `{"ingress": "INGRESS_TRAFFIC_ALL", "template": {"containers": [{"image": "r/a:1"}]}}`)
	job := definition("jobs", "api", `{"template": {"template": {"containers": [{"image": "r/j:1"}]}}}`)
	service.IAM, job.IAM = []byte(`{"etag": "x", "bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}`), []byte(`{"etag": "x"}`)
	found, r, err := met(t, service, job)
	if err != nil {
		t.Fatal(err)
	}

	invoker := map[string]attestor.Status{}
	for _, f := range r.Findings {
		if f.Rule == "INVOKER_AUTH" {
			invoker[f.Kind+" "+f.Service] = f.Status
		}
	}

	if d := cmp.Diff(map[string]attestor.Status{"service acme/us-east1/api": attestor.StatusDeny,
		"job acme/us-east1/api": attestor.StatusPass}, invoker); d != "" {
		t.Errorf("whose policy is whose: %s", d)
	}

	judge, err := posture.New(posture.Config{Profile: *found.profile, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}

	alone, err := judge.Judge(t.Context(), found.in)
	if err != nil {
		t.Fatal(err)
	}

	var b bytes.Buffer
	if err := report.Write(&b, report.SARIF, report.Services(alone, posture.Meanings()), report.Options{Version: version}); err != nil {
		t.Fatal(err)
	}

	var sweep, command struct{ Runs []json.RawMessage }
	for text, into := range map[string]any{told(t, report.SARIF, r): &sweep, b.String(): &command} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}

	if len(sweep.Runs) != 2 || len(command.Runs) != 1 {
		t.Fatalf("%d runs of the sweep, %d of the command", len(sweep.Runs), len(command.Runs))
	}
	if d := cmp.Diff(string(command.Runs[0]), string(sweep.Runs[1])); d != "" {
		t.Errorf("SARIF: %s", d)
	}

	var suites testSuites
	if err := xml.Unmarshal([]byte(told(t, report.JUnit, r)), &suites); err != nil {
		t.Fatal(err)
	}

	if len(suites.Suites) != 2 || suites.Suites[0].Name != "acme/us-east1/api" || suites.Suites[0].Failures == 0 {
		t.Errorf("JUnit: %+v", suites)
	}
	if got := told(t, report.CSV, r); strings.Contains(got, "us-east1") {
		t.Errorf("CSV has rows that are no image: %s", got)
	}
}

// TestSweepTellsWhatCannotBeJudged: a definition that nobody can read leaves no
// form of the report green.
func TestSweepTellsWhatCannotBeJudged(t *testing.T) {
	_, r, err := met(t, definition("services", "api", `{"template": {"containers": "none"}}`), definition("jobs", "report", `{"template": {"template": {}}}`))
	if attestor.KindOf(err) != attestor.Invalid || r == nil {
		t.Fatalf("%v, %v", r, err)
	}

	for f, want := range map[report.Format]string{
		report.Text:     "2 services and jobs could not be judged",
		report.Markdown: "2 services and jobs could not be judged",
		report.HTML:     "2 services and jobs could not be judged",
		report.JSON:     `"verdict": "error"`, report.JUnit: `errors="1"`,
	} {
		if got := told(t, f, r); !strings.Contains(got, want) {
			t.Errorf("%s lacks %q", f, want)
		}
	}

	doc, err := sarif.FromString(told(t, report.SARIF, r))
	if err != nil || len(doc.Runs) != 2 || *doc.Runs[1].Invocations[0].ExecutionSuccessful {
		t.Errorf("SARIF says that it went well: %v", err)
	}
	if _, r, err := met(t); r != nil || err != nil {
		t.Errorf("nothing met: %v, %v", r, err)
	}
	if got := told(t, report.SARIF, nil); strings.Contains(got, "attestor posture") {
		t.Error("a run of what was not judged")
	}
}

// testSuites is what a CI system reads of JUnit's XML.
type testSuites struct {
	Suites []struct {
		Name     string `xml:"name,attr"`
		Failures int    `xml:"failures,attr"`
		Cases    []struct {
			File    string    `xml:"file,attr"`
			Line    int       `xml:"line,attr"`
			Failure *struct{} `xml:"failure"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}
