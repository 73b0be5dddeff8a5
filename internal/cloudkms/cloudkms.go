// Package cloudkms asks Cloud KMS for public keys and signatures, and returns only answers that belong to the question.
// Whoever reads a key or signs goes through it, so that no place trusts an answer that another one would refuse.
package cloudkms

import (
	"context"
	"fmt"
	"hash/crc32"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Altered is the reason why an answer is not believed, as the rest of a sentence that begins with "Cloud KMS".
type Altered string

func (a Altered) Error() string { return "Cloud KMS " + string(a) }

// PublicKey reads the public key of a version, projects/…/cryptoKeyVersions/N. The error is [Altered] if the answer is
// about another key, or was damaged on its way. Whether the algorithm will do is left to the caller.
func PublicKey(ctx context.Context, client *kms.KeyManagementClient, version string) (*kmspb.PublicKey, error) {
	key, err := client.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: version})
	if err != nil {
		return nil, err
	}

	// Cloud KMS, "Data integrity guidelines": check that the name is the one that was asked for, and that the checksum
	// matches. A checksum that is missing proves nothing either.
	switch {
	case key.GetName() != version:
		return nil, Altered(fmt.Sprintf("answered with the public key of %q", key.GetName()))
	case key.GetPemCrc32C() == nil || key.GetPemCrc32C().GetValue() != checksum([]byte(key.GetPem())):
		return nil, Altered("answered with a public key that does not match its checksum")
	}
	return key, nil
}

// AsymmetricSign signs the digest of a request, or its data for an algorithm that takes those. Nobody has verified the
// signature. The error is [Altered] if the service did not receive what was sent, or the answer is not the one to the
// request.
func AsymmetricSign(
	ctx context.Context, client *kms.KeyManagementClient, req *kmspb.AsymmetricSignRequest,
) ([]byte, error) {
	// The checksum travels with what is signed, so that the service refuses what was altered on the way.
	var sum []byte
	switch d := req.GetDigest().GetDigest().(type) {
	case *kmspb.Digest_Sha256:
		sum = d.Sha256
	case *kmspb.Digest_Sha384:
		sum = d.Sha384
	case *kmspb.Digest_Sha512:
		sum = d.Sha512
	}
	if sum != nil {
		req.DigestCrc32C = wrapperspb.Int64(checksum(sum))
	} else {
		req.DataCrc32C = wrapperspb.Int64(checksum(req.GetData()))
	}

	// The data integrity guidelines ask for all three: the name, the receipt of what was sent, the signature's
	// checksum.
	resp, err := client.AsymmetricSign(ctx, req)
	switch {
	case err != nil:
		return nil, err
	case resp.GetName() != req.GetName():
		return nil, Altered(fmt.Sprintf("answered with a signature by %q", resp.GetName()))
	case sum != nil && !resp.GetVerifiedDigestCrc32C():
		return nil, Altered("did not receive the digest as it was sent")
	case sum == nil && !resp.GetVerifiedDataCrc32C():
		return nil, Altered("did not receive the data as they were sent")
	case resp.GetSignatureCrc32C() == nil || resp.GetSignatureCrc32C().GetValue() != checksum(resp.GetSignature()):
		return nil, Altered("answered with a signature that does not match its checksum")
	}
	return resp.GetSignature(), nil
}

func checksum(b []byte) int64 { return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))) }
