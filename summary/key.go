package summary

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/keyfile"
)

// A Key signs summaries. It is made by [NewKeyFile] or [NewKMSKey].
type Key interface {
	// Where says which key it is, for messages.
	Where() string
	// public returns the public key, which may need the network the first time.
	public(ctx context.Context) (crypto.PublicKey, error)
	// sign returns a signature of data that nobody has verified yet.
	sign(ctx context.Context, data []byte) ([]byte, error)
	// mayUse names what the identity lacks to sign with the key, or is nil. It signs nothing.
	mayUse(ctx context.Context) error
}

// suitable returns why a public key cannot sign summaries; nil if it can. The two verifiers that consumers use agree on
// these keys and on no other: of ECDSA on P-384, slsa-verifier takes the hash from the curve and cosign takes SHA-256,
// and both verify RSA by PKCS #1 v1.5 with SHA-256.
func suitable(key crypto.PublicKey) error {
	const want = "summaries are signed with ECDSA on P-256, RSA (PKCS #1 v1.5, SHA-256) of 2048 bits or " +
		"more, or Ed25519"
	switch k := key.(type) {
	case ed25519.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return nil
		}
		return fmt.Errorf("an ECDSA key on %s, which cosign and slsa-verifier verify differently: %s",
			k.Curve.Params().Name, want)
	case *rsa.PublicKey:
		// NIST SP 800-131A: RSA keys of fewer than 2048 bits are disallowed.
		if k.N.BitLen() >= 2048 {
			return nil
		}
		return fmt.Errorf("an RSA key of %d bits: %s", k.N.BitLen(), want)
	}
	return fmt.Errorf("a key of type %T: %s", key, want)
}

type keyFile struct {
	path   string
	signer crypto.Signer
}

// NewKeyFile reads a private key from a PEM file with one PKCS#8 block. A key that cannot sign summaries is refused
// with the reason.
func NewKeyFile(path string) (Key, error) {
	signer, err := loadKey(path)
	if err != nil {
		return nil, err
	}
	if err := suitable(signer.Public()); err != nil {
		return nil, unusable(path, "holds "+err.Error())
	}
	return &keyFile{path: path, signer: signer}, nil
}

// loadKey reads a key that signs, of any kind.
func loadKey(path string) (crypto.Signer, error) {
	signer, err := keyfile.Read(path)
	if fault, ok := errors.AsType[keyfile.Fault](err); ok {
		return nil, unusable(path, string(fault))
	}
	return signer, err
}

// unusable says what is wrong with a key file.
func unusable(path, fault string) error {
	return &attestor.Error{
		Kind: attestor.Invalid, Code: attestor.CodeSigningFailed,
		Msg: fmt.Sprintf("key file %s %s", path, fault),
		Fix: "make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out " + path,
	}
}

// String keeps the key out of logs.
func (k *keyFile) String() string { return k.Where() }

// GoString keeps it out of %#v.
func (k *keyFile) GoString() string { return k.Where() }

// MarshalText keeps it out of JSON.
func (k *keyFile) MarshalText() ([]byte, error) { return []byte(k.Where()), nil }

// Where implements [Key].
func (k *keyFile) Where() string { return "key file " + k.path }

func (k *keyFile) mayUse(context.Context) error { return nil }

func (k *keyFile) public(context.Context) (crypto.PublicKey, error) { return k.signer.Public(), nil }

func (k *keyFile) sign(_ context.Context, data []byte) ([]byte, error) {
	// Ed25519 signs the data, the others sign their SHA-256.
	message, hash := data, crypto.Hash(0)
	if _, pure := k.signer.Public().(ed25519.PublicKey); !pure {
		sum := sha256.Sum256(data)
		message, hash = sum[:], crypto.SHA256
	}

	// ECDSA draws a random number for each signature.
	sig, err := k.signer.Sign(rand.Reader, message, hash)
	if err != nil {
		return nil, signingError(k.Where()+" could not sign", "check the key file", err)
	}
	return sig, nil
}

func signingError(msg, fix string, err error) error {
	return fault(attestor.CodeSigningFailed, msg, fix, err)
}

// A formerKey is the public half of a key that signed summaries once. What it verifies is the gate's own; it signs
// nothing.
type formerKey struct {
	path string
	pub  crypto.PublicKey
}

// NewFormerKey reads the public key of a former key from a PEM file, as Cloud KMS and openssl write it. The key itself
// may be disabled or destroyed.
func NewFormerKey(path string) (Key, error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's configuration
	if err != nil {
		return nil, fmt.Errorf("opening the public key: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only

	// One byte more than is allowed shows that there is more.
	raw, err := io.ReadAll(io.LimitReader(f, maxPublicKey+1))
	if err != nil {
		return nil, fmt.Errorf("reading the public key: %w", err)
	}

	// One block and nothing behind it: of two keys in a file only one would be used.
	block, rest := pem.Decode(raw)
	if len(raw) > maxPublicKey || block == nil || block.Type != "PUBLIC KEY" || strings.TrimSpace(string(rest)) != "" {
		return nil, notPublic(path, "is not one PEM block PUBLIC KEY")
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, notPublic(path, "cannot be used: "+err.Error())
	}
	if err := suitable(pub); err != nil {
		return nil, notPublic(path, "holds "+err.Error())
	}
	return &formerKey{path: path, pub: pub}, nil
}

// maxPublicKey is far above any public key in PEM, in bytes.
const maxPublicKey = 64 << 10

func notPublic(path, fault string) error {
	return &attestor.Error{
		Kind: attestor.Invalid, Code: attestor.CodeSigningFailed,
		Msg: fmt.Sprintf("the public key %s %s", path, fault),
		Fix: "write it with: gcloud kms keys versions get-public-key, or openssl pkey -pubout",
	}
}

// Where implements [Key].
func (k *formerKey) Where() string { return "former key " + k.path }

func (k *formerKey) public(context.Context) (crypto.PublicKey, error) { return k.pub, nil }

func (k *formerKey) sign(context.Context, []byte) ([]byte, error) {
	return nil, errors.New(k.Where() + " signs nothing")
}

func (k *formerKey) mayUse(context.Context) error { return nil }

// SameKey reports whether two files hold one private key. The error says that one of them cannot be read.
func SameKey(a, b string) (bool, error) {
	x, err := loadKey(a)
	if err != nil {
		return false, err
	}
	y, err := loadKey(b)
	if err != nil {
		return false, err
	}
	return equal(x.Public(), y.Public()), nil
}
