package signed_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
	"github.com/attestor-gate/attestor/verify/signed"
)

// A base that was signed by a key in Cloud KMS is verified by the key that the
// official client reads there, and by no other.
func TestBaseSignedByKMS(t *testing.T) {
	t.Parallel()
	client := newKMS(t)
	repo := newRepository(t)

	for _, alg := range []kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm{
		kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384,
		kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_2048_SHA256, kmspb.CryptoKeyVersion_RSA_SIGN_PSS_2048_SHA256,
	} {
		t.Run(alg.String(), func(t *testing.T) {
			id := strings.ToLower(strings.ReplaceAll(alg.String(), "_", "-"))
			own, other := newKMSKey(t, client, id, alg), newKMSKey(t, client, id+"-other", alg)
			img, unsigned := pushRandom(t, repo), pushRandom(t, repo)
			signByKMS(t, client, own, repo, img)
			check := func(img attestor.Image, key string) (string, error) {
				c, err := signed.New(signed.Config{Keys: signed.KMSKeys{Client: client, Limit: limit.Call(time.Minute)}})
				if err != nil {
					t.Fatal(err)
				}
				return c.Check(t.Context(), img, attestor.SignedBy{Key: key})
			}

			if signer, err := check(img, "gcpkms://"+own); err != nil || !strings.HasPrefix(signer, "key sha256:") {
				t.Errorf("got %q, %v; want the key", signer, err)
			}

			for name, tt := range map[string]struct {
				img  attestor.Image
				key  string
				code attestor.Code
			}{
				"another key":     {img, "gcpkms://" + other, attestor.CodeBaseUnsigned},
				"another image":   {unsigned, "gcpkms://" + own, attestor.CodeBaseUnsigned},
				"no such key":     {img, "gcpkms://" + strings.Replace(own, id, "none", 1), attestor.CodeBaseSignatureUnknown},
				"no such version": {img, "gcpkms://" + own + "0", attestor.CodeBaseSignatureUnknown},
				"no version":      {img, "gcpkms://" + strings.TrimSuffix(own, "/cryptoKeyVersions/1"), attestor.CodeBaseSignatureUnknown},
				"another service": {img, "awskms:///" + own, attestor.CodeBaseSignatureUnknown},
			} {
				signer, err := check(tt.img, tt.key)
				if e, ok := errors.AsType[*attestor.Error](err); !ok || e.Code != tt.code || signer != "" {
					t.Errorf("%s: got %q, %v; want %s", name, signer, err, tt.code)
				}
			}

			disable(t, client, own)
			signer, err := check(img, "gcpkms://"+own)
			if e, ok := errors.AsType[*attestor.Error](err); !ok || e.Code != attestor.CodeBaseSignatureUnknown ||
				!strings.Contains(e.Fix, "enable the key version") {
				t.Errorf("disabled: got %q, %v; want %s", signer, err, attestor.CodeBaseSignatureUnknown)
			}
		})
	}
}

func newKMS(t *testing.T) *kms.KeyManagementClient {
	t.Helper()
	client := standin.StartServices(t, emulator.Options{}).KMS
	if _, err := client.CreateKeyRing(t.Context(), &kmspb.CreateKeyRingRequest{Parent: "projects/p/locations/global", KeyRingId: "bases"}); err != nil {
		t.Fatal(err)
	}

	return client
}

func newKMSKey(t *testing.T, client *kms.KeyManagementClient, id string, alg kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) (version string) {
	t.Helper()
	key, err := client.CreateCryptoKey(t.Context(), &kmspb.CreateCryptoKeyRequest{
		Parent: "projects/p/locations/global/keyRings/bases", CryptoKeyId: id, CryptoKey: &kmspb.CryptoKey{
			Purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN, VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: alg},
		}})

	if err != nil {
		t.Fatal(err)
	}
	return key.GetName() + "/cryptoKeyVersions/1"
}

func disable(t *testing.T, client *kms.KeyManagementClient, version string) {
	t.Helper()
	_, err := client.UpdateCryptoKeyVersion(t.Context(), &kmspb.UpdateCryptoKeyVersionRequest{
		CryptoKeyVersion: &kmspb.CryptoKeyVersion{Name: version, State: kmspb.CryptoKeyVersion_DISABLED},
		UpdateMask:       &fieldmaskpb.FieldMask{Paths: []string{"state"}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func newRepository(t *testing.T) name.Repository {
	t.Helper()
	return registries.Start(t, registries.Memory(true), "base/debian").Repo
}

func pushRandom(t *testing.T, repo name.Repository) attestor.Image {
	t.Helper()
	img, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}

	digest, err := img.Digest()
	if err == nil {
		err = remote.Write(repo.Digest(digest.String()), img)
	}
	if err != nil {
		t.Fatal(err)
	}

	pinned, err := attestor.ParseImage(repo.Name() + "@" + digest.String())
	if err != nil {
		t.Fatal(err)
	}

	return pinned
}

// signByKMS does what cosign sign --key gcpkms://… does.
func signByKMS(t *testing.T, client *kms.KeyManagementClient, version string, repo name.Repository, img attestor.Image) {
	t.Helper()
	payload := fmt.Appendf(nil,
		`{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":%q},`+
			`"type":"cosign container image signature"},"optional":null}`, img.Digest())
	made, err := client.AsymmetricSign(t.Context(), &kmspb.AsymmetricSignRequest{Name: version, Digest: kmsDigest(version, payload)})
	if err != nil {
		t.Fatal(err)
	}

	m, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer:       static.NewLayer(payload, "application/vnd.dev.cosign.simplesigning.v1+json"),
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(made.GetSignature())},
	})

	if err == nil {
		err = remote.Write(repo.Tag("sha256-"+img.Digest().Hex()+".sig"), m)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// kmsDigest hashes as the key version prescribes.
func kmsDigest(version string, payload []byte) *kmspb.Digest {
	if strings.Contains(version, "sha384") {
		sum := sha512.Sum384(payload)
		return &kmspb.Digest{Digest: &kmspb.Digest_Sha384{Sha384: sum[:]}}
	}
	sum := sha256.Sum256(payload)
	return &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: sum[:]}}
}
