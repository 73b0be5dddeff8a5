package corpus

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"time"

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
)

// The identity that keyless signatures are asked for.
const (
	SignerIssuer  = "https://accounts.example.com"
	SignerSubject = "release@bases.example.com"
)

// A Sigstore is a whole Sigstore in memory, by the library's own hand.
type Sigstore struct{ CA *ca.VirtualSigstore }

// NewSigstore is a new one that nobody trusts yet.
func NewSigstore() Sigstore {
	v, err := ca.NewVirtualSigstore()
	check(err)
	return Sigstore{v}
}

// Root is its trusted_root.json, with certificate transparency logs or without.
func (s Sigstore) Root(ctlogs bool) []byte {
	logs := map[string]*root.TransparencyLog{}
	if ctlogs {
		logs = fixIDs(s.CA.CTLogs())
	}
	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01, s.CA.FulcioCertificateAuthorities(), logs,
		s.CA.TimestampingAuthorities(), fixIDs(s.CA.RekorLogs()))
	check(err)
	b, err := tr.MarshalJSON()
	check(err)
	return b
}

// fixIDs undoes a double encoding in the library's test code.
func fixIDs(logs map[string]*root.TransparencyLog) map[string]*root.TransparencyLog {
	for id, l := range logs {
		raw, err := hex.DecodeString(id)
		check(err)
		l.ID, l.HashFunc, l.SignatureHashFunc = raw, crypto.SHA256, crypto.SHA256
		if l.BaseURL == "test" {
			l.BaseURL = "https://ct.localhost"
		}
	}
	return logs
}

// Entry is a classic keyless signature by the usual identity.
func (s Sigstore) Entry(payload []byte) Entry { return s.EntryBy(payload, SignerSubject, SignerIssuer) }

// EntryBy is one by any identity.
func (s Sigstore) EntryBy(payload []byte, subject, issuer string) Entry {
	e, err := s.CA.Sign(subject, issuer, payload)
	check(err)
	return s.entry(payload, e)
}

// LateEntry is one that came into the log after its certificate's end.
func (s Sigstore) LateEntry(payload []byte) Entry {
	e, err := s.CA.SignAtTime(SignerSubject, SignerIssuer, payload, time.Now().Add(30*time.Minute))
	check(err)
	return s.entry(payload, e)
}

func (s Sigstore) entry(payload []byte, e *ca.TestEntity) Entry {
	content, err := e.SignatureContent()
	check(err)
	vc, err := e.VerificationContent()
	check(err)
	cert, err := cryptoutils.MarshalCertificateToPEM(vc.Certificate())
	check(err)
	return Entry{Payload: payload, Annotations: map[string]string{
		SignatureKey:   base64.StdEncoding.EncodeToString(content.Signature()),
		CertificateKey: string(cert),
		LogKey:         string(JSON(s.log(e))),
	}}
}

// log makes the classic log entry, whose promise the library keeps to itself.
func (s Sigstore) log(e *ca.TestEntity) *cbundle.RekorBundle {
	entries, err := e.TlogEntries()
	check(err)
	body, _ := entries[0].Body().(string)
	p := tlog.RekorPayload{LogID: hex.EncodeToString([]byte(entries[0].LogKeyID())),
		IntegratedTime: entries[0].IntegratedTime().Unix(), LogIndex: entries[0].LogIndex(), Body: body}
	if id := entries[0].LogKeyID(); len(id) == 2*sha256.Size {
		p.LogID = id
	}

	set, err := s.CA.RekorSignPayload(p)
	check(err)
	return &cbundle.RekorBundle{SignedEntryTimestamp: set, Payload: cbundle.RekorPayload{Body: body,
		IntegratedTime: p.IntegratedTime, LogIndex: p.LogIndex, LogID: p.LogID}}
}

// Bundle is a keyless bundle with statement, log entry and, if stamped, a
// timestamp.
func (s Sigstore) Bundle(statement []byte, stamped bool) []byte {
	return s.BundleBy(statement, SignerSubject, SignerIssuer, stamped)
}

// BundleBy is one by any identity.
func (s Sigstore) BundleBy(statement []byte, subject, issuer string, stamped bool) []byte {
	e, err := s.CA.AttestAtTime(subject, issuer, statement, time.Now().Add(5*time.Minute), true)
	check(err)
	b, err := protojson.Marshal(s.Message(e, stamped))
	check(err)
	return b
}

// Message is the bundle of an entity of the library's.
func (s Sigstore) Message(e *ca.TestEntity, stamped bool) *protobundle.Bundle {
	content, err := e.SignatureContent()
	check(err)
	vc, err := e.VerificationContent()
	check(err)
	entries, err := e.TlogEntries()
	check(err)
	tle := entries[0].TransparencyLogEntry()
	l := s.log(e)
	tle.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: l.SignedEntryTimestamp}
	tle.KindVersion = &protorekor.KindVersion{Kind: "dsse", Version: "0.0.1"}
	material := &protobundle.VerificationMaterial{
		Content:     &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: vc.Certificate().Raw}},
		TlogEntries: []*protorekor.TransparencyLogEntry{tle},
	}

	if stamps, err := e.Timestamps(); stamped && err == nil {
		material.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamps[0]}}}
	}
	return &protobundle.Bundle{MediaType: BundleMedia, VerificationMaterial: material,
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: envelopeOf(content)}}
}

func envelopeOf(content verify.SignatureContent) *protodsse.Envelope {
	raw := content.EnvelopeContent().RawEnvelope()
	payload, err := raw.DecodeB64Payload()
	check(err)
	return &protodsse.Envelope{Payload: payload, PayloadType: raw.PayloadType,
		Signatures: []*protodsse.Signature{{Sig: content.Signature()}}}
}

// Chained is a classic signature of payload by a leaf under an intermediate
// that ends at end, and a trusted root without logs.
func Chained(payload []byte, end time.Time) (e Entry, trusted []byte) {
	start := time.Now().Add(-3 * time.Hour)
	issue := func(tmpl, parent *x509.Certificate, signer crypto.Signer) (*x509.Certificate, *ecdsa.PrivateKey) {
		k, _ := NewKey().Private.(*ecdsa.PrivateKey)
		if parent == nil {
			parent, signer = tmpl, k
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, k.Public(), signer)
		check(err)
		c, err := x509.ParseCertificate(der)
		check(err)
		return c, k
	}

	authority := func(name string, serial int64, until time.Time) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: start, NotAfter: until,
			KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true}
	}
	top, topKey := issue(authority("root", 1, time.Now().Add(24*time.Hour)), nil, nil)
	mid, midKey := issue(authority("intermediate", 2, end), top, topKey)
	leaf, priv := issue(&x509.Certificate{
		SerialNumber: big.NewInt(3), NotBefore: start.Add(time.Hour), NotAfter: time.Now().Add(12 * time.Hour),
		EmailAddresses: []string{SignerSubject},
		KeyUsage:       x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1},
			Value: []byte(SignerIssuer)}},
	}, mid, midKey)

	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01,
		[]root.CertificateAuthority{&root.FulcioCertificateAuthority{
			Root: top, Intermediates: []*x509.Certificate{mid}, ValidityPeriodStart: start,
			URI: "https://fulcio.localhost",
		}}, nil, nil, nil)
	check(err)
	trusted, err = tr.MarshalJSON()
	check(err)
	e = Key{Private: priv}.Entry(payload)
	e.Annotations[CertificateKey] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}))
	return e, trusted
}
