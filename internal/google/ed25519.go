package google

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/attestor-gate/attestor/internal/cloudkms"
)

// An Ed25519Key is a key version of Cloud KMS with the algorithm EC_SIGN_ED25519.
type Ed25519Key struct {
	Client  *kms.KeyManagementClient
	Version string // projects/…/cryptoKeyVersions/N
}

// Public reads the public key.
func (k Ed25519Key) Public(ctx context.Context) (ed25519.PublicKey, error) {
	resp, err := cloudkms.PublicKey(ctx, k.Client, k.Version)
	if err != nil {
		return nil, fmt.Errorf("reading the public key of %s: %w", k.Version, err)
	}
	if resp.GetAlgorithm() != kmspb.CryptoKeyVersion_EC_SIGN_ED25519 {
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
	// With Ed25519 the service signs data and not a digest.
	signature, err := cloudkms.AsymmetricSign(ctx, k.Client, &kmspb.AsymmetricSignRequest{Name: k.Version, Data: msg})
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", k.Version, err)
	}
	return signature, nil
}
