package attest_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/limit"
)

// slowGate has a KMS key and time-outs that a test can wait for.
func (w *world) slowGate(timeout time.Duration) (*attest.Attester, string) {
	w.t.Helper()
	w.attestor(attestorName)
	version := w.kmsKey("k", kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256)
	w.keys(attestorName, w.kmsEntry(version, p256))
	s, err := attest.NewKMSSigner(w.KMS, version, limit.Call(timeout))
	must(w.t, err)
	return w.newAttester(attest.AttestorConfig{Name: attestorName, Signer: s}), version
}

// TestKMSThatLies: whatever Cloud KMS answers, nothing is stored that the
// attestor's key does not verify, and the words say what happened.
func TestKMSThatLies(t *testing.T) {
	stranger := newKey(t)
	sign := func(f func(*kmspb.AsymmetricSignResponse)) func(_, resp proto.Message) {
		return func(_, resp proto.Message) {
			f(resp.(*kmspb.AsymmetricSignResponse)) //nolint:errcheck // AsymmetricSign answers nothing else
		}
	}

	tests := []struct {
		name  string
		fault emulator.Fault
		code  attestor.Code
		word  string
	}{
		{"flipped signature", emulator.Fault{Method: "AsymmetricSign", Corrupt: emulator.CorruptSignature}, attestor.CodeSignatureInvalid, "does not verify"},
		{"flipped in transit", emulator.Fault{Method: "AsymmetricSign", Corrupt: emulator.CorruptSignatureInTransit},
			attestor.CodeSignatureInvalid, "checksum"},
		{"wrong checksum", emulator.Fault{Method: "AsymmetricSign", Corrupt: emulator.CorruptChecksum}, attestor.CodeSignatureInvalid, "checksum"},
		{"no checksum", emulator.Fault{Method: "AsymmetricSign", Corrupt: emulator.CorruptNoChecksum}, attestor.CodeSignatureInvalid, "checksum"},
		{"wrong name", emulator.Fault{Method: "AsymmetricSign", Corrupt: emulator.CorruptName}, attestor.CodeSignatureInvalid, "answered with a signature by"},
		{"digest not verified", emulator.Fault{Method: "AsymmetricSign", Corrupt: emulator.CorruptUnverified},
			attestor.CodeSignatureInvalid, "did not receive the digest"},
		{"empty answer", emulator.Fault{Method: "AsymmetricSign", Mutate: sign(proto1reset)}, attestor.CodeSignatureInvalid, ""},
		{"another key's signature", emulator.Fault{Method: "AsymmetricSign", Mutate: func(req, resp proto.Message) {
			r, out := req.(*kmspb.AsymmetricSignRequest), resp.(*kmspb.AsymmetricSignResponse) //nolint:errcheck // nothing else comes here
			sig, err := ecdsa.SignASN1(rand.Reader, stranger, r.GetDigest().GetSha256())
			if err == nil {
				out.Signature = sig
				out.SignatureCrc32C.Value = attest.CRC32C(sig)
			}
		}}, attestor.CodeSignatureInvalid, "does not verify"},
		{"another public key", emulator.Fault{Method: "GetPublicKey", Corrupt: emulator.CorruptPublicKey}, attestor.CodeKeyNotOfAttestor, "another public key"},
		{"public key flipped in transit", emulator.Fault{Method: "GetPublicKey",
			Corrupt: emulator.CorruptPublicKeyInTransit}, attestor.CodeSignatureInvalid, "checksum"},
		{"public key, wrong checksum", emulator.Fault{Method: "GetPublicKey", Corrupt: emulator.CorruptChecksum}, attestor.CodeSignatureInvalid, "checksum"},
		{"public key, no checksum", emulator.Fault{Method: "GetPublicKey", Corrupt: emulator.CorruptNoChecksum}, attestor.CodeSignatureInvalid, "checksum"},
		{"public key, wrong name", emulator.Fault{Method: "GetPublicKey", Corrupt: emulator.CorruptName}, attestor.CodeSignatureInvalid, "public key of"},
		{"public key, another algorithm", emulator.Fault{Method: "GetPublicKey", Mutate: func(_, resp proto.Message) {
			resp.(*kmspb.PublicKey).Algorithm = kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384 //nolint:errcheck // nothing else comes here
		}}, attestor.CodeSignatureInvalid, "not a key for"},
		{"refused", emulator.Fault{Method: "AsymmetricSign", Code: codes.PermissionDenied}, attestor.CodeSigningFailed, "roles/cloudkms.signer"},
		{"not found", emulator.Fault{Method: "AsymmetricSign", Code: codes.NotFound}, attestor.CodeSigningFailed, "does not exist"},
		{"out of quota", emulator.Fault{Method: "AsymmetricSign", Code: codes.ResourceExhausted}, attestor.CodeSigningFailed, "quota"},
		{"bad request", emulator.Fault{Method: "AsymmetricSign", Code: codes.InvalidArgument}, attestor.CodeSigningFailed, "refused the request"},
		{"broken", emulator.Fault{Method: "AsymmetricSign", Code: codes.Internal}, attestor.CodeSigningFailed, "could not sign"},
		{"unavailable for ever", emulator.Fault{Method: "AsymmetricSign", Code: codes.Unavailable}, attestor.CodeSigningFailed, ""},
		{"silent", emulator.Fault{Method: "AsymmetricSign", Hang: true}, attestor.CodeSigningFailed, "in time"},
		{"answers after the deadline", emulator.Fault{Method: "AsymmetricSign", Hang: true, AnswerLost: true}, attestor.CodeSigningFailed, "in time"},
		{"public key refused", emulator.Fault{Method: "GetPublicKey", Code: codes.PermissionDenied},
			attestor.CodeSigningFailed, "roles/cloudkms.publicKeyViewer"},
		{"public key silent", emulator.Fault{Method: "GetPublicKey", Hang: true}, attestor.CodeSigningFailed, "in time"},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, emulator.Behaviour{})
			timeout := time.Minute
			if tt.fault.Hang || tt.fault.Code == codes.Unavailable { // the client repeats what was unavailable
				timeout = 100 * time.Millisecond
			}

			a, version := w.slowGate(timeout)
			remove := w.Inject(tt.fault)
			made, err := a.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
			wantError(t, err, tt.code, tt.word)
			if len(made) != 0 || len(w.stored(noteName)) != 0 || len(w.Calls("CreateOccurrence")) != 0 {
				t.Errorf("made %v, stored %v", made, w.stored(noteName))
			}
			if strings.Contains(asError(err).Msg, "rpc error") {
				t.Errorf("a caller would see %q", asError(err).Msg)
			}

			remove()
			patient := w.newAttester(attest.AttestorConfig{Name: attestorName, Signer: w.kmsSigner(version)})
			_, err = patient.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
			must(t, err)
			w.oneValid(image(t, 1))
		})
	}
}

func proto1reset(r *kmspb.AsymmetricSignResponse) { proto.Reset(r) }

// TestKMSStates: a version that is disabled or about to be destroyed.
func TestKMSStates(t *testing.T) {
	for _, loaded := range []bool{false, true} {
		w := newWorld(t, emulator.Behaviour{})
		a, version := w.slowGate(time.Minute)
		if loaded {
			must(t, a.Preflight(t.Context()))
		}

		_, err := w.KMS.UpdateCryptoKeyVersion(t.Context(), &kmspb.UpdateCryptoKeyVersionRequest{
			CryptoKeyVersion: &kmspb.CryptoKeyVersion{Name: version, State: kmspb.CryptoKeyVersion_DISABLED},
			UpdateMask:       &fieldmaskpb.FieldMask{Paths: []string{"state"}},
		})

		must(t, err)
		_, err = a.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
		wantError(t, err, attestor.CodeSigningFailed, "not enabled", "gcloud kms keys versions list")
		if n := len(w.stored(noteName)); n != 0 {
			t.Errorf("%d stored", n)
		}

		// A gate that cannot sign does not claim to be ready.
		wantError(t, a.Preflight(t.Context()), attestor.CodeSigningFailed, "not enabled")
	}
}

// TestKMSKeySignsByItsOwnAlgorithmOnly: the attestor says PKCS #1 of a key
// that signs by PSS. Both fit the key; what it signed would not be accepted.
func TestKMSKeySignsByItsOwnAlgorithmOnly(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	w := newWorld(t, emulator.Behaviour{})
	w.attestor(attestorName)
	must(t, w.SeedKey(kmsVersion, kmspb.CryptoKeyVersion_RSA_SIGN_PSS_2048_SHA256, key))
	w.keys(attestorName, w.kmsEntry(kmsVersion, binaryauthorizationpb.PkixPublicKey_RSA_SIGN_PKCS1_2048_SHA256))
	a := w.newAttester(attest.AttestorConfig{Name: attestorName, Signer: w.kmsSigner(kmsVersion)})
	wantError(t, a.Preflight(t.Context()), attestor.CodeKeyNotOfAttestor, "RSA_SIGN_PKCS1_2048_SHA256", "signs by RSA")
	_, err = a.Attest(t.Context(), authorize(t, image(t, 1), attestor.AttestNeeds{}), attestor.Standing{}, recorded)
	wantError(t, err, attestor.CodeKeyNotOfAttestor)
	if n := len(w.Calls("AsymmetricSign")); n != 0 {
		t.Errorf("%d signatures", n)
	}
}

// The fix is one that works in the state that the key version has.
func TestUnusableKeyVersions(t *testing.T) {
	for state, want := range map[kmspb.CryptoKeyVersion_CryptoKeyVersionState][2]string{
		kmspb.CryptoKeyVersion_DISABLED:          {"is not enabled", "enable it, or"},
		kmspb.CryptoKeyVersion_DESTROY_SCHEDULED: {"is scheduled for destruction", "restore it and then enable it"},
	} {
		w := newWorld(t, emulator.Behaviour{})
		a, version := w.slowGate(time.Minute)
		if state == kmspb.CryptoKeyVersion_DISABLED {
			_, err := w.KMS.UpdateCryptoKeyVersion(t.Context(), &kmspb.UpdateCryptoKeyVersionRequest{
				CryptoKeyVersion: &kmspb.CryptoKeyVersion{Name: version, State: state},
				UpdateMask:       &fieldmaskpb.FieldMask{Paths: []string{"state"}},
			})
			must(t, err)
		} else {
			_, err := w.KMS.DestroyCryptoKeyVersion(t.Context(), &kmspb.DestroyCryptoKeyVersionRequest{Name: version})
			must(t, err)
		}
		wantError(t, a.Preflight(t.Context()), attestor.CodeSigningFailed, want[0], want[1])
	}
}
