package attest

import (
	"bytes"
	"encoding/json"

	"github.com/attestor-gate/attestor"
)

// payloadType is what Binary Authorization asks for in a simple-signing payload.
const payloadType = "Google cloud binauthz container signature"

// The fields are in the order of gcloud's sorted keys, since signatures are over bytes.
type payload struct {
	Critical critical `json:"critical"`
}

type critical struct {
	Identity identity    `json:"identity"`
	Image    imageDigest `json:"image"`
	Type     string      `json:"type"`
}

type identity struct {
	DockerReference string `json:"docker-reference"`
}

type imageDigest struct {
	DockerManifestDigest string `json:"docker-manifest-digest"`
}

// Payload is the statement that is signed about an image: byte for byte what
// gcloud container binauthz create-signature-payload prints, so that anybody
// can make it again and check the signature with openssl.
func Payload(img attestor.Image) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)

	// gcloud does not escape <, > and &, and indents by two blanks.
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(payload{Critical: critical{
		Identity: identity{DockerReference: img.Repository()},
		Image:    imageDigest{DockerManifestDigest: string(img.Digest())},
		Type:     payloadType,
	}})
	if err != nil {
		panic("attest: strings do not marshal") // cannot be: no maps, no floats, no cycles
	}
	return b.Bytes()
}
