package signed

import (
	"context"
	"encoding/json"
	"slices"

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

// Attestations returns the statements of the given predicate types that are attached to
// img, under the .att tag or as bundles, and whose signatures satisfy rule. An empty
// list is no error. A statement that could not be read is an error, an
// [attestor.Error], only if no other was found.
func (c *Checker) Attestations(
	ctx context.Context, img attestor.Image, rule attestor.SignedBy, predicateTypes []string,
) ([]Statement, error) {
	list, unread, err := c.attestations(ctx, img, rule, predicateTypes)

	// A statement that verified counts whatever could not be read beside it. Without
	// one, the unread statement may be the one that the policy asks for.
	if err == nil && len(list) == 0 {
		err = unread
	}
	if err != nil {
		return nil, notChecked(err, img, rule)
	}
	return list, nil
}

// EveryAttestation is Attestations for statements that can speak against an image: it
// returns an error unless every one of them was read.
func (c *Checker) EveryAttestation(
	ctx context.Context, img attestor.Image, rule attestor.SignedBy, predicateTypes []string,
) ([]Statement, error) {
	list, unread, err := c.attestations(ctx, img, rule, predicateTypes)
	if err == nil {
		err = unread
	}
	if err != nil {
		return nil, notChecked(err, img, rule)
	}
	return list, nil
}

// attestations returns what verified, and the first failure to read one.
func (c *Checker) attestations(
	ctx context.Context, img attestor.Image, rule attestor.SignedBy, predicateTypes []string,
) (statements []Statement, unread, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()

	m, err := c.material(ctx, rule)
	if err != nil {
		return nil, nil, err
	}

	// A statement of another type answers another question, whoever signed it.
	found := &findings{}
	keep := func(st Statement, err error) {
		if err != nil {
			found.reject("%s", explain(err))
		} else if slices.Contains(predicateTypes, st.PredicateType) {
			statements = append(statements, st)
		}
	}
	err = guard(func() error {
		c.classicAttestations(ctx, img, m, found, keep)
		c.eachBundle(ctx, img, maxAttestation, found, func(b []byte) bool {
			keep(c.verifyBundle(ctx, img, b, m))
			return false
		})
		return nil
	})
	return statements, found.unread, err
}

// classicAttestations calls keep with each entry of the .att tag.
func (c *Checker) classicAttestations(
	ctx context.Context, img attestor.Image, m *material, found *findings, keep func(Statement, error),
) {
	for _, desc := range c.attached(ctx, img, "att", found) {
		// Only an envelope holds a statement; what is left out proves nothing.
		if desc.MediaType != dsseMediaType {
			continue
		}

		payload, err := c.registry.Blob(ctx, img, desc, maxAttestation)
		if err != nil {
			found.unusable(err)
			continue
		}
		keep(c.attestation(ctx, img, payload, desc.Annotations, m))
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
