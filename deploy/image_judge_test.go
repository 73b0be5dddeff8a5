package deploy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// strictest is deploy/policies/hipaa.yaml about the gate's own image. What
// only Google can give is left out: provenance, the day of the upload, and the
// signature of a base by Cloud KMS.
func strictest(t *testing.T, host, base string) string {
	t.Helper()
	text := string(read(t, "policies/hipaa.yaml"))

	for _, r := range [][2]string{
		{`["us-docker.pkg.dev/acme/phi/**"]`, `["` + host + `/gate/**"]`},
		{"  scope: {maxUploadAge: 30d}\n", ""},
		{"repository: us-docker.pkg.dev/acme/base/hardened", "repository: " + strings.Split(base, "@")[0]},
		{`["sha256:` + strings.Repeat("0", 64) + `"] # replace by the digests that you reviewed`, `["` + strings.Split(base, "@")[1] + `"]`},
		{"        signedBy: {key: gcpkms://projects/acme-security/locations/us/keyRings/bases/cryptoKeys/release/versions/1}\n", ""},
		{"  provenance:\n    slsaLevel: 3\n    builders: [\"https://cloudbuild.googleapis.com/GoogleHostedWorker\"]\n" +
			"    sources: [\"https://github.com/acme/*\"]\n", ""},
		{"    - name: data-classification\n      expression: 'image.labels[?\"data-classification\"].orValue(\"\") " +
			"== \"phi\"'\n      message: the image is not labelled data-classification=phi\n" +
			"      fix: \"add to the Dockerfile: LABEL data-classification=phi\"\n", ""},
		{"projects/acme-security/attestors/gate-phi", "projects/acme/attestors/gate"},
	} {
		if !strings.Contains(text, r[0]) {
			t.Fatalf("hipaa.yaml lacks %q", r[0])
		}
		text = strings.Replace(text, r[0], r[1], 1)
	}
	return text
}

const signingKey = "projects/acme/locations/us-east1/keyRings/gate/cryptoKeys/gate/cryptoKeyVersions/1"

// google is an emulator with an attestor, its key, and a clean scan of an image.
func google(t *testing.T, ref string) string {
	t.Helper()
	em := standin.StartServices(t, emulator.Options{})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := em.SeedKey(signingKey, kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, key); err != nil {
		t.Fatal(err)
	}

	scan := fmt.Sprintf(`{"notes": [{"name": "projects/acme/notes/gate", "kind": "ATTESTATION", "attestation": {"hint": {"humanReadableName": "gate"}}}],
		"occurrences": [{"name": "projects/acme/occurrences/1", "kind": "DISCOVERY",
			"noteName": "projects/goog-analysis/notes/PACKAGE_VULNERABILITY", "resourceUri": "https://%s",
		"discovery": {"analysisStatus": "FINISHED_SUCCESS", "continuousAnalysis": "ACTIVE", "lastScanTime": %q}}]}`,
		ref, time.Now().UTC().Format(time.RFC3339Nano))

	if _, err := em.Load(strings.NewReader(scan)); err != nil {
		t.Fatal(err)
	}

	_, err = em.Binauthz.CreateAttestor(t.Context(), &binaryauthorizationpb.CreateAttestorRequest{
		Parent: "projects/acme", AttestorId: "gate",
		Attestor: &binaryauthorizationpb.Attestor{AttestorType: &binaryauthorizationpb.Attestor_UserOwnedGrafeasNote{
			UserOwnedGrafeasNote: &binaryauthorizationpb.UserOwnedGrafeasNote{
				NoteReference: "projects/acme/notes/gate",
				PublicKeys: []*binaryauthorizationpb.AttestorPublicKey{{
					Id: "//cloudkms.googleapis.com/v1/" + signingKey,
					PublicKey: &binaryauthorizationpb.AttestorPublicKey_PkixPublicKey{PkixPublicKey: &binaryauthorizationpb.PkixPublicKey{
						PublicKeyPem:       string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
						SignatureAlgorithm: binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256,
					}},
				}},
			}}},
	})

	if err != nil {
		t.Fatal(err)
	}

	return standin.Serve(t, em.Emulator)
}

// judgeImage has the gate's own image judged, and attested, by the gate.
func judgeImage(t *testing.T, host, ref, base string) {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "attestor")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", bin, "../cmd/attestor").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	at := google(t, ref)
	policy := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	config := fmt.Sprintf("policies: [policy.yaml]\nattestors: [{name: projects/acme/attestors/gate, kms: %s}]\n"+
		"registries: {allowed: [%q]}\nscanProjects: {%q: acme}\nstore: {none: true}\n", signingKey, host, host)
	if err := os.WriteFile(filepath.Join(dir, "attestor.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}

	gate := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), bin, append(args, "--config", filepath.Join(dir, "attestor.yaml"), ref)...)
		cmd.Env = append(os.Environ(), standin.Environment(at)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}

	strict := strictest(t, host, base)
	policy(strict)

	for _, command := range []string{"check", "attest"} {
		if out, err := gate(command); err != nil {
			t.Errorf("%s of our own image: %v\n%s", command, err, out)
		}
	}

	// Of another base it would not pass: this would prove nothing otherwise.
	policy(strings.Replace(strict, strings.Split(base, "@")[1], "sha256:"+strings.Repeat("0", 64), 1))
	if out, err := gate("check"); err == nil || !strings.Contains(out, "BASE_") {
		t.Errorf("on a base that nobody approved: %v\n%s", err, out)
	}
}
