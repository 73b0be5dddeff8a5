package signed

import (
	"context"
	"encoding/json"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"github.com/attestor-gate/attestor"
)

// A Statement is an in-toto statement whose signature satisfies the rule and whose
// subject is the image.
type Statement struct {
	PredicateType string
	Payload       []byte // the signed bytes: the whole statement
	Envelope      []byte // the DSSE envelope that holds them, in JSON
	Signer        string // for people
	Subject       string // of the certificate; "" for a key
	Issuer        string // of the certificate; "" for a key

	// Extensions of the certificate are what its authority vouches for about a CI run; empty for a key.
	Extensions certificate.Extensions
}

// Attestations returns the statements of the given predicate types, in every version ([OfType]), that are attached to
// img, under the .att tag or as referrers, and whose signatures satisfy rule; and why
// others of these types, by what they say of themselves, do not, for people. An empty
// list is no error. A statement that could not be read is an error, an
// [attestor.Error], only if no other was found.
func (c *Checker) Attestations(
	ctx context.Context, img attestor.Image, rule attestor.SignedBy, predicateTypes []string,
) (list []Statement, rejected []string, err error) {
	found, err := c.attestations(ctx, img, rule, predicateTypes)

	// A statement that verified counts whatever could not be read beside it. Without
	// one, the unread statement may be the one that the policy asks for.
	if err == nil && len(found.verified) == 0 {
		err = found.unread
	}
	if err != nil {
		return nil, nil, notChecked(err, img, rule)
	}
	return found.verified, found.rejected, nil
}

// EveryAttestation is Attestations for statements that can speak against an image: it
// returns an error unless every one of them was read.
func (c *Checker) EveryAttestation(
	ctx context.Context, img attestor.Image, rule attestor.SignedBy, predicateTypes []string,
) ([]Statement, error) {
	found, err := c.attestations(ctx, img, rule, predicateTypes)
	if err == nil {
		err = found.unread
	}
	if err != nil {
		return nil, notChecked(err, img, rule)
	}
	return found.verified, nil
}

// An attested is what was found attached to an image.
type attested struct {
	verified []Statement
	rejected []string // why others do not count, of the types that are asked for by what they say of themselves
	unread   error    // the first failure to read one
}

// attestations reads the statements that are attached to img.
func (c *Checker) attestations(
	ctx context.Context, img attestor.Image, rule attestor.SignedBy, predicateTypes []string,
) (out attested, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()

	m, err := c.material(ctx, rule)
	if err != nil {
		return attested{}, err
	}

	// A statement of another type answers another question, whoever signed it. Which type one is of that does not
	// verify, it says itself: that decides only whether it is mentioned.
	keep := func(raw []byte, bundled bool, st Statement, err error) {
		switch {
		case err == nil && OfType(st.PredicateType, predicateTypes):
			out.verified = append(out.verified, st)
		case err != nil && OfType(claimedType(raw, bundled), predicateTypes):
			out.rejected = append(out.rejected, clip(explain(err)))
		}
	}

	// A statement that is too large to be verified may be the one that is asked for, or speak against the image.
	found, of := &findings{largeIsUnread: true}, sought{dsseMediaType, maxAttestation, predicateTypes}
	err = guard(func() error {
		c.classicAttestations(ctx, img, m, of, found, keep)
		c.eachReferred(ctx, img, of, found, func(l referred, b []byte) bool {
			// An envelope without a bundle is what cosign's mode oci-1-1 refers to the image with.
			bundled := l.MediaType != dsseMediaType
			verify := c.verifyBundle
			if !bundled {
				verify = func(ctx context.Context, img attestor.Image, b []byte, m *material) (Statement, error) {
					return c.attestation(ctx, img, b, l.Annotations, m)
				}
			}

			st, err := verify(ctx, img, b, m)
			keep(b, bundled, st, err)
			return false
		})
		return nil
	})
	out.unread = found.unread
	return out, err
}

// claimedType is the predicate type of a statement of which nothing is verified; "" if it has none. It overwrites raw.
func claimedType(raw []byte, bundled bool) string {
	var st struct {
		PredicateType string `json:"predicateType"`
	}
	if o, err := open(raw, bundled); err == nil && json.Unmarshal(o.payload, &st) == nil {
		return st.PredicateType
	}
	return ""
}

// classicAttestations calls keep with each entry of the .att tag.
func (c *Checker) classicAttestations(
	ctx context.Context, img attestor.Image, m *material, of sought, found *findings,
	keep func(raw []byte, bundled bool, st Statement, err error),
) {
	for _, desc := range c.attached(ctx, img, "att", found) {
		// Only an envelope holds a statement; what is left out proves nothing.
		if desc.MediaType != dsseMediaType || of.others(referred{desc, desc.Annotations["predicateType"]}) {
			continue
		}

		payload, err := c.registry.Blob(ctx, img, desc, of.limit)
		if err != nil {
			found.unusable(err)
			continue
		}
		st, err := c.attestation(ctx, img, payload, desc.Annotations, m)
		keep(payload, false, st, err)
	}
}

// attestation verifies one entry of the .att tag.
func (c *Checker) attestation(
	ctx context.Context, img attestor.Image, envelope []byte, annotations map[string]string, m *material,
) (Statement, error) {
	by, err := c.verifyClassic(ctx, img, envelope, annotations, m, true)
	if err != nil {
		return Statement{}, err
	}

	// cosign has parsed these bytes with the same library when it verified them, so that
	// the payload is the one that was signed.
	var env dsse.Envelope
	if err := json.Unmarshal(envelope, &env); err != nil {
		return Statement{}, rejection("its envelope is malformed")
	}
	payload, err := env.DecodeB64Payload()
	if err != nil {
		return Statement{}, rejection("its envelope is malformed")
	}

	st, err := newStatement(payload, img)
	st.Envelope = envelope
	st.by(by)
	return st, err
}

// by says who signed the statement.
func (st *Statement) by(s signer) {
	st.Signer, st.Subject, st.Issuer, st.Extensions = s.text, s.subject, s.issuer, s.extensions
}
