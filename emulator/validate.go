package emulator

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	binauthzpb "cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
)

// payloadType is what a Binary Authorization payload says it is.
const payloadType = "Google cloud binauthz container signature"

// ValidateAttestationOccurrence compares note, payload, digest, key and
// algorithm. A negative verdict is an answer, not an error.
func (s validationService) ValidateAttestationOccurrence(
	ctx context.Context,
	r *binauthzpb.ValidateAttestationOccurrenceRequest,
) (*binauthzpb.ValidateAttestationOccurrenceResponse, error) {
	if err := checkName(s.names.attestor, "attestor", r.GetAttestor()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "binaryauthorization.attestors.verifyImageAttested", r.GetAttestor()); err != nil {
		return nil, err
	}

	if r.GetAttestation() == nil || r.GetOccurrenceNote() == "" || r.GetOccurrenceResourceUri() == "" {
		return nil, invalid("attestation", "attestation, occurrence_note and occurrence_resource_uri are required")
	}
	a, err := s.attestor(r.GetAttestor())
	if err != nil {
		return nil, err
	}

	if reason := denialReason(a, r); reason != "" {
		return &binauthzpb.ValidateAttestationOccurrenceResponse{
			Result:       binauthzpb.ValidateAttestationOccurrenceResponse_ATTESTATION_NOT_VERIFIABLE,
			DenialReason: reason,
		}, nil
	}

	return &binauthzpb.ValidateAttestationOccurrenceResponse{
		Result: binauthzpb.ValidateAttestationOccurrenceResponse_VERIFIED,
	}, nil
}

// denialReason is why an attestation does not count for an attestor, or "".
func denialReason(a *binauthzpb.Attestor, r *binauthzpb.ValidateAttestationOccurrenceRequest) string {
	// The note first: an attestation under another note is another attestor's.
	note := a.GetUserOwnedGrafeasNote()
	if r.GetOccurrenceNote() != note.GetNoteReference() {
		return fmt.Sprintf(
			"The attestation's note %s is not the attestor's, %s",
			r.GetOccurrenceNote(),
			note.GetNoteReference(),
		)
	}

	digest := digestOf(r.GetOccurrenceResourceUri())
	if digest == "" {
		return "Expected digest with sha256 scheme, but got tag or malformed digest"
	}
	payload := r.GetAttestation().GetSerializedPayload()
	if reason := payloadMismatch(payload, digest); reason != "" {
		return reason
	}

	if !signed(note.GetPublicKeys(), payload, r.GetAttestation().GetSignatures()) {
		return "No attestations found that were valid and signed by a key trusted by the attestor"
	}
	return ""
}

func payloadMismatch(payload []byte, digest string) string {
	var p struct {
		Critical struct {
			Identity struct {
				Reference string `json:"docker-reference"`
			} `json:"identity"`
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}

	if err := json.Unmarshal(payload, &p); err != nil {
		return "The payload is not a JSON object"
	}
	if !strings.EqualFold(p.Critical.Type, payloadType) {
		return fmt.Sprintf("The payload's type %q is not %q", p.Critical.Type, payloadType)
	}

	if p.Critical.Image.Digest != digest {
		return fmt.Sprintf("The payload is about %q, the occurrence about %q", p.Critical.Image.Digest, digest)
	}
	return ""
}

// signed is whether one signature is by a key with the id it names. The id is
// a hint for look-up, the key and its algorithm decide.
func signed(keys []*binauthzpb.AttestorPublicKey, payload []byte, sigs []*grafeaspb.Signature) bool {
	for _, sig := range sigs {
		for _, k := range keys {
			if k.GetId() != sig.GetPublicKeyId() {
				continue
			}
			alg, ok := pkixAlgorithm(k.GetPkixPublicKey().GetSignatureAlgorithm())
			pub, _, err := parsePublicKey(k.GetPkixPublicKey().GetPublicKeyPem())
			if ok && err == nil && alg.verify(pub, payload, sig.GetSignature()) {
				return true
			}
		}
	}
	return false
}

// pkixAlgorithm is the signature algorithm of an attestor's key.
func pkixAlgorithm(a binauthzpb.PkixPublicKey_SignatureAlgorithm) (algorithm, bool) {
	if a == binauthzpb.PkixPublicKey_ECDSA_P521_SHA512 {
		return p521(), true
	}
	kms := map[binauthzpb.PkixPublicKey_SignatureAlgorithm]kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm{
		binauthzpb.PkixPublicKey_RSA_PSS_2048_SHA256:        kmspb.CryptoKeyVersion_RSA_SIGN_PSS_2048_SHA256,
		binauthzpb.PkixPublicKey_RSA_PSS_3072_SHA256:        kmspb.CryptoKeyVersion_RSA_SIGN_PSS_3072_SHA256,
		binauthzpb.PkixPublicKey_RSA_PSS_4096_SHA256:        kmspb.CryptoKeyVersion_RSA_SIGN_PSS_4096_SHA256,
		binauthzpb.PkixPublicKey_RSA_PSS_4096_SHA512:        kmspb.CryptoKeyVersion_RSA_SIGN_PSS_4096_SHA512,
		binauthzpb.PkixPublicKey_RSA_SIGN_PKCS1_2048_SHA256: kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_2048_SHA256,
		binauthzpb.PkixPublicKey_RSA_SIGN_PKCS1_3072_SHA256: kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_3072_SHA256,
		binauthzpb.PkixPublicKey_RSA_SIGN_PKCS1_4096_SHA256: kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_4096_SHA256,
		binauthzpb.PkixPublicKey_RSA_SIGN_PKCS1_4096_SHA512: kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_4096_SHA512,
		binauthzpb.PkixPublicKey_ECDSA_P256_SHA256:          kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256,
		binauthzpb.PkixPublicKey_ECDSA_P384_SHA384:          kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384,
	}

	k, ok := kms[a]
	if !ok {
		return algorithm{}, false
	}
	return signingAlgorithm(k)
}
