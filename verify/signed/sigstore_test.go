package signed_test

import (
	"crypto"
	"crypto/elliptic"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
)

const (
	issuer  = corpus.SignerIssuer
	subject = corpus.SignerSubject
)

// simple is the payload that cosign signs classically.
func simple(img attestor.Image) []byte { return corpus.Simple(img.Repository(), img.Digest()) }

// statement is an in-toto statement about img.
func statement(img attestor.Image, predicateType string) []byte {
	return corpus.Statement(img.Digest(), predicateType)
}

const signPredicate = corpus.SignPredicate

// A keyPair is the corpus's, with its public half in a file.
type keyPair struct {
	corpus.Key
	priv crypto.Signer
	path string
}

func newKey(t testing.TB) *keyPair { return newKeyOn(t, elliptic.P256()) }

func newKeyOn(t testing.TB, curve elliptic.Curve) *keyPair {
	t.Helper()
	return keyOf(t, corpus.NewKeyOn(curve).Private)
}

func keyOf(t testing.TB, priv crypto.Signer) *keyPair {
	t.Helper()
	return &keyPair{Key: corpus.Key{Private: priv}, priv: priv, path: file(t, publicPEM(t, priv.Public()))}
}

// publicHalf lets a public key be written as a pair's would be.
type publicHalf struct {
	crypto.Signer
	pub crypto.PublicKey
}

func (p publicHalf) Public() crypto.PublicKey { return p.pub }

func publicPEM(_ testing.TB, pub crypto.PublicKey) []byte {
	return corpus.Key{Private: publicHalf{pub: pub}}.PublicPEM()
}

func (k *keyPair) rule() attestor.SignedBy { return attestor.SignedBy{Key: k.path} }

func (k *keyPair) entry(payload []byte) entry { return entryOf(k.Entry(payload)) }

func (k *keyPair) bundle(statement []byte) []byte { return k.Bundle(statement) }

func (k *keyPair) envelope(statement []byte) entry { return entryOf(k.Envelope(statement)) }

func entryOf(e corpus.Entry) entry {
	return entry{payload: e.Payload, media: types.MediaType(e.Media), annotations: e.Annotations}
}

// A sigstore is the corpus's.
type sigstore struct {
	corpus.Sigstore
	t  testing.TB
	ca *ca.VirtualSigstore
}

func newSigstore(t testing.TB) *sigstore {
	t.Helper()
	s := corpus.NewSigstore()
	return &sigstore{Sigstore: s, t: t, ca: s.CA}
}

// root writes its trusted_root.json, with certificate transparency logs or
// without.
func (s *sigstore) root(ctlogs bool) string {
	s.t.Helper()
	return file(s.t, s.Root(ctlogs))
}

func (s *sigstore) rule() attestor.SignedBy {
	return attestor.SignedBy{Issuer: issuer, Subject: subject, TrustedRoot: s.root(false)}
}

func (s *sigstore) entry(payload []byte) entry { return entryOf(s.Entry(payload)) }

func (s *sigstore) entryBy(payload []byte, subject, issuer string) entry {
	return entryOf(s.EntryBy(payload, subject, issuer))
}

func (s *sigstore) bundle(statement []byte, stamped bool) []byte { return s.Bundle(statement, stamped) }

func (s *sigstore) bundleBy(statement []byte, subject, issuer string, stamped bool) []byte {
	return s.BundleBy(statement, subject, issuer, stamped)
}

func (s *sigstore) message(e *ca.TestEntity, stamped bool) *protobundle.Bundle {
	return s.Message(e, stamped)
}
