// Package vsa is the form of a SLSA Verification Summary Attestation, version 1: an in-toto statement in which a
// verifier says that it judged an artifact by a policy, with which result. The package writes and reads statements.
// It neither signs nor verifies, and it decides nothing.
package vsa

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/internal/strictjson"
)

// The types of a statement. in-toto Attestation Framework v1, "Statement"; SLSA v1.2, "Verification Summary
// Attestation (VSA)".
const (
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "https://slsa.dev/verification_summary/v1"
	PayloadType   = "application/vnd.in-toto+json"
)

// The results. There is no third one: an answer that could not be found has no summary.
const (
	Passed = "PASSED"
	Failed = "FAILED"
)

// Unevaluated is the level of an image whose build was not judged.
const Unevaluated = "SLSA_BUILD_LEVEL_UNEVALUATED"

// DecisionField is the field in which this gate names the decision. SLSA v1.2: "Producers MAY add extension fields …
// the field name MUST be a URI."
const DecisionField = "https://github.com/attestor-gate/attestor/decision"

// The limits of a statement of anybody.
const (
	MaxPayload  = 1 << 20 // bytes
	maxSubjects = 1024
	maxLevels   = 64
	maxText     = 2048 // bytes of one text
)

// Digests are digests by algorithm.
type Digests map[string]string

// A Resource is a document, by address and digest.
type Resource struct {
	URI    string  `json:"uri,omitempty"`
	Digest Digests `json:"digest,omitempty"`
}

// A Subject is one artifact that a statement is about.
type Subject struct {
	Name   string  `json:"name,omitempty"`
	Digest Digests `json:"digest"`
}

// A Verifier is the judge.
type Verifier struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

// A Predicate is the judgement.
type Predicate struct {
	Verifier           Verifier   `json:"verifier"`
	TimeVerified       time.Time  `json:"timeVerified,omitzero"`
	ResourceURI        string     `json:"resourceUri"`
	Policy             Resource   `json:"policy"`
	InputAttestations  []Resource `json:"inputAttestations,omitempty"` // all that were used, or none
	VerificationResult string     `json:"verificationResult"`
	VerifiedLevels     []string   `json:"verifiedLevels"`
	SLSAVersion        string     `json:"slsaVersion,omitempty"`

	Decision string `json:"https://github.com/attestor-gate/attestor/decision,omitempty"` // see [DecisionField]
}

// A Statement is a predicate about subjects.
type Statement struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     Predicate `json:"predicate"`
}

// New is a statement about one artifact, by its SHA-256 in hexadecimal form.
func New(name, sha256 string, p Predicate) Statement {
	return Statement{
		Type: StatementType, PredicateType: PredicateType, Predicate: p,
		Subject: []Subject{{Name: name, Digest: Digests{"sha256": sha256}}},
	}
}

// Encode returns the bytes that are signed. The error says which required field is missing or malformed.
func (s Statement) Encode() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("encoding a verification summary: %w", err)
	}
	return json.Marshal(s)
}

// Parse reads the payload of an envelope. It refuses what two readers could read differently, and a statement that
// lacks a field that the specification requires. The signature is the caller's to verify, before.
func Parse(payload []byte) (Statement, error) {
	if len(payload) > MaxPayload {
		return Statement{}, fmt.Errorf("it has more than %d bytes", MaxPayload)
	}

	// SLSA v1.2: "Consumers MUST ignore unrecognized fields."
	var s Statement
	if err := strictjson.Decode(payload, &s, strictjson.Rules{Unknown: true, Null: true, Depth: 64}); err != nil {
		return Statement{}, err
	}
	return s, s.check()
}

// About reports whether the statement has a subject with the SHA-256.
func (s Statement) About(sha256 string) bool {
	return sha256 != "" && slices.ContainsFunc(s.Subject, func(x Subject) bool { return x.Digest["sha256"] == sha256 })
}

func (s Statement) check() error {
	p := s.Predicate
	switch {
	case s.Type != StatementType:
		return fmt.Errorf("it is of type %q, not %s", clip(s.Type), StatementType)
	case s.PredicateType != PredicateType:
		return fmt.Errorf("its predicate is %q, not %s", clip(s.PredicateType), PredicateType)
	case len(s.Subject) == 0 || len(s.Subject) > maxSubjects:
		return fmt.Errorf("it has %d subjects; 1 to %d are allowed", len(s.Subject), maxSubjects)
	case !isURI(p.Verifier.ID):
		return fmt.Errorf("its verifier.id %q is not a URI", clip(p.Verifier.ID))
	case p.ResourceURI == "" || len(p.ResourceURI) > maxText:
		return errors.New("it names no resourceUri")
	case !isURI(p.Policy.URI):
		return fmt.Errorf("its policy.uri %q is not a URI", clip(p.Policy.URI))
	case p.VerificationResult != Passed && p.VerificationResult != Failed:
		return fmt.Errorf("its verificationResult %q is neither PASSED nor FAILED", clip(p.VerificationResult))
	case len(p.VerifiedLevels) == 0 || len(p.VerifiedLevels) > maxLevels:
		return fmt.Errorf("it has %d verifiedLevels; 1 to %d are allowed", len(p.VerifiedLevels), maxLevels)
	}

	for _, l := range p.VerifiedLevels {
		if l == "" || len(l) > maxText {
			return errors.New("one of its verifiedLevels is empty or too long")
		}
		// SLSA v1.2: "verifiedLevels … MUST be FAILED" where the result is; a level beside it would be a pass to
		// whoever reads levels alone.
		if (l == Failed) != (p.VerificationResult == Failed) {
			return fmt.Errorf("its verifiedLevels have %q, and its verificationResult is %s", clip(l),
				p.VerificationResult)
		}
	}

	// SLSA v1.2: "If non-empty, this field MUST contain information on all the attestations used … Each entry MUST
	// contain a digest."
	for _, in := range p.InputAttestations {
		if len(in.Digest) == 0 {
			return errors.New("one of its inputAttestations has no digest")
		}
	}
	return nil
}

// isURI reports whether a text is a URI with a scheme.
func isURI(s string) bool {
	if len(s) > maxText || !utf8.ValidString(s) || strings.ContainsAny(s, " \t\r\n") {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && u.Scheme != "" && (u.Host != "" || u.Opaque != "" || u.Path != "")
}

// clip keeps hostile text from filling a message.
func clip(s string) string { return plain.Clip(s, 200) }
