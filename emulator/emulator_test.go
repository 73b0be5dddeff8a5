package emulator_test

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

const (
	digestA  = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB  = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	imageA   = "us-docker.pkg.dev/p/r/app@" + digestA
	imageB   = "us-docker.pkg.dev/p/r/app@" + digestB
	note     = "projects/p/notes/gate"
	attestor = "projects/p/attestors/gate"
	keyRing  = "projects/p/locations/global/keyRings/gate"
	version  = keyRing + "/cryptoKeys/gate/cryptoKeyVersions/1"
	keyID    = "//cloudkms.googleapis.com/v1/" + version
)

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) // never assigned to

// google is the official clients over one emulator.
type google struct{ *standin.Services }

func newGoogle(t testing.TB, o emulator.Options) google {
	t.Helper()
	return google{standin.StartServices(t, o)}
}

func connect(t testing.TB, e *emulator.Emulator) google {
	t.Helper()
	s, err := standin.Connect(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return google{s}
}

// ctxFor is a context that ends a hanging test with a message instead of a
// time-out of the whole run.
func ctxFor(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func wantCode(t testing.TB, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Fatalf("code %v (%v), want %v", got, err, want)
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (g google) createNote(t testing.TB, name string) {
	t.Helper()
	parent, id := name[:len(name)-len("/notes/gate")], "gate"
	must[*grafeaspb.Note](t)(g.Grafeas.CreateNote(ctxFor(t), &grafeaspb.CreateNoteRequest{Parent: parent, NoteId: id, Note: &grafeaspb.Note{
		Type: &grafeaspb.Note_Attestation{Attestation: &grafeaspb.AttestationNote{Hint: &grafeaspb.AttestationNote_Hint{HumanReadableName: "gate"}}},
	}}))
}

// createKey makes a key ring and a P-256 key.
func (g google) createKey(t testing.TB) {
	t.Helper()
	ctx := ctxFor(t)
	must[*kmspb.KeyRing](t)(g.KMS.CreateKeyRing(ctx, &kmspb.CreateKeyRingRequest{Parent: "projects/p/locations/global", KeyRingId: "gate"}))
	must[*kmspb.CryptoKey](t)(g.KMS.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{Parent: keyRing, CryptoKeyId: "gate", CryptoKey: &kmspb.CryptoKey{
		Purpose:         kmspb.CryptoKey_ASYMMETRIC_SIGN,
		VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256},
	}}))
}

func (g google) createAttestor(t testing.TB) {
	t.Helper()
	pub := must[*kmspb.PublicKey](t)(g.KMS.GetPublicKey(ctxFor(t), &kmspb.GetPublicKeyRequest{Name: version}))
	must[*binaryauthorizationpb.Attestor](t)(g.Binauthz.CreateAttestor(ctxFor(t), &binaryauthorizationpb.CreateAttestorRequest{
		Parent: "projects/p", AttestorId: "gate",
		Attestor: newAttestor(&binaryauthorizationpb.AttestorPublicKey{Id: keyID, PublicKey: &binaryauthorizationpb.AttestorPublicKey_PkixPublicKey{
			PkixPublicKey: &binaryauthorizationpb.PkixPublicKey{PublicKeyPem: pub.GetPem(),
				SignatureAlgorithm: binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256},
		}}),
	}))
}

func newAttestor(keys ...*binaryauthorizationpb.AttestorPublicKey) *binaryauthorizationpb.Attestor {
	return &binaryauthorizationpb.Attestor{AttestorType: &binaryauthorizationpb.Attestor_UserOwnedGrafeasNote{
		UserOwnedGrafeasNote: &binaryauthorizationpb.UserOwnedGrafeasNote{NoteReference: note, PublicKeys: keys},
	}}
}

// sign signs a payload with the key's version 1.
func (g google) sign(t testing.TB, payload []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(payload)
	return must[*kmspb.AsymmetricSignResponse](t)(g.KMS.AsymmetricSign(ctxFor(t), &kmspb.AsymmetricSignRequest{
		Name: version, Digest: &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: sum[:]}},
	})).GetSignature()
}

func payloadFor(repository, digest string) []byte {
	return []byte("{\n  \"critical\": {\n    \"identity\": {\n      \"docker-reference\": \"" + repository +
		"\"\n    },\n    \"image\": {\n      \"docker-manifest-digest\": \"" + digest +
		"\"\n    },\n    \"type\": \"Google cloud binauthz container signature\"\n  }\n}\n")
}

func attestation(noteName, resource string, payload, sig []byte) *grafeaspb.Occurrence {
	return &grafeaspb.Occurrence{NoteName: noteName, ResourceUri: resource, Details: &grafeaspb.Occurrence_Attestation{
		Attestation: &grafeaspb.AttestationOccurrence{SerializedPayload: payload, Signatures: []*grafeaspb.Signature{{Signature: sig, PublicKeyId: keyID}}},
	}}
}

func TestGateConversation(t *testing.T) {
	g := newGoogle(t, emulator.Options{Now: func() time.Time { return start }})
	ctx := ctxFor(t)
	g.createNote(t, note)
	g.createKey(t)
	g.createAttestor(t)

	payload := payloadFor("us-docker.pkg.dev/p/r/app", digestA)
	o := attestation(note, imageA, payload, g.sign(t, payload))
	valid := must[*binaryauthorizationpb.ValidateAttestationOccurrenceResponse](t)(
		g.Validate.ValidateAttestationOccurrence(ctx, &binaryauthorizationpb.ValidateAttestationOccurrenceRequest{
			Attestor: attestor, Attestation: o.GetAttestation(), OccurrenceNote: note, OccurrenceResourceUri: imageA,
		}))

	if valid.GetResult() != binaryauthorizationpb.ValidateAttestationOccurrenceResponse_VERIFIED {
		t.Fatalf("result %v: %s", valid.GetResult(), valid.GetDenialReason())
	}

	stored := must[*grafeaspb.Occurrence](t)(g.Grafeas.CreateOccurrence(ctx, &grafeaspb.CreateOccurrenceRequest{Parent: "projects/p", Occurrence: o}))
	if stored.GetKind() != grafeaspb.NoteKind_ATTESTATION || !stored.GetCreateTime().AsTime().Equal(start) {
		t.Errorf("kind %v created %v, want an attestation of %v", stored.GetKind(), stored.GetCreateTime().AsTime(), start)
	}

	_, err := g.Grafeas.CreateOccurrence(ctx, &grafeaspb.CreateOccurrenceRequest{Parent: "projects/p", Occurrence: o})
	wantCode(t, err, codes.AlreadyExists)

	listed := must[*grafeaspb.Occurrence](t)(g.Grafeas.ListNoteOccurrences(ctx, &grafeaspb.ListNoteOccurrencesRequest{
		Name: note, Filter: `has_suffix(resourceUrl, "` + digestA + `")`,
	}).Next())

	if listed.GetName() != stored.GetName() {
		t.Errorf("listed %s, want %s", listed.GetName(), stored.GetName())
	}
	if err := g.Grafeas.DeleteOccurrence(ctx, &grafeaspb.DeleteOccurrenceRequest{Name: stored.GetName()}); err != nil {
		t.Fatal(err)
	}

	_, err = g.Grafeas.GetOccurrence(ctx, &grafeaspb.GetOccurrenceRequest{Name: stored.GetName()})
	wantCode(t, err, codes.NotFound)
}

func code(err error) codes.Code { return status.Code(err) }
