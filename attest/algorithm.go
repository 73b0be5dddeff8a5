package attest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
)

type (
	binauthzAlgorithm = binaryauthorizationpb.PkixPublicKey_SignatureAlgorithm
	kmsAlgorithm      = kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm
)

// An algorithm is one that Binary Authorization accepts, with its parameters for
// a signer.
type algorithm struct {
	id    binauthzAlgorithm
	kms   kmsAlgorithm // 0: Cloud KMS has no such keys
	hash  crypto.Hash
	bits  int // of an RSA key
	pss   bool
	curve elliptic.Curve // of an elliptic one
}

func algorithms() []algorithm {
	pss := func(id binauthzAlgorithm, k kmsAlgorithm, bits int, hash crypto.Hash) algorithm {
		return algorithm{id: id, kms: k, hash: hash, bits: bits, pss: true}
	}
	pkcs1 := func(id binauthzAlgorithm, k kmsAlgorithm, bits int, hash crypto.Hash) algorithm {
		return algorithm{id: id, kms: k, hash: hash, bits: bits}
	}

	ec := func(id binauthzAlgorithm, k kmsAlgorithm, curve elliptic.Curve, hash crypto.Hash) algorithm {
		return algorithm{id: id, kms: k, hash: hash, curve: curve}
	}

	return []algorithm{
		pss(binaryauthorizationpb.PkixPublicKey_RSA_PSS_2048_SHA256,
			kmspb.CryptoKeyVersion_RSA_SIGN_PSS_2048_SHA256, 2048, crypto.SHA256),
		pss(binaryauthorizationpb.PkixPublicKey_RSA_PSS_3072_SHA256,
			kmspb.CryptoKeyVersion_RSA_SIGN_PSS_3072_SHA256, 3072, crypto.SHA256),
		pss(binaryauthorizationpb.PkixPublicKey_RSA_PSS_4096_SHA256,
			kmspb.CryptoKeyVersion_RSA_SIGN_PSS_4096_SHA256, 4096, crypto.SHA256),
		pss(binaryauthorizationpb.PkixPublicKey_RSA_PSS_4096_SHA512,
			kmspb.CryptoKeyVersion_RSA_SIGN_PSS_4096_SHA512, 4096, crypto.SHA512),
		pkcs1(binaryauthorizationpb.PkixPublicKey_RSA_SIGN_PKCS1_2048_SHA256,
			kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_2048_SHA256, 2048, crypto.SHA256),
		pkcs1(binaryauthorizationpb.PkixPublicKey_RSA_SIGN_PKCS1_3072_SHA256,
			kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_3072_SHA256, 3072, crypto.SHA256),
		pkcs1(binaryauthorizationpb.PkixPublicKey_RSA_SIGN_PKCS1_4096_SHA256,
			kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_4096_SHA256, 4096, crypto.SHA256),
		pkcs1(binaryauthorizationpb.PkixPublicKey_RSA_SIGN_PKCS1_4096_SHA512,
			kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_4096_SHA512, 4096, crypto.SHA512),
		ec(binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256,
			kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, elliptic.P256(), crypto.SHA256),
		ec(binaryauthorizationpb.PkixPublicKey_ECDSA_P384_SHA384,
			kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384, elliptic.P384(), crypto.SHA384),
		ec(binaryauthorizationpb.PkixPublicKey_ECDSA_P521_SHA512, 0, elliptic.P521(), crypto.SHA512),
	}
}

// algorithmOf finds the entry of the table, for an attestor's key.
func algorithmOf(id binauthzAlgorithm) (algorithm, bool) {
	i := slices.IndexFunc(algorithms(), func(a algorithm) bool { return a.id == id })
	if i < 0 {
		return algorithm{}, false
	}
	return algorithms()[i], true
}

// algorithmOfKMS finds it for a key version, or says why that cannot sign
// for Binary Authorization.
func algorithmOfKMS(k kmsAlgorithm) (algorithm, error) {
	i := slices.IndexFunc(algorithms(), func(a algorithm) bool { return a.kms == k && k != 0 })
	if i < 0 {
		return algorithm{}, fmt.Errorf("%s has no equivalent in Binary Authorization", k)
	}
	return algorithms()[i], nil
}

// fits reports whether a public key can be used with the algorithm.
func (a algorithm) fits(pub crypto.PublicKey) bool {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return a.bits != 0 && k.N.BitLen() == a.bits
	case *ecdsa.PublicKey:
		return a.curve != nil && k.Curve == a.curve
	}
	return false
}

// options are those of [crypto.Signer].
func (a algorithm) options() crypto.SignerOpts {
	if a.pss {
		// Cloud KMS: the salt of RSASSA-PSS is as long as the digest.
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash}
	}
	return a.hash
}

func (a algorithm) digest(message []byte) []byte {
	h := a.hash.New()
	h.Write(message)
	return h.Sum(nil)
}

// checkUsable returns why no algorithm of Binary Authorization takes the key.
func checkUsable(pub crypto.PublicKey) error {
	for _, a := range algorithms() {
		if a.fits(pub) {
			return nil
		}
	}

	switch k := pub.(type) {
	case ed25519.PublicKey:
		return fmt.Errorf("an Ed25519 key: Binary Authorization accepts no such keys")
	case *rsa.PublicKey:
		return fmt.Errorf("an RSA key of %d bits: Binary Authorization accepts 2048, 3072 and 4096", k.N.BitLen())
	case *ecdsa.PublicKey:
		curve := k.Curve.Params().Name
		return fmt.Errorf("an ECDSA key on curve %s: Binary Authorization accepts P-256, P-384 and P-521", curve)
	}
	return fmt.Errorf("a key of type %T: Binary Authorization accepts RSA and ECDSA", pub)
}

// keyIDOf is the id that Binary Authorization gives a PKIX key that was added
// without one: an RFC 6920 name of its SubjectPublicKeyInfo.
func keyIDOf(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("encoding a public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return "ni:///sha-256;" + base64.RawURLEncoding.EncodeToString(sum[:]), nil
}
