package deploy_test

import (
	"os"
	"slices"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

// judgedInPlans are the rules about what stands around services in a Terraform
// plan, each with the control that it judges.
func judgedInPlans() map[string]string {
	return map[string]string{
		"TLS_BOUNDED":           "custom domain with TLS",
		"CLOUD_ARMOR":           "load balancer and serverless NEG",
		"WAF_RULES":             "Cloud Armor: SQL injection",
		"RATE_LIMITED":          "Cloud Armor: throttle of the API by address",
		"IDENTITY_AWARE_PROXY":  "Identity-Aware Proxy",
		"PRIVATE_GOOGLE_ACCESS": "Private Google Access",
		"CONNECTOR_SIZED":       "connector sizing",
		"DATABASE_ENCRYPTED":    "TLS of the database",
		"DATABASE_PRIVATE":      "private address of the database",
		"NO_BASIC_ROLES":        "grants: cloudsql.client",
		"KEYLESS":               "Workload Identity Federation",
		"SERVICE_PERIMETER":     "VPC Service Controls",
		"ORGANIZATION_POLICIES": "organisation policy: ingress",
		"ADMISSION_POLICY":      "Binary Authorization: attestation required",
		"IMAGES_SCANNED":        "Artifact Analysis: scanning on push",
	}
}

// notEnabled are the controls that hold where a setting is not made, each with what must be nowhere.
func notEnabled() map[string][]applied {
	return map[string][]applied{
		"PRIVATE_SERVICE_CONNECT": {
			unplanned(tfEdge, "google_compute_service_attachment"), unplanned(tfNetwork, "google_compute_service_attachment"),
			unplanned(tfInternal, "google_compute_service_attachment"),
		},
		"BUILD_ACCOUNT": {unset(tfService, "build_config"), annotated(yamlGate, "build-source-location", ""),
			annotated(yamlEvent, "build-source-location", "")},
		"NFS_PRIVATE": {noVolume(tfService, "nfs"), everyVolume(yamlGate, "secret"), everyVolume(yamlEvent, "secret")},
		"MOUNTS_READ_ONLY": {
			noVolume(tfService, "gcs"), everyVolume(yamlGate, "secret"), everyVolume(yamlEvent, "secret"),
		},
		"SHELL_DISABLED": {
			unset(tfService, "template.0.ssh_enabled"), annotated(yamlGate, "secure-session-agent", ""),
			revision(yamlGate, "run.googleapis.com/secure-session-agent", ""),
			annotated(yamlEvent, "secure-session-agent", ""), revision(yamlEvent, "run.googleapis.com/secure-session-agent", ""),
		},
	}
}

// TestEveryControlIsApplied is the list of the controls and where each is.
func TestEveryControlIsApplied(t *testing.T) {
	e := newEvidence(t)
	judged := map[string]bool{}
	for _, r := range posture.Rules() {
		if settings := notEnabled()[r.ID]; settings != nil {
			check(t, e, r.ID, settings)
			continue
		}
		if r.Build { // TestOwnDockerfilePassesPosture
			continue
		}
		if r.Plan {
			if otherControls()[judgedInPlans()[r.ID]] == nil {
				t.Errorf("posture judges %s in plans, which is not applied here", r.ID)
			}
			continue
		}
		judged[r.ID] = true
		if serviceControls()[r.ID] == nil {
			t.Errorf("posture judges %s, which is not applied here", r.ID)
		}
	}
	for control, places := range serviceControls() {
		if !judged[control] {
			t.Errorf("%s is applied here and judged by no rule", control)
		}
		check(t, e, control, places)
	}
	for control, places := range otherControls() {
		check(t, e, control, places)
	}
}

func check(t *testing.T, e *evidence, control string, places []applied) {
	t.Helper()
	if len(places) == 0 {
		t.Errorf("%s is applied nowhere", control)
	}
	for _, p := range places {
		if wrong := p.wrong(e); wrong != "" {
			t.Errorf("%s: %s: %s", control, p.file, wrong)
		}
	}
}

// TestOwnDockerfilePassesPosture judges the gate's own image as posture judges anyone's, strictly.
func TestOwnDockerfilePassesPosture(t *testing.T) {
	profile, ok := posture.Builtin("strict")
	if !ok {
		t.Fatal("no profile strict")
	}
	base := attestor.ApprovedBase{Name: "distroless", Repository: "gcr.io/distroless/static-debian13", Tags: []string{"nonroot"}}
	judge, err := posture.New(posture.Config{Profile: profile, Now: now, Bases: []attestor.ApprovedBase{base}})
	if err != nil {
		t.Fatal(err)
	}
	var in posture.Input
	for _, name := range []string{"Dockerfile", ".dockerignore"} {
		b, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		in.Definitions = append(in.Definitions, posture.Source{Name: name, Text: b})
	}
	r, err := judge.Judge(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		if f.Status != attestor.StatusPass {
			t.Errorf("%s %s: %s", f.Rule, f.Status, f.Message)
		}
	}
	if r.Verdict != attestor.Pass || len(r.Findings) < 10 {
		t.Errorf("%s, %d findings", r.Verdict, len(r.Findings))
	}
}

// TestServicesPassPosture judges both definitions as posture judges anyone's.
func TestServicesPassPosture(t *testing.T) {
	profile, ok := posture.Builtin("hipaa")
	if !ok {
		t.Fatal("no profile hipaa")
	}
	judge, err := posture.New(posture.Config{Profile: profile, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	// What deploy/ grants on each service and in the project.
	iam := map[string]string{
		"gate": `{"bindings": [{"role": "roles/run.invoker", ` +
			`"members": ["serviceAccount:gate-builder@acme-build.iam.gserviceaccount.com", ` +
			`"serviceAccount:service-123456789012@gcp-sa-iap.iam.gserviceaccount.com"]}]}`,
		"gate-events": `{"bindings": [{"role": "roles/run.invoker", "members": ["serviceAccount:gate-pusher@acme-gate.iam.gserviceaccount.com"]}]}`,
	}
	project := `{"bindings": [{"role": "roles/cloudsql.client", ` +
		`"members": ["serviceAccount:gate-api@acme-gate.iam.gserviceaccount.com", ` +
		`"serviceAccount:gate-events@acme-gate.iam.gserviceaccount.com"]}]}`
	for _, file := range []string{yamlGate, yamlEvent} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := nameOf(file)
		report, err := judge.Judge(t.Context(), posture.Input{
			Definitions: []posture.Source{{Name: file, Text: b}},
			IAM:         []posture.IAM{{Service: name, Source: posture.Source{Name: "iam.json", Text: []byte(iam[name])}}},
			ProjectIAM:  []posture.Source{{Name: "project.json", Text: []byte(project)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if report.Services != 1 {
			t.Errorf("%s: %d services judged", file, report.Services)
		}
		var passed int
		for _, f := range report.Findings {
			switch f.Status {
			case attestor.StatusPass:
				passed++
			case attestor.StatusSkipped:
				// The first needs the record of a gate that runs; the profile does not ask for the second. A rule about
				// what is not enabled here has nothing to judge: TestEveryControlIsApplied shows that it is absent.
				if !slices.Contains([]string{"IMAGE_ATTESTED", "STATIC_EGRESS_IP"}, f.Rule) && notEnabled()[f.Rule] == nil {
					t.Errorf("%s: %s skipped: %s", file, f.Rule, f.Message)
				}
			default:
				t.Errorf("%s: %s %s: %s", file, f.Rule, f.Status, f.Message)
			}
		}
		if passed < 15 {
			t.Errorf("%s: only %d rules passed", file, passed)
		}
	}
}
