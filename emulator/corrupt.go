package emulator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"slices"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// secp256k1PEM is a public key of a curve that KMS has and neither Go's
// library nor Binary Authorization does; nobody keeps its private key.
const secp256k1PEM = `-----BEGIN PUBLIC KEY-----
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAExf3a9QT5TXlFkWlI4C44/WLUEogGirzF
X0NTFY0K2y0ocTrMf6W9Jls+T3KYNEQ5L+YCQe8LNM1183cWYQAWHg==
-----END PUBLIC KEY-----
`

// Corruption is damage to an answer of AsymmetricSign or GetPublicKey.
type Corruption int

const (
	// CorruptNothing leaves the answer alone.
	CorruptNothing Corruption = iota
	// CorruptSignature flips a bit of the signature and has the checksum agree:
	// only verifying notices.
	CorruptSignature
	// CorruptSignatureInTransit flips a bit of the signature; the checksum shows it.
	CorruptSignatureInTransit
	// CorruptChecksum changes the checksum of a signature or public key.
	CorruptChecksum
	// CorruptNoChecksum leaves the checksum out.
	CorruptNoChecksum
	// CorruptName answers in the name of another key version.
	CorruptName
	// CorruptUnverified says that the request's checksum was not verified.
	CorruptUnverified
	// CorruptPublicKey answers a well-formed key that is not the version's.
	CorruptPublicKey
	// CorruptPublicKeyInTransit flips a bit of the PEM; the checksum shows it.
	CorruptPublicKeyInTransit
)

func (c Corruption) apply(m proto.Message) {
	switch m := m.(type) {
	case *kmspb.AsymmetricSignResponse:
		c.applySignature(m)
	case *kmspb.PublicKey:
		c.applyPublicKey(m)
	}
}

func (c Corruption) applySignature(m *kmspb.AsymmetricSignResponse) {
	switch c {
	case CorruptSignature, CorruptSignatureInTransit:
		// The last byte, since the first ones of an ECDSA signature are its encoding.
		m.Signature = flipped(m.Signature, len(m.Signature)-1)
		if c == CorruptSignature {
			m.SignatureCrc32C = wrapperspb.Int64(crc32c(m.Signature))
		}
	case CorruptChecksum:
		m.SignatureCrc32C = wrapperspb.Int64(m.GetSignatureCrc32C().GetValue() ^ 1)
	case CorruptNoChecksum:
		m.SignatureCrc32C = nil
	case CorruptName:
		m.Name += "0"
	case CorruptUnverified:
		m.VerifiedDigestCrc32C, m.VerifiedDataCrc32C = false, false
	}
}

func (c Corruption) applyPublicKey(m *kmspb.PublicKey) {
	switch c {
	case CorruptChecksum:
		m.PemCrc32C = wrapperspb.Int64(m.GetPemCrc32C().GetValue() ^ 1)
	case CorruptNoChecksum:
		m.PemCrc32C = nil
	case CorruptName:
		m.Name += "0"
	case CorruptPublicKeyInTransit:
		m.Pem = string(flipped([]byte(m.Pem), len(m.Pem)/2))
	case CorruptPublicKey:
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic("emulator: making a key: " + err.Error())
		}
		if m.Pem, err = publicPEM(k.Public()); err != nil {
			panic("emulator: encoding a key: " + err.Error())
		}
		m.PemCrc32C = wrapperspb.Int64(crc32c([]byte(m.Pem)))
	}
}

func flipped(b []byte, i int) []byte {
	b = slices.Clone(b)
	if i >= 0 && i < len(b) {
		b[i] ^= 1
	}
	return b
}
