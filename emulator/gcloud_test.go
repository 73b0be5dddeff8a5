package emulator_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// serve puts an emulator on a loopback port and answers its address.
func serve(t testing.TB, e *emulator.Emulator) string {
	t.Helper()
	return standin.Serve(t, e)
}

// gcloud runs the installed, unmodified gcloud against an address.
type gcloud struct {
	bin string
	env []string
}

func newGcloud(t *testing.T, addr string) gcloud {
	t.Helper()
	bin, err := exec.LookPath("gcloud")
	if err != nil {
		t.Skip("gcloud is not on PATH: install the Google Cloud CLI to run this test")
	}
	if testing.Short() {
		t.Skip("gcloud takes a second per command: run without -short")
	}

	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "CLOUDSDK_CONFIG=" + t.TempDir(),
		"CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true", "CLOUDSDK_CORE_PROJECT=p", "CLOUDSDK_CORE_DISABLE_PROMPTS=1",
		"CLOUDSDK_CORE_DISABLE_USAGE_REPORTING=true", "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK=true",
		"CLOUDSDK_CORE_CHECK_GCE_METADATA=false", "CLOUDSDK_CORE_SURVEY_DISABLE_PROMPTS=true",
	}

	for _, api := range []string{"CONTAINERANALYSIS", "BINARYAUTHORIZATION", "CLOUDKMS", "ARTIFACTREGISTRY", "SERVICEUSAGE", "CLOUDRESOURCEMANAGER"} {
		env = append(env, "CLOUDSDK_API_ENDPOINT_OVERRIDES_"+api+"=http://"+addr+"/")
	}
	return gcloud{bin, env}
}

func (g gcloud) try(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, g.bin, args...)
	cmd.Env = g.env
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func (g gcloud) run(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, err := g.try(t, args...)
	if err != nil {
		t.Fatalf("gcloud %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}

	return stdout
}

func keyFlags() []string {
	return []string{"--keyversion-project=p", "--keyversion-location=global", "--keyversion-keyring=gate",
		"--keyversion-key=gate", "--keyversion=1", "--public-key-id-override=" + keyID}
}

func TestGcloudAttests(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	c := newGcloud(t, serve(t, g.Emulator))
	g.createNote(t, note)

	c.run(t, "kms", "keyrings", "create", "gate", "--location=global")
	c.run(t, "kms", "keys", "create", "gate", "--location=global", "--keyring=gate", "--purpose=asymmetric-signing", "--default-algorithm=ec-sign-p256-sha256")
	c.run(t, "container", "binauthz", "attestors", "create", "gate", "--attestation-authority-note=gate", "--attestation-authority-note-project=p")
	c.run(t, append([]string{"container", "binauthz", "attestors", "public-keys", "add", "--attestor=gate"}, keyFlags()...)...)

	var a struct {
		Note struct {
			Keys []struct{ ID string } `json:"publicKeys"`
		} `json:"userOwnedGrafeasNote"`
	}

	unmarshal(t, c.run(t, "container", "binauthz", "attestors", "describe", "gate", "--format=json"), &a)
	if len(a.Note.Keys) != 1 || a.Note.Keys[0].ID != keyID {
		t.Fatalf("keys %+v, want the one with id %s", a.Note.Keys, keyID)
	}

	signAndCreate := append([]string{"beta", "container", "binauthz", "attestations", "sign-and-create", "--validate",
		"--artifact-url=https://" + imageA, "--attestor=gate", "--attestor-project=p"}, keyFlags()...)
	c.run(t, signAndCreate...)
	if _, stderr, err := c.try(t, signAndCreate...); err == nil || !strings.Contains(stderr, "conflict") {
		t.Errorf("a second attestation: error %v, want a conflict\n%s", err, stderr)
	}

	dir := t.TempDir()
	payload, sig := filepath.Join(dir, "payload.json"), filepath.Join(dir, "sig")
	write(t, payload, c.run(t, "container", "binauthz", "create-signature-payload", "--artifact-url="+imageB))
	c.run(t, "kms", "asymmetric-sign", "--location=global", "--keyring=gate", "--key=gate", "--version=1",
		"--digest-algorithm=sha256", "--input-file="+payload, "--signature-file="+sig)
	c.run(t, "container", "binauthz", "attestations", "create", "--validate", "--artifact-url="+imageB, "--attestor=gate", "--attestor-project=p",
		"--signature-file="+sig, "--payload-file="+payload, "--public-key-id="+keyID)

	var listed []struct{ ResourceURI, Kind string }
	unmarshal(t, c.run(t, "container", "binauthz", "attestations", "list", "--attestor=gate", "--attestor-project=p",
		"--artifact-url="+imageB, "--format=json"), &listed)
	if len(listed) != 1 || listed[0].ResourceURI != imageB || listed[0].Kind != "ATTESTATION" {
		t.Errorf("listed %+v, want the attestation of %s", listed, imageB)
	}

	for _, digest := range []string{digestA, digestB} {
		o, err := g.Grafeas.ListNoteOccurrences(ctxFor(t), &grafeaspb.ListNoteOccurrencesRequest{Name: note,
			Filter: `has_suffix(resourceUrl, "` + digest + `")`}).Next()
		if err != nil {
			t.Fatal(err)
		}

		v, err := g.Validate.ValidateAttestationOccurrence(ctxFor(t), &binaryauthorizationpb.ValidateAttestationOccurrenceRequest{
			Attestor: attestor, Attestation: o.GetAttestation(), OccurrenceNote: o.GetNoteName(), OccurrenceResourceUri: o.GetResourceUri(),
		})

		if err != nil || v.GetResult() != binaryauthorizationpb.ValidateAttestationOccurrenceResponse_VERIFIED {
			t.Errorf("what gcloud stored for %s: %v %v", digest, v, err)
		}
	}

	if !strings.Contains(c.run(t, "container", "binauthz", "policy", "export"), "ALWAYS_ALLOW") {
		t.Error("the policy that gcloud exports is not the default one")
	}
}

// registry is gcloud's group of commands for Artifact Registry.
const registry = "artifacts" //nolint:misspell // its name

func TestGcloudReadsScans(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	c := newGcloud(t, serve(t, g.Emulator))

	for _, o := range []*grafeaspb.Occurrence{discovery("https://" + imageA), vulnerability("https://"+imageA, "CVE-2026-1")} {
		if _, err := g.Grafeas.CreateOccurrence(ctxFor(t), &grafeaspb.CreateOccurrenceRequest{Parent: "projects/p", Occurrence: o}); err != nil {
			t.Fatal(err)
		}
	}

	out := c.run(t, registry, "docker", "images", "describe", imageA, "--show-all-metadata", "--format=json")
	if !strings.Contains(out, "projects/goog-vulnz/notes/CVE-2026-1") || !strings.Contains(out, "FINISHED_SUCCESS") {
		t.Errorf("describe does not show the scan:\n%s", out)
	}

	// What gcloud prints can be loaded where it came from.
	e, err := emulator.New(emulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if n, err := e.Load(strings.NewReader(out)); n != 2 || err != nil {
		t.Errorf("loading what describe printed: %d occurrences, %v; want 2", n, err)
	}
	if out := c.run(t, registry, "vulnerabilities", "list", imageA, "--format=json",
		"--occurrence-filter=vulnerability.effectiveSeverity=\"CRITICAL\""); !strings.Contains(out, "CVE-2026-1") {
		t.Errorf("vulnerabilities list does not show the finding:\n%s", out)
	}
	if out := c.run(t, registry, "docker", "images", "list", "us-docker.pkg.dev/p/r", "--show-occurrences", "--format=json"); !strings.Contains(out, digestA) {
		t.Errorf("images list does not show the image:\n%s", out)
	}
}

func unmarshal(t *testing.T, s string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), v); err != nil {
		t.Fatalf("%v in %s", err, s)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
