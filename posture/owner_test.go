package posture_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/posture"
)

// Each finding names who answers for its workload: the label owner, else team, else the project, in every form.
func TestFindingsNameTheOwner(t *testing.T) {
	const spec = "spec: {template: {spec: {containers: [{image: r.example/a:1}]}}}\n"
	knative := func(meta string) string {
		return "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: api" + meta + "}\n" + spec
	}
	const v2 = `{"name": "projects/acme/locations/us-east1/services/api", "template": {"containers": [{"image": "r/a:1"}]}`

	for name, tt := range map[string]struct{ text, want string }{
		"owner":                  {knative(", namespace: acme, labels: {owner: payments, team: web}"), "payments"},
		"team":                   {knative(", namespace: acme, labels: {team: web}"), "web"},
		"an annotation":          {knative(", annotations: {owner: payments}"), "payments"},
		"an empty label":         {knative(", namespace: acme, labels: {owner: \"\"}"), "acme"},
		"another label":          {knative(", namespace: acme, labels: {owners: x}"), "acme"},
		"the project":            {knative(", namespace: acme"), "acme"},
		"nobody":                 {knative(""), ""},
		"v2":                     {v2 + `, "labels": {"owner": "payments"}}`, "payments"},
		"v2, of the template":    {v2[:len(v2)-1] + `, "labels": {"team": "web"}}}`, "web"},
		"v2, the project":        {v2 + "}", "acme"},
		"control characters":     {knative(`, labels: {owner: "a\e[31m"}`), `a\u001b[31m`},
		"longer than a label is": {knative(", labels: {owner: " + strings.Repeat("x", 5000) + "}"), ""},
	} {
		r := mustJudge(t, builtin(t, "baseline"), nil, posture.Input{Definitions: []posture.Source{source(tt.text)}})
		got := finding(t, r, "INGRESS_RESTRICTED").Owner
		if name == "longer than a label is" {
			if len(got) > 150 || !strings.HasPrefix(got, "xxx") {
				t.Errorf("%s: %d bytes", name, len(got))
			}
		} else if got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
