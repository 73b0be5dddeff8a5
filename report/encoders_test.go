package report_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

func encode(t testing.TB, f report.Format, o report.Options, ds ...attestor.Decision) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Write(&b, f, report.Decisions(ds), o); err != nil {
		t.Fatal(err)
	}

	return b.String()
}

func document(t testing.TB, f report.Format, d report.Document, o report.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Write(&b, f, d, o); err != nil {
		t.Fatal(err)
	}

	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func TestGolden(t *testing.T) {
	dry := refused(4)
	dry.DryRun = true
	many := []attestor.Decision{passed(1), refused(2), undecided(3), overridden(4), passed(5), refused(6)}

	for _, tt := range []struct {
		name string
		f    report.Format
		o    report.Options
		in   []attestor.Decision
	}{
		{"none.txt", report.Text, report.Options{}, nil},
		{"passed.txt", report.Text, report.Options{}, []attestor.Decision{passed(1)}},
		{"refused.txt", report.Text, report.Options{}, []attestor.Decision{refused(2)}},
		{"refused-colour.txt", report.Text, report.Options{Colour: true}, []attestor.Decision{refused(2)}},
		{"refused-narrow.txt", report.Text, report.Options{Width: 60}, []attestor.Decision{refused(2)}},
		{"undecided.txt", report.Text, report.Options{}, []attestor.Decision{undecided(3)}},
		{"dry-run.txt", report.Text, report.Options{}, []attestor.Decision{dry}},
		{"break-glass.txt", report.Text, report.Options{}, []attestor.Decision{overridden(4)}},
		{"many.txt", report.Text, report.Options{}, many},
		{"many.md", report.Markdown, report.Options{}, many},
		{"refused.md", report.Markdown, report.Options{}, []attestor.Decision{refused(2)}},
		{"many.csv", report.CSV, report.Options{}, many},
		{"many.junit.xml", report.JUnit, report.Options{}, many},
		{"many.sarif", report.SARIF, report.Options{Version: "1.2.3"}, many},
	} {
		t.Run(tt.name, func(t *testing.T) { golden(t, tt.name, encode(t, tt.f, tt.o, tt.in...)) })
	}
}

// A fix may be a command: broken at the terminal's width, it would be two.
func TestAFixIsOneLine(t *testing.T) {
	fix := "attestor revoke registry.example/team/app@sha256:" + strings.Repeat("ab", 32) + " --reason TEXT"
	d := refused(2)
	d.Checks = []attestor.Check{{Name: attestor.CheckAttest, Status: attestor.StatusDeny, Reasons: []attestor.Reason{{
		Code: attestor.CodeAlreadyAttested, Message: "it still admits this digest", Fix: fix,
	}}}}

	if got := encode(t, report.Text, report.Options{Width: 60}, d); !strings.Contains(got, "      fix: "+fix+"\n") {
		t.Errorf("the fix %q is not a line of\n%s", fix, got)
	}
}

func TestJSONIsTheDecision(t *testing.T) {
	d := refused(1)
	var one attestor.Decision
	if err := json.Unmarshal([]byte(encode(t, report.JSON, report.Options{}, d)), &one); err != nil {
		t.Fatal(err)
	}

	if diff := cmp.Diff(d, one); diff != "" {
		t.Errorf("one decision (-want +got):\n%s", diff)
	}

	for name, tt := range map[string]struct {
		of func([]attestor.Decision) report.Document
		in []attestor.Decision
	}{
		"none": {of: report.Decisions}, "two": {report.Decisions, []attestor.Decision{d, d}}, "one as a list": {report.DecisionList, []attestor.Decision{d}},
	} {
		var list []attestor.Decision
		if err := json.Unmarshal([]byte(document(t, report.JSON, tt.of(tt.in), report.Options{})),
			&list); err != nil || len(list) != len(tt.in) || list == nil {
			t.Errorf("%s: %d, %v", name, len(list), err)
		}
	}

	if lines := strings.Count(encode(t, report.NDJSON, report.Options{}, d, d, d), "\n"); lines != 3 {
		t.Errorf("%d lines of NDJSON, want 3", lines)
	}
}

// Whatever a terminal would obey must not reach it, in any format that people
// print to one.
func TestTerminalInjection(t *testing.T) {
	for _, f := range []report.Format{report.Text, report.JSON, report.NDJSON, report.Markdown, report.CSV, report.SARIF, report.JUnit} {
		for _, in := range [][]attestor.Decision{{hostile(1)}, {hostile(1), hostile(2), hostile(3), hostile(4), hostile(5), hostile(6)}} {
			for _, r := range encode(t, f, report.Options{}, in...) {
				if r != '\n' && r != '\t' && r != '\u200b' && !unicode.IsPrint(r) {
					t.Errorf("%s lets %U through", f, r)
				}
			}
		}
	}
}

func TestCSVInjection(t *testing.T) {
	rows, err := csv.NewReader(strings.NewReader(encode(t, report.CSV, report.Options{}, hostile(1), refused(2)))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}

	if len(rows) != 3 {
		t.Fatalf("%d rows, want a header and two", len(rows))
	}

	for _, row := range rows {
		for _, v := range row {
			if v = strings.TrimSpace(v); v != "" && strings.ContainsRune("=+-@", rune(v[0])) {
				t.Errorf("a spreadsheet would run %q", v)
			}
		}
	}
}

func TestMarkdownInjection(t *testing.T) {
	got := encode(t, report.Markdown, report.Options{}, hostile(1), hostile(2))
	for _, bad := range []string{"<script", "](javascript", "@everyone", "\n#", "<img"} {
		if rest := strings.ReplaceAll(got, "\n### ", "\n"); strings.Contains(outsideCode(rest), bad) {
			t.Errorf("%q is markup in\n%s", bad, rest)
		}
	}

	for _, line := range strings.Split(got, "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| ---") {
			continue
		}
		if n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|"); n != 4 && n != 5 {
			t.Errorf("a cell broke out of its row (%d bars): %s", n, line)
		}
	}
}

// outsideCode drops code spans, whose fence is a run of backticks.
func outsideCode(s string) string {
	var out strings.Builder
	for {
		i := strings.IndexByte(s, '`')
		if i < 0 {
			return out.String() + s
		}

		if i > 0 && s[i-1] == '\\' { // an escaped backtick opens nothing
			out.WriteString(s[:i+1])
			s = s[i+1:]
			continue
		}

		out.WriteString(s[:i])
		fence := s[i:]
		fence = fence[:len(fence)-len(strings.TrimLeft(fence, "`"))]
		rest := s[i+len(fence):]
		end := strings.Index(rest, fence)
		if end < 0 {
			return out.String() + rest
		}

		s = rest[end+len(fence):]
	}
}

func TestSARIFIsValid(t *testing.T) {
	for name, in := range map[string][]attestor.Decision{
		"none": nil, "hostile": {hostile(1)}, "many": {passed(1), refused(2), undecided(3), overridden(4)},
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := sarif.FromString(encode(t, report.SARIF, report.Options{}, in...))
			if err != nil {
				t.Fatal(err)
			}
			if err := doc.Validate(); err != nil {
				t.Error(err)
			}
		})
	}

	bad, err := sarif.FromString(`{"version":"2.1.0","$schema":"https://x","runs":[{"results":7}]}`)
	if err == nil && bad.Validate() == nil {
		t.Error("the validation accepts anything")
	}
}

// TestServicesComeAfterDecisions: what was judged beside the images stands in
// the same document, and counts.
func TestServicesComeAfterDecisions(t *testing.T) {
	services := &attestor.PostureReport{Verdict: attestor.Deny, Profile: "hipaa", Services: 1, Findings: []attestor.PostureFinding{
		{Rule: "CMEK", Service: "acme/us-east1/api", Kind: "service", Status: attestor.StatusDeny, Message: "no key", Fix: "set --key"},
	}}

	with := func(f report.Format, d attestor.Decision) string {
		return document(t, f, report.RecordList([]attestor.Decision{d}, services, map[string]string{"CMEK": "a key is set"}), report.Options{})
	}

	doc, err := sarif.FromString(with(report.SARIF, refused(1)))
	if err != nil {
		t.Fatal(err)
	}

	if err := doc.Validate(); err != nil || len(doc.Runs) != 2 || *doc.Runs[0].Tool.Driver.Name != "attestor" || len(doc.Runs[1].Results) != 1 {
		t.Errorf("%d runs, %v", len(doc.Runs), err)
	}

	var suites testSuites
	if err := xml.Unmarshal([]byte(with(report.JUnit, passed(1))), &suites); err != nil {
		t.Fatal(err)
	}

	if len(suites.Suites) != 2 || suites.Suites[1].Name != "acme/us-east1/api" || suites.Failures != 1 || suites.Tests != 5 {
		t.Errorf("%d suites, %d of %d failed", len(suites.Suites), suites.Failures, suites.Tests)
	}

	if got, want := with(report.CSV, passed(1)), encode(t, report.CSV, report.Options{}, passed(1)); got != want {
		t.Errorf("CSV has lines that are no decision:\n%s", got)
	}
}

// testSuites is what a CI system reads of JUnit's XML.
type testSuites struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
	Suites   []struct {
		Name     string `xml:"name,attr"`
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Cases    []struct {
			Failure struct {
				Message string `xml:"message,attr"`
			} `xml:"failure"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// TestJUnitCounts: every case is one of a kind, and the document's counts are
// those of its suites.
func TestJUnitCounts(t *testing.T) {
	const message = `a "quoted" <tag> & more`
	item := func(name string, status attestor.Status) report.Item {
		return report.Item{Check: attestor.Check{Name: name, Status: status, Reasons: []attestor.Reason{{Severity: attestor.Refuses, Message: message}}}}
	}

	got := document(t, report.JUnit, report.Document{Kind: report.OfTests, Parts: []report.Part{{Layout: report.AsTable, Subjects: []report.Subject{
		{Name: "one", Items: []report.Item{item("a", attestor.StatusDeny), item("b", attestor.StatusError), item("c", attestor.StatusPass)}},
		{Name: "two", Items: []report.Item{item("d", attestor.StatusSkipped), item("e", attestor.StatusWarn), item("f", "unknown")}},
	}}}}, report.Options{})

	var suites testSuites
	if err := xml.Unmarshal([]byte(got), &suites); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if suites.Tests != 6 || suites.Failures != 1 || suites.Errors != 2 || suites.Skipped != 1 || suites.Suites[0].Tests != 3 || suites.Suites[0].Failures != 1 {
		t.Errorf("counts are wrong: %+v in\n%s", suites, got)
	}
	if m := suites.Suites[0].Cases[0].Failure.Message; m != message {
		t.Errorf("message came back as %q", m)
	}
}

func TestSARIFKeepsWhatWasExcused(t *testing.T) {
	doc, err := sarif.FromString(encode(t, report.SARIF, report.Options{}, refused(1), undecided(2)))
	if err != nil {
		t.Fatal(err)
	}

	suppressed := 0
	for _, r := range doc.Runs[0].Results {
		for _, s := range r.Suppressions {
			suppressed++
			if !strings.Contains(*s.Justification, "payments") || !strings.Contains(*s.Justification, "2026-12-31") {
				t.Errorf("the suppression does not say who and until when: %q", *s.Justification)
			}
		}
	}

	if suppressed != 1 {
		t.Errorf("%d suppressed results, want 1", suppressed)
	}
	if *doc.Runs[0].Invocations[0].ExecutionSuccessful {
		t.Error("a run with an undecided image is said to have succeeded")
	}
}

// A decision that refuses, but whose checks do not say so, is not green.
func TestJUnitFailsClosed(t *testing.T) {
	for name, d := range map[string]attestor.Decision{"zero": {}, "no checks": {Verdict: attestor.Deny}, "unknown verdict": {Verdict: "fine"}} {
		var got struct {
			Failures int `xml:"failures,attr"`
		}
		if err := xml.Unmarshal([]byte(encode(t, report.JUnit, report.Options{}, d)), &got); err != nil {
			t.Fatal(err)
		}
		if got.Failures != 1 {
			t.Errorf("%s: %d failures, want 1", name, got.Failures)
		}
	}
}

// An override ends the command well, and so do the counts that CI systems go by. What it overrides stays in sight. An
// override that admits nothing, or not any more, leaves the refusal red.
func TestJUnitOfAnOverrideAgreesWithTheExitCode(t *testing.T) {
	with := func(change func(*attestor.Decision)) attestor.Decision {
		d := overridden(1)
		change(&d)
		return d
	}
	undecidedOverridden := undecided(1)
	undecidedOverridden.BreakGlass, undecidedOverridden.Attestations = overridden(1).BreakGlass, overridden(1).Attestations
	undecidedOverridden.Checks[3] = overridden(1).Checks[3]
	emptied := overridden(1)
	emptied.Checks = emptied.Checks[3:]

	for name, tt := range map[string]struct {
		d   attestor.Decision
		red int
	}{
		"refused":                 {overridden(1), 0},
		"not decided":             {undecidedOverridden, 0},
		"refused without a check": {emptied, 0},
		"open": {with(func(d *attestor.Decision) {
			d.OverrideState = &attestor.OverrideState{Open: true}
		}), 0},
		"overdue": {with(func(d *attestor.Decision) {
			end := day
			d.BreakGlass.Expires, d.OverrideState = &end, &attestor.OverrideState{Open: true, Overdue: true}
		}), 1},
		"ended": {with(func(d *attestor.Decision) {
			d.OverrideState = &attestor.OverrideState{Closed: attestor.ClosedExpired}
		}), 1},
		"revoked": {with(func(d *attestor.Decision) { d.Revoked = &attestor.RevocationRecord{} }), 1},
		"changed in the record": {with(func(d *attestor.Decision) {
			d.Log = &attestor.LogEntry{Changed: "it does not match its entry"}
		}), 1},
		"not attested":          {with(func(d *attestor.Decision) { d.Attestations = nil }), 1},
		"an attestation failed": {with(func(d *attestor.Decision) { d.Checks[3].Status = attestor.StatusError }), 2},
		"no override":           {with(func(d *attestor.Decision) { d.BreakGlass = nil }), 1},
	} {
		got := encode(t, report.JUnit, report.Options{}, tt.d)
		var suites testSuites
		if err := xml.Unmarshal([]byte(got), &suites); err != nil {
			t.Fatal(err)
		}
		if red := suites.Failures + suites.Errors; red != tt.red {
			t.Errorf("%s: %d red cases, want %d:\n%s", name, red, tt.red, got)
		}
		if told := strings.Contains(got, "admitted by break-glass, by oncall@example.com"); told != (tt.red == 0) {
			t.Errorf("%s: that it is overridden is said: %t:\n%s", name, told, got)
		}
		if tt.red == 0 && name != "refused without a check" && !strings.Contains(got, string(tt.d.Refusals()[0].Code)) {
			t.Errorf("%s: what it overrides is not in the report:\n%s", name, got)
		}
	}

	// One that is refused beside it is as red as alone.
	var suites testSuites
	if err := xml.Unmarshal([]byte(encode(t, report.JUnit, report.Options{}, overridden(1), refused(2))), &suites); err != nil {
		t.Fatal(err)
	}
	if suites.Failures != 1 {
		t.Errorf("beside a refusal: %d failures, want 1", suites.Failures)
	}
}

func TestZeroDecisionIsNeverGreen(t *testing.T) {
	for _, f := range []report.Format{report.Text, report.Markdown, report.CSV} {
		got := strings.ToLower(encode(t, f, report.Options{}, attestor.Decision{}))
		if !strings.Contains(got, "refused") && !strings.Contains(got, "deny") {
			t.Errorf("%s does not say that the zero decision refuses:\n%s", f, got)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

var errFull = errors.New("no space left on device")

func TestWriteErrorsAreReported(t *testing.T) {
	for _, f := range []report.Format{report.Text, report.JSON, report.NDJSON, report.Markdown, report.CSV, report.SARIF, report.JUnit} {
		if err := report.Write(fullDisk{}, f, report.Decisions([]attestor.Decision{refused(1)}), report.Options{}); !errors.Is(err, errFull) {
			t.Errorf("%s: %v, want the writer's error", f, err)
		}
	}
}
