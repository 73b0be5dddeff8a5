package report_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/report"
)

// sample is a document of a kind for an encoding, with something that refuses.
func sample(t *testing.T, e report.Encoding, k report.Kind) report.Document {
	t.Helper()
	switch k {
	case report.OfDecisions:
		return report.Decisions([]attestor.Decision{hostile(1)})

	case report.OfRecord:
		if e.Lists {
			return report.RecordList([]attestor.Decision{hostile(1)}, nil, nil)
		}
		return report.Record(summarise(t, report.SummaryOptions{Now: day}, hostile(1)))

	case report.OfPosture:
		return report.Services(attestor.PostureReport{Profile: hostileText, Findings: []attestor.PostureFinding{{
			Rule: "CMEK", Service: hostileText, Kind: "service", File: hostileText, Line: 3,
			Status: attestor.StatusDeny, Message: hostileText, Fix: hostileText,
			Exceptions: []attestor.AppliedException{{ID: "CMEK", Owner: hostileText, Reason: hostileText, Subject: hostileText}},
		}}}, nil)

	case report.OfTests, report.OfSimulation:
		return report.Document{Kind: k, Value: []string{hostileText}, Parts: []report.Part{{
			Layout: report.AsTable, Verdict: attestor.Deny, Lead: hostileText, Notes: []string{hostileText},
			Tables: []report.Table{{Columns: []report.Column{{Name: "case"}, {Name: "image", Kind: report.Code}},
				Rows: [][]string{{hostileText, hostileText}}}},
			Subjects: []report.Subject{{Name: hostileText, Items: []report.Item{{File: hostileText, Group: hostileText, Check: attestor.Check{
				Name: hostileText, Status: attestor.StatusDeny, Reasons: []attestor.Reason{{Severity: attestor.Refuses, Message: hostileText}},
			}}}}},
		}}}
	}

	t.Fatalf("no sample of kind %q: add one", k)

	return report.Document{}
}

// TestEveryFormatWritesItsKinds: each cell of the table of formats writes
// something, and nothing that a terminal would obey.
func TestEveryFormatWritesItsKinds(t *testing.T) {
	for _, e := range report.Encodings() {
		if e.ContentType == "" || len(e.Kinds) == 0 {
			t.Errorf("%s: the row is incomplete", e.Format)
		}
		for _, k := range e.Kinds {
			got := document(t, e.Format, sample(t, e, k), report.Options{})
			if !strings.Contains(got, "alert(1)") {
				t.Errorf("%s of %s does not show what was judged:\n%s", e.Format, k, got)
			}
			if strings.ContainsAny(got, "\x1b\u009b\u202e\x07\x00") {
				t.Errorf("%s of %s lets control characters through", e.Format, k)
			}
		}
	}
}

// TestFormatsOfAnotherKindAreRefused, and the error lists those of this one.
func TestFormatsOfAnotherKindAreRefused(t *testing.T) {
	kinds := []report.Kind{report.OfDecisions, report.OfRecord, report.OfPosture, report.OfTests, report.OfSimulation}
	for _, k := range kinds {
		for _, e := range report.Encodings() {
			_, err := report.Find(string(e.Format), k)
			if accepted := slices.Contains(e.Kinds, k); accepted != (err == nil) || accepted != strings.Contains(report.Accepted(k), string(e.Format)) {
				t.Errorf("%s of %s: %v; the help says %s", e.Format, k, err, report.Accepted(k))
			}
			if err == nil {
				continue
			}
			if err := report.Write(&bytes.Buffer{}, e.Format, report.Document{Kind: k}, report.Options{}); attestor.KindOf(err) != attestor.Invalid {
				t.Errorf("%s of %s was written: %v", e.Format, k, err)
			}
		}
		for _, name := range []string{"", "JSON", "xml"} {
			if _, err := report.Find(name, k); attestor.KindOf(err) != attestor.Invalid {
				t.Errorf("%q: %v, want an error of kind Invalid", name, err)
			}
		}
	}
}

// TestARecordIsNeverEmptyByMistake: a format that lists decisions refuses their
// summary, and the other way round.
func TestARecordIsNeverEmptyByMistake(t *testing.T) {
	for _, e := range report.Encodings() {
		if !slices.Contains(e.Kinds, report.OfRecord) {
			continue
		}

		wrong := report.RecordList([]attestor.Decision{refused(1)}, nil, nil)
		if e.Lists {
			wrong = report.Record(report.Summary{})
		}
		if err := report.Write(&bytes.Buffer{}, e.Format, wrong, report.Options{}); attestor.KindOf(err) != attestor.Invalid {
			t.Errorf("%s: %v, want an error of kind Invalid", e.Format, err)
		}
	}
}

// TestFormatsAreDocumented: docs/audit.md has the table of formats.
func TestFormatsAreDocumented(t *testing.T) {
	const path, begin, end = "../docs/audit.md", "<!-- formats -->\n", "<!-- /formats -->"
	kinds := []report.Kind{report.OfDecisions, report.OfRecord, report.OfPosture, report.OfTests, report.OfSimulation}

	var want strings.Builder
	want.WriteString("| `-o` | `attest`, `check`, `decisions list` | `report`, `audit` | `posture` | `policy test` | `policy simulate` | media type |\n")
	want.WriteString("| --- | --- | --- | --- | --- | --- | --- |\n")

	for _, e := range report.Encodings() {
		fmt.Fprintf(&want, "| `%s` |", e.Format)
		for _, k := range kinds {
			fmt.Fprintf(&want, " %s |", map[bool]string{true: "yes", false: "–"}[slices.Contains(e.Kinds, k)])
		}
		fmt.Fprintf(&want, " `%s` |\n", e.ContentType)
	}

	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	before, rest, _ := strings.Cut(string(text), begin)
	got, after, found := strings.Cut(rest, end)
	if !found {
		t.Fatalf("%s has no place for the table", path)
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want.String()+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		got = want.String()
	}
	if got != want.String() {
		t.Errorf("%s is not the table of formats; go test ./report -update writes it:\n%s", path, want.String())
	}
}

// TestAFormatIsOneFileAndOneRow follows docs/adding.md: its file and its row,
// and nothing else, are a format that the tests of this package know.
func TestAFormatIsOneFileAndOneRow(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles this package's tests once more")
	}

	text, err := os.ReadFile("../docs/adding.md")
	if err != nil {
		t.Fatal(err)
	}

	_, section, _ := strings.Cut(string(text), "## A report format\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)   ```go\n(.*?)   ```").FindAllStringSubmatch(section, -1)
	if len(blocks) != 2 {
		t.Fatalf("docs/adding.md has %d blocks of Go, want the file and the row", len(blocks))
	}

	table, err := os.ReadFile("report.go")
	if err != nil {
		t.Fatal(err)
	}

	const first = "return []Encoding{\n"
	if strings.Count(string(table), first) != 1 {
		t.Fatal("report.go has no table of formats where this test looks for it")
	}

	dir, here := t.TempDir(), must(filepath.Abs("."))
	replaced := map[string]string{}

	for name, content := range map[string]string{
		"tsv.go":    strings.ReplaceAll(blocks[0][1], "\n   ", "\n")[len("   "):],
		"report.go": strings.Replace(string(table), first, first+blocks[1][1], 1),
	} {
		replaced[filepath.Join(here, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, must(json.Marshal(map[string]any{"Replace": replaced})), 0o600); err != nil {
		t.Fatal(err)
	}

	// The table in docs/audit.md has no such row, and TestFormatsAreDocumented says so.
	out, err := exec.CommandContext(t.Context(), "go", "test", "-overlay="+overlay, "-short", "-count=1", "-v",
		"-run", "TestEveryFormat|TestFormats|TestARecord", ".").CombinedOutput()

	if !strings.Contains(string(out), "| `tsv` | yes | yes | – | – | – |") {
		t.Errorf("the new format is in no table: %v\n%s", err, out)
	}

	for _, name := range []string{"TestEveryFormatWritesItsKinds", "TestFormatsOfAnotherKindAreRefused", "TestARecordIsNeverEmptyByMistake"} {
		if !strings.Contains(string(out), "--- PASS: "+name) {
			t.Errorf("%s does not pass with the new format:\n%s", name, out)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
