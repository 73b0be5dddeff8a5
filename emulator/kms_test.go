package emulator_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/attestor-gate/attestor/emulator"
)

func castagnoli(b []byte) int64 { return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))) }

func digestOf(h crypto.Hash, message []byte) *kmspb.Digest {
	switch h {
	case crypto.SHA384:
		sum := sha512.Sum384(message)
		return &kmspb.Digest{Digest: &kmspb.Digest_Sha384{Sha384: sum[:]}}
	case crypto.SHA512:
		sum := sha512.Sum512(message)
		return &kmspb.Digest{Digest: &kmspb.Digest_Sha512{Sha512: sum[:]}}
	default:
		sum := sha256.Sum256(message)
		return &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: sum[:]}}
	}
}

func digestBytes(d *kmspb.Digest) []byte {
	return append(append(append([]byte(nil), d.GetSha256()...), d.GetSha384()...), d.GetSha512()...)
}

// rsaKeys makes one key of each size, for all algorithms of that size.
func rsaKeys(t *testing.T) map[int]crypto.Signer {
	t.Helper()
	out := map[int]crypto.Signer{}

	for _, bits := range []int{2048, 3072, 4096} {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		out[bits] = k
	}
	return out
}

// verify checks a signature with nothing but the standard library.
func verify(pub any, h crypto.Hash, pss bool, digest, sig []byte) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if !ecdsa.VerifyASN1(k, digest, sig) {
			return fmt.Errorf("wrong ECDSA signature")
		}
		return nil
	case *rsa.PublicKey:
		if pss {
			return rsa.VerifyPSS(k, h, digest, sig, &rsa.PSSOptions{SaltLength: h.Size()})
		}
		return rsa.VerifyPKCS1v15(k, h, digest, sig)
	default:
		return fmt.Errorf("a %T", pub)
	}
}

func TestTenAlgorithms(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	keys := rsaKeys(t)

	for _, tt := range []struct {
		algorithm kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm
		hash      crypto.Hash
		bits      int // 0: elliptic
	}{
		{kmspb.CryptoKeyVersion_RSA_SIGN_PSS_2048_SHA256, crypto.SHA256, 2048},
		{kmspb.CryptoKeyVersion_RSA_SIGN_PSS_3072_SHA256, crypto.SHA256, 3072},
		{kmspb.CryptoKeyVersion_RSA_SIGN_PSS_4096_SHA256, crypto.SHA256, 4096},
		{kmspb.CryptoKeyVersion_RSA_SIGN_PSS_4096_SHA512, crypto.SHA512, 4096},
		{kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_2048_SHA256, crypto.SHA256, 2048},
		{kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_3072_SHA256, crypto.SHA256, 3072},
		{kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_4096_SHA256, crypto.SHA256, 4096},
		{kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_4096_SHA512, crypto.SHA512, 4096},
		{kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, crypto.SHA256, 0},
		{kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384, crypto.SHA384, 0},
	} {
		t.Run(tt.algorithm.String(), func(t *testing.T) {
			name := keyRing + "/cryptoKeys/" + tt.algorithm.String() + "/cryptoKeyVersions/1"
			if err := g.SeedKey(name, tt.algorithm, keys[tt.bits]); err != nil {
				t.Fatal(err)
			}

			pub, err := g.KMS.GetPublicKey(ctxFor(t), &kmspb.GetPublicKeyRequest{Name: name})
			if err != nil {
				t.Fatal(err)
			}

			if pub.GetName() != name || pub.GetAlgorithm() != tt.algorithm || pub.GetPemCrc32C().GetValue() != castagnoli([]byte(pub.GetPem())) {
				t.Errorf("public key %v", pub)
			}

			block, _ := pem.Decode([]byte(pub.GetPem()))
			key, err := x509.ParsePKIXPublicKey(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}

			d := digestOf(tt.hash, []byte("message"))
			r, err := g.KMS.AsymmetricSign(ctxFor(t), &kmspb.AsymmetricSignRequest{Name: name, Digest: d,
				DigestCrc32C: wrapperspb.Int64(castagnoli(digestBytes(d)))})
			if err != nil {
				t.Fatal(err)
			}

			if r.GetName() != name || !r.GetVerifiedDigestCrc32C() || r.GetSignatureCrc32C().GetValue() != castagnoli(r.GetSignature()) {
				t.Errorf("answer %v", r)
			}

			pss := strings.Contains(tt.algorithm.String(), "PSS")
			if err := verify(key, tt.hash, pss, digestBytes(d), r.GetSignature()); err != nil {
				t.Errorf("verifying: %v", err)
			}

			// Whole data is hashed by the service.
			if r, err = g.KMS.AsymmetricSign(ctxFor(t), &kmspb.AsymmetricSignRequest{Name: name, Data: []byte("message")}); err != nil {
				t.Fatal(err)
			}

			if err := verify(key, tt.hash, pss, digestBytes(d), r.GetSignature()); err != nil || r.GetVerifiedDataCrc32C() {
				t.Errorf("verifying a signature of data: %v, data CRC %v", err, r.GetVerifiedDataCrc32C())
			}

			for _, other := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
				if other == tt.hash {
					continue
				}
				_, err := g.KMS.AsymmetricSign(ctxFor(t), &kmspb.AsymmetricSignRequest{Name: name, Digest: digestOf(other, nil)})
				wantCode(t, err, codes.InvalidArgument)
			}
		})
	}
}

func TestSignRefuses(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.createKey(t)
	good := digestOf(crypto.SHA256, []byte("m"))

	for _, tt := range []struct {
		name string
		r    *kmspb.AsymmetricSignRequest
		want codes.Code
		text string
	}{
		{"wrong checksum", &kmspb.AsymmetricSignRequest{Name: version, Digest: good, DigestCrc32C: wrapperspb.Int64(1)},
			codes.InvalidArgument, "The checksum in field digest_crc32c did not match the data in field digest."},
		{"wrong data checksum", &kmspb.AsymmetricSignRequest{Name: version, Data: []byte("m"),
			DataCrc32C: wrapperspb.Int64(1)}, codes.InvalidArgument, "The checksum in field data_crc32c"},
		{"neither", &kmspb.AsymmetricSignRequest{Name: version}, codes.InvalidArgument, ""},
		{"both", &kmspb.AsymmetricSignRequest{Name: version, Digest: good, Data: []byte("m")}, codes.InvalidArgument, ""},
		{"short digest", &kmspb.AsymmetricSignRequest{Name: version, Digest: &kmspb.Digest{
			Digest: &kmspb.Digest_Sha256{Sha256: []byte("short")}}}, codes.InvalidArgument, "32 bytes, got 5"},
		{"long digest", &kmspb.AsymmetricSignRequest{Name: version, Digest: &kmspb.Digest{
			Digest: &kmspb.Digest_Sha256{Sha256: make([]byte, 33)}}}, codes.InvalidArgument, ""},
		{"no digest in it", &kmspb.AsymmetricSignRequest{Name: version, Digest: &kmspb.Digest{}}, codes.InvalidArgument, ""},
		{"too much data", &kmspb.AsymmetricSignRequest{Name: version, Data: make([]byte, 64<<10+1)}, codes.InvalidArgument, ""},
		{"unknown version", &kmspb.AsymmetricSignRequest{Name: strings.Replace(version, "/1", "/2", 1), Digest: good}, codes.NotFound, "not found"},
		{"a key, not a version", &kmspb.AsymmetricSignRequest{Name: keyRing + "/cryptoKeys/gate", Digest: good},
			codes.InvalidArgument, "invalid resource name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := g.KMS.AsymmetricSign(ctxFor(t), tt.r)
			wantCode(t, err, tt.want)
			if !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v, want %q in it", err, tt.text)
			}
		})
	}
}

func TestKeyVersionStates(t *testing.T) {
	g := newGoogle(t, emulator.Options{Now: func() time.Time { return start }})
	g.createKey(t)
	ctx := ctxFor(t)
	usable := func() codes.Code {
		_, err := g.KMS.AsymmetricSign(ctx, &kmspb.AsymmetricSignRequest{Name: version, Digest: digestOf(crypto.SHA256, nil)})
		_, err2 := g.KMS.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: version})
		if code(err) != code(err2) {
			t.Fatalf("signing says %v, the public key %v", err, err2)
		}
		if err != nil && !strings.Contains(err.Error(), "is not enabled, current state is: ") {
			t.Errorf("message %v", err)
		}

		return code(err)
	}

	set := func(s kmspb.CryptoKeyVersion_CryptoKeyVersionState) error {
		_, err := g.KMS.UpdateCryptoKeyVersion(ctx, &kmspb.UpdateCryptoKeyVersionRequest{
			CryptoKeyVersion: &kmspb.CryptoKeyVersion{Name: version, State: s}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"state"}},
		})
		return err
	}

	if got := usable(); got != codes.OK {
		t.Fatalf("a new version: %v", got)
	}

	wantCode(t, set(kmspb.CryptoKeyVersion_DISABLED), codes.OK)
	if got := usable(); got != codes.FailedPrecondition {
		t.Errorf("disabled: %v", got)
	}

	wantCode(t, set(kmspb.CryptoKeyVersion_DESTROYED), codes.InvalidArgument)
	wantCode(t, set(kmspb.CryptoKeyVersion_ENABLED), codes.OK)
	v, err := g.KMS.DestroyCryptoKeyVersion(ctx, &kmspb.DestroyCryptoKeyVersionRequest{Name: version})
	if err != nil || v.GetState() != kmspb.CryptoKeyVersion_DESTROY_SCHEDULED || !v.GetDestroyTime().AsTime().After(start) {
		t.Errorf("%v, %v", v, err)
	}
	if got := usable(); got != codes.FailedPrecondition {
		t.Errorf("to be destroyed: %v", got)
	}

	wantCode(t, set(kmspb.CryptoKeyVersion_ENABLED), codes.FailedPrecondition)
	if v, err = g.KMS.RestoreCryptoKeyVersion(ctx, &kmspb.RestoreCryptoKeyVersionRequest{Name: version}); err != nil ||
		v.GetState() != kmspb.CryptoKeyVersion_DISABLED {
		t.Errorf("%v, %v", v, err)
	}

	wantCode(t, set(kmspb.CryptoKeyVersion_ENABLED), codes.OK)
	if got := usable(); got != codes.OK {
		t.Errorf("restored and enabled: %v", got)
	}

	second, err := g.KMS.CreateCryptoKeyVersion(ctx, &kmspb.CreateCryptoKeyVersionRequest{Parent: keyRing + "/cryptoKeys/gate"})
	if err != nil || second.GetName() != keyRing+"/cryptoKeys/gate/cryptoKeyVersions/2" || second.GetState() != kmspb.CryptoKeyVersion_ENABLED {
		t.Errorf("%v, %v", second, err)
	}

	it := g.KMS.ListCryptoKeyVersions(ctx, &kmspb.ListCryptoKeyVersionsRequest{Parent: keyRing + "/cryptoKeys/gate"})
	first, err := it.Next()
	if err != nil || first.GetName() != version {
		t.Errorf("%v, %v", first, err)
	}
}

func TestKeysForRefusal(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	for algorithm, oid := range map[kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm]string{
		kmspb.CryptoKeyVersion_EC_SIGN_ED25519:          "\x2b\x65\x70",
		kmspb.CryptoKeyVersion_EC_SIGN_SECP256K1_SHA256: "\x2b\x81\x04\x00\x0a",
	} {
		name := keyRing + "/cryptoKeys/" + algorithm.String() + "/cryptoKeyVersions/1"
		if err := g.SeedKey(name, algorithm, nil); err != nil {
			t.Fatal(err)
		}

		pub, err := g.KMS.GetPublicKey(ctxFor(t), &kmspb.GetPublicKeyRequest{Name: name})
		if err != nil || pub.GetAlgorithm() != algorithm {
			t.Fatalf("%v, %v", pub, err)
		}

		block, _ := pem.Decode([]byte(pub.GetPem()))
		if block == nil || !strings.Contains(string(block.Bytes), oid) {
			t.Errorf("the public key is not one of %v", algorithm)
		}
	}

	ed := keyRing + "/cryptoKeys/EC_SIGN_ED25519/cryptoKeyVersions/1"
	pub, err := g.KMS.GetPublicKey(ctxFor(t), &kmspb.GetPublicKeyRequest{Name: ed, PublicKeyFormat: kmspb.PublicKey_PEM})
	if err != nil {
		t.Fatal(err)
	}

	block, _ := pem.Decode(pub.GetPublicKey().GetData())
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}

	r, err := g.KMS.AsymmetricSign(ctxFor(t), &kmspb.AsymmetricSignRequest{Name: ed, Data: []byte("m")})
	if err != nil || !ed25519.Verify(key.(ed25519.PublicKey), []byte("m"), r.GetSignature()) {
		t.Errorf("Ed25519: %v, %v", r, err)
	}

	_, err = g.KMS.AsymmetricSign(ctxFor(t), &kmspb.AsymmetricSignRequest{Name: ed, Digest: digestOf(crypto.SHA512, nil)})
	wantCode(t, err, codes.InvalidArgument)
	_, err = g.KMS.AsymmetricSign(ctxFor(t), &kmspb.AsymmetricSignRequest{Name: keyRing +
		"/cryptoKeys/EC_SIGN_SECP256K1_SHA256/cryptoKeyVersions/1", Digest: digestOf(crypto.SHA256, nil)})
	wantCode(t, err, codes.Unimplemented)
}

func TestSeedKeyRefuses(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	wantCode(t, g.SeedKey(version, kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, p384), codes.InvalidArgument)
	wantCode(t, g.SeedKey(version, kmspb.CryptoKeyVersion_RSA_SIGN_PSS_2048_SHA256, p384), codes.InvalidArgument)
	wantCode(t, g.SeedKey("gate", kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384, p384), codes.InvalidArgument)
	wantCode(t, g.SeedKey(version, kmspb.CryptoKeyVersion_GOOGLE_SYMMETRIC_ENCRYPTION, nil), codes.InvalidArgument)

	// A key that is replaced is not signed with again.
	if err := g.SeedKey(version, kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, nil); err != nil {
		t.Fatal(err)
	}

	g.sign(t, []byte("m"))
	if err := g.SeedKey(version, kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384, p384); err != nil {
		t.Fatal(err)
	}

	r, err := g.KMS.AsymmetricSign(ctxFor(t), &kmspb.AsymmetricSignRequest{Name: version, Digest: digestOf(crypto.SHA384, []byte("m"))})
	if err != nil || !ecdsa.VerifyASN1(&p384.PublicKey, digestBytes(digestOf(crypto.SHA384, []byte("m"))), r.GetSignature()) {
		t.Errorf("the seeded key did not sign: %v", err)
	}
}

func TestKeyCreationRefuses(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.createKey(t)
	ctx := ctxFor(t)
	signing := func(a kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) *kmspb.CryptoKey {
		return &kmspb.CryptoKey{Purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN, VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: a}}
	}

	ec := kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256
	for _, tt := range []struct {
		name string
		r    *kmspb.CreateCryptoKeyRequest
		want codes.Code
	}{
		{"exists", &kmspb.CreateCryptoKeyRequest{Parent: keyRing, CryptoKeyId: "gate", CryptoKey: signing(ec)}, codes.AlreadyExists},
		{"no such ring", &kmspb.CreateCryptoKeyRequest{Parent: keyRing + "x", CryptoKeyId: "k", CryptoKey: signing(ec)}, codes.NotFound},
		{"for encryption", &kmspb.CreateCryptoKeyRequest{Parent: keyRing, CryptoKeyId: "k",
			CryptoKey: &kmspb.CryptoKey{Purpose: kmspb.CryptoKey_ENCRYPT_DECRYPT}}, codes.InvalidArgument},
		{"unsupported algorithm", &kmspb.CreateCryptoKeyRequest{Parent: keyRing, CryptoKeyId: "k",
			CryptoKey: signing(kmspb.CryptoKeyVersion_PQ_SIGN_ML_DSA_65)}, codes.InvalidArgument},
		{"no algorithm", &kmspb.CreateCryptoKeyRequest{Parent: keyRing, CryptoKeyId: "k", CryptoKey: signing(0)}, codes.InvalidArgument},
		{"malformed id", &kmspb.CreateCryptoKeyRequest{Parent: keyRing, CryptoKeyId: "a/b", CryptoKey: signing(ec)}, codes.InvalidArgument},
	} {
		_, err := g.KMS.CreateCryptoKey(ctx, tt.r)
		if code(err) != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}

	_, err := g.KMS.CreateKeyRing(ctx, &kmspb.CreateKeyRingRequest{Parent: "projects/p/locations/global", KeyRingId: "gate"})
	wantCode(t, err, codes.AlreadyExists)
}

func wrap(n int64) *wrapperspb.Int64Value { return wrapperspb.Int64(n) }

// TestKeysTakeTheirTimeToDie: a key says how long, and its versions keep to it.
func TestKeysTakeTheirTimeToDie(t *testing.T) {
	g, ctx := newGoogle(t, emulator.Options{}), ctxFor(t)
	ring, err := g.KMS.CreateKeyRing(ctx, &kmspb.CreateKeyRingRequest{Parent: "projects/p/locations/global", KeyRingId: "slow"})
	if err != nil {
		t.Fatal(err)
	}

	create := func(id string, after time.Duration) (*kmspb.CryptoKey, error) {
		key := &kmspb.CryptoKey{Purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN,
			VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256}}
		if after != 0 {
			key.DestroyScheduledDuration = durationpb.New(after)
		}
		return g.KMS.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{Parent: ring.GetName(), CryptoKeyId: id, CryptoKey: key})
	}

	for id, after := range map[string]time.Duration{"default": 0, "slow": 100 * 24 * time.Hour} {
		key, err := create(id, after)
		if err != nil {
			t.Fatal(err)
		}

		if after == 0 {
			after = 30 * 24 * time.Hour
		}
		if got := key.GetDestroyScheduledDuration().AsDuration(); got != after {
			t.Errorf("%s: %s, want %s", id, got, after)
		}

		before := time.Now()
		v, err := g.KMS.DestroyCryptoKeyVersion(ctx, &kmspb.DestroyCryptoKeyVersionRequest{Name: key.GetName() + "/cryptoKeyVersions/1"})
		if err != nil || v.GetDestroyTime().AsTime().Before(before.Add(after)) || v.GetDestroyTime().AsTime().After(time.Now().Add(after)) {
			t.Errorf("%s: %v, %v", id, v, err)
		}
	}

	_, err = create("hasty", time.Hour)
	wantCode(t, err, codes.InvalidArgument)
}
