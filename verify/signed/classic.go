package signed

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	cbundle "github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	"github.com/sigstore/cosign/v2/pkg/oci"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/attestor-gate/attestor"
)

// The media types of what cosign stores under its tags.
const (
	simpleSigningMediaType = "application/vnd.dev.cosign.simplesigning.v1+json"
	dsseMediaType          = "application/vnd.dsse.envelope.v1+json"
)

// classicSignature looks for a signature under the .sig tag.
func (c *Checker) classicSignature(ctx context.Context, img attestor.Image, m *material, found *findings) (string, bool) {
	repo, layers := c.attached(ctx, img, "sig", found)
	for _, desc := range layers {
		if desc.MediaType != simpleSigningMediaType {
			found.reject("which is no signature but %q", desc.MediaType)
			continue
		}
		payload, why, err := c.blob(ctx, repo, desc, c.c.Limits.Signature)
		if err != nil {
			found.fail(err)
			continue
		}
		if why != "" {
			found.reject("%s", why)
			continue
		}
		by, err := c.verifyClassic(ctx, img, payload, desc.Annotations, m, false)
		if err == nil {
			return by.text, true
		}
		found.reject("%s", explain(err))
	}
	return "", false
}

// A candidate is one classic signature or attestation, decoded with care: the
// annotations are written by anybody, and cosign's own decoding of them
// panics.
type candidate struct {
	entry   oci.Signature
	cert    *x509.Certificate // nil: made with a key
	bundle  *cbundle.RekorBundle
	stamp   *cbundle.RFC3161Timestamp
	stamped time.Time // what the timestamp says
}

// rejection is why a candidate does not satisfy, in words for people.
type rejection string

func (r rejection) Error() string { return string(r) }

func explain(err error) string {
	if r, ok := errors.AsType[rejection](err); ok {
		return string(r)
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return "which does not verify: " + line
}

// verifyClassic has cosign verify one signature or attestation, and then
// checks what cosign leaves unchecked.
func (c *Checker) verifyClassic(ctx context.Context, img attestor.Image, payload []byte, annotations map[string]string, m *material, attestation bool) (by signer, err error) {
	err = guard(func() error {
		cand, err := newCandidate(payload, annotations, m, attestation)
		if err != nil {
			return err
		}
		if !attestation {
			if err := claims(payload, img.Digest()); err != nil {
				return err
			}
		}
		if err := m.explainIdentity(cand.cert); err != nil {
			return err
		}
		opts := m.options()
		opts.UseSignedTimestamps = cand.stamp != nil
		h := v1.Hash{Algorithm: "sha256", Hex: img.Digest().Hex()}
		if attestation {
			opts.ClaimVerifier = cosign.IntotoSubjectClaimVerifier
			_, err = cosign.VerifyBlobAttestation(ctx, cand.entry, h, opts)
		} else {
			opts.ClaimVerifier = cosign.SimpleClaimVerifier
			_, err = cosign.VerifyImageSignature(ctx, cand.entry, h, opts)
		}
		if err != nil {
			return err
		}
		if cand.cert == nil {
			by = signer{text: "key " + m.keyID}
			return nil
		}
		by = signerOf(cand.cert)
		return c.wholeChain(cand, m.trusted)
	})
	if errors.Is(err, errPanic) {
		c.c.Logger.WarnContext(ctx, "signature verification panicked", slog.String("image", img.String()), slog.String("error", clip(err.Error())))
		return signer{}, rejection("which is malformed")
	}
	return by, err
}

// options are made afresh for each candidate, since cosign keeps state in
// them. Offline and without a Rekor client, nothing can reach the network.
func (m *material) options() *cosign.CheckOpts {
	opts := &cosign.CheckOpts{
		TrustedMaterial: m.trusted,
		IgnoreTlog:      !m.log,
		IgnoreSCT:       !m.sct,
		Offline:         true,
		MaxWorkers:      1,
	}
	if m.verifier != nil {
		opts.SigVerifier = m.verifier
	} else {
		opts.Identities = []cosign.Identity{m.identity}
	}
	return opts
}

// newCandidate decodes annotations. For a rule with a key, certificates are
// left out: they prove nothing there and could only confuse.
func newCandidate(payload []byte, annotations map[string]string, m *material, attestation bool) (*candidate, error) {
	cand := &candidate{}
	var opts []static.Option
	if m.verifier == nil {
		cert, raw, err := oneCertificate(annotations[static.CertificateAnnotationKey])
		if err != nil {
			return nil, err
		}
		// The chain annotation is left out too: the trusted root has the
		// intermediates, and nobody else's count.
		cand.cert = cert
		opts = append(opts, static.WithCertChain(raw, nil))
	}
	if m.log {
		b, err := rekorBundle(annotations[static.BundleAnnotationKey])
		if err != nil {
			return nil, err
		}
		if err := m.knowsLog(b.Payload.LogID); err != nil {
			return nil, err
		}
		cand.bundle = b
		opts = append(opts, static.WithBundle(b))
	}
	raw, err := signatureOf(payload, annotations, attestation)
	if err != nil {
		return nil, err
	}
	if text := annotations[static.RFC3161TimestampAnnotationKey]; text != "" && m.stamps {
		if err := cand.timestamp(text, raw, m.trusted); err != nil {
			return nil, err
		}
		opts = append(opts, static.WithRFC3161Timestamp(cand.stamp))
	}
	if attestation {
		cand.entry, err = static.NewAttestation(payload, opts...)
	} else {
		cand.entry, err = static.NewSignature(payload, annotations[static.SignatureAnnotationKey], opts...)
	}
	return cand, err
}

// signatureOf is what a timestamp is about: the signature, or for an
// attestation its envelope.
func signatureOf(payload []byte, annotations map[string]string, attestation bool) ([]byte, error) {
	if attestation {
		return payload, nil
	}
	raw, err := base64.StdEncoding.DecodeString(annotations[static.SignatureAnnotationKey])
	if err != nil || len(raw) == 0 {
		return nil, rejection("which lacks a signature")
	}
	return raw, nil
}

// timestamp decodes and verifies a timestamp. cosign verifies it again, but
// counts on there being a valid one.
func (c *candidate) timestamp(text string, about []byte, trusted root.TrustedMaterial) error {
	stamp := &cbundle.RFC3161Timestamp{}
	if err := json.Unmarshal([]byte(text), stamp); err != nil || len(stamp.SignedRFC3161Timestamp) == 0 {
		return rejection("whose timestamp is malformed")
	}
	for _, authority := range trusted.TimestampingAuthorities() {
		if t, err := authority.Verify(stamp.SignedRFC3161Timestamp, about); err == nil {
			c.stamp, c.stamped = stamp, t.Time
			return nil
		}
	}
	return rejection("whose timestamp does not verify")
}

// oneCertificate decodes the annotation of a keyless signature.
func oneCertificate(text string) (*x509.Certificate, []byte, error) {
	if text == "" {
		return nil, nil, rejection("which was made with a key, not by an identity")
	}
	certs, err := cryptoutils.UnmarshalCertificatesFromPEM([]byte(text))
	if err != nil || len(certs) != 1 {
		return nil, nil, rejection("whose certificate is malformed")
	}
	raw, err := cryptoutils.MarshalCertificateToPEM(certs[0])
	if err != nil {
		return nil, nil, rejection("whose certificate is malformed")
	}
	return certs[0], raw, nil
}

// rekorBundle decodes the log entry. Its body must be text, which cosign
// takes for granted.
func rekorBundle(text string) (*cbundle.RekorBundle, error) {
	if text == "" {
		return nil, rejection("which has no transparency log entry")
	}
	b := &cbundle.RekorBundle{}
	if err := json.Unmarshal([]byte(text), b); err != nil {
		return nil, rejection("whose transparency log entry is malformed")
	}
	body, ok := b.Payload.Body.(string)
	if _, err := base64.StdEncoding.DecodeString(body); !ok || body == "" || err != nil || b.Payload.IntegratedTime <= 0 {
		return nil, rejection("whose transparency log entry is malformed")
	}
	if _, err := hex.DecodeString(b.Payload.LogID); err != nil {
		return nil, rejection("whose transparency log entry is malformed")
	}
	return b, nil
}

// knowsLog names the log that the trusted root does not have: what to look
// for when Sigstore has rotated one.
func (m *material) knowsLog(id string) error {
	if _, ok := m.trusted.RekorLogs()[strings.ToLower(id)]; !ok {
		return rejection("whose transparency log " + clip(id) + " is not in the trusted root")
	}
	return nil
}

// claims explains a signature that was made for another image; cosign's own
// claim verifier decides.
func claims(payload []byte, d attestor.Digest) error {
	var p struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return rejection("whose payload is malformed")
	}
	if p.Critical.Image.Digest != string(d) {
		return rejection(fmt.Sprintf("which is about another digest (%q)", clip(p.Critical.Image.Digest)))
	}
	return nil
}

// explainIdentity names the identity that signed, where it is not the one
// asked for. It decides nothing that cosign does not decide again.
func (m *material) explainIdentity(cert *x509.Certificate) error {
	if cert == nil {
		return nil
	}
	if err := cosign.CheckCertificatePolicy(cert, &cosign.CheckOpts{Identities: []cosign.Identity{m.identity}}); err != nil {
		return rejection("which claims to be by " + signerOf(cert).text)
	}
	return nil
}

// A signer is who signed.
type signer struct {
	text            string // for people
	subject, issuer string // of the certificate; "" for a key
}

func signerOf(cert *x509.Certificate) signer {
	ext := cosign.CertExtensions{Cert: cert}
	s := signer{subject: strings.Join(cryptoutils.GetSubjectAlternateNames(cert), ", "), issuer: ext.GetIssuer()}
	s.text = clip(fmt.Sprintf("%s (%s)", s.subject, s.issuer))
	return s
}

// wholeChain holds every certificate of the chain, not the leaf alone, to the
// times at which the signature is known to have existed. cosign checks the
// chain as of the leaf's own notBefore, so that a leaf issued under an expired
// intermediate passes where no log says when (GO-2026-4529).
func (c *Checker) wholeChain(cand *candidate, trusted root.TrustedMaterial) error {
	var times []time.Time
	if cand.bundle != nil {
		times = append(times, time.Unix(cand.bundle.Payload.IntegratedTime, 0))
	}
	if cand.stamp != nil {
		times = append(times, cand.stamped)
	}
	if len(times) == 0 {
		times = append(times, c.c.Now())
	}
	return chainValid(cand.cert, times, trusted)
}

func chainValid(cert *x509.Certificate, times []time.Time, trusted root.TrustedMaterial) error {
	for _, t := range times {
		if _, err := verify.VerifyLeafCertificate(t, cert, trusted); err != nil {
			return rejection(fmt.Sprintf("whose certificate, or one above it, was not valid when it was made (%s)", t.UTC().Format(time.RFC3339)))
		}
	}
	return nil
}
