package posture_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// TestRequest: a definition and who may call it in one document, as the service takes it.
func TestRequest(t *testing.T) {
	indent := func(text string) string { return "    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") }
	request := func(iam, project string) string {
		return "apiVersion: attestor/v1\nkind: PostureRequest\ndefinitions:\n  -\n" + indent(sample(t,
			"hardened.yaml")) + "\niam:\n  - policy: " + iam + "\nprojectIam:\n  - " + project + "\n"
	}

	compact := func(name string) string { return strings.Join(strings.Fields(sample(t, name)), " ") }
	whole := request(compact("service-iam.json"), compact("project-iam.json"))
	if r := mustJudge(t, builtin(t, "strict"), &attested{answer: true},
		posture.Input{Definitions: []posture.Source{source(whole)}}); r.Verdict != attestor.Pass || r.Services != 1 {
		t.Errorf("%s, %d services", r.Verdict, r.Services)
	}

	public := request(`{"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}`, compact("project-iam.json"))
	if f := finding(t, mustJudge(t, builtin(t, "strict"), &attested{answer: true}, posture.Input{
		Definitions: []posture.Source{source(public)}}), "INVOKER_AUTH"); f.Status != attestor.StatusDeny {
		t.Errorf("%s: %s", f.Status, f.Message)
	}

	for name, text := range map[string]string{
		"another service":  strings.Replace(whole, "- policy:", "- service: other\n    policy:", 1),
		"no policy":        request("{}", compact("project-iam.json")),
		"a project's":      request(`{"bindings": [{"role": "roles/owner", "members": ["user:a@acme.example"]}]}`, compact("project-iam.json")),
		"an unknown field": whole + "projectIAM: []\n",
		"no definition":    "apiVersion: attestor/v1\nkind: PostureRequest\ndefinitions: []\n",
		"another in it": "apiVersion: attestor/v1\nkind: PostureRequest\ndefinitions:\n" +
			"  - {apiVersion: attestor/v1, kind: PostureRequest, definitions: []}\n",
		"another version": strings.Replace(whole, "attestor/v1", "attestor/v2", 1),
		"no list":         "apiVersion: attestor/v1\nkind: PostureRequest\ndefinitions: none\n",
	} {
		if _, err := judge(t, builtin(t, "baseline"), nil,
			posture.Input{Definitions: []posture.Source{source(text)}}); attestor.KindOf(err) != attestor.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
