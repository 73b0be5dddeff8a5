package cloudkms_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/cloudkms"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

const (
	ring = "projects/p/locations/global/keyRings/r/cryptoKeys/"
	ec   = ring + "ec/cryptoKeyVersions/1" // signs digests
	ed   = ring + "ed/cryptoKeyVersions/1" // signs data
)

func serve(t *testing.T) (*emulator.Emulator, *kms.KeyManagementClient) {
	t.Helper()
	s := standin.StartServices(t, emulator.Options{})
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, pure, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		s.SeedKey(ec, kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, p256),
		s.SeedKey(ed, kmspb.CryptoKeyVersion_EC_SIGN_ED25519, pure),
	); err != nil {
		t.Fatal(err)
	}

	return s.Emulator, s.KMS
}

// request asks for a signature of message: by a digest, or by the data themselves.
func request(version string, message []byte) *kmspb.AsymmetricSignRequest {
	if version == ed {
		return &kmspb.AsymmetricSignRequest{Name: version, Data: message}
	}
	sum := sha256.Sum256(message)
	return &kmspb.AsymmetricSignRequest{Name: version, Digest: &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: sum[:]}}}
}

func TestSignaturesVerify(t *testing.T) {
	_, client := serve(t)
	message := []byte("message")
	for _, version := range []string{ec, ed} {
		key, err := cloudkms.PublicKey(t.Context(), client, version)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode([]byte(key.GetPem()))
		pub, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := cloudkms.AsymmetricSign(t.Context(), client, request(version, message))
		if err != nil {
			t.Fatal(err)
		}

		sum := sha256.Sum256(message)
		switch pub := pub.(type) {
		case *ecdsa.PublicKey:
			if !ecdsa.VerifyASN1(pub, sum[:], sig) {
				t.Errorf("%s: the signature does not verify", version)
			}
		case ed25519.PublicKey:
			if !ed25519.Verify(pub, message, sig) {
				t.Errorf("%s: the signature does not verify", version)
			}
		default:
			t.Errorf("%s has a %T", version, pub)
		}
	}
}

// An answer that does not belong to the question is never taken for one, whichever kind of key signs.
func TestAlteredAnswersAreRefused(t *testing.T) {
	for _, tt := range []struct {
		method  string
		corrupt emulator.Corruption
		says    string
	}{
		{"GetPublicKey", emulator.CorruptName, "the public key of"},
		{"GetPublicKey", emulator.CorruptChecksum, "does not match its checksum"},
		{"GetPublicKey", emulator.CorruptNoChecksum, "does not match its checksum"},
		{"GetPublicKey", emulator.CorruptPublicKeyInTransit, "does not match its checksum"},
		{"AsymmetricSign", emulator.CorruptName, "a signature by"},
		{"AsymmetricSign", emulator.CorruptChecksum, "does not match its checksum"},
		{"AsymmetricSign", emulator.CorruptNoChecksum, "does not match its checksum"},
		{"AsymmetricSign", emulator.CorruptSignatureInTransit, "does not match its checksum"},
		{"AsymmetricSign", emulator.CorruptUnverified, "did not receive the d"},
	} {
		for _, version := range []string{ec, ed} {
			e, client := serve(t)
			e.Inject(emulator.Fault{Method: tt.method, Corrupt: tt.corrupt})
			var err error
			if tt.method == "GetPublicKey" {
				_, err = cloudkms.PublicKey(t.Context(), client, version)
			} else {
				_, err = cloudkms.AsymmetricSign(t.Context(), client, request(version, []byte("message")))
			}
			if altered, ok := errors.AsType[cloudkms.Altered](err); !ok || !strings.Contains(string(altered), tt.says) {
				t.Errorf("%s of %s, %v: %v", tt.method, version, tt.corrupt, err)
			}
		}
	}
}

func TestExplain(t *testing.T) {
	use := cloudkms.Use{Named: "vsa", Verifier: "those who verify"}
	for _, tt := range []struct {
		err      error
		msg, fix string
	}{
		{status.Error(codes.DeadlineExceeded, ""), "did not answer in time", "try again"},
		{status.Error(codes.PermissionDenied, ""), "may not sign with it", "grant it"},
		{status.Error(codes.NotFound, ""), "does not exist", "correct vsa in the configuration"},
		{status.Error(codes.ResourceExhausted, ""), "quota", "more asymmetric signing quota"},
		{status.Error(codes.InvalidArgument, ""), "refused the request", "asymmetric signing"},
		{status.Error(codes.Internal, ""), "could not sign with it", "try again"},
		{status.Error(codes.FailedPrecondition, "it is DISABLED"), "not enabled", "enable it, or"},
		{status.Error(codes.FailedPrecondition, "it is DESTROY_SCHEDULED"), "scheduled for destruction", "restore it and then enable it"},
		{status.Error(codes.FailedPrecondition, "it is DESTROYED"), "was destroyed", "give those who verify its public key"},
		{status.Error(codes.FailedPrecondition, "it is PENDING_GENERATION"), "not ready yet", "in a minute"},
	} {
		msg, fix := use.Explain("sign with it", "grant it", tt.err)
		if !strings.Contains(msg, tt.msg) || !strings.Contains(fix, tt.fix) {
			t.Errorf("%v: %q, %q; want %q, %q", tt.err, msg, fix, tt.msg, tt.fix)
		}
	}
}
