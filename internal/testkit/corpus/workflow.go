package corpus

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore-go/pkg/root"
	"google.golang.org/protobuf/encoding/protojson"
)

// A Workflow is what a CI service says of a run when a certificate is asked for. The
// fields are Fulcio's extensions; an empty one is left out.
type Workflow struct {
	Issuer, Signer, SignerCommit, Runner, Source, SourceCommit, SourceRef, Caller string
}

// A Fulcio is a private Fulcio whose certificates describe runs of workflows, as GitHub's
// own for private repositories does. It has no log.
type Fulcio struct {
	top *x509.Certificate
	key *ecdsa.PrivateKey
}

// NewFulcio is a new one that nobody trusts yet.
func NewFulcio() Fulcio {
	key, _ := NewKey().Private.(*ecdsa.PrivateKey)
	top := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ci.localhost"},
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	return Fulcio{top: certified(top, top, key.Public(), key), key: key}
}

func certified(c, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, signer)
	check(err)
	out, err := x509.ParseCertificate(der)
	check(err)
	return out
}

// Root is its trusted_root.json.
func (ci Fulcio) Root() []byte {
	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{
		&root.FulcioCertificateAuthority{
			Root: ci.top, ValidityPeriodStart: ci.top.NotBefore, URI: "https://ci.localhost",
		},
	}, nil, nil, nil)
	check(err)
	b, err := tr.MarshalJSON()
	check(err)
	return b
}

// Bundle is a statement that a run of w signed, whose certificate is good from a minute
// ago until end.
func (ci Fulcio) Bundle(statement []byte, w Workflow, end time.Time) []byte {
	leaf, _ := NewKey().Private.(*ecdsa.PrivateKey)
	uri, err := url.Parse(w.Signer)
	check(err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: ci.top.NotBefore, NotAfter: end, URIs: []*url.URL{uri},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{
			Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(w.Issuer),
		}},
	}

	// Fulcio, docs/oid-info.md: 1 is the issuer as plain bytes, which older verifiers read; from 8 on the values are
	// DER-encoded UTF-8 strings.
	for oid, value := range map[int]string{
		8: w.Issuer, 9: w.Signer, 10: w.SignerCommit, 11: w.Runner, 12: w.Source, 13: w.SourceCommit, 14: w.SourceRef,
		18: w.Caller,
	} {
		if value == "" {
			continue
		}
		b, err := asn1.MarshalWithParams(value, "utf8")
		check(err)
		tmpl.ExtraExtensions = append(tmpl.ExtraExtensions, pkix.Extension{
			Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, oid}, Value: b,
		})
	}
	cert := certified(tmpl, ci.top, leaf.Public(), ci.key)

	const payloadType = "application/vnd.in-toto+json"
	sum := sha256.Sum256(dsse.PAE(payloadType, statement))
	sig, err := ecdsa.SignASN1(rand.Reader, leaf, sum[:])
	check(err)
	b, err := protojson.Marshal(&protobundle.Bundle{
		MediaType: BundleMedia,
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content: &protobundle.VerificationMaterial_Certificate{
				Certificate: &protocommon.X509Certificate{RawBytes: cert.Raw},
			},
		},
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: statement, PayloadType: payloadType, Signatures: []*protodsse.Signature{{Sig: sig}},
		}},
	})
	check(err)
	return b
}
