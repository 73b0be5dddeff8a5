package engine_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/posture"
	"github.com/attestor-gate/attestor/report"
)

// TestPostureFindingsHaveOneJSON: the service, the command and the section of a
// report write the same findings; only files have a name.
func TestPostureFindingsHaveOneJSON(t *testing.T) {
	profile, ok := posture.Builtin("hipaa")
	if !ok {
		t.Fatal("no profile hipaa")
	}

	judge, err := posture.New(posture.Config{Profile: profile, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}

	text := []byte(`{"name": "projects/acme/locations/us-east1/services/api", "ingress": "INGRESS_TRAFFIC_ALL",
		"template": {"containers": [{"image": "r/a:1"}]}}`)

	type findings struct {
		Findings []map[string]any `json:"findings"`
	}

	read := func(text []byte) (out struct {
		findings
		Posture findings `json:"posture"`
	}) {
		t.Helper()
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}

	written := func(f report.Format, d report.Document) []byte {
		t.Helper()
		var b bytes.Buffer
		if err := report.Write(&b, f, d, report.Options{}); err != nil {
			t.Fatal(err)
		}

		return b.Bytes()
	}

	served, err := engine.PosturesOf(judge).Judge(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}

	api, err := json.Marshal(served)
	if err != nil {
		t.Fatal(err)
	}

	judged, err := judge.Judge(t.Context(), posture.Input{Definitions: []posture.Source{{Name: "api.json", Text: text}}})
	if err != nil {
		t.Fatal(err)
	}

	command := read(written(report.JSON, report.Services(judged, nil))).Findings
	section := read(written(report.JSON, report.Record(report.Summary{Posture: report.Section(judged, nil)}))).Posture.Findings

	// Every finding of the section is one of the command's, to the letter.
	if len(section) == 0 {
		t.Error("the section has no findings")
	}

	for _, f := range section {
		same := false
		for _, c := range command {
			same = same || cmp.Equal(c, f)
		}
		if !same {
			t.Errorf("the section has another finding: %v", f)
		}
	}

	for _, f := range command {
		if f["file"] != "api.json" {
			t.Errorf("the command names no file: %v", f)
		}
		delete(f, "file")
	}

	if d := cmp.Diff(command, read(api).Findings); d != "" {
		t.Errorf("the service (-command +service):\n%s", d)
	}
}
