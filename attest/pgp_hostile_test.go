package attest_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/attestor-gate/attestor/attest"
)

// pgpGate is an attestor with one PGP key, and what that key signs at a time.
type pgpGate struct {
	attestor *binaryauthorizationpb.Attestor
	entity   *openpgp.Entity
	config   *packet.Config
	now      time.Time
}

func newPGPGate(t *testing.T) pgpGate {
	t.Helper()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	made := func() time.Time { return now.Add(-time.Hour) }
	config := &packet.Config{Time: made, Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP256}
	entity, err := openpgp.NewEntity("gate", "", "gate@example.com", config)
	must(t, err)

	public := armoured(t, openpgp.PublicKeyType, func(b *bytes.Buffer) { must(t, entity.Serialize(b)) })
	key := &binaryauthorizationpb.AttestorPublicKey{
		Id:        "k",
		PublicKey: &binaryauthorizationpb.AttestorPublicKey_AsciiArmoredPgpPublicKey{AsciiArmoredPgpPublicKey: string(public)},
	}

	return pgpGate{newProtoAttestor(key), entity, config, now}
}

// packets is a signed message: a one-pass signature, the body, the signature.
func (g pgpGate) packets(t *testing.T, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	m, err := openpgp.Sign(&b, g.entity, nil, g.config)
	must(t, err)
	_, err = m.Write(body)
	must(t, err)
	must(t, m.Close())
	return b.Bytes()
}

func (g pgpGate) verify(t *testing.T, payload, signature []byte) error {
	t.Helper()
	return attest.VerifyOccurrence(g.attestor, attested(payload, signature), digest(1), g.now)
}

// signatureWithoutIssuer is a signature packet of version 4 (RFC 9580, 5.2.3)
// without the subpacket that says which key made it.
func signatureWithoutIssuer(made time.Time) []byte {
	created := binary.BigEndian.AppendUint32([]byte{5, 2}, uint32(made.Unix())) //nolint:gosec // a time of this century
	body := []byte{4, 0x00, 19, 8}                                              // binary, ECDSA, SHA-256
	body = binary.BigEndian.AppendUint16(body, uint16(len(created)))            //nolint:gosec // six bytes
	body = append(body, created...)
	body = append(body, 0, 0)             // nothing that is not hashed
	body = append(body, 0xab, 0xcd)       // the hash's first bytes
	body = append(body, 0, 8, 1, 0, 8, 1) // r and s
	body[len(body)-4], body[len(body)-1] = 0x81, 0x81
	return append([]byte{0xc0 | 2, byte(len(body))}, body...)
}

// Whoever may attach to the note chooses the bytes of a signature. Bytes that no
// writer of PGP makes are a signature that does not verify, and harm nothing
// else.
func TestPGPSignaturesThatNobodyMakes(t *testing.T) {
	g := newPGPGate(t)
	payload := attest.Payload(image(t, 1))
	good := g.packets(t, payload)
	unsigned := good[:bytes.Index(good, payload)+len(payload)]

	for name, tt := range map[string]struct {
		packets []byte
		kind    string
		want    bool
	}{
		"as it was made":                     {good, "PGP MESSAGE", true},
		"a signature that names no key":      {append(bytes.Clone(unsigned), signatureWithoutIssuer(g.now.Add(-time.Hour))...), "PGP MESSAGE", false},
		"detached, it names no key":          {signatureWithoutIssuer(g.now.Add(-time.Hour)), openpgp.SignatureType, false},
		"the body ends early":                {good[:len(unsigned)-1], "PGP MESSAGE", false},
		"a message that calls itself a sign": {good, openpgp.SignatureType, false},
	} {
		signature := armoured(t, tt.kind, func(b *bytes.Buffer) { b.Write(tt.packets) })
		if err := g.verify(t, payload, signature); (err == nil) != tt.want {
			t.Errorf("%s: %v, want admitted %t", name, err, tt.want)
		}
	}
}

// A signature has twice the bytes that a payload may have, and not one more.
func TestTheLongestPGPSignature(t *testing.T) {
	const longest = 2 * 64 << 10
	g := newPGPGate(t)
	payload := attest.Payload(image(t, 1))
	message := string(armoured(t, "PGP MESSAGE", func(b *bytes.Buffer) { b.Write(g.packets(t, payload)) }))

	for length, want := range map[int]bool{longest: true, longest + 1: false} {
		// RFC 9580, 6.2: what stands before the armour's first line is not part of it.
		signature := strings.Repeat("\n", length-len(message)) + message
		if err := g.verify(t, payload, []byte(signature)); (err == nil) != want {
			t.Errorf("%d bytes: %v, want admitted %t", len(signature), err, want)
		}
	}
}

// The message says what a signature is that does not verify.
func TestWhatAPGPSignatureIsInstead(t *testing.T) {
	g := newPGPGate(t)
	payload := attest.Payload(image(t, 1))
	good := g.packets(t, payload)
	unsigned := good[:bytes.Index(good, payload)+len(payload)]
	packets := func(b []byte) []byte { return armoured(t, "PGP MESSAGE", func(w *bytes.Buffer) { w.Write(b) }) }

	for want, signature := range map[string][]byte{
		"is not an armoured PGP message": []byte("hello"),
		"does not verify":                packets([]byte("hello")),
		"is malformed":                   packets(append(bytes.Clone(unsigned), signatureWithoutIssuer(g.now)...)),
		"holds another payload":          packets(g.packets(t, attest.Payload(image(t, 2)))),
	} {
		if err := g.verify(t, payload, signature); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
