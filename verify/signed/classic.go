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
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/attestor-gate/attestor"
)

// The media types of the blobs under cosign's tags.
const (
	simpleSigningMediaType = "application/vnd.dev.cosign.simplesigning.v1+json"
	dsseMediaType          = "application/vnd.dsse.envelope.v1+json"
)

// classicSignature looks for a signature under the .sig tag, and returns its signer.
func (c *Checker) classicSignature(
	ctx context.Context, img attestor.Image, m *material, found *findings,
) (string, bool) {
	for _, desc := range c.attached(ctx, img, "sig", found) {
		// cosign's signature specification: this media type identifies the payload format.
		if desc.MediaType != simpleSigningMediaType {
			found.reject("it is of type %q, not a signature", desc.MediaType)
			continue
		}

		payload, err := c.registry.Blob(ctx, img, desc, maxSignature)
		if err != nil {
			found.unusable(err)
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

// A candidate is one classic signature or attestation. Anyone may write its
// annotations, and cosign's own decoding of them panics: they are decoded here first.
type candidate struct {
	entry   oci.Signature
	cert    *x509.Certificate // nil: made with a key
	bundle  *cbundle.RekorBundle
	stamp   *cbundle.RFC3161Timestamp
	stamped time.Time // the time of stamp
}

// A rejection is the reason why a signature does not satisfy the rule, for people.
type rejection string

func (r rejection) Error() string { return string(r) }

func explain(err error) string {
	if r, ok := errors.AsType[rejection](err); ok {
		return string(r)
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return "it does not verify: " + line
}

// verifyClassic verifies one signature or attestation: by cosign, and then by the
// checks that cosign omits.
func (c *Checker) verifyClassic(
	ctx context.Context, img attestor.Image, payload []byte, annotations map[string]string, m *material,
	attestation bool,
) (by signer, err error) {
	err = guard(func() error {
		cand, err := newCandidate(payload, annotations, m, attestation)
		if err != nil {
			return err
		}

		// Both only give the rejection a better text: cosign repeats these checks below.
		if !attestation {
			if err := checkPayload(payload, img.Digest()); err != nil {
				return err
			}
		}
		if err := m.explainIdentity(cand.cert); err != nil {
			return err
		}

		if err := verifyCandidate(ctx, cand, img.Digest(), m, attestation); err != nil {
			return err
		}

		// The rule's key has no chain above it that could have expired.
		if cand.cert == nil {
			by = signer{text: "key " + m.keyID}
			return nil
		}

		by = signerOf(cand.cert)
		return c.wholeChain(cand, m.trusted)
	})

	// A panic leaves everything unproven. It is a rejection and no error, since the same
	// bytes would panic again.
	if errors.Is(err, errPanic) {
		c.c.Logger.WarnContext(
			ctx, "signature verification panicked",
			slog.String("image", img.String()), slog.String("error", clip(err.Error())),
		)
		return signer{}, rejection("it is malformed")
	}
	return by, err
}

// verifyCandidate has cosign verify the signature, the certificate, the identity, the
// log entry and the timestamp, and that payload or statement are about the digest.
func verifyCandidate(ctx context.Context, cand *candidate, d attestor.Digest, m *material, attestation bool) error {
	opts := m.options()
	opts.UseSignedTimestamps = cand.stamp != nil
	h := v1.Hash{Algorithm: "sha256", Hex: d.Hex()}

	// cosign's signature specification: "Because signatures are detached, the payload
	// MUST contain the digest of the image it references". Without a claim verifier,
	// cosign would accept a signature of any other image.
	if attestation {
		opts.ClaimVerifier = cosign.IntotoSubjectClaimVerifier
		_, err := cosign.VerifyBlobAttestation(ctx, cand.entry, h, opts)
		return err
	}
	opts.ClaimVerifier = cosign.SimpleClaimVerifier
	_, err := cosign.VerifyImageSignature(ctx, cand.entry, h, opts)
	return err
}

// options returns new options for each candidate, since cosign keeps state in them.
// Offline and without a Rekor client, nothing can reach the network.
func (m *material) options() *cosign.CheckOpts {
	opts := &cosign.CheckOpts{
		TrustedMaterial: m.trusted,
		IgnoreTlog:      !m.log,
		IgnoreSCT:       !m.sct,
		Offline:         true,
		MaxWorkers:      1, // cosign's workers would panic on goroutines without recover
	}

	// Without either, cosign accepts everybody's certificate. checkRule has refused
	// rules that have neither.
	if m.verifier != nil {
		opts.SigVerifier = m.verifier
	} else {
		opts.Identities = []cosign.Identity{m.identity}
	}
	return opts
}

// newCandidate decodes the annotations.
func newCandidate(payload []byte, annotations map[string]string, m *material, attestation bool) (*candidate, error) {
	cand := &candidate{}
	var opts []static.Option

	// For a rule with a key, certificates are omitted: they prove nothing there. The
	// chain annotation is omitted always: intermediates come from the trusted root only.
	if m.verifier == nil {
		cert, raw, err := oneCertificate(annotations[static.CertificateAnnotationKey])
		if err != nil {
			return nil, err
		}
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

	raw, err := stamped(payload, annotations, attestation)
	if err != nil {
		return nil, err
	}

	// A timestamp is optional. One that is there must verify, so that the time which it
	// claims never counts unproven.
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

// stamped returns the bytes that a timestamp is about: the signature, or for an
// attestation its envelope.
func stamped(payload []byte, annotations map[string]string, attestation bool) ([]byte, error) {
	if attestation {
		return payload, nil
	}
	raw, err := base64.StdEncoding.DecodeString(annotations[static.SignatureAnnotationKey])
	if err != nil || len(raw) == 0 {
		return nil, rejection("it lacks a signature")
	}
	return raw, nil
}

// timestamp decodes and verifies a timestamp. cosign verifies it again, but assumes that
// it is valid.
func (c *candidate) timestamp(text string, about []byte, trusted root.TrustedMaterial) error {
	stamp := &cbundle.RFC3161Timestamp{}
	if err := json.Unmarshal([]byte(text), stamp); err != nil || len(stamp.SignedRFC3161Timestamp) == 0 {
		return rejection("its timestamp is malformed")
	}

	// RFC 3161, 2.2: "The requester SHALL verify that the TimeStampToken contains the
	// correct certificate identifier of the TSA, the correct data imprint and the correct
	// hash algorithm OID." Only the trusted root's authorities count.
	for _, authority := range trusted.TimestampingAuthorities() {
		if t, err := authority.Verify(stamp.SignedRFC3161Timestamp, about); err == nil {
			c.stamp, c.stamped = stamp, t.Time
			return nil
		}
	}
	return rejection("its timestamp does not verify")
}

// oneCertificate decodes the certificate of a keyless signature.
func oneCertificate(text string) (*x509.Certificate, []byte, error) {
	if text == "" {
		return nil, nil, rejection("it was made with a key, not by an identity")
	}

	// Of several, cosign and another reader could take different ones.
	certs, err := cryptoutils.UnmarshalCertificatesFromPEM([]byte(text))
	if err != nil || len(certs) != 1 {
		return nil, nil, rejection("its certificate is malformed")
	}
	raw, err := cryptoutils.MarshalCertificateToPEM(certs[0])
	if err != nil {
		return nil, nil, rejection("its certificate is malformed")
	}
	return certs[0], raw, nil
}

// rekorBundle decodes the log entry. cosign verifies it, and assumes that the body is
// text.
func rekorBundle(text string) (*cbundle.RekorBundle, error) {
	if text == "" {
		return nil, rejection("it has no transparency log entry")
	}
	b := &cbundle.RekorBundle{}
	if err := json.Unmarshal([]byte(text), b); err != nil {
		return nil, rejection("its transparency log entry is malformed")
	}

	body, ok := b.Payload.Body.(string)
	if _, err := base64.StdEncoding.DecodeString(body); !ok || body == "" || err != nil ||
		b.Payload.IntegratedTime <= 0 {
		return nil, rejection("its transparency log entry is malformed")
	}
	if _, err := hex.DecodeString(b.Payload.LogID); err != nil {
		return nil, rejection("its transparency log entry is malformed")
	}
	return b, nil
}

// knowsLog rejects an entry of a log that the trusted root lacks. The message names
// the log, which is what to look for when Sigstore has rotated one.
func (m *material) knowsLog(id string) error {
	if _, ok := m.trusted.RekorLogs()[strings.ToLower(id)]; !ok {
		return rejection("its transparency log " + clip(id) + " is not in the trusted root")
	}
	return nil
}

// checkPayload rejects a payload about another digest.
func checkPayload(payload []byte, d attestor.Digest) error {
	var p struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return rejection("its payload is malformed")
	}

	if p.Critical.Image.Digest != string(d) {
		return rejection(fmt.Sprintf("it is about another digest (%q)", clip(p.Critical.Image.Digest)))
	}
	return nil
}

// explainIdentity rejects a certificate of another identity than the rule's, and names
// it. cosign decides the same again.
func (m *material) explainIdentity(cert *x509.Certificate) error {
	if cert == nil {
		return nil
	}
	opts := &cosign.CheckOpts{Identities: []cosign.Identity{m.identity}}
	if err := cosign.CheckCertificatePolicy(cert, opts); err != nil {
		return rejection("it claims to be by " + signerOf(cert).text)
	}
	return nil
}

// A signer is the key or identity that made a signature.
type signer struct {
	text            string // for people
	subject, issuer string // of the certificate; "" for a key
	extensions      certificate.Extensions
}

func signerOf(cert *x509.Certificate) signer {
	ext := cosign.CertExtensions{Cert: cert}
	s := signer{subject: strings.Join(cryptoutils.GetSubjectAlternateNames(cert), ", "), issuer: ext.GetIssuer()}
	s.text = clip(fmt.Sprintf("%s (%s)", s.subject, s.issuer))

	// Of extensions that cannot be read none counts: they only ever add to what the subject proves.
	if ext, err := certificate.ParseExtensions(cert.Extensions); err == nil {
		s.extensions = ext
	}
	return s
}

// wholeChain checks that every certificate of the chain was valid when the signature
// was made. cosign checks the chain as of the leaf's own notBefore, so that a leaf
// issued under an expired intermediate passes where no log has the time (GO-2026-4529).
func (c *Checker) wholeChain(cand *candidate, trusted root.TrustedMaterial) error {
	// Log and timestamp authority were verified; both times must do if there are both.
	var times []time.Time
	if cand.bundle != nil {
		times = append(times, time.Unix(cand.bundle.Payload.IntegratedTime, 0))
	}
	if cand.stamp != nil {
		times = append(times, cand.stamped)
	}

	// Without either nothing proves that the signature is older than this moment.
	if len(times) == 0 {
		times = append(times, c.c.Now())
	}
	return chainValid(cand.cert, times, trusted)
}

func chainValid(cert *x509.Certificate, times []time.Time, trusted root.TrustedMaterial) error {
	for _, t := range times {
		if _, err := verify.VerifyLeafCertificate(t, cert, trusted); err != nil {
			return rejection(fmt.Sprintf(
				"its certificate, or one above it, was not valid when it was signed (%s)", t.UTC().Format(time.RFC3339),
			))
		}
	}
	return nil
}
