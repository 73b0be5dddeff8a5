package attest

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync/atomic"

	"cloud.google.com/go/iam/apiv1/iampb"
	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"golang.org/x/sync/singleflight"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/cloudkms"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/together"
)

// kmsKeyIDPrefix and the key version's name make the id by which gcloud adds
// a key to an attestor.
const kmsKeyIDPrefix = "//cloudkms.googleapis.com/v1/"

// signPermission is what AsymmetricSign asks for.
const signPermission = "cloudkms.cryptoKeyVersions.useToSign"

// viewPermission is what GetPublicKey asks for.
const viewPermission = "cloudkms.cryptoKeyVersions.viewPublicKey"

// keyVersionPattern catches the key where its version was meant.
var keyVersionPattern = regexp.MustCompile(
	`^(projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+)/cryptoKeyVersions/[0-9]+$`,
)

// kmsSigner is a Signer whose key never leaves Cloud KMS.
type kmsSigner struct {
	client  *kms.KeyManagementClient
	version string
	cryptoK string
	limit   limit.Call

	loaded atomic.Pointer[signerKey] // a key version's public key never changes
	loads  singleflight.Group        // so that the first images do not each ask for it
}

// NewKMSSigner signs with projects/…/cryptoKeyVersions/N. Its public key is
// read when it is first needed; [Attester.Preflight] does so. Each question
// to Cloud KMS gets at most question.
func NewKMSSigner(client *kms.KeyManagementClient, keyVersion string, question limit.Call) (Signer, error) {
	m := keyVersionPattern.FindStringSubmatch(keyVersion)
	if client == nil {
		return nil, errors.New("making a KMS signer: the client is missing")
	}
	if m == nil {
		return nil, &attestor.Error{
			Kind: attestor.Invalid,
			Code: attestor.CodeSigningFailed,
			Msg:  fmt.Sprintf("%q is not a key version", keyVersion),
			Fix:  "name projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N",
		}
	}

	return &kmsSigner{client: client, version: keyVersion, cryptoK: m[1], limit: question}, nil
}

func (s *kmsSigner) id() string    { return kmsKeyIDPrefix + s.version }
func (s *kmsSigner) where() string { return "KMS key " + s.version }

func (s *kmsSigner) permissions() (load, sign string) { return viewPermission, signPermission }

// load returns the key that was read before. again reads it anew: where the key
// turned out not to be the attestor's, since the earlier answer may have been
// wrong, and where the caller checks that the version is still enabled.
func (s *kmsSigner) load(ctx context.Context, again bool) (signerKey, error) {
	if again {
		return s.read(ctx)
	}
	if k := s.loaded.Load(); k != nil {
		return *k, nil
	}

	// The first requests share one read. It is detached from the caller who happens to
	// start it, and bounded by read itself.
	ch := s.loads.DoChan("", func() (any, error) {
		if k := s.loaded.Load(); k != nil { // read since the caller looked
			return *k, nil
		}
		return together.Try(func() (signerKey, error) { return s.read(context.WithoutCancel(ctx)) })
	})

	select {
	case r := <-ch:
		k, _ := r.Val.(signerKey)
		return k, r.Err
	case <-ctx.Done():
		return signerKey{}, s.failed("read its public key", "roles/cloudkms.publicKeyViewer", ctx.Err())
	}
}

// read asks for the public key, and remembers it.
func (s *kmsSigner) read(ctx context.Context) (signerKey, error) {
	ctx, cancel := s.limit.Start(ctx)
	defer cancel()

	resp, err := cloudkms.PublicKey(ctx, s.client, s.version)
	if err != nil {
		return signerKey{}, s.failed("read its public key", "roles/cloudkms.publicKeyViewer", err)
	}

	// The algorithm is fixed for the version, and it must be one that admission
	// verifies.
	alg, err := algorithmOfKMS(resp.GetAlgorithm())
	if err != nil {
		return signerKey{}, signingError(s.where()+" cannot sign for Binary Authorization: "+err.Error(),
			"create a key of an algorithm that Binary Authorization accepts, such as ec-sign-p256-sha256", nil)
	}

	pub, err := parsePEM(resp.GetPem())
	if err != nil {
		return signerKey{}, s.badAnswer("answered with a public key that does not parse: " + err.Error())
	}

	// A key of another size or curve than the algorithm says would make signatures
	// that nothing verifies.
	if !alg.fits(pub) {
		return signerKey{}, s.badAnswer(
			fmt.Sprintf("answered with a %T, which is not a key for %s", pub, resp.GetAlgorithm()),
		)
	}

	k := &signerKey{public: pub, fixed: true, alg: alg}
	s.loaded.Store(k)
	return *k, nil
}

func (s *kmsSigner) sign(ctx context.Context, w warrant, f form, alg algorithm) ([]byte, error) {
	message, err := w.message(f)
	if err != nil {
		return nil, err
	}

	// Cloud KMS signs a digest.
	sum := alg.digest(message)
	req := &kmspb.AsymmetricSignRequest{Name: s.version}
	switch alg.hash {
	case crypto.SHA256:
		req.Digest = &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: sum}}
	case crypto.SHA384:
		req.Digest = &kmspb.Digest{Digest: &kmspb.Digest_Sha384{Sha384: sum}}
	case crypto.SHA512:
		req.Digest = &kmspb.Digest{Digest: &kmspb.Digest_Sha512{Sha512: sum}}
	default:
		return nil, fmt.Errorf("signing with %s: no digest field for %s", s.version, alg.hash)
	}

	ctx, cancel := s.limit.Start(ctx)
	defer cancel()

	// The attestor's key verifies the signature afterwards all the same.
	signature, err := cloudkms.AsymmetricSign(ctx, s.client, req)
	if err != nil {
		return nil, s.failed("sign with it", "roles/cloudkms.signer", err)
	}
	return signature, nil
}

// mayUse asks Cloud KMS, without signing anything.
func (s *kmsSigner) mayUse(ctx context.Context) error {
	ctx, cancel := s.limit.Start(ctx)
	defer cancel()

	resp, err := s.client.TestIamPermissions(
		ctx,
		&iampb.TestIamPermissionsRequest{Resource: s.cryptoK, Permissions: []string{signPermission}},
	)
	if err != nil {
		return s.failed("ask who may use it", "roles/cloudkms.signer", err)
	}

	if !slices.Contains(resp.GetPermissions(), signPermission) {
		return signingError("the gate may not sign with "+s.where(), s.grant("roles/cloudkms.signer"), nil)
	}
	return nil
}

func (s *kmsSigner) grant(role string) string {
	return fmt.Sprintf("grant the gate's identity %s on %s", role, s.cryptoK)
}

// failed explains an error of Cloud KMS; role is the one that the call takes.
func (s *kmsSigner) failed(what, role string, err error) error {
	if altered, ok := errors.AsType[cloudkms.Altered](err); ok {
		return s.badAnswer(string(altered))
	}
	msg, fix := cloudkms.Use{Named: "the attestor's signer", Verifier: "the attestor"}.Explain(what, s.grant(role), err)
	return signingError(s.where()+": "+msg, fix, err)
}

// badAnswer is the error for an answer that does not belong to the request.
func (s *kmsSigner) badAnswer(what string) error {
	return &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeSignatureInvalid, Msg: s.where() + ": Cloud KMS " + what,
		Fix: "try again; if it persists, look for a proxy between the gate and Cloud KMS that alters answers",
	}
}

// parsePEM takes one PKIX public key.
func parsePEM(s string) (crypto.PublicKey, error) {
	block, _ := pem.Decode([]byte(s))

	// RFC 7468, 13: a SubjectPublicKeyInfo has the label PUBLIC KEY. Others, such as a
	// certificate, are not keys of an attestor.
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New("not a PEM block of type PUBLIC KEY")
	}

	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parsing a public key: %w", err)
	}
	return pub, nil
}
