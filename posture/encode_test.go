package posture_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
	"github.com/attestor-gate/attestor/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

func write(t testing.TB, f report.Format, r attestor.PostureReport, o report.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Write(&b, f, report.Services(r, posture.Meanings()), o); err != nil {
		t.Fatal(err)
	}

	return b.String()
}

func TestGolden(t *testing.T) {
	p := exceptions(t, `    - {rule: MIN_INSTANCES, services: [shop], owner: shop@acme.example, reason: cold starts are fine, expires: 2026-12-31}
    - {rule: CMEK, services: [shop], owner: shop@acme.example, reason: "until the key is there", expires: 2026-10-31}
    - {rule: RESOURCE_LIMITS, services: [shop], owner: shop@acme.example, reason: r, expires: 2026-12-31}
`)

	refused := mustJudge(t, p, &attested{err: errors.New("down")},
		posture.Input{Definitions: []posture.Source{{Name: "shop.yaml", Text: []byte(sample(t, "typical.yaml"))}}})
	clean := mustJudge(t, builtin(t, "hipaa"), &attested{answer: true}, whole(t, sample(t, "hardened.yaml")))
	down := mustJudge(t, builtin(t, "strict"), &attested{err: errors.New("down")}, whole(t, sample(t, "hardened-job.yaml")))
	plan := mustJudge(t, builtin(t, "strict"), nil,
		posture.Input{Definitions: []posture.Source{{Name: "plan.json", Text: []byte(replace(t,
			sample(t, "plan.json"), "INTERNAL_LOAD_BALANCER", "ALL", `"timeout": "60s", `, ""))}}})

	for _, tt := range []struct {
		name string
		f    report.Format
		o    report.Options
		r    attestor.PostureReport
	}{
		{"refused.txt", report.Text, report.Options{}, refused},
		{"refused-colour.txt", report.Text, report.Options{Colour: true}, refused},
		{"clean.txt", report.Text, report.Options{}, clean},
		{"undecided.txt", report.Text, report.Options{}, down},
		{"plan.txt", report.Text, report.Options{}, plan},
		{"refused.json", report.JSON, report.Options{}, refused},
		{"refused.sarif", report.SARIF, report.Options{Version: "1.2.3"}, refused},
		{"refused.junit.xml", report.JUnit, report.Options{}, refused},
		{"refused.md", report.Markdown, report.Options{}, refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, path := write(t, tt.f, tt.r, tt.o), filepath.Join("testdata", "golden", tt.name)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(sample(t, "golden/"+tt.name), got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestEncodersDenyTheZeroReport finds no green in any format.
func TestEncodersDenyTheZeroReport(t *testing.T) {
	for f, want := range map[report.Format]string{report.Text: "REFUSED", report.JSON: `"verdict": "deny"`,
		report.JUnit: `failures="1"`, report.Markdown: "refused"} {
		if got := write(t, f, attestor.PostureReport{}, report.Options{}); !strings.Contains(got, want) {
			t.Errorf("%s: %s", f, got)
		}
	}

	if err := report.Write(&bytes.Buffer{}, "yaml", report.Services(attestor.PostureReport{}, nil), report.Options{}); err == nil {
		t.Error("an unknown format was written")
	}

	undecided := attestor.PostureReport{Verdict: attestor.Undecided}
	for f, want := range map[report.Format]string{report.Text: "COULD NOT BE DECIDED", report.JUnit: `errors="1"`,
		report.SARIF: `"executionSuccessful": false`} {
		if got := write(t, f, undecided, report.Options{}); !strings.Contains(got, want) {
			t.Errorf("%s: %s", f, got)
		}
	}

	odd := attestor.PostureReport{Verdict: "fine", Findings: []attestor.PostureFinding{{Rule: "CMEK", Status: "odd", Message: "x"}}}
	if got := write(t, report.JUnit, odd, report.Options{}); !strings.Contains(got, `errors="1"`) {
		t.Errorf("an unknown status: %s", got)
	}
}

// TestHostileNames come out of every encoder as text.
func TestHostileNames(t *testing.T) {
	const name = "a\x1b[2J<script>|@team](x) \u202e"
	text, err := json.Marshal(map[string]any{"name": name, "template": map[string]any{"containers": []any{map[string]any{"image": name, "name": name}}}})
	if err != nil {
		t.Fatal(err)
	}

	r := mustJudge(t, builtin(t, "strict"), nil, posture.Input{Definitions: []posture.Source{{Name: name, Text: text}}})
	for _, e := range report.Encodings() {
		if !slices.Contains(e.Kinds, report.OfPosture) {
			continue
		}

		f := e.Format
		got := write(t, f, r, report.Options{})
		if f != report.JSON && strings.ContainsAny(got, "\x1b\u202e") {
			t.Errorf("%s lets control characters through", f)
		}

		switch f {
		case report.JUnit:
			var doc struct {
				Suites []struct {
					Name string `xml:"name,attr"`
				} `xml:"testsuite"`
			}
			if err := xml.Unmarshal([]byte(got), &doc); err != nil || len(doc.Suites) != 1 || !strings.Contains(doc.Suites[0].Name, "<script>|@team](x)") {
				t.Errorf("%v: %v", doc, err)
			}

		case report.SARIF:
			var doc sarif.Report
			if err := json.Unmarshal([]byte(got), &doc); err != nil || len(doc.Runs) != 1 || len(doc.Runs[0].Results) == 0 {
				t.Errorf("%v", err)
			} else if err := doc.Validate(); err != nil {
				t.Error(err)
			}

		case report.Markdown:
			bare := regexp.MustCompile("`[^`]*`").ReplaceAllString(got, "")
			if strings.Contains(bare, "<script>") || strings.Contains(bare, "@team") || strings.Contains(bare, "](x)") {
				t.Errorf("markup outside code: %s", bare)
			}
		}
	}

	if r.Verdict != attestor.Deny {
		t.Errorf("verdict %s", r.Verdict)
	}
}
