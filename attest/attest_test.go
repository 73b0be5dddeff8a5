package attest_test

import (
	"bytes"
	"os"
	"testing"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
)

var _ attestor.Attester = (*attest.Attester)(nil)

func TestPayloadIsGcloudsByteForByte(t *testing.T) {
	want, err := os.ReadFile("testdata/payload.json")
	must(t, err)
	img, err := attestor.ParseImage("us-docker.pkg.dev/proj/repo/img@sha256:" + "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	must(t, err)
	got := attest.Payload(img)
	if !bytes.Equal(got, want) || len(got) != 293 {
		t.Errorf("payload of %d bytes:\n%s\nwant %d:\n%s", len(got), got, len(want), want)
	}
}

func TestAttestWithKeyFile(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	a, s := w.gate()
	must(t, a.Preflight(t.Context()))
	img := image(t, 1)
	known, err := a.Standing(t.Context(), []string{attestorName}, []attestor.Image{img})
	must(t, err)
	if !known.Known || len(known.Valid)+len(known.Invalid) != 0 {
		t.Fatalf("before: %+v", known)
	}

	w.ResetCalls()
	made, err := a.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{}), known, recorded)
	must(t, err)
	if calls := w.Calls(); len(calls) != 1 {
		t.Errorf("attesting took %d calls, want only the create: %v", len(calls), calls)
	}

	o := w.oneValid(img)
	want := attestor.Attestation{
		Attestor: attestorName, Note: noteName, Occurrence: o.GetName(), Digest: img.Digest(),
		PublicKeyID: attest.KeyID(s), Created: true, Since: o.GetCreateTime().AsTime(),
	}

	if len(made) != 1 || made[0] != want {
		t.Errorf("made %+v, want %+v", made, want)
	}

	known, err = a.Standing(t.Context(), []string{attestorName}, []attestor.Image{img})
	must(t, err)
	want.Created = false
	if len(known.Valid) != 1 || known.Valid[0] != want {
		t.Errorf("standing %+v, want %+v", known.Valid, want)
	}

	w.ResetCalls()
	again, err := a.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{}), known, recorded)
	must(t, err)
	if len(again) != 1 || again[0] != want || len(w.Calls()) != 0 {
		t.Errorf("again %+v with %d calls, want %+v with none", again, len(w.Calls()), want)
	}
}

func TestAttestWithKMS(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	w.attestor(attestorName)
	version := w.kmsKey("k", kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256)
	w.keys(attestorName, w.kmsEntry(version, binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256))
	a := w.newAttester(attest.AttestorConfig{Name: attestorName, Signer: w.kmsSigner(version)})
	must(t, a.Preflight(t.Context()))
	img := image(t, 1)
	known, err := a.Standing(t.Context(), []string{attestorName}, []attestor.Image{img})
	must(t, err)
	w.ResetCalls()
	_, err = a.Attest(t.Context(), authorize(t, img, attestor.AttestNeeds{}), known, recorded)
	must(t, err)
	if got := len(w.Calls()); got != 2 {
		t.Errorf("%d calls, want 2: sign, create", got)
	}

	w.oneValid(img)
}
