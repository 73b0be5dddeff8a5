package attest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/strictjson"
)

// This file reads payloads that others may have written. It shares nothing with the
// code that writes payloads, so that a mistake there cannot hide itself here.

const (
	maxPayload    = 64 << 10
	maxSignatures = 64
)

// A statement is a simple-signing payload. Names match by case, each once;
// anything but "optional" beside them is refused, since nobody knows what
// it would mean.
type statement struct {
	Critical struct {
		Identity struct {
			DockerReference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional jsontext.Value `json:"optional,omitzero"`
}

// checkStatement returns why a payload is not about the digest.
func checkStatement(payload []byte, d attestor.Digest) error {
	if len(payload) > maxPayload {
		return fmt.Errorf("its payload has more than %d bytes", maxPayload)
	}

	// Strict: a duplicate or unknown member could be read one way here and another way
	// by admission.
	var s statement
	if err := strictjson.Decode(payload, &s, strictjson.Rules{Null: true}); err != nil {
		return errors.New("its payload is not a simple-signing statement")
	}

	// Simple signing: a consumer rejects what it does not understand in "critical".
	// The digest is compared as a whole. The repository is not compared, since Binary
	// Authorization admits by digest.
	switch c := s.Critical; {
	case c.Type != "Google cloud binauthz container signature":
		return fmt.Errorf("its payload is of type %q", short(c.Type))
	case d == "" || c.Image.Digest != string(d):
		return fmt.Errorf("its payload is about %q", short(c.Image.Digest))
	case c.Identity.DockerReference == "":
		return errors.New("its payload names no repository")
	}
	return nil
}

// dssePAE is DSSE v1's pre-authentication encoding of a payload:
//
//	PAE(type, body) = "DSSEv1" + SP + LEN(type) + SP + type + SP + LEN(body) + SP + body
func dssePAE(payload []byte) []byte {
	const payloadType = "application/vnd.dev.cosign.simplesigning.v1+json"
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

// namesDigest reports whether a resource URI is about the digest, with or
// without a scheme.
func namesDigest(resourceURI string, d attestor.Digest) bool {
	return d != "" && strings.HasSuffix(resourceURI, "@"+string(d))
}

// short keeps hostile text from filling a message. It leaves the names of key
// versions whole.
func short(s string) string {
	const limit = 300
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
