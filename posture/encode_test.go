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
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

var update = flag.Bool("update", false, "write the golden files anew")

func write(t testing.TB, f posture.Format, r posture.Report, o posture.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := posture.Write(&b, f, r, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	p := exceptions(t, `    - {rule: MIN_INSTANCES, services: [shop], owner: shop@acme.example, reason: cold starts are fine, expires: 2026-12-31}
    - {rule: CMEK, services: [shop], owner: shop@acme.example, reason: "until the key is there", expires: 2026-10-31}
    - {rule: RESOURCE_LIMITS, services: [shop], owner: shop@acme.example, reason: r, expires: 2026-12-31}
`)
	refused := mustJudge(t, p, &attested{err: errors.New("down")}, posture.Input{Definitions: []posture.Source{{Name: "shop.yaml", Text: []byte(sample(t, "typical.yaml"))}}})
	clean := mustJudge(t, builtin(t, "hipaa"), &attested{answer: true}, whole(t, sample(t, "hardened.yaml")))
	down := mustJudge(t, builtin(t, "strict"), &attested{err: errors.New("down")}, whole(t, sample(t, "hardened-job.yaml")))
	plan := mustJudge(t, builtin(t, "strict"), nil, posture.Input{Definitions: []posture.Source{{Name: "plan.json", Text: []byte(replace(t, sample(t, "plan.json"), "INTERNAL_LOAD_BALANCER", "ALL", `"timeout": "60s", `, ""))}}})
	for _, tt := range []struct {
		name string
		f    posture.Format
		o    posture.Options
		r    posture.Report
	}{
		{"refused.txt", posture.Text, posture.Options{}, refused},
		{"refused-colour.txt", posture.Text, posture.Options{Colour: true}, refused},
		{"clean.txt", posture.Text, posture.Options{}, clean},
		{"undecided.txt", posture.Text, posture.Options{}, down},
		{"plan.txt", posture.Text, posture.Options{}, plan},
		{"refused.json", posture.JSON, posture.Options{}, refused},
		{"refused.sarif", posture.SARIF, posture.Options{Version: "1.2.3"}, refused},
		{"refused.junit.xml", posture.JUnit, posture.Options{}, refused},
		{"refused.md", posture.Markdown, posture.Options{}, refused},
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
	for f, want := range map[posture.Format]string{posture.Text: "REFUSED", posture.JSON: `"verdict": "deny"`, posture.JUnit: `failures="1"`, posture.Markdown: "refused"} {
		if got := write(t, f, posture.Report{}, posture.Options{}); !strings.Contains(got, want) {
			t.Errorf("%s: %s", f, got)
		}
	}
	if err := posture.Write(&bytes.Buffer{}, "yaml", posture.Report{}, posture.Options{}); err == nil {
		t.Error("an unknown format was written")
	}
	undecided := posture.Report{Verdict: attestor.Undecided}
	for f, want := range map[posture.Format]string{posture.Text: "COULD NOT BE DECIDED", posture.JUnit: `errors="1"`, posture.SARIF: `"executionSuccessful": false`} {
		if got := write(t, f, undecided, posture.Options{}); !strings.Contains(got, want) {
			t.Errorf("%s: %s", f, got)
		}
	}
	odd := posture.Report{Verdict: "fine", Findings: []posture.Finding{{Rule: "CMEK", Status: "odd", Found: "x"}}}
	if got := write(t, posture.JUnit, odd, posture.Options{}); !strings.Contains(got, `errors="1"`) {
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
	for _, f := range posture.Formats() {
		got := write(t, f, r, posture.Options{})
		if f != posture.JSON && strings.ContainsAny(got, "\x1b\u202e") {
			t.Errorf("%s lets control characters through", f)
		}
		switch f {
		case posture.JUnit:
			var doc struct {
				Suites []struct {
					Name string `xml:"name,attr"`
				} `xml:"testsuite"`
			}
			if err := xml.Unmarshal([]byte(got), &doc); err != nil || len(doc.Suites) != 1 || !strings.Contains(doc.Suites[0].Name, "<script>|@team](x)") {
				t.Errorf("%v: %v", doc, err)
			}
		case posture.SARIF:
			var doc sarif.Report
			if err := json.Unmarshal([]byte(got), &doc); err != nil || len(doc.Runs) != 1 || len(doc.Runs[0].Results) == 0 {
				t.Errorf("%v", err)
			} else if err := doc.Validate(); err != nil {
				t.Error(err)
			}
		case posture.Markdown:
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
