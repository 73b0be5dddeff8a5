package summary

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/vsa"
)

// bundleType is the media type of a Sigstore bundle.
const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// maxBundle bounds a bundle that is read, in bytes: a statement and its signature, encoded.
const maxBundle = 2 * vsa.MaxPayload

// seal signs a statement and returns it as a bundle.
func seal(ctx context.Context, k Key, s vsa.Statement) ([]byte, error) {
	payload, err := s.Encode()
	if err != nil {
		return nil, err
	}
	pub, err := k.public(ctx)
	if err != nil {
		return nil, err
	}

	// DSSE protocol: "PAE(type, body) = "DSSEv1" + SP + LEN(type) + SP + type + SP + LEN(body) + SP + body".
	message := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(vsa.PayloadType), vsa.PayloadType, len(payload), payload)
	sig, err := k.sign(ctx, message)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encoding a public key: %w", err)
	}
	sum := sha256.Sum256(der)

	// The signature has no keyid: slsa-verifier demands a flag with the value of any that is there. The hint is the
	// key's hash, as cosign writes it.
	type m map[string]any
	return json.Marshal(m{
		"mediaType":            bundleType,
		"verificationMaterial": m{"publicKey": m{"hint": base64.StdEncoding.EncodeToString(sum[:])}},
		"dsseEnvelope": m{
			"payload": payload, "payloadType": vsa.PayloadType, "signatures": []m{{"sig": sig}},
		},
	})
}

// open returns the statement of a bundle if the key verifies it and it is about the digest. It shares nothing with
// [seal], so that a mistake there cannot hide itself here.
func open(raw []byte, pub crypto.PublicKey, d attestor.Digest) (s vsa.Statement, err error) {
	defer func() {
		if r := recover(); r != nil {
			s, err = vsa.Statement{}, fmt.Errorf("reading the bundle panicked: %v", r)
		}
	}()

	b := &bundle.Bundle{}
	if err := b.UnmarshalJSON(raw); err != nil {
		return vsa.Statement{}, errors.New("it is not a Sigstore bundle")
	}
	if b.GetDsseEnvelope() == nil || b.GetDsseEnvelope().GetPayloadType() != vsa.PayloadType {
		return vsa.Statement{}, errors.New("its bundle holds no in-toto statement")
	}

	// The method follows from the key's type, never from the bundle.
	key, err := signature.LoadVerifier(pub, crypto.SHA256)
	if err != nil {
		return vsa.Statement{}, fmt.Errorf("loading the public key: %w", err)
	}

	// The key has no period of validity of its own: which key counts is the configuration's to say.
	trusted := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(key, time.Time{}, time.Time{}), nil
	})
	verifier, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps())
	if err != nil {
		return vsa.Statement{}, err
	}
	digest, err := hex.DecodeString(d.Hex())
	if err != nil || len(digest) != sha256.Size {
		return vsa.Statement{}, errors.New("the image has no SHA-256 digest")
	}
	policy := verify.NewPolicy(verify.WithArtifactDigest("sha256", digest), verify.WithKey())
	if _, err := verifier.Verify(b, policy); err != nil {
		return vsa.Statement{}, fmt.Errorf("the key does not verify it: %w", err)
	}

	// The bytes that were verified are those that are read. The library compared the subject with a parser of its own.
	if s, err = vsa.Parse(b.GetDsseEnvelope().GetPayload()); err != nil {
		return vsa.Statement{}, err
	}
	if !s.About(d.Hex()) {
		return vsa.Statement{}, errors.New("it is about another digest")
	}
	return s, nil
}
