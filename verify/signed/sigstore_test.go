package signed_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	cbundle "github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/attestor-gate/attestor"
)

const (
	issuer  = "https://accounts.example.com"
	subject = "release@bases.example.com"
)

// simple is the payload that cosign signs classically.
func simple(img attestor.Image) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`,
		img.Repository(), img.Digest())
}

// statement is an in-toto statement about img.
func statement(img attestor.Image, predicateType string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","predicateType":%q,"subject":[{"name":"x","digest":{"sha256":%q}}],"predicate":{}}`,
		predicateType, img.Digest().Hex())
}

const signPredicate = "https://sigstore.dev/cosign/sign/v1"

// A keyPair signs as cosign does with --key.
type keyPair struct {
	t    testing.TB
	priv crypto.Signer
	path string // of the public key
	pss  bool   // with an RSA key: sign as some KMS key versions do
}

func newKey(t testing.TB) *keyPair { return newKeyOn(t, elliptic.P256()) }

func newKeyOn(t testing.TB, curve elliptic.Curve) *keyPair {
	t.Helper()
	priv, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keyOf(t, priv)
}

func keyOf(t testing.TB, priv crypto.Signer) *keyPair {
	t.Helper()
	return &keyPair{t: t, priv: priv, path: file(t, publicPEM(t, priv.Public()))}
}

func publicPEM(t testing.TB, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func (k *keyPair) rule() attestor.SignedBy { return attestor.SignedBy{Key: k.path} }

func (k *keyPair) sign(message []byte) []byte {
	k.t.Helper()
	h := crypto.SHA256
	switch priv := k.priv.(type) {
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
	if k.pss {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
	}
	sig, err := k.priv.Sign(rand.Reader, hash.Sum(nil), opts)
	if err != nil {
		k.t.Fatal(err)
	}
	return sig
}

// entry is a classic signature of payload.
func (k *keyPair) entry(payload []byte) entry {
	return entry{payload: payload, annotations: map[string]string{
		"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(k.sign(payload)),
	}}
}

// bundle is a signed statement in a Sigstore bundle without log entry.
func (k *keyPair) bundle(statement []byte) []byte {
	env := &protodsse.Envelope{Payload: statement, PayloadType: "application/vnd.in-toto+json",
		Signatures: []*protodsse.Signature{{Sig: k.sign(dsse.PAE("application/vnd.in-toto+json", statement))}}}
	b, err := protojson.Marshal(&protobundle.Bundle{
		MediaType: bundleMedia,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: "k"}},
		},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: env},
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return b
}

// envelope is a signed statement as cosign attest writes it classically.
func (k *keyPair) envelope(statement []byte) entry {
	env := dsse.Envelope{PayloadType: "application/vnd.in-toto+json", Payload: base64.StdEncoding.EncodeToString(statement),
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(k.sign(dsse.PAE("application/vnd.in-toto+json", statement)))}}}
	return entry{payload: mustJSON(k.t, env), media: "application/vnd.dsse.envelope.v1+json", annotations: map[string]string{"dev.cosignproject.cosign/signature": ""}}
}

// A sigstore is a whole Sigstore in memory, by the library's own hand.
type sigstore struct {
	t  testing.TB
	ca *ca.VirtualSigstore
}

func newSigstore(t testing.TB) *sigstore {
	t.Helper()
	v, err := ca.NewVirtualSigstore()
	if err != nil {
		t.Fatal(err)
	}
	return &sigstore{t: t, ca: v}
}

// root writes its trusted_root.json, with certificate transparency logs or
// without.
func (s *sigstore) root(ctlogs bool) string {
	s.t.Helper()
	logs := map[string]*root.TransparencyLog{}
	if ctlogs {
		logs = fixIDs(s.t, s.ca.CTLogs())
	}
	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01, s.ca.FulcioCertificateAuthorities(), logs, s.ca.TimestampingAuthorities(), fixIDs(s.t, s.ca.RekorLogs()))
	return writeRoot(s.t, tr, err)
}

func writeRoot(t testing.TB, tr *root.TrustedRoot, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	b, err := tr.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return file(t, b)
}

// fixIDs undoes a double encoding in the library's test code.
func fixIDs(t testing.TB, logs map[string]*root.TransparencyLog) map[string]*root.TransparencyLog {
	t.Helper()
	for id, l := range logs {
		raw, err := hex.DecodeString(id)
		if err != nil {
			t.Fatal(err)
		}
		l.ID, l.HashFunc, l.SignatureHashFunc = raw, crypto.SHA256, crypto.SHA256
		if l.BaseURL == "test" {
			l.BaseURL = "https://ct.localhost"
		}
	}
	return logs
}

func (s *sigstore) rule() attestor.SignedBy {
	return attestor.SignedBy{Issuer: issuer, Subject: subject, TrustedRoot: s.root(false)}
}

// entry is a classic keyless signature by the test's identity.
func (s *sigstore) entry(payload []byte) entry { return s.entryBy(payload, subject, issuer) }

func (s *sigstore) entryBy(payload []byte, subject, issuer string) entry {
	s.t.Helper()
	e, err := s.ca.Sign(subject, issuer, payload)
	if err != nil {
		s.t.Fatal(err)
	}
	content, err := e.SignatureContent()
	if err != nil {
		s.t.Fatal(err)
	}
	return entry{payload: payload, annotations: map[string]string{
		"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(content.Signature()),
		"dev.sigstore.cosign/certificate":    s.certificate(e),
		"dev.sigstore.cosign/bundle":         string(mustJSON(s.t, s.log(e))),
	}}
}

func (s *sigstore) certificate(e *ca.TestEntity) string {
	s.t.Helper()
	vc, err := e.VerificationContent()
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := cryptoutils.MarshalCertificateToPEM(vc.Certificate())
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// log makes the classic log entry, whose promise the library keeps to itself.
func (s *sigstore) log(e *ca.TestEntity) *cbundle.RekorBundle {
	s.t.Helper()
	entries, err := e.TlogEntries()
	if err != nil {
		s.t.Fatal(err)
	}
	body, ok := entries[0].Body().(string)
	if !ok {
		s.t.Fatalf("body of type %T", entries[0].Body())
	}
	p := tlog.RekorPayload{LogID: hex.EncodeToString([]byte(entries[0].LogKeyID())), IntegratedTime: entries[0].IntegratedTime().Unix(), LogIndex: entries[0].LogIndex(), Body: body}
	if id := entries[0].LogKeyID(); len(id) == 2*sha256.Size {
		p.LogID = id
	}
	set, err := s.ca.RekorSignPayload(p)
	if err != nil {
		s.t.Fatal(err)
	}
	return &cbundle.RekorBundle{SignedEntryTimestamp: set, Payload: cbundle.RekorPayload{Body: body, IntegratedTime: p.IntegratedTime, LogIndex: p.LogIndex, LogID: p.LogID}}
}

// bundle is a keyless bundle with statement, log entry and, if stamped, a
// timestamp.
func (s *sigstore) bundle(statement []byte, stamped bool) []byte {
	return s.bundleBy(statement, subject, issuer, stamped)
}

func (s *sigstore) bundleBy(statement []byte, subject, issuer string, stamped bool) []byte {
	s.t.Helper()
	e, err := s.ca.AttestAtTime(subject, issuer, statement, time.Now().Add(5*time.Minute), true)
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := protojson.Marshal(s.message(e, stamped))
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *sigstore) message(e *ca.TestEntity, stamped bool) *protobundle.Bundle {
	s.t.Helper()
	content, err := e.SignatureContent()
	if err != nil {
		s.t.Fatal(err)
	}
	vc, err := e.VerificationContent()
	if err != nil {
		s.t.Fatal(err)
	}
	entries, err := e.TlogEntries()
	if err != nil {
		s.t.Fatal(err)
	}
	tle := entries[0].TransparencyLogEntry()
	l := s.log(e)
	tle.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: l.SignedEntryTimestamp}
	tle.KindVersion = &protorekor.KindVersion{Kind: "dsse", Version: "0.0.1"}
	material := &protobundle.VerificationMaterial{
		Content:     &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: vc.Certificate().Raw}},
		TlogEntries: []*protorekor.TransparencyLogEntry{tle},
	}
	if stamps, err := e.Timestamps(); stamped && err == nil {
		material.TimestampVerificationData = &protobundle.TimestampVerificationData{Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamps[0]}}}
	}
	return &protobundle.Bundle{MediaType: bundleMedia, VerificationMaterial: material, Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: envelopeOf(s.t, content)}}
}

func envelopeOf(t testing.TB, content verify.SignatureContent) *protodsse.Envelope {
	t.Helper()
	raw := content.EnvelopeContent().RawEnvelope()
	payload, err := raw.DecodeB64Payload()
	if err != nil {
		t.Fatal(err)
	}
	return &protodsse.Envelope{Payload: payload, PayloadType: raw.PayloadType, Signatures: []*protodsse.Signature{{Sig: content.Signature()}}}
}
