package summary

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync/atomic"

	"cloud.google.com/go/iam/apiv1/iampb"
	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/limit"
)

const signPermission = "cloudkms.cryptoKeyVersions.useToSign"

// kmsKey is a key that never leaves Cloud KMS.
type kmsKey struct {
	client  *kms.KeyManagementClient
	version string // projects/…/cryptoKeyVersions/N
	limit   limit.Call

	loaded atomic.Value // a [crypto.PublicKey]; a key version's public key never changes
}

// NewKMSKey is a key version of Cloud KMS, projects/…/cryptoKeyVersions/N. Its public key is read when it is first
// needed, and a key that cannot sign summaries is refused then; [Publisher.Preflight] does so. Each question to Cloud
// KMS gets at most question.
func NewKMSKey(client *kms.KeyManagementClient, version string, question limit.Call) Key {
	return &kmsKey{client: client, version: version, limit: question}
}

// Where implements [Key].
func (k *kmsKey) Where() string { return "KMS key " + k.version }

func (k *kmsKey) public(ctx context.Context) (crypto.PublicKey, error) {
	if pub := k.loaded.Load(); pub != nil {
		return pub, nil
	}
	ctx, cancel := k.limit.Start(ctx)
	defer cancel()

	resp, err := k.client.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: k.version})
	if err != nil {
		return nil, k.failed("read its public key", "roles/cloudkms.publicKeyViewer", err)
	}

	// Cloud KMS, "Data integrity guidelines": check that the name is the one that was asked for, and that the checksum
	// matches.
	switch {
	case resp.GetName() != k.version:
		return nil, k.badAnswer(fmt.Sprintf("answered with the public key of %q", resp.GetName()))
	case resp.GetPemCrc32C() == nil || resp.GetPemCrc32C().GetValue() != crc32c([]byte(resp.GetPem())):
		return nil, k.badAnswer("answered with a public key that does not match its checksum")
	}

	// The padding and the hash are fixed for the version, and do not show in the public key.
	if err := suitableInKMS(resp.GetAlgorithm()); err != nil {
		return nil, signingError(k.Where()+" cannot sign summaries: "+err.Error(),
			"create a key of the purpose asymmetric-signing with --default-algorithm=ec-sign-p256-sha256", nil)
	}
	block, _ := pem.Decode([]byte(resp.GetPem()))
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, k.badAnswer("answered with a public key that is not PEM")
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, k.badAnswer("answered with a public key that does not parse")
	}
	if err := suitable(pub); err != nil {
		return nil, k.badAnswer("answered with " + err.Error())
	}
	k.loaded.Store(pub)
	return pub, nil
}

// suitableInKMS returns why an algorithm of Cloud KMS cannot sign summaries; see [suitable].
func suitableInKMS(a kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) error {
	switch a {
	case kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, kmspb.CryptoKeyVersion_EC_SIGN_ED25519,
		kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_2048_SHA256, kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_3072_SHA256,
		kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_4096_SHA256:
		return nil
	}
	return fmt.Errorf("its algorithm is %s; EC_SIGN_P256_SHA256, EC_SIGN_ED25519 and RSA_SIGN_PKCS1_…_SHA256 are those that "+
		"cosign and slsa-verifier verify alike", a)
}

func (k *kmsKey) sign(ctx context.Context, data []byte) ([]byte, error) {
	pub, err := k.public(ctx)
	if err != nil {
		return nil, err
	}

	// Ed25519 signs data, the others sign a digest. The checksum travels with it, so that the service refuses what was
	// altered on the way.
	req := &kmspb.AsymmetricSignRequest{Name: k.version}
	_, pure := pub.(ed25519.PublicKey)
	if pure {
		req.Data, req.DataCrc32C = data, wrapperspb.Int64(crc32c(data))
	} else {
		sum := sha256.Sum256(data)
		req.Digest = &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: sum[:]}}
		req.DigestCrc32C = wrapperspb.Int64(crc32c(sum[:]))
	}

	ctx, cancel := k.limit.Start(ctx)
	defer cancel()

	resp, err := k.client.AsymmetricSign(ctx, req)
	switch {
	case err != nil:
		return nil, k.failed("sign with it", "roles/cloudkms.signer", err)
	case resp.GetName() != k.version:
		return nil, k.badAnswer(fmt.Sprintf("answered with a signature by %q", resp.GetName()))
	case pure && !resp.GetVerifiedDataCrc32C(), !pure && !resp.GetVerifiedDigestCrc32C():
		return nil, k.badAnswer("did not receive what was to be signed as it was sent")
	case resp.GetSignatureCrc32C() == nil || resp.GetSignatureCrc32C().GetValue() != crc32c(resp.GetSignature()):
		return nil, k.badAnswer("answered with a signature that does not match its checksum")
	}
	return resp.GetSignature(), nil
}

func (k *kmsKey) mayUse(ctx context.Context) error {
	ctx, cancel := k.limit.Start(ctx)
	defer cancel()

	resp, err := k.client.TestIamPermissions(ctx,
		&iampb.TestIamPermissionsRequest{Resource: k.key(), Permissions: []string{signPermission}})
	if err != nil {
		return k.failed("ask who may use it", "roles/cloudkms.signer", err)
	}
	if !slices.Contains(resp.GetPermissions(), signPermission) {
		return signingError("the gate may not sign with "+k.Where(), k.grant("roles/cloudkms.signer"), nil)
	}
	return nil
}

// key is the key of the version: permissions are granted on keys.
func (k *kmsKey) key() string {
	key, _, _ := strings.Cut(k.version, "/cryptoKeyVersions/")
	return key
}

func (k *kmsKey) grant(role string) string {
	return fmt.Sprintf("grant the gate's identity %s on %s", role, k.key())
}

// failed explains an error of Cloud KMS; role is the one that the call takes.
func (k *kmsKey) failed(what, role string, err error) error {
	msg, fix := "Cloud KMS could not "+what, "try again"
	switch code := status.Code(err); {
	case errors.Is(err, context.DeadlineExceeded), code == codes.DeadlineExceeded:
		msg = "Cloud KMS did not answer in time"
	case code == codes.PermissionDenied:
		msg, fix = "the gate may not "+what, k.grant(role)
	case code == codes.NotFound:
		msg, fix = "the key version does not exist", "correct vsa in the configuration"
	case code == codes.FailedPrecondition:
		msg, fix = "the key version is not enabled", "enable it, or name another in the configuration"
	}
	return signingError(k.Where()+": "+msg, fix, err)
}

// badAnswer is the error for an answer that does not belong to the request.
func (k *kmsKey) badAnswer(what string) error {
	return &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeSignatureInvalid, Msg: k.Where() + ": Cloud KMS " + what,
		Fix: "try again; if it persists, look for a proxy between the gate and Cloud KMS that alters answers",
	}
}

func crc32c(b []byte) int64 { return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))) }
