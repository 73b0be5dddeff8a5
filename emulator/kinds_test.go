package emulator_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor/emulator"
)

const skill = `{"resourceUri": "https://r/app@sha256:1", "noteName": "projects/goog-analysis/notes/AI_SKILL", "kind": "AI_SKILL_ANALYSIS",
  "aiSkillAnalysis": {"skillName": "deploy", "maxSeverity": "CRITICAL", "findings": [{"severity": "CRITICAL"}]}}`

// TestForeignKinds: a kind that the Go types do not have is created, read, listed, filtered and loaded over REST, and is a kind by number
// over gRPC.
func TestForeignKinds(t *testing.T) {
	g := newGoogle(t, emulator.Options{StateDir: t.TempDir()})
	base := "http://" + serve(t, g.Emulator) + "/v1/projects/p/occurrences"
	later := strings.NewReplacer("AI_SKILL_ANALYSIS", "ROBOT_ARM_2", "aiSkillAnalysis", "robotArm2", "AI_SKILL", "ROBOT").Replace(skill)
	discovery := `{"resourceUri": "https://r/app@sha256:1", "noteName": ` +
		`"projects/goog-analysis/notes/PACKAGE_VULNERABILITY", "discovery": {"analysisStatus": "FINISHED_SUCCESS"}}`
	type occurrence struct {
		Name, Kind      string
		AISkillAnalysis struct{ SkillName, MaxSeverity string }
		RobotArm2       struct{ SkillName string }
	}
	read := func(text string) (o occurrence) { unmarshal(t, text, &o); return o }

	status, made := send(t, "POST", base, skill)
	o := read(made)
	if status != 200 || o.Kind != "AI_SKILL_ANALYSIS" || o.AISkillAnalysis.SkillName != "deploy" || o.AISkillAnalysis.MaxSeverity != "CRITICAL" {
		t.Fatalf("%d %s", status, made)
	}
	if status, got := send(t, "GET", "http://"+strings.Split(base, "/")[2]+"/v1/"+o.Name, ""); status != 200 ||
		read(got).AISkillAnalysis.SkillName != "deploy" {
		t.Errorf("read again: %d %s", status, got)
	}
	status, batch := send(t, "POST", base+":batchCreate", `{"occurrences": [`+later+`, `+discovery+`]}`)
	if status != 200 || !strings.Contains(batch, `"robotArm2"`) {
		t.Fatalf("a batch: %d %s", status, batch)
	}

	for _, tt := range []struct {
		filter string
		want   []string
	}{
		{``, []string{"AI_SKILL_ANALYSIS", "ROBOT_ARM_2", "DISCOVERY"}},
		{`kind = "AI_SKILL_ANALYSIS"`, []string{"AI_SKILL_ANALYSIS"}},
		{`kind != "AI_SKILL_ANALYSIS"`, []string{"ROBOT_ARM_2", "DISCOVERY"}},
		{`(kind != "PACKAGE") AND (kind != "DISCOVERY") AND (resourceUrl = "https://r/app@sha256:1")`, []string{"AI_SKILL_ANALYSIS", "ROBOT_ARM_2"}},
		{`kind = "SECRET"`, nil},
	} {
		_, answer := send(t, "GET", base+"?filter="+url.QueryEscape(tt.filter), "")
		var list struct{ Occurrences []occurrence }
		unmarshal(t, answer, &list)
		var got []string
		for _, o := range list.Occurrences {
			got = append(got, o.Kind)
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: %v, want %v", tt.filter, got, tt.want)
		}
	}

	// Over gRPC it has a number and no details.
	all := g.list(t, "projects/p", "")
	if len(all) != 3 || all[0].GetKind() != 14 || all[0].GetDetails() != nil || all[1].GetKind() < 1000 || all[2].GetKind() != grafeaspb.NoteKind_DISCOVERY {
		t.Errorf("over gRPC: %v", all)
	}

	// What was printed can be loaded.
	h := newGoogle(t, emulator.Options{})
	if n, err := h.Load(strings.NewReader(made)); n != 1 || err != nil {
		t.Fatalf("loaded %d, %v", n, err)
	}
	if _, got := send(t, "GET", "http://"+serve(t, h.Emulator)+"/v1/"+o.Name, ""); read(got).AISkillAnalysis.SkillName != "deploy" {
		t.Errorf("loaded: %s", got)
	}
}

// TestForeignKindsThatAreRefused: a kind without its details, or with those of another, is no occurrence.
func TestForeignKindsThatAreRefused(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	base := "http://" + serve(t, g.Emulator) + "/v1/projects/p/occurrences"
	for name, body := range map[string]string{
		"without details":             strings.Replace(skill, "aiSkillAnalysis", "aiSkill", 1),
		"details that are no object":  `{"resourceUri": "r", "noteName": "projects/goog-analysis/notes/x", "kind": "AI_SKILL_ANALYSIS", "aiSkillAnalysis": 1}`,
		"details of two kinds":        strings.Replace(skill, `"aiSkillAnalysis"`, `"discovery": {}, "aiSkillAnalysis"`, 1),
		"an unknown field beside":     strings.Replace(skill, `"aiSkillAnalysis"`, `"nope": 1, "aiSkillAnalysis"`, 1),
		"a kind that is no name":      strings.ReplaceAll(skill, "AI_SKILL_ANALYSIS", "ai skill"),
		"the kind of another's note":  strings.Replace(skill, "goog-analysis/notes/AI_SKILL", "goog-analysis/notes/PACKAGE_VULNERABILITY", 1),
		"a note that is not there":    strings.Replace(skill, "goog-analysis", "acme", 1),
		"the details without a kind":  strings.Replace(skill, `"kind": "AI_SKILL_ANALYSIS",`, "", 1),
		"a known kind, other details": strings.Replace(skill, `"AI_SKILL_ANALYSIS"`, `"SECRET"`, 1),
	} {
		if name == "the kind of another's note" {
			if status, answer := send(t, "POST", base, `{"resourceUri": "r", "noteName": `+
				`"projects/goog-analysis/notes/PACKAGE_VULNERABILITY", "discovery": {}}`); status != 200 {
				t.Fatal(answer)
			}
		}
		if status, answer := send(t, "POST", base, body); status != 400 && status != 404 {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
}

// TestSecretsKeepNoValue: the field that may be the secret itself is not kept, whichever way it comes.
func TestSecretsKeepNoValue(t *testing.T) {
	const value = "AIzaSyValueOfTheSecret"
	body := `{"name": "projects/p/occurrences/1", "resourceUri": "r", "noteName": "projects/goog-analysis/notes/SECRET", "kind": "SECRET",
	  "secret": {"kind": "SECRET_KIND_GCP_API_KEY", "data": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "` + value + `"}}}`
	g := newGoogle(t, emulator.Options{})
	base := "http://" + serve(t, g.Emulator) + "/v1/projects/p/occurrences"
	status, made := send(t, "POST", base, strings.Replace(body, `"name": "projects/p/occurrences/1", `, "", 1))
	if _, err := g.Load(strings.NewReader(body)); status != 200 || err != nil {
		t.Fatalf("%d %s, %v", status, made, err)
	}
	_, all := send(t, "GET", base, "")
	var list struct{ Occurrences []json.RawMessage }
	unmarshal(t, all, &list)
	if len(list.Occurrences) != 2 || strings.Contains(made+all, value) {
		t.Errorf("%s\n%s", made, all)
	}
}
