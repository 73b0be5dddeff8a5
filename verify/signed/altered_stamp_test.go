package signed_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/asn1"
	"encoding/base64"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
)

// An ended is a Sigstore without a log, whose certificate has expired, and whose
// authority has not: its own certificate has to be valid when it is read.
type ended struct {
	entry func(payload []byte, at time.Duration) entry // stamped so long after the certificate's start; 0: not stamped
	rule  attestor.SignedBy
}

func newEnded(t *testing.T) ended {
	t.Helper()
	fine := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	top, topKey, err := ca.GenerateRootCa()
	fine(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fine(err)
	start := time.Now().Add(-14 * time.Minute) // until four minutes ago
	leaf, err := ca.GenerateLeafCert(subject, issuer, start, key, top, topKey)
	fine(err)
	clockKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fine(err)
	clock, err := ca.GenerateTSALeafCert(start.Add(6*time.Minute), clockKey, top, topKey)
	fine(err)

	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01,
		[]root.CertificateAuthority{&root.FulcioCertificateAuthority{Root: top, ValidityPeriodStart: top.NotBefore, URI: "https://fulcio.localhost"}}, nil,
		[]root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{
			Root: top, Leaf: clock, ValidityPeriodStart: top.NotBefore, URI: "https://tsa.localhost",
		}}, nil)

	fine(err)
	trusted, err := tr.MarshalJSON()
	fine(err)
	certificate, err := cryptoutils.MarshalCertificateToPEM(leaf)
	fine(err)

	no := false
	return ended{
		rule: attestor.SignedBy{Issuer: issuer, Subject: subject, Transparency: &no, TrustedRoot: file(t, trusted)},
		entry: func(payload []byte, at time.Duration) entry {
			e := entryOf(corpus.Key{Private: key}.Entry(payload))
			e.annotations[certificateKey] = string(certificate)
			if at == 0 {
				return e
			}

			raw, err := base64.StdEncoding.DecodeString(e.annotations[signatureKey])
			fine(err)
			query, err := timestamp.CreateRequest(bytes.NewReader(raw), &timestamp.RequestOptions{Hash: crypto.SHA256})
			fine(err)
			request, err := timestamp.ParseRequest(query)
			fine(err)
			stamp := timestamp.Timestamp{
				HashAlgorithm: request.HashAlgorithm, HashedMessage: request.HashedMessage, Time: start.Add(at),
				Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2},
			}

			response, err := stamp.CreateResponseWithOpts(clock, clockKey, crypto.SHA256)
			fine(err)
			e.annotations[stampKey] = stampText(t, response)
			return e
		},
	}
}

// A keyless certificate lives ten minutes. A timestamp within them proves that
// the signature was made then, however long ago that is; without one, nothing
// does.
func TestATimestampSpeaksForACertificateThatHasExpired(t *testing.T) {
	h, s := plain(t), newEnded(t)
	h.attach(h.image, "sig", s.entry(simple(h.image), 8*time.Minute))
	if _, err := h.check(h.image, s.rule); err != nil {
		t.Errorf("stamped in time: %v", err)
	}

	h.attach(h.image, "sig", s.entry(simple(h.image), 0))
	got, err := h.check(h.image, s.rule)
	refused(t, got, err, "expired")
}
