package posture_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// TestLevels keeps the table of docs/posture.md equal to the profiles, as seen
// from what becomes of a service that breaks everything.
func TestLevels(t *testing.T) {
	b, err := os.ReadFile("../docs/posture.md")
	if err != nil {
		t.Fatal(err)
	}

	rows := regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| .* \\| (yes|no) \\| (\\w+) \\| (\\w+) \\| (\\w+) \\|$").FindAllStringSubmatch(string(b), -1)
	if len(rows) != len(serviceRules()) {
		t.Fatalf("the table has %d rows, there are %d rules", len(rows), len(serviceRules()))
	}

	in := whole(t, replace(t, sample(t, "typical.yaml"), "latestRevision: true", "revisionName: shop-00001-old",
		"startupProbe", "readinessProbe", "containerConcurrency: 80", "containerConcurrency: 0",
		"maxScale: '100'", "maxScale: '0'\n        run.googleapis.com/secure-session-agent: 'true'\n"+
			"        run.googleapis.com/cloudsql-instances: acme:europe-west1:db",
		"    run.googleapis.com/client-name", "    run.googleapis.com/build-source-location: gs://b/o\n"+
			"    run.googleapis.com/client-name", "            memory: 512Mi\n", "", "timeoutSeconds: 300",
		"timeoutSeconds: 900\n      volumes: [{name: share, nfs: {server: 10.0.0.2, path: /}}]", "ingress: all",
		"ingress: internal-and-cloud-load-balancing"))

	in.ProjectIAM[0].Text = []byte(`{"bindings": [{"role": "roles/editor", "members": ["serviceAccount:123456789012-compute@developer.gserviceaccount.com"]},
		{"role": "roles/secretmanager.secretAccessor", "members": ["serviceAccount:123456789012-compute@developer.gserviceaccount.com"]}]}`)
	open := whole(t, sample(t, "typical.yaml")) // a default URL is wrong only behind a load balancer, and so not with this ingress
	linked := whole(t, replace(t, sample(t, "typical.yaml"), "maxScale: '100'", "maxScale: '0'\n"+
		"        run.googleapis.com/encryption-key: projects/p/locations/l/keyRings/r/cryptoKeys/k\n        "+
		`run.googleapis.com/network-interfaces: '[{"network":"default"}]'`)) // these rules are about what others ask for

	for column, profile := range posture.Profiles() {
		r, ingress := mustJudge(t, builtin(t, profile), &attested{}, in), mustJudge(t, builtin(t, profile), nil, open)
		for i, row := range rows {
			if rule := serviceRules()[i]; rule.ID != row[1] || rule.Jobs != (row[2] == "yes") {
				t.Errorf("row %d is %s, jobs %s", i, row[1], row[2])
			}

			f := finding(t, r, row[1])
			switch row[1] {
			case "INGRESS_RESTRICTED":
				f = finding(t, ingress, row[1])
			case "NETWORK_OWN", "KEY_REVOCATION":
				f = finding(t, mustJudge(t, builtin(t, profile), nil, linked), row[1])
			}

			want := map[string]attestor.Status{"deny": "deny", "warn": "warn", "off": "skipped"}[row[3+column]]
			if row[1] == "REVISION_JUDGED" { // evidence is missing, never found to be wrong
				want = map[string]attestor.Status{"baseline": "skipped", "hipaa": "skipped", "strict": "error"}[profile]
			}
			if f.Status != want {
				t.Errorf("%s: %s is %s, documented as %s: %s", profile, row[1], f.Status, row[3+column], f.Message)
			}
		}
	}
}

// TestExceptionsOfFiles: an exception for files accepts findings in those alone, until its day.
func TestExceptionsOfFiles(t *testing.T) {
	text := replace(t, sample(t, "hardened.yaml"), "LOG_LEVEL", "DB_PASSWORD", "value: info", "value: hunter2")
	for _, tt := range []struct {
		name, where, file string
		want              attestor.Status
	}{
		{"its file", "files: [examples/*.yaml]", "examples/a.yaml", attestor.StatusPass},
		{"across directories", "files: [\"examples/**/*.yaml\"]", "examples/run/us/a.yaml", attestor.StatusPass},
		{"another file", "files: [examples/*.yaml]", "deploy/a.yaml", attestor.StatusDeny},
		{"a directory deeper", "files: [examples/*.yaml]", "examples/run/a.yaml", attestor.StatusDeny},
		{"its file and service", "files: [examples/*.yaml], services: [api]", "examples/a.yaml", attestor.StatusPass},
		{"its file, another service", "files: [examples/*.yaml], services: [web]", "examples/a.yaml", attestor.StatusDeny},
		{"its service, another file", "files: [examples/*.yaml], services: [api]", "a.yaml", attestor.StatusDeny},
		{"another variable", "files: [examples/*.yaml], subject: API_KEY", "examples/a.yaml", attestor.StatusDeny},
	} {
		p := custom(t, "apiVersion: attestor/v1\nkind: PostureProfile\nmetadata: {name: ours}\nspec:\n"+
			"  extends: hipaa\n  exceptions:\n    - {rule: SECRETS_BY_REFERENCE, "+tt.where+
			", owner: a@acme.example, reason: r, expires: 2027-01-31}\n")
		r := mustJudge(t, p, nil, posture.Input{Definitions: []posture.Source{{Name: tt.file, Text: []byte(text)}}})
		if f := finding(t, r, "SECRETS_BY_REFERENCE"); f.Status != tt.want || strings.Contains(f.Message, "hunter2") {
			t.Errorf("%s: %s %s", tt.name, f.Status, f.Message)
		}
	}
	for _, where := range []string{"", "files: [], ", "files: [''], ", "files: [a/../b], ", "files: [a**], "} {
		_, err := posture.ParseProfile(source("apiVersion: attestor/v1\nkind: PostureProfile\n" +
			"metadata: {name: ours}\nspec:\n  extends: hipaa\n  exceptions:\n    - {rule: CMEK, " + where +
			"owner: a@acme.example, reason: r, expires: 2027-01-31}\n"))
		if !isInvalid(err) {
			t.Errorf("%q: %v", where, err)
		}
	}
}

func TestDocumentedProfile(t *testing.T) {
	b, err := os.ReadFile("../docs/posture.md")
	if err != nil {
		t.Fatal(err)
	}

	m := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindStringSubmatch(string(b))
	if m == nil {
		t.Fatal("docs/posture.md shows no profile")
	}

	p := custom(t, m[1])
	if p.Name() != "acme" {
		t.Errorf("name %q", p.Name())
	}

	r := mustJudge(t, p, nil, posture.Input{Definitions: []posture.Source{source(replace(t, sample(t, "hardened.yaml"),
		"timeoutSeconds: 60", "timeoutSeconds: 31", "startupProbe:", "readinessProbe:"))}})
	got := map[string]attestor.Status{}

	for _, rule := range []string{"TIMEOUT_BOUNDED", "PROBES", "INVOKER_AUTH", "STATIC_EGRESS_IP"} {
		got[rule] = finding(t, r, rule).Status
	}

	if d := cmp.Diff(map[string]attestor.Status{"TIMEOUT_BOUNDED": "deny", "PROBES": "deny", "INVOKER_AUTH": "error",
		"STATIC_EGRESS_IP": "skipped"}, got); d != "" {
		t.Error(d)
	}
}

// TestProfileFaults reports all faults at once.
func TestProfileFaults(t *testing.T) {
	_, err := posture.ParseProfile(posture.Source{Name: "p.yaml", Text: []byte(`apiVersion: attestor/v2
kind: Profile
metadata: {name: strict, owner: me}
spec:
  extends: lax
  rules: {CMEKK: off, PROBES: maybe, CMEK: }
  regions: []
  maxTimeout: 2d
  missingEvidence: pass
  skipped: error
  exceptions:
    - {rule: NOPE, services: ["[a"], owner: a, reason: " ", expires: 2027-02-30}
    - {rule: CMEK, services: a, owner: a, reason: b, expires: never, until: x}
    - {}
`)})

	if !isInvalid(err) {
		t.Fatalf("%v", err)
	}

	for _, want := range []string{
		`apiVersion: "attestor/v2"`, `kind: "Profile"`, `metadata: unknown field "owner"`, `"strict" must be a name`,
		`extends: "lax"`, `unknown rule "CMEKK"`, `PROBES: "maybe"`,
		"spec.rules.CMEK", "spec.regions", "maxTimeout", `missingEvidence: "pass"`, `unknown field "skipped"`,
		`rule: "NOPE"`, `services: "[a"`, "exceptions[0].reason", `"2027-02-30"`,
		"exceptions[1].services must be a list", `"never"`, `unknown field "until"`, "exceptions[2].owner", "exceptions[2].services", "exceptions[2].expires",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("lacks %s", want)
		}
	}

	if t.Failed() {
		t.Log(err)
	}

	for _, text := range []string{"", "[]", "a", "{}", "apiVersion: attestor/v1\nkind: PostureProfile\n---\nkind: PostureProfile\n"} {
		if _, err := posture.ParseProfile(posture.Source{Name: "p.yaml", Text: []byte(text)}); !isInvalid(err) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func exceptions(t testing.TB, list string) posture.Profile {
	return custom(t, "apiVersion: attestor/v1\nkind: PostureProfile\nmetadata: {name: own}\nspec:\n  extends: hipaa\n  exceptions:\n"+list)
}

func TestExceptions(t *testing.T) {
	text := replace(t, sample(t, "hardened.yaml"), "minScale: '1'", "minScale: '0'",
		"- name: LOG_LEVEL\n          value: info",
		"- name: LOG_TOKEN\n          value: info\n        - name: OTHER_TOKEN\n          value: info")
	for _, tt := range []struct {
		name, list string
		min, token attestor.Status
		code       string
		verdict    attestor.Outcome
	}{
		{"none", "    []", "deny", "deny", "", attestor.Deny},
		{"both", `    - {rule: MIN_INSTANCES, services: [a*], owner: o, reason: r, expires: 2026-11-22}
    - {rule: SECRETS_BY_REFERENCE, services: [123456789012/us-central1/api], owner: o, reason: r, expires: 2026-12-31}`, "pass", "pass", "", attestor.Pass},
		{"expired yesterday", "    - {rule: MIN_INSTANCES, services: [api], owner: o, reason: r, expires: 2026-11-21}",
			"deny", "deny", "EXCEPTION_EXPIRED", attestor.Deny},
		{"one of two variables", "    - {rule: SECRETS_BY_REFERENCE, services: [api], subject: LOG_TOKEN, " +
			"owner: o, reason: r, expires: 2026-12-31}", "deny", "deny", "", attestor.Deny},
		{"another service", "    - {rule: MIN_INSTANCES, services: [ap, web-*], owner: o, reason: r, expires: 2026-12-31}", "deny", "deny", "", attestor.Deny},
		{"another region", "    - {rule: MIN_INSTANCES, services: [123456789012/us-east1/api], owner: o, " +
			"reason: r, expires: 2026-12-31}", "deny", "deny", "", attestor.Deny},
		{"stale", "    - {rule: CMEK, services: ['*'], owner: o, reason: r, expires: 2026-12-31}", "deny", "deny", "EXCEPTION_STALE", attestor.Deny},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := mustJudge(t, exceptions(t, tt.list+"\n"), nil, whole(t, text))
			minimum, token := finding(t, r, "MIN_INSTANCES"), finding(t, r, "SECRETS_BY_REFERENCE")
			if minimum.Status != tt.min || token.Status != tt.token || r.Verdict != tt.verdict {
				t.Errorf("%s, %s, verdict %s", minimum.Status, token.Status, r.Verdict)
			}
			if tt.name == "one of two variables" && (strings.Contains(token.Message, "LOG_TOKEN") ||
				!strings.Contains(token.Message, "OTHER_TOKEN") || len(token.Exceptions) != 1) {
				t.Errorf("%s", token.Message)
			}

			codes := ""
			for _, f := range r.Findings {
				if strings.HasPrefix(f.Rule, "EXCEPTION_") {
					codes += f.Rule
					if f.Status != attestor.StatusWarn {
						t.Errorf("%s is %s", f.Rule, f.Status)
					}
				}
			}

			if codes != tt.code {
				t.Errorf("reported %q, want %q", codes, tt.code)
			}
		})
	}

	// Missing evidence is not excused.
	p := exceptions(t, "    - {rule: INVOKER_AUTH, services: [api], owner: o, reason: r, expires: 2026-12-31}\n")
	if f := finding(t, mustJudge(t, p, nil, posture.Input{Definitions: []posture.Source{source(text)}}), "INVOKER_AUTH"); f.Status != attestor.StatusSkipped {
		t.Errorf("missing evidence: %s", f.Status)
	}
}

func TestBehindIAP(t *testing.T) {
	p := custom(t, "apiVersion: attestor/v1\nkind: PostureProfile\nmetadata: {name: own}\nspec: {extends: hipaa, behindIAP: [api]}\n")
	in := whole(t, sample(t, "hardened.yaml"))
	in.IAM[0].Text = []byte(`{"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}`)
	if f := finding(t, mustJudge(t, p, nil, in), "INVOKER_AUTH"); f.Status != attestor.StatusWarn ||
		!strings.Contains(f.Message, "ingress internal-and-cloud-load-balancing") {
		t.Errorf("%s: %s", f.Status, f.Message)
	}

	in.Definitions[0].Text = []byte(replace(t, string(in.Definitions[0].Text), "name: api\n", "name: other\n"))
	if f := finding(t, mustJudge(t, p, nil, in), "INVOKER_AUTH"); f.Status != attestor.StatusDeny {
		t.Errorf("not behind it: %s", f.Status)
	}
}
