package corpus

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/attestor-gate/attestor"
)

// What cosign writes, and under which names.
const (
	BundleMedia    = "application/vnd.dev.sigstore.bundle.v0.3+json"
	SimpleMedia    = "application/vnd.dev.cosign.simplesigning.v1+json"
	EnvelopeMedia  = "application/vnd.dsse.envelope.v1+json"
	SignPredicate  = "https://sigstore.dev/cosign/sign/v1"
	SignatureKey   = "dev.cosignproject.cosign/signature"
	CertificateKey = "dev.sigstore.cosign/certificate"
	ChainKey       = "dev.sigstore.cosign/chain"
	LogKey         = "dev.sigstore.cosign/bundle"
	TimestampKey   = "dev.sigstore.cosign/rfc3161timestamp"
	inTotoPayload  = "application/vnd.in-toto+json"
)

// Simple is the payload that cosign signs classically.
func Simple(repository string, d attestor.Digest) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},`+
		`"type":"cosign container image signature"},"optional":null}`, repository, d)
}

// Statement is an in-toto statement about an image.
func Statement(d attestor.Digest, predicateType string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","predicateType":%q,"subject":[{"name":"x",`+
		`"digest":{"sha256":%q}}],"predicate":{}}`, predicateType, d.Hex())
}

// An Entry is one layer under a .sig or .att tag.
type Entry struct {
	Payload     []byte
	Media       string // default: [SimpleMedia]
	Annotations map[string]string
}

// A Key signs as cosign does with --key.
type Key struct {
	Private crypto.Signer
	PSS     bool // with an RSA key: sign as some KMS key versions do
}

// NewKey is a new one on P-256.
func NewKey() Key { return NewKeyOn(elliptic.P256()) }

// NewKeyOn is a new one on a curve.
func NewKeyOn(curve elliptic.Curve) Key {
	priv, err := ecdsa.GenerateKey(curve, rand.Reader)
	check(err)
	return Key{Private: priv}
}

// PublicPEM is the public key as cosign and the gate read it.
func (k Key) PublicPEM() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.Private.Public())
	check(err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// Sign signs message by the hash that goes with the key.
func (k Key) Sign(message []byte) []byte {
	h := crypto.SHA256
	switch priv := k.Private.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(priv, message)
	case *rsa.PrivateKey:
		if priv.N.BitLen() > 2048 {
			h = crypto.SHA512 // as KMS prescribes for some key versions
		}
	case *ecdsa.PrivateKey:
		if priv.Curve == elliptic.P384() {
			h = crypto.SHA384
		}
	}

	hash := h.New()
	hash.Write(message)
	var opts crypto.SignerOpts = h
	if k.PSS {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
	}

	sig, err := k.Private.Sign(rand.Reader, hash.Sum(nil), opts)
	check(err)
	return sig
}

// Entry is a classic signature of payload.
func (k Key) Entry(payload []byte) Entry {
	return Entry{Payload: payload,
		Annotations: map[string]string{SignatureKey: base64.StdEncoding.EncodeToString(k.Sign(payload))}}
}

// Bundle is a signed statement in a Sigstore bundle without log entry.
func (k Key) Bundle(statement []byte) []byte {
	env := &protodsse.Envelope{Payload: statement, PayloadType: inTotoPayload,
		Signatures: []*protodsse.Signature{{Sig: k.Sign(dsse.PAE(inTotoPayload, statement))}}}
	b, err := protojson.Marshal(&protobundle.Bundle{
		MediaType: BundleMedia,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: "k"}},
		},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: env},
	})
	check(err)
	return b
}

// Envelope is a signed statement as cosign attest writes it classically.
func (k Key) Envelope(statement []byte) Entry {
	env := dsse.Envelope{PayloadType: inTotoPayload, Payload: base64.StdEncoding.EncodeToString(statement),
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(
			k.Sign(dsse.PAE(inTotoPayload, statement)))}}}
	return Entry{Payload: JSON(env), Media: EnvelopeMedia, Annotations: map[string]string{SignatureKey: ""}}
}

// JSON is v in JSON.
func JSON(v any) []byte {
	var b bytes.Buffer
	check(json.NewEncoder(&b).Encode(v))
	return bytes.TrimSpace(b.Bytes())
}

// Edit changes a bundle.
func Edit(raw []byte, f func(*protobundle.Bundle)) []byte {
	b := &protobundle.Bundle{}
	check(protojson.Unmarshal(raw, b))
	f(b)
	out, err := protojson.Marshal(b)
	check(err)
	return out
}

// Pruned is a document with each of its parts left out, or replaced by
// something empty.
func Pruned(doc map[string]any) [][]byte {
	var out [][]byte
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			// In the same order each time: callers take their share of the list by numbers.
			for _, k := range slices.Sorted(maps.Keys(v)) {
				child := v[k]
				delete(v, k)
				out = append(out, JSON(doc))
				for _, other := range []any{nil, "", map[string]any{}, []any{}} {
					v[k] = other
					out = append(out, JSON(doc))
				}
				v[k] = child
				walk(child)
			}
		case []any:
			for i, child := range v {
				v[i] = nil
				out = append(out, JSON(doc))
				v[i] = child
				walk(child)
			}
		}
	}

	walk(doc)
	return out
}
