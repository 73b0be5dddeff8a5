package attest_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor/attest"
)

// attested is an occurrence of image 1 with one signature, by the key k.
func attested(payload, signature []byte) *grafeaspb.Occurrence {
	return &grafeaspb.Occurrence{NoteName: noteName, ResourceUri: repository + "@" + string(digest(1)), Details: &grafeaspb.Occurrence_Attestation{
		Attestation: &grafeaspb.AttestationOccurrence{SerializedPayload: payload, Signatures: []*grafeaspb.Signature{{PublicKeyId: "k", Signature: signature}}},
	}}
}

// Each algorithm that Binary Authorization names accepts its own signature of
// the payload, and refuses every other one of the same key: of another payload,
// by another hash, by another padding, by another key of the same kind, and
// none.
func TestEachAlgorithmVerifies(t *testing.T) {
	rsaKeys := map[int][2]*rsa.PrivateKey{}
	for _, bits := range []int{2048, 3072, 4096} {
		var pair [2]*rsa.PrivateKey
		for i := range pair {
			key, err := rsa.GenerateKey(rand.Reader, bits)
			must(t, err)
			pair[i] = key
		}
		rsaKeys[bits] = pair
	}

	pss := func(bits int) [2]crypto.Signer { return [2]crypto.Signer{rsaKeys[bits][0], rsaKeys[bits][1]} }
	ec := func(curve elliptic.Curve) [2]crypto.Signer {
		var pair [2]crypto.Signer
		for i := range pair {
			key, err := ecdsa.GenerateKey(curve, rand.Reader)
			must(t, err)
			pair[i] = key
		}
		return pair
	}

	type options = crypto.SignerOpts
	salted := func(hash crypto.Hash) options {
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}

	const s256, s384, s512 = crypto.SHA256, crypto.SHA384, crypto.SHA512

	payload, other := compact(repository, digest(1)), compact(repository, digest(2))
	for _, tt := range []struct {
		algorithm binaryauthorizationpb.PkixPublicKey_SignatureAlgorithm
		keys      [2]crypto.Signer
		own       options
		others    []options // of the same key
	}{
		{binaryauthorizationpb.PkixPublicKey_RSA_PSS_2048_SHA256, pss(2048), salted(s256), []options{salted(s512), s256}},
		{binaryauthorizationpb.PkixPublicKey_RSA_PSS_3072_SHA256, pss(3072), salted(s256), []options{salted(s512), s256}},
		{binaryauthorizationpb.PkixPublicKey_RSA_PSS_4096_SHA256, pss(4096), salted(s256), []options{salted(s512), s256}},
		{binaryauthorizationpb.PkixPublicKey_RSA_PSS_4096_SHA512, pss(4096), salted(s512), []options{salted(s256), s512}},
		{binaryauthorizationpb.PkixPublicKey_RSA_SIGN_PKCS1_2048_SHA256, pss(2048), s256, []options{s512, salted(s256)}},
		{binaryauthorizationpb.PkixPublicKey_RSA_SIGN_PKCS1_3072_SHA256, pss(3072), s256, []options{s512, salted(s256)}},
		{binaryauthorizationpb.PkixPublicKey_RSA_SIGN_PKCS1_4096_SHA256, pss(4096), s256, []options{s512, salted(s256)}},
		{binaryauthorizationpb.PkixPublicKey_RSA_SIGN_PKCS1_4096_SHA512, pss(4096), s512, []options{s256, salted(s512)}},
		{binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256, ec(elliptic.P256()), s256, []options{s384, s512}},
		{binaryauthorizationpb.PkixPublicKey_ECDSA_P384_SHA384, ec(elliptic.P384()), s384, []options{s256, s512}},
		{binaryauthorizationpb.PkixPublicKey_ECDSA_P521_SHA512, ec(elliptic.P521()), s512, []options{s256, s384}},
	} {
		t.Run(tt.algorithm.String(), func(t *testing.T) {
			sign := func(key crypto.Signer, message []byte, o options) []byte {
				h := o.HashFunc().New()
				h.Write(message)
				signature, err := key.Sign(rand.Reader, h.Sum(nil), o)
				must(t, err)
				return signature
			}

			signatures := map[string][]byte{
				"of another payload": sign(tt.keys[0], other, tt.own),
				"by another key":     sign(tt.keys[1], payload, tt.own),
				"none":               nil,
				"of zeros":           make([]byte, 512),
			}

			for i, o := range tt.others {
				signatures[fmt.Sprintf("in another way, %d", i+1)] = sign(tt.keys[0], payload, o)
			}

			verify := func(signature []byte) error {
				att := newProtoAttestor(pkix(t, "k", tt.keys[0].Public(), tt.algorithm))
				return attest.VerifyOccurrence(att, attested(payload, signature), digest(1), time.Time{})
			}

			if err := verify(sign(tt.keys[0], payload, tt.own)); err != nil {
				t.Errorf("its own: %v", err)
			}

			for name, signature := range signatures {
				if err := verify(signature); err == nil {
					t.Errorf("%s is accepted", name)
				}
			}
		})
	}
}

// A PGP message whose signature is of another payload than the one inside, and
// one that is no message at all, verify nothing.
func TestPGPMessagesThatWereChanged(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	config := &packet.Config{Time: func() time.Time { return now.Add(-time.Hour) }, Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP256}
	entity, err := openpgp.NewEntity("gate", "", "gate@example.com", config)
	must(t, err)
	public := armoured(t, openpgp.PublicKeyType, func(b *bytes.Buffer) { must(t, entity.Serialize(b)) })
	att := newProtoAttestor(&binaryauthorizationpb.AttestorPublicKey{Id: "k",
		PublicKey: &binaryauthorizationpb.AttestorPublicKey_AsciiArmoredPgpPublicKey{AsciiArmoredPgpPublicKey: string(public)}})

	payload, other := attest.Payload(image(t, 1)), attest.Payload(image(t, 2))
	message := func(body []byte) []byte {
		var b bytes.Buffer
		m, err := openpgp.Sign(&b, entity, nil, config)
		must(t, err)
		_, err = m.Write(body)
		must(t, err)
		must(t, m.Close())
		return b.Bytes()
	}

	if !bytes.Contains(message(other), other) || len(payload) != len(other) {
		t.Fatal("the payload cannot be exchanged in the message, so that this would prove nothing")
	}

	for name, tt := range map[string]struct {
		message []byte
		want    bool
	}{
		"as it was signed":                 {message(payload), true},
		"signed over another payload":      {bytes.Replace(message(other), other, payload, 1), false},
		"no packets":                       {[]byte("hello"), false},
		"nothing":                          {nil, false},
		"without its signature at the end": {message(payload)[:bytes.Index(message(payload), payload)+len(payload)], false},
	} {
		signature := armoured(t, "PGP MESSAGE", func(b *bytes.Buffer) { b.Write(tt.message) })
		err := attest.VerifyOccurrence(att, attested(payload, signature), digest(1), now)
		if (err == nil) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
