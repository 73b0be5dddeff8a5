package signed

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/attestor-gate/attestor"
)

// A Statement is an in-toto statement whose signature satisfied the rule and
// whose subject is the image.
type Statement struct {
	PredicateType string
	Payload       []byte // the signed bytes: the whole statement
	Signer        string // for people
	Subject       string // of the certificate; "" for a key
	Issuer        string // likewise
}

// Attestations returns the statements of the given predicate types that are
// attached to img and that somebody who satisfies rule has signed: under the
// .att tag or as bundles. None is no error. Whatever could not be read is one
// only if nothing was found; it is an [attestor.Error].
func (c *Checker) Attestations(ctx context.Context, img attestor.Image, rule attestor.SignedBy, predicateTypes []string) ([]Statement, error) {
	ctx, cancel := context.WithTimeout(ctx, c.c.Limits.Timeout)
	defer cancel()
	m, err := c.material(ctx, rule)
	if err != nil {
		return nil, unknown(err, img, rule)
	}
	found := &findings{}
	var statements []Statement
	keep := func(st Statement, err error) {
		if err != nil {
			found.reject("%s", explain(err))
		} else if slices.Contains(predicateTypes, st.PredicateType) {
			statements = append(statements, st)
		}
	}
	err = guard(func() error {
		c.classicAttestations(ctx, img, m, found, keep)
		c.eachBundle(ctx, img, c.c.Limits.Attestation, found, func(b []byte) bool {
			keep(c.verifyBundle(ctx, img, b, m))
			return false
		})
		return nil
	})
	if err == nil && len(statements) == 0 {
		err = found.unknown
	}
	if err != nil {
		return nil, unknown(err, img, rule)
	}
	return statements, nil
}

// classicAttestations calls keep with each entry of the .att tag.
func (c *Checker) classicAttestations(ctx context.Context, img attestor.Image, m *material, found *findings, keep func(Statement, error)) {
	repo, layers := c.attached(ctx, img, "att", found)
	for _, desc := range layers {
		if desc.MediaType != dsseMediaType {
			continue
		}
		payload, why, err := c.blob(ctx, repo, desc, c.c.Limits.Attestation)
		if err != nil {
			found.fail(err)
		} else if why == "" {
			keep(c.attestation(ctx, img, payload, desc.Annotations, m))
		}
	}
}

// attestation verifies one entry of the .att tag.
func (c *Checker) attestation(ctx context.Context, img attestor.Image, envelope []byte, annotations map[string]string, m *material) (Statement, error) {
	by, err := c.verifyClassic(ctx, img, envelope, annotations, m, true)
	if err != nil {
		return Statement{}, err
	}
	var env dsse.Envelope
	if err := json.Unmarshal(envelope, &env); err != nil {
		return Statement{}, rejection("whose envelope is malformed")
	}
	payload, err := env.DecodeB64Payload()
	if err != nil {
		return Statement{}, rejection("whose envelope is malformed")
	}
	st, err := newStatement(payload, img)
	st.Signer, st.Subject, st.Issuer = by.text, by.subject, by.issuer
	return st, err
}
