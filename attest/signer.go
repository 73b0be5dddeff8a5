package attest

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/keyfile"
)

// A Signer holds or reaches one private key. Its methods are unexported: only
// an Attester can have it sign, and only what an Authorization permits. See
// [NewKMSSigner] and [NewKeyFileSigner].
type Signer interface {
	// id is the key's id by Binary Authorization's conventions.
	id() string
	// load returns the public key: the one that is known, if there is one and
	// again is not set. Otherwise it may need the network.
	load(ctx context.Context, again bool) (signerKey, error)
	// sign returns a signature that nobody has checked yet, or an
	// [attestor.Error].
	sign(ctx context.Context, w warrant, f form, alg algorithm) ([]byte, error)
	// where says which key this is, for messages.
	where() string
	// permissions are what load and sign need of whoever holds the key; "" where there is
	// no such permission.
	permissions() (load, sign string)
	// mayUse names what the identity lacks to use the key, or is nil.
	mayUse(ctx context.Context) error
}

// A signerKey is the public half.
type signerKey struct {
	public crypto.PublicKey
	fixed  bool // the key signs with alg only; a key file signs with whatever fits it
	alg    algorithm
}

type keyFileSigner struct {
	path   string
	keyID  string
	signer crypto.Signer
}

// NewKeyFileSigner reads a private key from a PEM file with one PKCS#8 block:
// RSA of 2048, 3072 or 4096 bits, or ECDSA on P-256, P-384 or P-521. Whether
// an RSA key signs by PKCS#1 or PSS, and with which hash, is what the attestor
// says of it. Its id is "ni:///sha-256;…", as Binary Authorization computes it.
func NewKeyFileSigner(path string) (Signer, error) {
	invalid := func(format string, args ...any) (Signer, error) {
		return nil, &attestor.Error{
			Kind: attestor.Invalid,
			Code: attestor.CodeSigningFailed,
			Msg:  fmt.Sprintf("key file %s ", path) + fmt.Sprintf(format, args...),
			Fix:  "make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out " + path,
		}
	}

	signer, err := keyfile.Read(path)
	if fault, ok := errors.AsType[keyfile.Fault](err); ok {
		return invalid("%s; Binary Authorization accepts RSA, and ECDSA on P-256, P-384 and P-521 (not Ed25519, "+
			"not secp256k1)",
			string(fault))
	}
	if err != nil {
		return nil, err
	}

	// A key that Binary Authorization does not take fails here, at start, rather than
	// at the first image.
	if err := checkUsable(signer.Public()); err != nil {
		return invalid("holds %v", err)
	}

	id, err := keyIDOf(signer.Public())
	if err != nil {
		return nil, err
	}
	return &keyFileSigner{path: path, keyID: id, signer: signer}, nil
}

// String keeps the key out of logs.
func (s *keyFileSigner) String() string { return s.where() }

// GoString keeps it out of %#v.
func (s *keyFileSigner) GoString() string { return s.where() }

// MarshalText keeps it out of JSON.
func (s *keyFileSigner) MarshalText() ([]byte, error) { return []byte(s.where()), nil }

func (s *keyFileSigner) id() string                       { return s.keyID }
func (s *keyFileSigner) where() string                    { return "key file " + s.path }
func (s *keyFileSigner) mayUse(context.Context) error     { return nil }
func (s *keyFileSigner) permissions() (load, sign string) { return "", "" }

func (s *keyFileSigner) load(context.Context, bool) (signerKey, error) {
	return signerKey{public: s.signer.Public()}, nil
}

func (s *keyFileSigner) sign(_ context.Context, w warrant, f form, alg algorithm) ([]byte, error) {
	message, err := w.message(f)
	if err != nil {
		return nil, err
	}
	sig, err := s.signer.Sign(rand.Reader, alg.digest(message), alg.options())
	if err != nil {
		return nil, signingError(s.where()+" could not sign", "check the key file", err)
	}
	return sig, nil
}

func signingError(msg, fix string, err error) error {
	return fault(attestor.CodeSigningFailed, msg, fix, err)
}
