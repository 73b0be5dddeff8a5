package emulator

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"sync"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// maxSignData is KMS's limit for data that is signed whole.
const maxSignData = 64 << 10

// keyCache keeps parsed private keys, by version name; parsing RSA keys for
// every signature would cost more than the signature.
type keyCache struct {
	mu   sync.Mutex
	keys map[string]crypto.Signer
}

func newKeyCache() *keyCache { return &keyCache{keys: map[string]crypto.Signer{}} }

func (c *keyCache) drop(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.keys, name)
}

// signer is the private key of a version, from memory or from the state.
func (e *Emulator) signer(name string) (crypto.Signer, error) {
	e.keys.mu.Lock()
	defer e.keys.mu.Unlock()

	// The lock is held while a key is parsed, so that each is parsed once.
	if k, ok := e.keys.keys[name]; ok {
		return k, nil
	}
	e.store.mu.RLock()
	row, ok := e.store.get(tableSecrets, name)
	e.store.mu.RUnlock()
	if !ok {
		return nil, fmt.Errorf("no private key is kept for %s", name)
	}

	parsed, err := x509.ParsePKCS8PrivateKey(decode[wrapperspb.BytesValue](row).GetValue())
	if err != nil {
		return nil, err
	}
	k, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T does not sign", parsed)
	}
	e.keys.keys[name] = k
	return k, nil
}

// enabledVersion is a key version that may be used.
func (s kmsService) enabledVersion(name string) (*kmspb.CryptoKeyVersion, error) {
	s.store.mu.RLock()
	row, ok := s.store.get(tableVersions, name)
	s.store.mu.RUnlock()
	if !ok {
		return nil, notFound("CryptoKeyVersion %s not found.", name)
	}

	v := decode[kmspb.CryptoKeyVersion](row)
	if v.GetState() != kmspb.CryptoKeyVersion_ENABLED {
		msg := fmt.Sprintf("%s is not enabled, current state is: %v.", name, v.GetState())
		return nil, withDetails(status.New(codes.FailedPrecondition, msg), &errdetails.PreconditionFailure{
			Violations: []*errdetails.PreconditionFailure_Violation{
				{Type: "KEY_" + v.GetState().String(), Subject: name, Description: msg},
			},
		})
	}
	return v, nil
}

func (s kmsService) GetPublicKey(ctx context.Context, r *kmspb.GetPublicKeyRequest) (*kmspb.PublicKey, error) {
	if err := checkName(s.names.version, "name", r.GetName()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "cloudkms.cryptoKeyVersions.viewPublicKey", r.GetName()); err != nil {
		return nil, err
	}

	if f := r.GetPublicKeyFormat(); f != kmspb.PublicKey_PUBLIC_KEY_FORMAT_UNSPECIFIED && f != kmspb.PublicKey_PEM {
		return nil, invalid("public_key_format", fmt.Sprintf("the emulator gives public keys as PEM only, not %v", f))
	}

	// A version that is not enabled gives neither its public key nor a signature.
	v, err := s.enabledVersion(r.GetName())
	if err != nil {
		return nil, err
	}

	text, err := s.publicPEM(v)
	if err != nil {
		return nil, errInternal("reading the key of %s: %v", r.GetName(), err)
	}
	out := &kmspb.PublicKey{
		Name: v.GetName(), Algorithm: v.GetAlgorithm(), ProtectionLevel: v.GetProtectionLevel(),
		Pem: text, PemCrc32C: wrapperspb.Int64(crc32c([]byte(text))), PublicKeyFormat: kmspb.PublicKey_PEM,
	}
	if r.GetPublicKeyFormat() == kmspb.PublicKey_PEM {
		out.PublicKey = &kmspb.ChecksummedData{Data: []byte(text), Crc32CChecksum: out.GetPemCrc32C()}
	}
	return out, nil
}

func (s kmsService) publicPEM(v *kmspb.CryptoKeyVersion) (string, error) {
	if v.GetAlgorithm() == kmspb.CryptoKeyVersion_EC_SIGN_SECP256K1_SHA256 {
		return secp256k1PEM, nil
	}
	k, err := s.signer(v.GetName())
	if err != nil {
		return "", err
	}
	return publicPEM(k.Public())
}

func (s kmsService) AsymmetricSign(
	ctx context.Context,
	r *kmspb.AsymmetricSignRequest,
) (*kmspb.AsymmetricSignResponse, error) {
	if err := checkName(s.names.version, "name", r.GetName()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "cloudkms.cryptoKeyVersions.useToSign", r.GetName()); err != nil {
		return nil, err
	}

	v, err := s.enabledVersion(r.GetName())
	if err != nil {
		return nil, err
	}
	alg, ok := signingAlgorithm(v.GetAlgorithm())
	if !ok {
		return nil, status.Errorf(codes.Unimplemented, "the emulator does not sign with %v", v.GetAlgorithm())
	}

	// What is to be signed is checked before the key is read.
	input, err := signInput(r, alg)
	if err != nil {
		return nil, err
	}
	k, err := s.signer(v.GetName())
	if err != nil {
		return nil, errInternal("reading the key of %s: %v", r.GetName(), err)
	}

	sig, err := alg.sign(k, input)
	if err != nil {
		return nil, errInternal("signing with %s: %v", r.GetName(), err)
	}
	return &kmspb.AsymmetricSignResponse{
		Name: v.GetName(), Signature: sig, SignatureCrc32C: wrapperspb.Int64(crc32c(sig)),
		VerifiedDigestCrc32C: r.GetDigestCrc32C() != nil, VerifiedDataCrc32C: r.GetDataCrc32C() != nil,
		ProtectionLevel: v.GetProtectionLevel(),
	}, nil
}

// signInput is the digest or data to sign, checked as KMS checks it.
func signInput(r *kmspb.AsymmetricSignRequest, alg algorithm) ([]byte, error) {
	digest, hash := digestBytes(r.GetDigest())
	switch {
	// Digest and data could name two messages.
	case r.GetDigest() != nil && len(r.GetData()) > 0:
		return nil, invalid("digest", "Exactly one of digest and data must be provided.")
	case len(r.GetData()) > maxSignData:
		return nil, invalid(
			"data",
			fmt.Sprintf("data must be at most %d bytes, got %d.", maxSignData, len(r.GetData())),
		)
	}

	// Checksums come before anything else is made of the bytes, as in the live
	// service: a client learns that they were damaged, not what they were taken for.
	if err := checkCRC("digest_crc32c", "digest", digest, r.GetDigestCrc32C()); err != nil {
		return nil, err
	}

	if err := checkCRC("data_crc32c", "data", r.GetData(), r.GetDataCrc32C()); err != nil {
		return nil, err
	}

	switch {
	case r.GetDigest() == nil && len(r.GetData()) == 0:
		return nil, invalid("digest", "Either digest or data is required.")
	case r.GetDigest() == nil && alg.hash == 0:
		return r.GetData(), nil
	case r.GetDigest() == nil:
		// Data is digested here, as KMS does for keys that sign digests.
		h := alg.hash.New()
		h.Write(r.GetData())
		return h.Sum(nil), nil
	case alg.hash == 0:
		return nil, invalid("digest", "The key signs data, not a digest.")
	// A digest of another algorithm would be signed under a name that nothing
	// verifies.
	case hash != alg.hash:
		return nil, invalid(
			"digest",
			fmt.Sprintf("The digest's algorithm does not match the key's, which is %v.", alg.hash),
		)
	case len(digest) != hash.Size():
		return nil, invalid("digest", fmt.Sprintf("A %v digest has %d bytes, got %d.", hash, hash.Size(), len(digest)))
	}
	return digest, nil
}

func checkCRC(field, of string, b []byte, crc *wrapperspb.Int64Value) error {
	if crc == nil || crc.GetValue() == crc32c(b) {
		return nil
	}
	return invalid(field, fmt.Sprintf("The checksum in field %s did not match the data in field %s.", field, of))
}

func digestBytes(d *kmspb.Digest) ([]byte, crypto.Hash) {
	switch d := d.GetDigest().(type) {
	case *kmspb.Digest_Sha256:
		return d.Sha256, crypto.SHA256
	case *kmspb.Digest_Sha384:
		return d.Sha384, crypto.SHA384
	case *kmspb.Digest_Sha512:
		return d.Sha512, crypto.SHA512
	default:
		return nil, 0
	}
}
