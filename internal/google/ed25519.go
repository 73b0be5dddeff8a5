package google

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// An Ed25519Key is a key version of Cloud KMS with the algorithm EC_SIGN_ED25519.
type Ed25519Key struct {
	Client  *kms.KeyManagementClient
	Version string // projects/…/cryptoKeyVersions/N
}

// Public reads the public key.
func (k Ed25519Key) Public(ctx context.Context) (ed25519.PublicKey, error) {
	resp, err := k.Client.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: k.Version})
	if err != nil {
		return nil, fmt.Errorf("reading the public key of %s: %w", k.Version, err)
	}

	// Cloud KMS, "Data integrity guidelines": check that the name is the one that was
	// asked for, and that the checksum matches.
	switch {
	case resp.GetName() != k.Version:
		return nil, fmt.Errorf("Cloud KMS answered with the public key of %q instead of %s", resp.GetName(), k.Version) //nolint:staticcheck // a name
	case resp.GetPemCrc32C() == nil || resp.GetPemCrc32C().GetValue() != crc32c([]byte(resp.GetPem())):
		return nil, fmt.Errorf("the public key of %s does not match its checksum", k.Version)
	case resp.GetAlgorithm() != kmspb.CryptoKeyVersion_EC_SIGN_ED25519:
		return nil, fmt.Errorf("%s signs with %s; the log's key signs with EC_SIGN_ED25519: "+
			"create one with --default-algorithm=ec-sign-ed25519", k.Version, resp.GetAlgorithm())
	}

	block, _ := pem.Decode([]byte(resp.GetPem()))
	if block == nil {
		return nil, fmt.Errorf("the public key of %s is not PEM", k.Version)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parsing the public key of %s: %w", k.Version, err)
	}
	public, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the public key of %s is a %T and not Ed25519", k.Version, parsed)
	}
	return public, nil
}

// Sign returns the signature of msg. Nobody has verified it.
func (k Ed25519Key) Sign(ctx context.Context, msg []byte) ([]byte, error) {
	// With Ed25519 the service signs data and not a digest. Its checksum travels with
	// it, so that the service refuses data that were altered on the way.
	resp, err := k.Client.AsymmetricSign(ctx, &kmspb.AsymmetricSignRequest{
		Name: k.Version, Data: msg, DataCrc32C: wrapperspb.Int64(crc32c(msg)),
	})
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", k.Version, err)
	}
	switch {
	case resp.GetName() != k.Version:
		return nil, fmt.Errorf("Cloud KMS answered with a signature by %q instead of %s", resp.GetName(), k.Version) //nolint:staticcheck // a name
	case !resp.GetVerifiedDataCrc32C():
		return nil, errors.New("Cloud KMS did not receive the data as they were sent") //nolint:staticcheck // a name
	case resp.GetSignatureCrc32C() == nil || resp.GetSignatureCrc32C().GetValue() != crc32c(resp.GetSignature()):
		return nil, fmt.Errorf("the signature by %s does not match its checksum", k.Version)
	}
	return resp.GetSignature(), nil
}

func crc32c(b []byte) int64 { return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))) }
