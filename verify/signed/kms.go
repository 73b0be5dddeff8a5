package signed

import (
	"context"
	"fmt"
	"strings"

	kms "cloud.google.com/go/kms/apiv1"

	"github.com/attestor-gate/attestor/internal/cloudkms"
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
	key, err := cloudkms.PublicKey(ctx, k.Client, name)
	if err != nil {
		return nil, fmt.Errorf("reading the public key %s: %w", uri, err)
	}
	return []byte(key.GetPem()), nil
}
