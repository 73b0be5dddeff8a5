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
	"slices"
	"strings"
	"sync/atomic"

	"cloud.google.com/go/iam/apiv1/iampb"
	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/cloudkms"
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

	resp, err := cloudkms.PublicKey(ctx, k.client, k.version)
	if err != nil {
		return nil, k.failed("read its public key", "roles/cloudkms.publicKeyViewer", err)
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

	// Kept only now, when the key may be used: a failure is asked again.
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
	return fmt.Errorf("its algorithm is %s; EC_SIGN_P256_SHA256, EC_SIGN_ED25519 and RSA_SIGN_PKCS1_…_SHA256 are "+
		"those that "+
		"cosign and slsa-verifier verify alike", a)
}

func (k *kmsKey) sign(ctx context.Context, data []byte) ([]byte, error) {
	pub, err := k.public(ctx)
	if err != nil {
		return nil, err
	}

	// Ed25519 signs data, the others sign a digest.
	req := &kmspb.AsymmetricSignRequest{Name: k.version}
	if _, pure := pub.(ed25519.PublicKey); pure {
		req.Data = data
	} else {
		sum := sha256.Sum256(data)
		req.Digest = &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: sum[:]}}
	}

	ctx, cancel := k.limit.Start(ctx)
	defer cancel()

	signature, err := cloudkms.AsymmetricSign(ctx, k.client, req)
	if err != nil {
		return nil, k.failed("sign with it", "roles/cloudkms.signer", err)
	}
	return signature, nil
}

func (k *kmsKey) mayUse(ctx context.Context) error {
	ctx, cancel := k.limit.Start(ctx)
	defer cancel()

	resp, err := k.client.TestIamPermissions(ctx,
		&iampb.TestIamPermissionsRequest{Resource: k.key(), Permissions: []string{signPermission}})
	if err != nil {
		return k.failed("ask who may use it", "roles/cloudkms.signer", err)
	}

	// The service answers with those of the permissions that the caller has.
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
	if altered, ok := errors.AsType[cloudkms.Altered](err); ok {
		return k.badAnswer(string(altered))
	}
	msg, fix := cloudkms.Use{Named: "vsa", Verifier: "those who verify summaries"}.Explain(what, k.grant(role), err)
	return signingError(k.Where()+": "+msg, fix, err)
}

// badAnswer is the error for an answer that does not belong to the request.
func (k *kmsKey) badAnswer(what string) error {
	return &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeSignatureInvalid, Msg: k.Where() + ": Cloud KMS " + what,
		Fix: "try again; if it persists, look for a proxy between the gate and Cloud KMS that alters answers",
	}
}
