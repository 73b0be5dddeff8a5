package signed

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/referrers"
)

const (
	bundleMediaType = "application/vnd.dev.sigstore.bundle"

	// signPredicate is the predicate type of a bundle that is a signature of an image,
	// and not an attestation about it.
	signPredicate = "https://sigstore.dev/cosign/sign/v1"
)

// referredSignature looks for a signature among the referrers, and returns its signer.
func (c *Checker) referredSignature(
	ctx context.Context, img attestor.Image, m *material, found *findings,
) (signer string, ok bool) {
	of := sought{classic: simpleSigningMediaType, limit: maxSignature}
	c.eachReferred(ctx, img, of, found, func(l referred, b []byte) bool {
		// cosign's mode oci-1-1 refers to the image with what it otherwise writes under a tag.
		if l.MediaType == simpleSigningMediaType {
			by, err := c.verifyClassic(ctx, img, b, l.Annotations, m, false)
			if err != nil {
				found.reject("%s", explain(err))
				return false
			}
			signer, ok = by.text, true
			return true
		}

		st, err := c.verifyBundle(ctx, img, b, m)
		if err != nil {
			found.reject("%s", explain(err))
			return false
		}

		// cosign does not compare the predicate type. Without this, an attestation of the
		// same signer that says "rejected" would count as the signature.
		if st.PredicateType != signPredicate {
			found.reject("it is an attestation (%q), not a signature of the image", st.PredicateType)
			return false
		}
		signer, ok = st.Signer, true
		return true
	})
	return signer, ok
}

// A sought is what is looked for among referrers: bundles, and what cosign keeps under its tags.
type sought struct {
	classic types.MediaType // of the latter
	limit   int64           // bytes of each
	types   []string        // predicate types; nil: not of statements
}

// A referred is a layer of a referrer that may be signed.
type referred struct {
	v1.Descriptor
	claims string // the predicate type that its manifest names; "" for none
}

// others reports whether a layer that is too large is said to hold a statement of another type. Whoever says so could as
// well have left the layer out.
func (s *sought) others(l referred) bool {
	return l.Size > s.limit && l.claims != "" && s.types != nil && !OfType(l.claims, s.types)
}

// eachReferred calls f with each blob among the referrers of img that is sought, until f returns true.
func (c *Checker) eachReferred(
	ctx context.Context, img attestor.Image, of sought, found *findings, f func(referred, []byte) bool,
) {
	n := 0
	for _, desc := range c.referrers(ctx, img, found) {
		layers, err := c.holding(ctx, desc, img, of.classic)
		if err != nil {
			found.unusable(err)
			continue
		}

		for _, l := range layers {
			// One of the rest may be what is looked for.
			if n++; n > maxCandidates {
				found.fail(tooMany(n))
				return
			}

			if of.others(l) {
				continue
			}
			b, err := c.registry.Blob(ctx, img, l.Descriptor, of.limit)
			switch {
			case err != nil:
				found.unusable(err)
			case f(l, b):
				return
			}
		}
	}
}

// notationMediaType is the type of signatures of the Notary Project: of the manifest's config, or of the manifest.
const notationMediaType = "application/vnd.cncf.notary.signature"

// holding returns the layers of one referrer that may be signed; none if the referrer is something else, such as an SBOM.
// The list's descriptor only says which manifest to fetch.
func (c *Checker) holding(
	ctx context.Context, desc v1.Descriptor, img attestor.Image, classic types.MediaType,
) (layers []referred, err error) {
	m, err := c.registry.Manifest(ctx, img, desc)
	if errors.Is(err, referrers.ErrNone) {
		return nil, nil
	}
	if m == nil {
		return nil, err
	}

	if len(m.Layers) == 1 && strings.HasPrefix(string(m.Layers[0].MediaType), bundleMediaType) {
		return []referred{{m.Layers[0], m.Annotations["dev.sigstore.bundle.predicateType"]}}, err
	}
	for _, l := range m.Layers {
		if l.MediaType == classic {
			layers = append(layers, referred{l, l.Annotations["predicateType"]})
		}
	}

	// What is left out here proves nothing, so that leaving it out can only refuse. Whoever signs with another tool is
	// told so.
	isNotation := m.ArtifactType == notationMediaType || m.Config.MediaType == notationMediaType
	switch {
	case len(layers) > 0:
		return layers, err
	case isNotation && classic == simpleSigningMediaType && err == nil:
		return nil, referrers.Flaw("it is a signature of the Notary Project (notation); those of Sigstore are read")
	}
	return nil, nil
}

// verifyBundle verifies one bundle against the rule and the image, and returns its
// statement. The caller still has to check the predicate type.
func (c *Checker) verifyBundle(
	ctx context.Context, img attestor.Image, raw []byte, m *material,
) (st Statement, err error) {
	err = guard(func() error {
		b := &bundle.Bundle{}
		if err := b.UnmarshalJSON(raw); err != nil {
			return rejection("it is a malformed bundle, or one with a log entry of an unknown type")
		}

		// Sigstore bundle: before v0.3 it could hold a certificate chain, and before v0.2 a
		// log entry without inclusion proof.
		if !b.MinVersion("v0.3") {
			return rejection("its bundle is older than version 0.3")
		}
		if b.GetDsseEnvelope() == nil {
			return rejection("its bundle holds no statement")
		}

		by, err := c.verifyEntity(ctx, img.Digest(), b, m)
		if err != nil {
			return err
		}

		// The payload of the envelope that verified, not the bundle's JSON parsed again.
		st, err = newStatement(b.GetDsseEnvelope().GetPayload(), img)
		if err != nil {
			return err
		}
		st.by(by)
		st.Envelope, err = json.Marshal(dsse.Envelope{
			PayloadType: b.GetDsseEnvelope().GetPayloadType(),
			Payload:     base64.StdEncoding.EncodeToString(b.GetDsseEnvelope().GetPayload()),
			Signatures:  signaturesOf(b.GetDsseEnvelope()),
		})
		return err
	})

	if errors.Is(err, errPanic) {
		c.c.Logger.WarnContext(
			ctx, "bundle verification panicked",
			slog.String("image", img.String()), slog.String("error", clip(err.Error())),
		)
		return Statement{}, rejection("it is malformed")
	}
	return st, err
}

// signaturesOf are those of an envelope, as they stand outside of a bundle.
func signaturesOf(e *protodsse.Envelope) []dsse.Signature {
	var out []dsse.Signature
	for _, s := range e.GetSignatures() {
		out = append(out, dsse.Signature{KeyID: s.GetKeyid(), Sig: base64.StdEncoding.EncodeToString(s.GetSig())})
	}
	return out
}

// verifyEntity has cosign verify that the bundle is about a digest.
func (c *Checker) verifyEntity(
	ctx context.Context, d attestor.Digest, b *bundle.Bundle, m *material,
) (signer, error) {
	content, err := b.VerificationContent()
	if err != nil {
		return signer{}, rejection("its bundle has no verification material")
	}

	// A bundle names a key or holds a certificate. The kind must be the rule's: what
	// cosign does with the other one is not part of its contract.
	cert := content.Certificate()
	if cert == nil && m.verifier == nil {
		return signer{}, rejection("it was made with a key, not by an identity")
	}
	if cert != nil && m.verifier != nil {
		return signer{}, rejection("it was made by an identity, not with a key: " + signerOf(cert).text)
	}

	if err := m.explainIdentity(cert); err != nil {
		return signer{}, err
	}
	if err := m.logged(b); err != nil {
		return signer{}, err
	}

	// The steps above only reject early, with a better text: this one decides.
	if err := m.verifyNewBundle(ctx, d, b); err != nil {
		return signer{}, err
	}
	if cert == nil {
		return signer{text: "key " + m.keyID}, nil
	}
	return signerOf(cert), nil
}

// verifyNewBundle verifies by either source of time that a bundle may have: a timestamp,
// which is the only one with an entry of Rekor v2, or the time of the log.
func (m *material) verifyNewBundle(ctx context.Context, d attestor.Digest, b *bundle.Bundle) error {
	digest, err := hex.DecodeString(d.Hex())
	if err != nil {
		return err
	}
	artifact := verify.WithArtifactDigest("sha256", digest)
	stamps, err := b.Timestamps()
	if err != nil {
		return rejection("its timestamp is malformed")
	}

	opts := m.options()
	opts.NewBundleFormat = true
	opts.UseSignedTimestamps = m.stamps && len(stamps) > 0
	_, err = cosign.VerifyNewBundle(ctx, opts, artifact, b)
	if err == nil || !opts.UseSignedTimestamps || !m.log {
		return err
	}

	// The timestamp may be of an authority that the trusted root lacks. The log's time
	// is as good: a rule that requires the log trusts it.
	opts.UseSignedTimestamps = false
	if _, again := cosign.VerifyNewBundle(ctx, opts, artifact, b); again != nil {
		return err
	}
	return nil
}

// logged rejects a bundle without the log entry that the rule requires.
func (m *material) logged(b *bundle.Bundle) error {
	if !m.log {
		return nil
	}
	entries, err := b.TlogEntries()
	if err != nil || len(entries) == 0 {
		return rejection("it has no transparency log entry")
	}
	return m.knowsLog(hex.EncodeToString([]byte(entries[0].LogKeyID())))
}

// newStatement parses the signed bytes of an in-toto statement. It returns an error
// unless the statement is about img.
func newStatement(payload []byte, img attestor.Image) (Statement, error) {
	var s struct {
		Type          string `json:"_type"`
		PredicateType string `json:"predicateType"`
		Subject       []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(payload, &s); err != nil {
		return Statement{}, rejection("its statement is malformed")
	}

	// Another type may mean something else by the same names.
	if !strings.HasPrefix(s.Type, "https://in-toto.io/Statement/v") {
		return Statement{}, rejection(fmt.Sprintf("its statement is of type %q", clip(s.Type)))
	}

	// in-toto's validation model: "Reject if matchedSubjects is empty." One match
	// suffices, since a build may have several results.
	for _, subject := range s.Subject {
		if subject.Digest["sha256"] == img.Digest().Hex() {
			return Statement{PredicateType: s.PredicateType, Payload: payload}, nil
		}
	}
	return Statement{}, rejection("it is about another digest")
}
