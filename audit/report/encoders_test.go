package report_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit/report"
	"github.com/attestor-gate/attestor/internal/junit"
)

var update = flag.Bool("update", false, "write the golden files anew")

func encode(t testing.TB, f report.Format, o report.Options, ds ...attestor.Decision) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Write(&b, f, ds, o); err != nil {
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
		o  report.Options
		in []attestor.Decision
	}{
		"none": {}, "two": {in: []attestor.Decision{d, d}}, "one as a list": {o: report.Options{List: true}, in: []attestor.Decision{d}},
	} {
		var list []attestor.Decision
		if err := json.Unmarshal([]byte(encode(t, report.JSON, tt.o, tt.in...)), &list); err != nil || len(list) != len(tt.in) || list == nil {
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

// TestOthersComeAfterDecisions: what was judged beside the images stands in the
// same document, and counts.
func TestOthersComeAfterDecisions(t *testing.T) {
	other := sarif.NewRunWithInformationURI("another", "https://example.com")
	other.AddRule("R").WithDescription("a rule")
	other.CreateResultForRule("R").WithMessage(sarif.NewTextMessage("found"))
	o := report.Options{Runs: []*sarif.Run{other}, Suites: []junit.Suite{{Name: "service", Cases: []junit.Case{{Name: "R", Failure: &junit.Detail{Message: "found"}}}}}}
	doc, err := sarif.FromString(encode(t, report.SARIF, o, refused(1)))
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(); err != nil || len(doc.Runs) != 2 || *doc.Runs[0].Tool.Driver.Name != "attestor" || len(doc.Runs[1].Results) != 1 {
		t.Errorf("%d runs, %v", len(doc.Runs), err)
	}
	var suites junit.Suites
	if err := xml.Unmarshal([]byte(encode(t, report.JUnit, o, passed(1))), &suites); err != nil {
		t.Fatal(err)
	}
	if len(suites.Suites) != 2 || suites.Suites[1].Name != "service" || suites.Failures != 1 || suites.Tests != 5 {
		t.Errorf("%d suites, %d of %d failed", len(suites.Suites), suites.Failures, suites.Tests)
	}
	if got, want := encode(t, report.CSV, o, passed(1)), encode(t, report.CSV, report.Options{}, passed(1)); got != want {
		t.Errorf("CSV has lines that are no decision:\n%s", got)
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

func TestZeroDecisionIsNeverGreen(t *testing.T) {
	for _, f := range []report.Format{report.Text, report.Markdown, report.CSV} {
		got := strings.ToLower(encode(t, f, report.Options{}, attestor.Decision{}))
		if !strings.Contains(got, "refused") && !strings.Contains(got, "deny") {
			t.Errorf("%s does not say that the zero decision refuses:\n%s", f, got)
		}
	}
}

func TestParseFormat(t *testing.T) {
	if f, err := report.ParseFormat("json", report.Text, report.JSON); err != nil || f != report.JSON {
		t.Errorf("json: %v, %v", f, err)
	}
	for _, s := range []string{"", "JSON", "html", "xml"} {
		if _, err := report.ParseFormat(s, report.Text, report.JSON); attestor.KindOf(err) != attestor.Invalid {
			t.Errorf("%q: %v, want an error of kind Invalid", s, err)
		}
	}
	if err := report.Write(io.Discard, report.HTML, nil, report.Options{}); attestor.KindOf(err) != attestor.Invalid {
		t.Errorf("HTML of decisions: %v", err)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

var errFull = errors.New("no space left on device")

func TestWriteErrorsAreReported(t *testing.T) {
	for _, f := range []report.Format{report.Text, report.JSON, report.NDJSON, report.Markdown, report.CSV, report.SARIF, report.JUnit} {
		if err := report.Write(fullDisk{}, f, []attestor.Decision{refused(1)}, report.Options{}); !errors.Is(err, errFull) {
			t.Errorf("%s: %v, want the writer's error", f, err)
		}
	}
}
