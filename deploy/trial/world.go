package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A world is what a trial asks with: a note, a key and an attestor.
type world struct {
	note, version, keyID, attestor string
}

// prepare makes it. Each deletion is registered before the thing is made.
func (t *trial) prepare(ctx context.Context) (*world, error) {
	w := &world{note: t.parent + "/notes/" + t.run, attestor: t.parent + "/attestors/" + t.run}
	t.later("occurrences", func(ctx context.Context) error { return t.deleteOccurrences(ctx, t.run+"/") })
	t.later("the note", func(ctx context.Context) error {
		return t.grafeas.DeleteNote(ctx, &grafeaspb.DeleteNoteRequest{Name: w.note})
	})
	t.later("the attestations", func(ctx context.Context) error { return t.deleteAttestations(ctx, w.note) })
	if err := t.make(ctx, func(ctx context.Context) error {
		_, err := t.grafeas.CreateNote(ctx, &grafeaspb.CreateNoteRequest{
			Parent: t.parent, NoteId: t.run,
			Note: &grafeaspb.Note{Type: &grafeaspb.Note_Attestation{Attestation: &grafeaspb.AttestationNote{
				Hint: &grafeaspb.AttestationNote_Hint{HumanReadableName: "attestor trial"},
			}}},
		})
		return err
	}); err != nil {
		return nil, fmt.Errorf("creating the note: %w", err)
	}

	// A key ring stays: Cloud KMS deletes none. Its key's version is destroyed, and costs nothing then.
	ring := t.parent + "/locations/global/keyRings/" + t.run
	if err := t.make(ctx, func(ctx context.Context) error {
		_, err := t.keys.CreateKeyRing(ctx, &kmspb.CreateKeyRingRequest{Parent: t.parent + "/locations/global",
			KeyRingId: t.run})
		return err
	}); err != nil {
		return nil, fmt.Errorf("creating the key ring: %w", err)
	}
	w.version = ring + "/cryptoKeys/signer/cryptoKeyVersions/1"
	w.keyID = "//cloudkms.googleapis.com/v1/" + w.version
	version := w.version
	t.later("the key version", func(ctx context.Context) error {
		_, err := t.keys.DestroyCryptoKeyVersion(ctx, &kmspb.DestroyCryptoKeyVersionRequest{Name: version})
		return err
	})
	if err := t.make(ctx, func(ctx context.Context) error {
		_, err := t.keys.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{
			Parent: ring, CryptoKeyId: "signer",
			CryptoKey: &kmspb.CryptoKey{
				Purpose:         kmspb.CryptoKey_ASYMMETRIC_SIGN,
				VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256},
			},
		})
		return err
	}); err != nil {
		return nil, fmt.Errorf("creating the key: %w", err)
	}
	return w, t.makeAttestor(ctx, w)
}

func (t *trial) makeAttestor(ctx context.Context, w *world) error {
	public, err := t.keys.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: w.version})
	if err != nil {
		return fmt.Errorf("reading the public key: %w", err)
	}

	t.later("the attestor", func(ctx context.Context) error {
		return t.binauthz.DeleteAttestor(ctx, &binaryauthorizationpb.DeleteAttestorRequest{Name: w.attestor})
	})
	request := &binaryauthorizationpb.CreateAttestorRequest{
		Parent: t.parent, AttestorId: t.run,
		Attestor: &binaryauthorizationpb.Attestor{Name: w.attestor,
			AttestorType: &binaryauthorizationpb.Attestor_UserOwnedGrafeasNote{
				UserOwnedGrafeasNote: &binaryauthorizationpb.UserOwnedGrafeasNote{
					NoteReference: w.note,
					PublicKeys:    []*binaryauthorizationpb.AttestorPublicKey{publicKey(w.keyID, public.GetPem())},
				},
			}},
	}
	if err := t.make(ctx, func(ctx context.Context) error {
		_, err := t.binauthz.CreateAttestor(ctx, request)
		return err
	}); err != nil {
		return fmt.Errorf("creating the attestor: %w", err)
	}

	return nil
}

// addVersion adds a version to the key, and its public key to the attestor.
func (t *trial) addVersion(ctx context.Context, w *world) (*world, error) {
	next := *w
	next.version = strings.TrimSuffix(w.version, "/1") + "/2"
	next.keyID = "//cloudkms.googleapis.com/v1/" + next.version
	t.later("the second key version", func(ctx context.Context) error {
		_, err := t.keys.DestroyCryptoKeyVersion(ctx, &kmspb.DestroyCryptoKeyVersionRequest{Name: next.version})
		return err
	})
	if err := t.make(ctx, func(ctx context.Context) error {
		_, err := t.keys.CreateCryptoKeyVersion(ctx,
			&kmspb.CreateCryptoKeyVersionRequest{Parent: strings.TrimSuffix(w.version, "/cryptoKeyVersions/1")})
		return err
	}); err != nil {
		return nil, err
	}

	var public *kmspb.PublicKey
	if err := t.poll(ctx, "the key", t.lag, func(ctx context.Context) (bool, error) {
		v, err := t.keys.GetCryptoKeyVersion(ctx, &kmspb.GetCryptoKeyVersionRequest{Name: next.version})
		if err != nil || v.GetState() != kmspb.CryptoKeyVersion_ENABLED {
			return false, err
		}
		public, err = t.keys.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: next.version})
		return err == nil, err
	}); err != nil {
		return nil, err
	}

	// The attestor is written back whole, with the etag that it was read with.
	a, err := t.binauthz.GetAttestor(ctx, &binaryauthorizationpb.GetAttestorRequest{Name: w.attestor})
	if err != nil {
		return nil, err
	}
	n := a.GetUserOwnedGrafeasNote()
	n.PublicKeys = append(n.PublicKeys, publicKey(next.keyID, public.GetPem()))
	_, err = t.binauthz.UpdateAttestor(ctx, &binaryauthorizationpb.UpdateAttestorRequest{Attestor: a})
	return &next, err
}

func publicKey(id, pem string) *binaryauthorizationpb.AttestorPublicKey {
	key := &binaryauthorizationpb.PkixPublicKey{
		PublicKeyPem: pem, SignatureAlgorithm: binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256,
	}

	return &binaryauthorizationpb.AttestorPublicKey{
		Id: id, PublicKey: &binaryauthorizationpb.AttestorPublicKey_PkixPublicKey{PkixPublicKey: key},
	}
}

// unpushed is the name of images that nobody pushes.
const unpushed = "app"

// image is the URL of an image that nobody pushed: its digest is that of a text.
func (t *trial) image(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "us-docker.pkg.dev/" + t.parent[len("projects/"):] + "/" + t.run + "/" + unpushed + "@sha256:" +
		hex.EncodeToString(sum[:])
}

// attestation signs for an image; comment makes two payloads of one image differ.
func (t *trial) attestation(ctx context.Context, w *world, image, comment string) (*grafeaspb.Occurrence, error) {
	// The form that Binary Authorization verifies.
	digest := image[len(image)-len("sha256:")-64:]
	payload := []byte(`{"critical":{"identity":{"docker-reference":"` + image[:len(image)-len(digest)-1] +
		`"},"image":{"docker-manifest-digest":"` + digest + `"},"type":"Google cloud binauthz container signature"}` +
		comment + `}`)
	sum := sha256.Sum256(payload)
	signed, err := t.keys.AsymmetricSign(ctx, &kmspb.AsymmetricSignRequest{
		Name: w.version, Digest: &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: sum[:]}},
		DigestCrc32C: checksum(sum[:]),
	})
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}

	return &grafeaspb.Occurrence{
		NoteName: w.note, ResourceUri: image,
		Details: &grafeaspb.Occurrence_Attestation{Attestation: &grafeaspb.AttestationOccurrence{
			SerializedPayload: payload,
			Signatures:        []*grafeaspb.Signature{{Signature: signed.GetSignature(), PublicKeyId: w.keyID}},
		}},
	}, nil
}

// create stores an occurrence, and has it deleted by its name: a list need not show it yet. Where the name is lost with
// the answer, deleteOccurrences finds it.
func (t *trial) create(ctx context.Context, o *grafeaspb.Occurrence) (*grafeaspb.Occurrence, error) {
	var made *grafeaspb.Occurrence
	if err := t.make(ctx, func(ctx context.Context) (err error) {
		made, err = t.grafeas.CreateOccurrence(ctx, &grafeaspb.CreateOccurrenceRequest{Parent: t.parent, Occurrence: o})
		return err
	}); err != nil {
		return nil, err
	}
	t.later("an occurrence", func(ctx context.Context) error {
		return t.grafeas.DeleteOccurrence(ctx, &grafeaspb.DeleteOccurrenceRequest{Name: made.GetName()})
	})
	return made, nil
}

func checksum(b []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))))
}
