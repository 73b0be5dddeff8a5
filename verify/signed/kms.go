package signed

import (
	"context"
	"fmt"
	"hash/crc32"
	"strings"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/attestor-gate/attestor/internal/limit"
)

// KMSKeys reads public keys of Cloud KMS, named
// gcpkms://projects/…/cryptoKeyVersions/N. It is a [PublicKeys].
type KMSKeys struct {
	Client *kms.KeyManagementClient
	Limit  limit.Call // of one read; 0: [limit.Default]
}

// PublicKey implements [PublicKeys]. The key is in PEM.
func (k KMSKeys) PublicKey(ctx context.Context, uri string) ([]byte, error) {
	ctx, cancel := k.Limit.Start(ctx)
	defer cancel()

	name := strings.TrimPrefix(uri, "gcpkms://")
	key, err := k.Client.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: name})
	if err != nil {
		return nil, fmt.Errorf("reading the public key %s: %w", uri, err)
	}

	// The name is "provided here for verification": an answer about another key must
	// not verify what this one signed.
	if key.GetName() != name {
		return nil, fmt.Errorf("reading the public key %s: Cloud KMS answered with %q", uri, key.GetName())
	}

	// "Discard the response in case of non-matching checksum values": the key was
	// damaged on its way. A checksum that is missing proves nothing either.
	sum := crc32.Checksum([]byte(key.GetPem()), crc32.MakeTable(crc32.Castagnoli))
	if key.GetPemCrc32C() == nil || key.GetPemCrc32C().GetValue() != int64(sum) {
		return nil, fmt.Errorf("reading the public key %s: it does not match its checksum", uri)
	}
	return []byte(key.GetPem()), nil
}
