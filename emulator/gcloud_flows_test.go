package emulator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor/emulator"
)

// needsAllTests skips a test of other people's programs, each call of which takes a second: their requests are sent by
// tests of REST, too.
func needsAllTests(t *testing.T) {
	t.Helper()
	if os.Getenv("GATE_TEST_ALL") != "1" {
		t.Skip("set GATE_TEST_ALL=1 to run other people's programs")
	}
}

// A flow is one command of gcloud and what it must print, or with fails the reason that it must give.
type flow struct {
	command string
	want    string
	fails   bool
}

// run runs flows in their order: each may need what those before it made.
func (g gcloud) flows(t *testing.T, all []flow) {
	t.Helper()
	for _, f := range all {
		stdout, stderr, err := g.try(t, strings.Fields(f.command)...)
		if (err != nil) != f.fails {
			t.Fatalf("gcloud %s: %v\n%s%s", f.command, err, stdout, stderr)
		}
		if !strings.Contains(stdout+stderr, f.want) {
			t.Errorf("gcloud %s does not say %q:\n%s%s", f.command, f.want, stdout, stderr)
		}
	}
}

func TestGcloudKeys(t *testing.T) {
	needsAllTests(t)
	g := newGoogle(t, emulator.Options{})
	c := newGcloud(t, serve(t, g.Emulator))
	const in = " --location=global --keyring=gate"
	c.flows(t, []flow{
		{command: "kms locations list --format=value(locationId)", want: "global"},
		{command: "kms keyrings create gate --location=global"},
		{command: "kms keyrings get-iam-policy gate --location=global", want: "etag"},
		{command: "kms keys create gate --purpose=asymmetric-signing --default-algorithm=ec-sign-p256-sha256 --skip-initial-version-creation" + in},
		{command: "kms keys versions list --key=gate --format=value(name)" + in},
		{command: "kms keys versions create --key=gate" + in},
		{command: "kms keys versions list --key=gate --format=value(name)" + in, want: "cryptoKeyVersions/1"},
		{command: "kms keys update gate --update-labels=team=alpha" + in},
		{command: "kms keys list --filter=labels.team=alpha --sort-by=name --format=value(name)" + in, want: "cryptoKeys/gate"},
		{command: "kms keys update gate --default-algorithm=ec-sign-p384-sha384" + in},
		{command: "kms keys describe gate --format=value(versionTemplate.algorithm)" + in, want: "EC_SIGN_P384_SHA384"},
		{command: "kms keys set-primary-version gate --version=1" + in, fails: true, want: "ENCRYPT_DECRYPT"},
		{command: "kms keys add-iam-policy-binding gate --member=user:a@example.com --role=roles/cloudkms.signer" + in, want: "user:a@example.com"},
		{command: "kms keys get-iam-policy gate" + in, want: "roles/cloudkms.signer"},
		{command: "kms keys remove-iam-policy-binding gate --member=user:a@example.com --role=roles/cloudkms.signer" + in, want: "etag"},
	})
}

func TestGcloudPolicies(t *testing.T) {
	needsAllTests(t)
	g := newGoogle(t, emulator.Options{})
	c := newGcloud(t, serve(t, g.Emulator))
	g.createNote(t, note)
	c.flows(t, []flow{
		{command: "container binauthz attestors create gate --attestation-authority-note=gate --attestation-authority-note-project=p"},
		{command: "container binauthz attestors add-iam-policy-binding gate --member=user:a@example.com " +
			"--role=roles/binaryauthorization.attestorsViewer", want: "user:a@example.com"},
		{command: "container binauthz attestors get-iam-policy gate", want: "attestorsViewer"},
		{command: "container binauthz policy add-iam-policy-binding --member=user:a@example.com " +
			"--role=roles/binaryauthorization.policyViewer", want: "policyViewer"},
		{command: "container binauthz policy get-iam-policy", want: "user:a@example.com"},
		{command: "projects add-iam-policy-binding p --member=user:a@example.com --role=roles/viewer --condition=None", want: "roles/viewer"},
		{command: "projects get-iam-policy p", want: "user:a@example.com"},
	})
}

func TestGcloudVEXAndSBOM(t *testing.T) {
	needsAllTests(t)
	g := newGoogle(t, emulator.Options{})
	c := newGcloud(t, serve(t, g.Emulator))
	for _, o := range []*grafeaspb.Occurrence{discovery("https://" + imageA), vulnerability("https://"+imageA, "CVE-2026-1")} {
		if _, err := g.Grafeas.CreateOccurrence(ctxFor(t), &grafeaspb.CreateOccurrenceRequest{Parent: "projects/p", Occurrence: o}); err != nil {
			t.Fatal(err)
		}
	}

	// Two statements, then a document with one: the other note must go, by the filter on notes.
	image, _, _ := strings.Cut(imageA, "@")
	vex := func(vulnerabilities string) string {
		path := filepath.Join(t.TempDir(), "vex.json")
		write(t, path, `{"document":{"category":"csaf_vex","csaf_version":"2.0","title":"t",
			"publisher":{"category":"vendor","name":"acme","namespace":"https://acme.example"}},
			"product_tree":{"branches":[{"category":"vendor","name":"`+image+`","product":{"name":"app","product_id":"P1"}}]},
			"vulnerabilities":[`+vulnerabilities+`]}`)
		return path
	}
	const first = `{"cve":"CVE-2026-1","product_status":{"known_not_affected":["P1"]},"flags":[{"label":"component_not_present","product_ids":["P1"]}]}`
	const second = `{"cve":"CVE-2026-2","product_status":{"fixed":["P1"]}}`
	load := "artifacts vulnerabilities load-vex --uri=" + image + " --source=" //nolint:misspell // gcloud's name
	listed := "artifacts vulnerabilities list " + imageA + ` --format=json --occurrence-filter=vulnerability.vexAssessment.state="NOT_AFFECTED"`
	c.flows(t, []flow{
		{command: load + vex(first+","+second)},
		{command: listed, want: "COMPONENT_NOT_PRESENT"},
		{command: load + vex(first)},
		{command: listed, want: "CVE-2026-1"},
		{command: "artifacts sbom export --uri=" + imageA, want: "Discovery occurrence ID"},                                //nolint:misspell // its name
		{command: "artifacts sbom export --uri=" + imageB, fails: true, want: "no scan of resource"},                       //nolint:misspell // its name
		{command: "artifacts docker images describe " + imageA + " --show-all-metadata --format=json", want: "sbomStatus"}, //nolint:misspell // its name
	})

	notes := 0
	for it := g.Grafeas.ListNotes(ctxFor(t), &grafeaspb.ListNotesRequest{Parent: "projects/p", Filter: `kind="VULNERABILITY_ASSESSMENT"`}); ; notes++ {
		if _, err := it.Next(); err != nil {
			break
		}
	}
	if notes != 1 {
		t.Errorf("%d VEX notes are left, want the one of the last document", notes)
	}
}

func TestGcloudArtifacts(t *testing.T) {
	needsAllTests(t)
	g, _, digests := withRegistry(t)
	c := newGcloud(t, serve(t, g.Emulator))
	const repo = "us-docker.pkg.dev/acme/prod"
	c.flows(t, []flow{
		{command: "artifacts repositories list --project=acme --location=us --format=value(name)", want: "prod"},    //nolint:misspell // its name
		{command: "artifacts docker images list " + repo + " --include-tags", want: digests["acme/prod/team/web"]},  //nolint:misspell // its name
		{command: "artifacts docker images list " + repo + "/api --include-tags", want: "v1"},                       //nolint:misspell // its name
		{command: "artifacts docker tags list " + repo + "/api", want: "v2"},                                        //nolint:misspell // its name
		{command: "artifacts docker images describe " + repo + "/api:v1", want: digests["acme/prod/api"]},           //nolint:misspell // its name
		{command: "artifacts docker tags add " + repo + "/api:v1 " + repo + "/api:stable", want: "stable"},          //nolint:misspell // its name
		{command: "artifacts docker images describe " + repo + "/api:stable", want: digests["acme/prod/api"]},       //nolint:misspell // its name
		{command: "artifacts docker tags delete " + repo + "/api:stable", want: "Deleted tag"},                      //nolint:misspell // its name
		{command: "artifacts docker images describe " + repo + "/api:stable", fails: true, want: "not found"},       //nolint:misspell // its name
		{command: "artifacts docker images describe " + repo + "/team/web:v1", want: digests["acme/prod/team/web"]}, //nolint:misspell // its name
	})
}
