package attest_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// TestGcloudReadsWhatWasStored has an unmodified gcloud make the payload and
// list the attestation.
func TestGcloudReadsWhatWasStored(t *testing.T) {
	gcloud, err := exec.LookPath("gcloud")
	if err != nil {
		t.Skip("gcloud is not installed, which is the independent reader here")
	}

	w := newWorld(t, emulator.Behaviour{})
	a := w.kmsGate()
	img := image(t, 1)
	made, err := a.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	must(t, err)
	url := "http://" + standin.Serve(t, w.Emulator) + "/"
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), gcloud, args...) //nolint:gosec // a tool that was looked up
		cmd.Env = append(os.Environ(),
			"CLOUDSDK_API_ENDPOINT_OVERRIDES_CONTAINERANALYSIS="+url, "CLOUDSDK_API_ENDPOINT_OVERRIDES_BINARYAUTHORIZATION="+url,
			"CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true", "CLOUDSDK_CONFIG="+t.TempDir(), "CLOUDSDK_CORE_PROJECT=sec",
			"CLOUDSDK_CORE_DISABLE_PROMPTS=1", "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING=true",
			"CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK=true", "CLOUDSDK_CORE_CHECK_GCE_METADATA=false",
		)

		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("gcloud %v: %v\n%s", args, err, out)
		}

		return out
	}

	if got := run("container", "binauthz", "create-signature-payload", "--artifact-url="+img.String()); string(got) != string(attest.Payload(img)) {
		t.Errorf("gcloud's payload:\n%s\nours:\n%s", got, attest.Payload(img))
	}

	var listed []struct {
		Name        string `json:"name"`
		ResourceURI string `json:"resourceUri"`
		Attestation struct {
			SerializedPayload []byte `json:"serializedPayload"`
			Signatures        []struct {
				PublicKeyID string `json:"publicKeyId"`
			} `json:"signatures"`
		} `json:"attestation"`
	}

	must(t, json.Unmarshal(run("container", "binauthz", "attestations", "list", "--attestor="+attestorName,
		"--artifact-url="+img.String(), "--format=json"), &listed))
	if len(listed) != 1 || listed[0].Name != made[0].Occurrence || listed[0].ResourceURI != img.String() ||
		string(listed[0].Attestation.SerializedPayload) != string(attest.Payload(img)) ||
		listed[0].Attestation.Signatures[0].PublicKeyID != made[0].PublicKeyID {
		t.Errorf("gcloud lists %+v, made %+v", listed, made)
	}
}
