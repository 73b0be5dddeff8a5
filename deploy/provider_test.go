package deploy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
	"github.com/attestor-gate/attestor/posture"
)

// part finds a program, and fails for want of it where every part must be there.
func part(t *testing.T, name, instead string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("GATE_REQUIRE_PARTS") == "1" && instead == "" {
			t.Fatalf("%s is not installed, and GATE_REQUIRE_PARTS is set", name)
		}
		t.Skipf("%s is not installed; %s", name, instead)
	}

	return path
}

// terraform is the real program, with the real provider where rc names it, on
// a copy of deploy/.
type terraform struct {
	bin, rc, dir string
}

func (f terraform) run(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), f.bin, append([]string{"-chdir=" + filepath.Join(f.dir, dir)}, args...)...)
	cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+f.rc, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1",
		"TF_INPUT=0", "GOOGLE_APPLICATION_CREDENTIALS=", "TF_CLI_ARGS=-no-color")
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("terraform %s in %s: %w\n%s%s", strings.Join(args, " "), dir, err, stderr.Bytes(), out.Bytes())
	}

	return out.String(), err
}

func (f terraform) must(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := f.run(t, dir, args...)
	if err != nil {
		t.Fatal(err)
	}

	return out
}

// newTerraform copies deploy/, so that what terraform writes beside its files
// is nobody's.
func newTerraform(t *testing.T, bin, config string) terraform {
	t.Helper()
	f := terraform{bin: bin, dir: filepath.Join(t.TempDir(), "deploy")}
	for from, to := range map[string]string{".": f.dir, "../docs/schema": filepath.Join(filepath.Dir(f.dir), "docs", "schema")} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}

	f.rc = filepath.Join(filepath.Dir(f.dir), "cli.tfrc")
	f.write(t, "../cli.tfrc", config)
	return f
}

func (f terraform) write(t *testing.T, name, text string) {
	t.Helper()
	name = filepath.Join(f.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// TestTerraformFmt asks terraform itself, which TestTerraformIsFormatted does without.
func TestTerraformFmt(t *testing.T) {
	bin := part(t, "terraform", "TestTerraformIsFormatted has formatted with its library")
	f := newTerraform(t, bin, "disable_checkpoint = true\n")
	if out, err := f.run(t, "terraform", "fmt", "-check", "-diff", "-recursive"); err != nil {
		t.Errorf("run terraform fmt -recursive deploy/terraform: %v\n%s", err, out)
	}
}

// providerVersion is that of tools/terraform/go.mod, by the name under which it was released.
const providerVersion = "8.0.0"

// googleProvider builds the provider from source, once for each machine.
func googleProvider(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}

	dir := filepath.Join(cache, "gate-test", "terraform-provider-google-"+providerVersion)
	bin := filepath.Join(dir, "terraform-provider-google")
	if _, err := os.Stat(bin); err == nil {
		return dir
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}

	part := fmt.Sprintf("%s.%d", bin, os.Getpid())
	buildProvider(t, "github.com/hashicorp/terraform-provider-google", part)
	if err := os.Rename(part, bin); err != nil { // whole, or not there
		t.Fatal(err)
	}

	return dir
}

func buildProvider(t *testing.T, source, bin string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, source)
	cmd.Dir = "../tools/terraform"
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the provider: %v\n%s", err, out)
	}
}

func newProvider(t *testing.T) terraform {
	t.Helper()
	slow.Skip(t)
	bin := part(t, "terraform", "")

	// The beta provider is no Go module: a stand-in has the one resource that is taken from it.
	beta := t.TempDir()
	buildProvider(t, "./beta", filepath.Join(beta, "terraform-provider-google-beta"))
	return newTerraform(t, bin, fmt.Sprintf(`provider_installation {
  dev_overrides {
    "hashicorp/google"      = %q
    "hashicorp/google-beta" = %q
  }
  direct {}
}
disable_checkpoint = true
`, googleProvider(t), beta))
}

// modules are the directories with .tf files, below deploy/.
func (f terraform) modules(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(filepath.Join(f.dir, "terraform"), func(path string, e fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(f.dir, filepath.Dir(path)); err == nil && strings.HasSuffix(path, ".tf") && !slices.Contains(out, rel) {
			out = append(out, rel)
		}
		return err
	})

	if err != nil || len(out) < 15 {
		t.Fatalf("%d directories, %v", len(out), err)
	}
	return out
}

// TestTerraformValidates has every module and example checked by the provider
// itself, and runs the tests that stand beside them.
func TestTerraformValidates(t *testing.T) {
	f := newProvider(t)
	tested := 0

	for _, dir := range f.modules(t) {
		f.must(t, dir, "get")
		out, _ := f.run(t, dir, "validate", "-json")
		var v struct {
			Valid       bool `json:"valid"`
			Diagnostics []struct {
				Summary string `json:"summary"`
				Detail  string `json:"detail"`
				Address string `json:"address"`
			} `json:"diagnostics"`
		}

		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%s: %v\n%s", dir, err, out)
		}

		for _, d := range v.Diagnostics {
			if d.Summary != "Provider development overrides are in effect" {
				t.Errorf("%s: %s: %s: %s", dir, d.Address, d.Summary, d.Detail)
			}
		}

		if !v.Valid {
			t.Errorf("%s is not valid", dir)
		}
		if tests, _ := filepath.Glob(filepath.Join(f.dir, dir, "*.tftest.hcl")); len(tests) > 0 {
			tested += len(tests)
			if out, err := f.run(t, dir, "test"); err != nil {
				t.Error(err)
			} else if !strings.Contains(out, "Success!") {
				t.Errorf("%s: %s", dir, out)
			}
		}
	}

	if tested < 6 {
		t.Errorf("only %d test files", tested)
	}

	// The check's own check.
	f.write(t, "terraform/broken/main.tf", "resource \"google_kms_key_ring\" \"a\" {\n  nam = \"x\"\n}\n")
	if out, err := f.run(t, "terraform/broken", "validate"); err == nil {
		t.Errorf("a wrong argument is valid: %s", out)
	}
}

// serve listens on loopback, until the test ends.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// emulated serves Google's services until the test ends, and returns their address.
func emulated(t *testing.T) string {
	t.Helper()
	return standin.Serve(t, standin.StartServices(t, emulator.Options{}).Emulator)
}

// TestTerraformApplies makes key, note and attestor in the emulator, finds
// nothing more to do, has the gate check what was made, and takes it away again
// but for the key, which is protected.
func TestTerraformApplies(t *testing.T) {
	f := newProvider(t)
	google := emulated(t)
	f.write(t, "terraform/emulated/main.tf", fmt.Sprintf(`
provider "google" {
  project                              = "acme"
  access_token                         = "none"
  kms_custom_endpoint                  = "http://%[1]s/v1/"
  container_analysis_custom_endpoint   = "http://%[1]s/v1/"
  binary_authorization_custom_endpoint = "http://%[1]s/v1/"
}

module "signing" {
  source        = "../modules/signing"
  project       = "acme"
  location      = "us-east1"
  signer_member = "serviceAccount:gate-api@acme.iam.gserviceaccount.com"
  events_member = "serviceAccount:gate-events@acme.iam.gserviceaccount.com"
}

output "attestor" {
  value = module.signing.attestor
}
`, google))

	const dir = "terraform/emulated"
	f.must(t, dir, "get")
	attestors, note := "module.signing.google_binary_authorization_attestor.gate", "module.signing.google_container_analysis_note.gate"
	f.must(t, dir, "apply", "-auto-approve", "-target="+attestors)
	if out := f.must(t, dir, "plan", "-target="+attestors); !strings.Contains(out, "No changes") {
		t.Errorf("there is still something to do: %s", out)
	}

	checkGate(t, google)
	f.must(t, dir, "destroy", "-auto-approve", "-target="+attestors)
	f.must(t, dir, "destroy", "-auto-approve", "-target="+note)
	if out, err := f.run(t, dir, "destroy", "-auto-approve",
		"-target=module.signing.google_kms_crypto_key.attest"); err == nil ||
		!strings.Contains(err.Error(), "Instance cannot be destroyed") {
		t.Errorf("the key can be destroyed: %v %s", err, out)
	}
	if out := f.must(t, dir, "state", "list"); strings.Contains(out, "attestor") || strings.Contains(out, "note") ||
		!strings.Contains(out, "crypto_key.attest") {
		t.Errorf("left: %s", out)
	}
}

// checkGate: the attestor has the note and the key that the gate expects.
func checkGate(t *testing.T, google string) {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "attestor")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../cmd/attestor").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	const key = "projects/acme/locations/us-east1/keyRings/gate/cryptoKeys/gate/cryptoKeyVersions/1"
	config := func(key string) string {
		name := filepath.Join(dir, "attestor.yaml")
		text := fmt.Sprintf("policies: [%s]\nattestors: [{name: projects/acme/attestors/gate, kms: %s}]\nregistries: "+
			"{allowed: [us-docker.pkg.dev]}\nstore: {none: true}\n", filepath.Join(dir, "policy.yaml"), key)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}

		return name
	}

	policy := strings.NewReplacer("acme-keys", "acme").Replace(string(read(t, "policies/starter.yaml")))
	if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}

	check := func(key string) error {
		cmd := exec.CommandContext(t.Context(), bin, "serve", "--check", "--config", config(key))
		cmd.Env = append(os.Environ(), "CONTAINERANALYSIS_EMULATOR_HOST="+google, "CLOUD_KMS_EMULATOR_HOST="+google,
			"BINARYAUTHORIZATION_EMULATOR_HOST="+google)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}

		return nil
	}

	if err := check(key); err != nil {
		t.Errorf("the gate refuses what Terraform made: %v", err)
	}
	if err := check(strings.Replace(key, "Versions/1", "Versions/2", 1)); err == nil {
		t.Error("the gate accepts a key that is not the attestor's: this check would prove nothing")
	}
}

// TestTerraformPlanPassesPosture plans a whole example, as nobody has it yet,
// and judges the plan as anyone's.
func TestTerraformPlanPassesPosture(t *testing.T) {
	f := newProvider(t)
	projects := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/billingInfo") {
			fmt.Fprint(w, `{}`)
			return
		}
		project := filepath.Base(r.URL.Path)
		fmt.Fprintf(w, `{"projectId": %q, "projectNumber": %q, "lifecycleState": "ACTIVE", "name": "acme"}`, project, number(project))
	}))

	digest := "@sha256:" + strings.Repeat("a", 64)
	for dir, given := range examples(digest) {
		values := given
		if dir == splitProjects { // with all that it can have
			values = strings.TrimSuffix(given, "}") + ", " + strings.TrimPrefix(everyOption, "{")
		}
		text, err := os.ReadFile(filepath.Join(f.dir, dir, "versions.tf"))
		if err != nil {
			t.Fatal(err)
		}

		f.write(t, dir+"/versions.tf", strings.Replace(string(text), "backend \"gcs\" {}", "", 1)) // state beside the copy, no bucket
		f.write(t, dir+"/here_override.tf",
			fmt.Sprintf("provider \"google\" {\n  access_token                           = \"none\"\n"+
				"  cloud_resource_manager_custom_endpoint = \"%[1]s/v1/\"\n  resource_manager_custom_endpoint       "+
				"= \"%[1]s/v1/\"\n  cloud_billing_custom_endpoint          = \"%[1]s/v1/\"\n}\n", projects))
		f.write(t, dir+"/here.auto.tfvars.json", values)
		f.must(t, dir, "get")
		f.must(t, dir, "plan", "-out=plan")
		plan := f.must(t, dir, "show", "-json", "plan")
		judgePlan(t, dir, plan)
		comparePlans(t, dir, plan, evaluate(t, readDirs(t), dir, planValues(t, dir, values)))
	}
}

func examples(digest string) map[string]string {
	common := `"image": "us-east1-docker.pkg.dev/acme/prod/attestor` + digest + `", "proxy_image": "gcr.io/cloud-sql-connectors/cloud-sql-proxy` + digest + `",
		"collector_image": "us-docker.pkg.dev/cloud-ops-agents-artifacts/cloud-run-gmp-sidecar/cloud-run-gmp-sidecar` + digest + `",
		"api_host": "gate.acme.example", "pages_host": "gate-pages.acme.example", "readers": ["group:security@acme.example"],
		"gate_config": "../../../cloudrun/gate/attestor.yaml",
			"events_config": "../../../cloudrun/gate-events/attestor.yaml", "policy": "../../../policies/starter.yaml"`
	return map[string]string{
		"terraform/examples/one-project": `{"project": "acme", "enforce": true, ` + common + `}`,
		"terraform/examples/" +
			"split-projects": `{"operators": ["serviceAccount:terraform@acme-admin.iam.gserviceaccount.com"],
				"gate_project": "acme-gate", "keys_project": "acme-keys",
				"images_project": "acme-images", "build_project": "acme-build", "deploy_projects": ["acme-shop"],
			"enforced_projects": ["acme-gate", "acme-shop"],
				"ci": {"github": {"issuer": "https://token.actions.githubusercontent.com",
				"condition": "assertion.repository_owner == 'acme'",
				"attributes": {"repository": "assertion.repository"}}}, "organization": "123", "access_policy": "456", "enforce_perimeter": true, ` +
			strings.Replace(common, "/acme/prod/", "/acme-images/prod/", 1) + `}`,
	}
}

func judgePlan(t *testing.T, dir, plan string) {
	t.Helper()
	profile, _ := posture.Builtin("hipaa")
	judge, err := posture.New(posture.Config{Profile: profile, Now: now})
	if err != nil {
		t.Fatal(err)
	}

	report, err := judge.Judge(t.Context(), posture.Input{Definitions: []posture.Source{{Name: "plan.json", Text: []byte(plan)}}})
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	want := 2
	if dir == splitProjects {
		want = 4 // two of them in further regions
	}
	if report.Verdict != attestor.Pass || report.Services != want {
		t.Errorf("%s: %s, %d services", dir, report.Verdict, report.Services)
	}

	// Known only after apply: the versions of secrets, the key, the database's name among the proxy's arguments, and who has
	// which grants. The rest has nothing to judge: no build of a source, and no field of the provider's.
	later := []string{
		"SECRETS_BY_REFERENCE", "SECRETS_AS_FILES", "SECRET_VERSION_PINNED", "CMEK", "LEAST_PRIVILEGE", "IMAGE_ATTESTED", "STATIC_EGRESS_IP",
		"ACCOUNT_REACH", "DATABASE_REGION", "BUILD_ACCOUNT", "KEY_REVOCATION",
	}
	passed := map[string]bool{}

	for _, x := range report.Findings {
		switch {
		case x.Status == attestor.StatusPass:
			passed[x.Rule] = true
		case x.Rule == "ACCOUNT_REACH" && x.Status == attestor.StatusWarn && dir == oneProject: // why there are split projects
		case x.Status == attestor.StatusSkipped && (slices.Contains(later, x.Rule) || x.Kind == "plan"):
		default:
			t.Errorf("%s: %s %s %s: %s", dir, x.Status, x.Service, x.Rule, x.Message)
		}
	}

	for _, rule := range []string{"INVOKER_AUTH", "INGRESS_RESTRICTED", "BINARY_AUTHORIZATION", "VPC_EGRESS",
		"IMAGE_BY_DIGEST", "WAF_RULES", "IDENTITY_AWARE_PROXY", "ADMISSION_POLICY", "DATABASE_PRIVATE"} {
		if !passed[rule] {
			t.Errorf("%s: %s was not judged", dir, rule)
		}
	}

	if strings.Contains(dir, "split") {
		// Not ORGANIZATION_POLICIES: whom a condition exempts is known only after apply, when the tags have their ids.
		for _, rule := range []string{"KEYLESS", "SERVICE_PERIMETER"} {
			if !passed[rule] {
				t.Errorf("%s: %s was not judged", dir, rule)
			}
		}
	}
}
