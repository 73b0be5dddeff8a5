package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// An attestorKey is one public key of an attestor, able to check signatures.
type attestorKey struct {
	id        string
	algorithm binauthzAlgorithm // of a PKIX key
	public    crypto.PublicKey  // of a PKIX key
	pgp       openpgp.EntityList
	problem   error // why the key verifies nothing
}

func newAttestorKey(k *binaryauthorizationpb.AttestorPublicKey) attestorKey {
	out := attestorKey{id: k.GetId()}
	switch pub := k.GetPublicKey().(type) {
	case *binaryauthorizationpb.AttestorPublicKey_PkixPublicKey:
		out.algorithm = pub.PkixPublicKey.GetSignatureAlgorithm()
		out.public, out.problem = parsePEM(pub.PkixPublicKey.GetPublicKeyPem())
	case *binaryauthorizationpb.AttestorPublicKey_AsciiArmoredPgpPublicKey:
		out.pgp, out.problem = openpgp.ReadArmoredKeyRing(strings.NewReader(pub.AsciiArmoredPgpPublicKey))
	default:
		out.problem = errors.New("a key of a kind that this version does not know")
	}

	// A signature that names no key would select this one.
	if out.id == "" {
		out.problem = errors.New("a key without an id")
	}
	return out
}

// verify checks a signature over message, by the algorithm that the attestor
// says, never by one that the signature suggests.
func (k attestorKey) verify(message, signature []byte, now time.Time) error {
	// A key that could not be read verifies nothing, and never falls through to
	// another check.
	if k.problem != nil {
		return fmt.Errorf("the attestor's key cannot be used: %w", k.problem)
	}

	if k.pgp != nil {
		return verifyPGP(k.pgp, message, signature, now)
	}

	switch k.algorithm {
	case binaryauthorizationpb.PkixPublicKey_RSA_PSS_2048_SHA256:
		return verifyRSA(k.public, 2048, true, crypto.SHA256, message, signature)
	case binaryauthorizationpb.PkixPublicKey_RSA_PSS_3072_SHA256:
		return verifyRSA(k.public, 3072, true, crypto.SHA256, message, signature)
	case binaryauthorizationpb.PkixPublicKey_RSA_PSS_4096_SHA256:
		return verifyRSA(k.public, 4096, true, crypto.SHA256, message, signature)
	case binaryauthorizationpb.PkixPublicKey_RSA_PSS_4096_SHA512:
		return verifyRSA(k.public, 4096, true, crypto.SHA512, message, signature)
	case binaryauthorizationpb.PkixPublicKey_RSA_SIGN_PKCS1_2048_SHA256:
		return verifyRSA(k.public, 2048, false, crypto.SHA256, message, signature)
	case binaryauthorizationpb.PkixPublicKey_RSA_SIGN_PKCS1_3072_SHA256:
		return verifyRSA(k.public, 3072, false, crypto.SHA256, message, signature)
	case binaryauthorizationpb.PkixPublicKey_RSA_SIGN_PKCS1_4096_SHA256:
		return verifyRSA(k.public, 4096, false, crypto.SHA256, message, signature)
	case binaryauthorizationpb.PkixPublicKey_RSA_SIGN_PKCS1_4096_SHA512:
		return verifyRSA(k.public, 4096, false, crypto.SHA512, message, signature)
	case binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256:
		sum := sha256.Sum256(message)
		return verifyECDSA(k.public, "P-256", sum[:], signature)
	case binaryauthorizationpb.PkixPublicKey_ECDSA_P384_SHA384:
		sum := sha512.Sum384(message)
		return verifyECDSA(k.public, "P-384", sum[:], signature)
	case binaryauthorizationpb.PkixPublicKey_ECDSA_P521_SHA512:
		sum := sha512.Sum512(message)
		return verifyECDSA(k.public, "P-521", sum[:], signature)
	}

	// Of an algorithm that this version does not know, no signature is taken for valid.
	return fmt.Errorf("the attestor's key is for %s, which this version cannot check", k.algorithm)
}

func verifyRSA(pub crypto.PublicKey, bits int, pss bool, hash crypto.Hash, message, signature []byte) error {
	key, ok := pub.(*rsa.PublicKey)
	// The algorithm names the size: a smaller key under it is a mistake or an attack.
	if !ok || key.N.BitLen() != bits {
		return fmt.Errorf("the attestor's key is not an RSA key of %d bits, as its algorithm says", bits)
	}

	h := hash.New()
	h.Write(message)
	var err error
	if pss {
		err = rsa.VerifyPSS(key, hash, h.Sum(nil), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	} else {
		err = rsa.VerifyPKCS1v15(key, hash, h.Sum(nil), signature)
	}

	if err != nil {
		return errors.New("the signature does not verify")
	}
	return nil
}

func verifyECDSA(pub crypto.PublicKey, curve string, sum, signature []byte) error {
	key, ok := pub.(*ecdsa.PublicKey)
	// The algorithm names the curve: a key on another one does not fit it.
	if !ok || key.Curve.Params().Name != curve {
		return fmt.Errorf("the attestor's key is not on curve %s, as its algorithm says", curve)
	}

	if !ecdsa.VerifyASN1(key, sum, signature) {
		return errors.New("the signature does not verify")
	}
	return nil
}

// verifyPGP takes what Binary Authorization's PGP attestations hold: an
// armoured message with the payload inside, which must be the payload beside
// it, byte for byte; or an armoured detached signature.
func verifyPGP(keys openpgp.EntityList, message, signature []byte, now time.Time) (err error) {
	// Any writer of the note chooses these bytes, and go-crypto panics on some, such as a message whose signature
	// names no key. A panic has verified nothing, and must not end the process.
	defer func() {
		if recover() != nil {
			err = errors.New("the PGP signature is malformed")
		}
	}()

	config := &packet.Config{Time: func() time.Time { return now }}
	bad := errors.New("the PGP signature does not verify")

	// Armour adds a third, so that this is far above any signature of an accepted
	// payload.
	if len(signature) > maxPayload*2 {
		return bad
	}

	block, err := armor.Decode(bytes.NewReader(signature))
	if err != nil {
		return errors.New("the signature is not an armoured PGP message")
	}

	// RFC 9580, 10.4: a detached signature is over the payload that is stored beside
	// it.
	if block.Type == openpgp.SignatureType {
		if _, err := openpgp.CheckDetachedSignature(keys, bytes.NewReader(message), block.Body, config); err != nil {
			return bad
		}
		return nil
	}

	// Otherwise it is a signed message. An encrypted one could show admission
	// something else.
	md, err := openpgp.ReadMessage(block.Body, keys, nil, config)
	if err != nil || !md.IsSigned || md.IsEncrypted || md.IsSymmetricallyEncrypted {
		return bad
	}

	// The signature is checked when the body has been read to its end, which a
	// body longer than the payload never is.
	body, err := io.ReadAll(io.LimitReader(md.UnverifiedBody, int64(len(message))+1))
	if err != nil || !bytes.Equal(body, message) {
		return errors.New("the PGP message holds another payload")
	}

	if n, err := md.UnverifiedBody.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		return bad
	}

	// go-crypto: SignatureError is valid only after the body was read, and SignedBy is
	// nil where no key of the ring made the signature.
	if md.SignedBy == nil || md.SignatureError != nil || md.Signature == nil {
		return bad
	}
	return nil
}
