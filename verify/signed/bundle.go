package signed

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/attestor-gate/attestor"
)

const (
	bundleMediaType = "application/vnd.dev.sigstore.bundle"
	// signPredicate is what a bundle says that is a signature of an image, and
	// not an attestation about it.
	signPredicate = "https://sigstore.dev/cosign/sign/v1"
)

// bundleSignature looks for a signature among the referrers.
func (c *Checker) bundleSignature(ctx context.Context, img attestor.Image, m *material, found *findings) (signer string, ok bool) {
	c.eachBundle(ctx, img, c.c.Limits.Signature, found, func(b []byte) bool {
		st, err := c.verifyBundle(ctx, img, b, m)
		if err != nil {
			found.reject("%s", explain(err))
			return false
		}
		if st.PredicateType != signPredicate {
			// Not a signature that failed, but something else by that signer.
			found.reject("which is no signature of the image but an attestation (%q)", st.PredicateType)
			return false
		}
		signer, ok = st.Signer, true
		return true
	})
	return signer, ok
}

// eachBundle calls f with the bytes of each bundle that refers to img, until
// f has what it wanted.
func (c *Checker) eachBundle(ctx context.Context, img attestor.Image, limit int64, found *findings, f func([]byte) bool) {
	repo, list := c.referrers(ctx, img, found)
	for _, desc := range list {
		b, why, err := c.bundle(ctx, repo, desc, img, limit)
		switch {
		case err != nil:
			found.fail(err)
		case why != "":
			found.reject("%s", why)
		case b != nil && f(b):
			return
		}
	}
}

// bundle fetches one referrer's bundle; nil where the referrer is none, such
// as an SBOM. What the list says of it is not believed.
func (c *Checker) bundle(ctx context.Context, repo name.Repository, desc v1.Descriptor, img attestor.Image, limit int64) (b []byte, why string, err error) {
	if desc.Digest.Algorithm != "sha256" || desc.Size > c.c.Limits.Manifest {
		return nil, "", nil
	}
	m, ok, err := c.manifest(ctx, repo.Digest(desc.Digest.String()))
	switch {
	case errors.Is(err, errNotManifest) || err == nil && !ok:
		return nil, "", nil
	case err != nil:
		return nil, "", err
	case len(m.Layers) != 1 || !strings.HasPrefix(string(m.Layers[0].MediaType), bundleMediaType):
		return nil, "", nil
	case m.Subject == nil || m.Subject.Digest.String() != string(img.Digest()):
		return nil, "which refers to another digest", nil
	}
	return c.blob(ctx, repo, m.Layers[0], limit)
}

// verifyBundle verifies one bundle against the rule and the image, and
// returns the statement in it: one whose type nobody has checked yet.
func (c *Checker) verifyBundle(ctx context.Context, img attestor.Image, raw []byte, m *material) (st Statement, err error) {
	err = guard(func() error {
		b := &bundle.Bundle{}
		if err := b.UnmarshalJSON(raw); err != nil {
			return rejection("which is a malformed bundle, or one with a log entry of an unknown type")
		}
		if !b.MinVersion("v0.3") {
			return rejection("whose bundle is older than version 0.3")
		}
		if b.GetDsseEnvelope() == nil {
			return rejection("whose bundle holds no statement")
		}
		by, err := c.verifyEntity(ctx, img, b, m)
		if err != nil {
			return err
		}
		st, err = newStatement(b.GetDsseEnvelope().GetPayload(), img)
		if err != nil {
			return err
		}
		st.Signer, st.Subject, st.Issuer = by.text, by.subject, by.issuer
		return nil
	})
	if errors.Is(err, errPanic) {
		c.c.Logger.WarnContext(ctx, "bundle verification panicked", slog.String("image", img.String()), slog.String("error", clip(err.Error())))
		return Statement{}, rejection("which is malformed")
	}
	return st, err
}

// verifyEntity has cosign verify the bundle, by whichever source of time it
// carries: a timestamp (the only one with a Rekor v2 entry) or the log's.
func (c *Checker) verifyEntity(ctx context.Context, img attestor.Image, b *bundle.Bundle, m *material) (signer, error) {
	content, err := b.VerificationContent()
	if err != nil {
		return signer{}, rejection("whose bundle has no verification material")
	}
	cert := content.Certificate()
	if cert == nil && m.verifier == nil {
		return signer{}, rejection("which was made with a key, not by an identity")
	}
	if cert != nil && m.verifier != nil {
		return signer{}, rejection("which was made by an identity, not with a key: " + signerOf(cert).text)
	}
	if err := m.explainIdentity(cert); err != nil {
		return signer{}, err
	}
	if err := m.logged(b); err != nil {
		return signer{}, err
	}
	digest, err := hex.DecodeString(img.Digest().Hex())
	if err != nil {
		return signer{}, err
	}
	stamps, err := b.Timestamps()
	if err != nil {
		return signer{}, rejection("whose timestamp is malformed")
	}
	opts := m.options()
	opts.NewBundleFormat = true
	opts.UseSignedTimestamps = m.stamps && len(stamps) > 0
	_, err = cosign.VerifyNewBundle(ctx, opts, verify.WithArtifactDigest("sha256", digest), b)
	if err != nil && opts.UseSignedTimestamps && m.log {
		opts.UseSignedTimestamps = false
		if _, again := cosign.VerifyNewBundle(ctx, opts, verify.WithArtifactDigest("sha256", digest), b); again == nil {
			err = nil
		}
	}
	if err != nil {
		return signer{}, err
	}
	if cert == nil {
		return signer{text: "key " + m.keyID}, nil
	}
	return signerOf(cert), nil
}

// logged explains a bundle that lacks the log entry that the rule asks for.
func (m *material) logged(b *bundle.Bundle) error {
	if !m.log {
		return nil
	}
	entries, err := b.TlogEntries()
	if err != nil || len(entries) == 0 {
		return rejection("which has no transparency log entry")
	}
	return m.knowsLog(hex.EncodeToString([]byte(entries[0].LogKeyID())))
}

// newStatement parses the signed bytes of an in-toto statement and checks
// that it is about img.
func newStatement(payload []byte, img attestor.Image) (Statement, error) {
	var s struct {
		Type          string `json:"_type"`
		PredicateType string `json:"predicateType"`
		Subject       []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(payload, &s); err != nil {
		return Statement{}, rejection("whose statement is malformed")
	}
	if !strings.HasPrefix(s.Type, "https://in-toto.io/Statement/v") {
		return Statement{}, rejection(fmt.Sprintf("whose statement is of type %q", clip(s.Type)))
	}
	for _, subject := range s.Subject {
		if subject.Digest["sha256"] == img.Digest().Hex() {
			return Statement{PredicateType: s.PredicateType, Payload: payload}, nil
		}
	}
	return Statement{}, rejection("which is about another digest")
}
