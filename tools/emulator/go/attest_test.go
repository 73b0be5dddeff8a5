// Package example is a test of somebody's own program that signs and attests: it runs in CI against the emulator.
// Start that first, and name its address:
//
//	docker run --rm -d -p 127.0.0.1:9090:9090 EMULATOR_IMAGE
//	EMULATOR=127.0.0.1:9090 go test ./...
package example

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"testing"
	"time"

	containeranalysis "cloud.google.com/go/containeranalysis/apiv1"
	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/option"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const image = "https://us-docker.pkg.dev/acme/prod/api@sha256:7b1e2a0a5a6cd0f52ca4b7e9d6b8d41a7a3a0d5f3e3c2b1a0f9e8d7c6b5a4938"

// options connect any client of Google's to the emulator.
func options(t *testing.T) []option.ClientOption {
	t.Helper()
	address := os.Getenv("EMULATOR")
	if address == "" {
		t.Skip("EMULATOR names no emulator, such as 127.0.0.1:9090")
	}
	return []option.ClientOption{
		option.WithEndpoint(address), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
}

func TestSignAndAttest(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	keys, err := kms.NewKeyManagementClient(ctx, options(t)...)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	analysis, err := containeranalysis.NewClient(ctx, options(t)...)
	if err != nil {
		t.Fatal(err)
	}
	defer analysis.Close()
	grafeas := analysis.GetGrafeasClient()

	// Each run has names of its own: key rings cannot be deleted.
	id := fmt.Sprintf("example-%d", time.Now().UnixNano())
	version := makeKey(ctx, t, keys, id)

	payload := []byte(`{"critical":{"image":{"docker-manifest-digest":"sha256:7b1e2a0a5a6cd0f52ca4b7e9d6b8d41a7a3a0d5f3e3c2b1a0f9e8d7c6b5a4938"}}}`)
	digest := sha256.Sum256(payload)
	signed, err := keys.AsymmetricSign(ctx, &kmspb.AsymmetricSignRequest{
		Name: version, Digest: &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: digest[:]}},
	})
	if err != nil {
		t.Fatal(err)
	}
	verify(ctx, t, keys, version, digest[:], signed.GetSignature())

	note, err := grafeas.CreateNote(ctx, &grafeaspb.CreateNoteRequest{
		Parent: "projects/acme", NoteId: id,
		Note: &grafeaspb.Note{Type: &grafeaspb.Note_Attestation{Attestation: &grafeaspb.AttestationNote{
			Hint: &grafeaspb.AttestationNote_Hint{HumanReadableName: "example"},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	attestation := &grafeaspb.CreateOccurrenceRequest{Parent: "projects/acme", Occurrence: &grafeaspb.Occurrence{
		NoteName: note.GetName(), ResourceUri: image,
		Details: &grafeaspb.Occurrence_Attestation{Attestation: &grafeaspb.AttestationOccurrence{
			SerializedPayload: payload,
			Signatures: []*grafeaspb.Signature{{
				Signature: signed.GetSignature(), PublicKeyId: "//cloudkms.googleapis.com/v1/" + version,
			}},
		}},
	}}
	if _, err := grafeas.CreateOccurrence(ctx, attestation); err != nil {
		t.Fatal(err)
	}

	// A second attestation on note and image is a conflict, as in the live service.
	if _, err := grafeas.CreateOccurrence(ctx, attestation); status.Code(err) != codes.AlreadyExists {
		t.Errorf("a second attestation: %v, want ALREADY_EXISTS", err)
	}
	listed, err := grafeas.ListNoteOccurrences(ctx, &grafeaspb.ListNoteOccurrencesRequest{
		Name: note.GetName(), Filter: `has_suffix(resourceUrl, "` + image[len(image)-71:] + `")`,
	}).Next()
	if err != nil || listed.GetResourceUri() != image {
		t.Errorf("listed %v, %v", listed, err)
	}
}

// makeKey answers the first version of a new key.
func makeKey(ctx context.Context, t *testing.T, keys *kms.KeyManagementClient, id string) string {
	t.Helper()
	ring, err := keys.CreateKeyRing(ctx, &kmspb.CreateKeyRingRequest{Parent: "projects/acme/locations/global", KeyRingId: id})
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{
		Parent: ring.GetName(), CryptoKeyId: "signer",
		CryptoKey: &kmspb.CryptoKey{
			Purpose:         kmspb.CryptoKey_ASYMMETRIC_SIGN,
			VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return key.GetName() + "/cryptoKeyVersions/1"
}

func verify(ctx context.Context, t *testing.T, keys *kms.KeyManagementClient, version string, digest, signature []byte) {
	t.Helper()
	public, err := keys.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: version})
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(public.GetPem()))
	if block == nil {
		t.Fatalf("no PEM: %s", public.GetPem())
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if ec, ok := key.(*ecdsa.PublicKey); !ok || !ecdsa.VerifyASN1(ec, digest, signature) {
		t.Errorf("the signature does not verify with %T", key)
	}
}
