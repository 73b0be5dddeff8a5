package attest_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
)

// A PGP key may expire between two checks by one reading of the attestor's keys:
// that a signature verified before does not speak for it afterwards.
func TestAnExpiredPGPKeyIsNotRemembered(t *testing.T) {
	made := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	config := &packet.Config{Time: func() time.Time { return made }, Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP256, KeyLifetimeSecs: 3600}
	entity, err := openpgp.NewEntity("gate", "", "gate@example.com", config)
	must(t, err)
	public := armoured(t, openpgp.PublicKeyType, func(b *bytes.Buffer) { must(t, entity.Serialize(b)) })
	att := newProtoAttestor(&binaryauthorizationpb.AttestorPublicKey{Id: "k",
		PublicKey: &binaryauthorizationpb.AttestorPublicKey_AsciiArmoredPgpPublicKey{AsciiArmoredPgpPublicKey: string(public)}})

	payload := attest.Payload(image(t, 1))
	var signature bytes.Buffer
	must(t, openpgp.ArmoredDetachSign(&signature, entity, bytes.NewReader(payload), config))
	o := attested(payload, signature.Bytes())

	got := attest.CheckAtTimes(att, digest(1), o, made.Add(time.Minute), made.Add(59*time.Minute), made.Add(61*time.Minute), made.Add(24*time.Hour))

	for i, want := range []bool{true, true, false, false} {
		if (got[i] == "") != want {
			t.Errorf("check %d: %q, want admitted %t", i+1, got[i], want)
		}
	}
}

// Of several keys of one id any may have made the signature, in whatever order
// the attestor lists them.
func TestSeveralKeysOfOneID(t *testing.T) {
	key, other := newKey(t), newKey(t)
	payload := compact(repository, digest(1))
	o := signed(t, key, "k", repository+"@"+string(digest(1)), payload)
	mine, another := pkix(t, "k", key.Public(), p256), pkix(t, "k", other.Public(), p256)
	unreadable := &binaryauthorizationpb.AttestorPublicKey{Id: "k", PublicKey: &binaryauthorizationpb.AttestorPublicKey_PkixPublicKey{
		PkixPublicKey: &binaryauthorizationpb.PkixPublicKey{PublicKeyPem: "x", SignatureAlgorithm: p256},
	}}

	for n, tt := range []struct {
		keys []*binaryauthorizationpb.AttestorPublicKey
		want bool
	}{
		{[]*binaryauthorizationpb.AttestorPublicKey{mine, another}, true},
		{[]*binaryauthorizationpb.AttestorPublicKey{another, mine}, true},
		{[]*binaryauthorizationpb.AttestorPublicKey{mine, unreadable}, true},
		{[]*binaryauthorizationpb.AttestorPublicKey{unreadable, mine}, true},
		{[]*binaryauthorizationpb.AttestorPublicKey{another, unreadable}, false},
	} {
		if err := attest.VerifyOccurrence(newProtoAttestor(tt.keys...), o, digest(1), time.Time{}); (err == nil) != tt.want {
			t.Errorf("list %d: %v, want admitted %t", n+1, err, tt.want)
		}
	}
}

func TestAVerifierIsMadeWhole(t *testing.T) {
	w := newWorld(t, emulator.Behaviour{})
	whole := func() attest.VerifierConfig {
		return attest.VerifierConfig{Grafeas: w.Grafeas, BinAuthz: w.Binauthz, Now: time.Now, Limit: 1}
	}

	if _, err := attest.NewVerifier(whole()); err != nil {
		t.Fatal(err)
	}

	for n, leaveOut := range []func(*attest.VerifierConfig){
		func(c *attest.VerifierConfig) { c.Grafeas = nil },
		func(c *attest.VerifierConfig) { c.BinAuthz = nil },
		func(c *attest.VerifierConfig) { c.Now = nil },
	} {
		c := whole()
		leaveOut(&c)
		if v, err := attest.NewVerifier(c); err == nil || v != nil {
			t.Errorf("%s: a verifier was made", fmt.Sprint("without part ", n+1))
		}
	}
}

// An attestation may hold 64 signatures: one that verifies counts beside 63 others,
// and beside 64 the list is not read.
func TestSignaturesAreBounded(t *testing.T) {
	key := newKey(t)
	att := newProtoAttestor(pkix(t, "k", key.Public(), p256))

	for others, want := range map[int]bool{63: true, 64: false} {
		o := signed(t, key, "k", repository+"@"+string(digest(1)), compact(repository, digest(1)))
		a := o.GetAttestation()
		for range others {
			a.Signatures = append(a.Signatures, &grafeaspb.Signature{PublicKeyId: "x", Signature: []byte("x")})
		}

		if err := attest.VerifyOccurrence(att, o, digest(1), time.Time{}); (err == nil) != want {
			t.Errorf("beside %d others: %v, want admitted %t", others, err, want)
		}
	}
}
