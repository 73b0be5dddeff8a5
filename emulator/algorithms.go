package emulator

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // crypto.SHA256
	_ "crypto/sha512" // crypto.SHA384, crypto.SHA512
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"hash/crc32"

	"cloud.google.com/go/kms/apiv1/kmspb"
)

// algorithm is how keys of one CryptoKeyVersionAlgorithm are made and sign.
type algorithm struct {
	hash  crypto.Hash // 0: signs data, not a digest
	bits  int         // RSA
	pss   bool
	curve elliptic.Curve
}

// signingAlgorithm is what the emulator can sign with: the ten algorithms
// that Binary Authorization has an equivalent of, and Ed25519, which it has not.
func signingAlgorithm(a kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) (algorithm, bool) {
	switch a {
	case kmspb.CryptoKeyVersion_RSA_SIGN_PSS_2048_SHA256:
		return algorithm{hash: crypto.SHA256, bits: 2048, pss: true}, true
	case kmspb.CryptoKeyVersion_RSA_SIGN_PSS_3072_SHA256:
		return algorithm{hash: crypto.SHA256, bits: 3072, pss: true}, true
	case kmspb.CryptoKeyVersion_RSA_SIGN_PSS_4096_SHA256:
		return algorithm{hash: crypto.SHA256, bits: 4096, pss: true}, true
	case kmspb.CryptoKeyVersion_RSA_SIGN_PSS_4096_SHA512:
		return algorithm{hash: crypto.SHA512, bits: 4096, pss: true}, true
	case kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_2048_SHA256:
		return algorithm{hash: crypto.SHA256, bits: 2048}, true
	case kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_3072_SHA256:
		return algorithm{hash: crypto.SHA256, bits: 3072}, true
	case kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_4096_SHA256:
		return algorithm{hash: crypto.SHA256, bits: 4096}, true
	case kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_4096_SHA512:
		return algorithm{hash: crypto.SHA512, bits: 4096}, true
	case kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256:
		return algorithm{hash: crypto.SHA256, curve: elliptic.P256()}, true
	case kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384:
		return algorithm{hash: crypto.SHA384, curve: elliptic.P384()}, true
	case kmspb.CryptoKeyVersion_EC_SIGN_ED25519:
		return algorithm{}, true
	default:
		return algorithm{}, false
	}
}

// generate makes a private key. RSA of 4096 bits takes seconds: see
// [Emulator.SeedKey] for tests.
func (a algorithm) generate() (crypto.Signer, error) {
	switch {
	case a.bits > 0:
		return rsa.GenerateKey(rand.Reader, a.bits)
	case a.curve != nil:
		return ecdsa.GenerateKey(a.curve, rand.Reader)
	default:
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return k, err
	}
}

// fits says whether a key is one of the algorithm's.
func (a algorithm) fits(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		if a.bits == k.N.BitLen() {
			return nil
		}
	case *ecdsa.PublicKey:
		if a.curve != nil && a.curve == k.Curve {
			return nil
		}
	case ed25519.PublicKey:
		if a.hash == 0 {
			return nil
		}
	}
	return fmt.Errorf("a key of type %T does not fit the algorithm", pub)
}

// sign signs a digest, or data where the algorithm takes no digest.
func (a algorithm) sign(k crypto.Signer, digest []byte) ([]byte, error) {
	var opts crypto.SignerOpts = a.hash
	if a.pss {
		// KMS: "salt length equal to the length of the digest".
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash}
	}
	return k.Sign(rand.Reader, digest, opts)
}

// verify checks a signature over message.
func (a algorithm) verify(pub crypto.PublicKey, message, sig []byte) bool {
	if a.fits(pub) != nil {
		return false
	}
	digest := message
	if a.hash != 0 {
		h := a.hash.New()
		h.Write(message)
		digest = h.Sum(nil)
	}

	switch k := pub.(type) {
	case *rsa.PublicKey:
		if a.pss {
			options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash}
			return rsa.VerifyPSS(k, a.hash, digest, sig, options) == nil
		}
		return rsa.VerifyPKCS1v15(k, a.hash, digest, sig) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, sig)
	default:
		return false
	}
}

func publicPEM(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// crc32c is the checksum that Cloud KMS uses both ways: Castagnoli, as an
// int64 of 0 to 2^32-1.
func crc32c(b []byte) int64 {
	return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// p521 is an attestor's algorithm that Cloud KMS does not have.
func p521() algorithm { return algorithm{hash: crypto.SHA512, curve: elliptic.P521()} }
