package signed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/bundle"

	"github.com/attestor-gate/attestor"
)

// File returns the signer of a file whose signature is a Sigstore bundle, as cosign
// sign-blob writes it. An error says that no signature by the rule's signer was found in
// the bundle, or that it could not be checked.
func (c *Checker) File(ctx context.Context, content, bundled []byte, rule attestor.SignedBy) (string, error) {
	m, err := c.material(ctx, rule)
	if err != nil {
		return "", err
	}

	var by signer
	err = guard(func() error {
		b := &bundle.Bundle{}
		if err := b.UnmarshalJSON(bundled); err != nil {
			return rejection("it is a malformed bundle, or one with a log entry of an unknown type")
		}

		// As for an image's bundle: before v0.3 it could hold a chain, before v0.2 lack the proof of inclusion.
		if !b.MinVersion("v0.3") {
			return rejection("its bundle is older than version 0.3")
		}

		// A statement in an envelope signs what it says, and not the file: that its subject is the file would have to
		// be decided again.
		if b.GetMessageSignature() == nil {
			return rejection("its bundle holds a statement, not a signature of a file")
		}

		// The digest is that of the bytes at hand, never one that the bundle names.
		sum := sha256.Sum256(content)
		by, err = c.verifyEntity(ctx, attestor.Digest("sha256:"+hex.EncodeToString(sum[:])), b, m)
		return err
	})
	if err != nil {
		return "", &attestor.Error{
			Kind: attestor.Upstream, Code: attestor.CodeBaseSignatureUnknown,
			Msg: fmt.Sprintf("its signature does not satisfy %s: %s", rule.Text(), explain(err)),
			Fix: "sign the file again (cosign sign-blob --new-bundle-format --bundle FILE.sigstore.json FILE), or " +
				"correct signedBy",
			Err: err,
		}
	}
	return by.text, nil
}
