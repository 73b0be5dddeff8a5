package posture_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// connectorDocuments are a service of Config Connector with its grants and a policy of Cloud Armor, in a value of JSON.
func connectorDocuments(t testing.TB) []any {
	t.Helper()
	text := runService + "---\n" + connectorResource("compute", "ComputeSSLPolicy", "{location: global, minTlsVersion: TLS_1_2}") +
		"---\n" + connectorResource("sql", "SQLInstance", "{settings: {ipConfiguration: {ipv4Enabled: false, "+
		"privateNetworkRef: {name: prod}, sslMode: ENCRYPTED_ONLY}}}")
	var out []any
	for _, part := range strings.Split(text, "---\n") {
		if len(bytes.TrimSpace([]byte(part))) == 0 {
			continue
		}
		var v map[string]any
		if err := yaml.Unmarshal([]byte(part), &v); err != nil {
			t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

func connectorJudged(t testing.TB, docs []any) (attestor.PostureReport, error) {
	t.Helper()
	var in posture.Input
	for i, d := range docs {
		in.Definitions = append(in.Definitions, posture.Source{Name: fmt.Sprintf("%d.json", i), Text: []byte(encoded(t, d))})
	}
	return judge(t, builtin(t, "hipaa"), &attested{answer: true}, in)
}

// lacking is what a document of Config Connector must not lack and pass, by a look that shares nothing with the rules.
func lacking(docs []any) []string {
	var out []string
	for _, d := range docs {
		d, _ := d.(map[string]any)
		text := fmt.Sprint(d["spec"])
		switch d["kind"] {
		case "RunService":
			spec, _ := d["spec"].(map[string]any)
			if ingress := fmt.Sprint(spec["ingress"]); !strings.Contains(ingress, "INTERNAL") && !strings.Contains(ingress, "NONE") &&
				ingress != "2" && ingress != "3" && ingress != "4" {
				out = append(out, "INGRESS_RESTRICTED")
			}
			if !strings.Contains(text, "@sha256:") {
				out = append(out, "IMAGE_BY_DIGEST")
			}
			if disabled := fmt.Sprint(spec["invokerIAMDisabled"], spec["invokerIamDisabled"]); strings.Contains(disabled, "true") {
				out = append(out, "INVOKER_AUTH")
			}
		case "IAMPolicy":
			if strings.Contains(strings.ReplaceAll(text, "role:allUsers", ""), "allUsers") && strings.Contains(text, "RunService") {
				out = append(out, "INVOKER_AUTH")
			}
		case "SQLInstance":
			if !strings.Contains(text, "ipv4Enabled:false") && spelled(text) {
				out = append(out, "DATABASE_PRIVATE")
			}
		}
	}
	return out
}

// spelled reports a database that is still one: with settings that were not replaced as a whole by a word.
func spelled(text string) bool { return strings.HasPrefix(text, "map[") }

// TestMutatedConnectorDocuments: documents of Config Connector that were changed at random are judged or refused, and no rule
// passes that what they lack breaks; a public grant beside them never helps.
func TestMutatedConnectorDocuments(t *testing.T) {
	public := map[string]any{}
	if err := yaml.Unmarshal([]byte(connectorResource("iam", "IAMPolicyMember",
		"{member: allUsers, role: roles/run.invoker, resourceRef: {kind: Project, external: projects/acme}}")), &public); err != nil {
		t.Fatal(err)
	}

	rng := random(t)
	outcomes, times := map[string]int{}, 250
	if os.Getenv("GATE_TEST_ALL") != "" {
		times = 1000
	}
	for i := range times {
		docs := connectorDocuments(t)
		if i > 0 {
			mutate(rng, within(docs), 1+rng.IntN(4))
		}
		r, err := connectorJudged(t, docs)
		if err != nil {
			if !isInvalid(err) {
				t.Errorf("%d: %v", i, err)
			}
			outcomes["refused"]++
			continue
		}
		outcomes["judged"]++
		for _, rule := range lacking(docs) {
			if worst(r, rule) == attestor.StatusPass {
				t.Errorf("%d: %s passes: %s", i, rule, encoded(t, docs))
			}
		}

		if i%4 == 0 {
			if open, err := connectorJudged(t, append(docs, any(public))); err == nil && r.Services > 0 && open.Verdict != attestor.Deny {
				t.Errorf("%d: %s became %s by a public grant: %s", i, r.Verdict, open.Verdict, encoded(t, docs))
			}
		}
	}
	if outcomes["judged"] < times/4 || outcomes["refused"] < times/50 {
		t.Errorf("the mutations reach only %v", outcomes)
	}
}

// within puts documents as deep as the resources of a plan, so that mutate changes what is in them and not the kinds alone.
func within(docs []any) any { return map[string]any{"documents": docs} }
