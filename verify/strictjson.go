package verify

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/attestor-gate/attestor/internal/strictjson"
)

const (
	maxJSONDepth = 64
	maxElements  = 10_000 // of an array; no image has so many
)

// decodeStrict decodes a manifest or config, unless another reader could read it
// differently: encoding/json takes the last of duplicate keys and ignores case, so that
// "user" would overrule "User" here and be nothing to a registry's importer.
//
// Unknown fields are allowed: the OCI image specification requires of implementations
// that they "MUST NOT generate an error when encountering an unknown property". So are
// null and escaped surrogates, which builders write and container runtimes accept.
func decodeStrict(b []byte, v any) error {
	err := strictjson.Check(b, strictjson.Rules{
		Unknown: true, Null: true, Surrogates: true, Depth: maxJSONDepth, Elements: maxElements,
		Spelling: fieldName, Free: isFreeMap,
	})
	if err != nil {
		return err
	}

	// Container runtimes are written in Go and use this decoder, whose treatment of null
	// and of numbers must be ours. After Check it has no choice left.
	if err := json.Unmarshal(b, v); err != nil {
		return errors.New("it does not match the schema")
	}
	return nil
}

// fieldName returns the exact spelling of a field that is judged, if key is one but
// for its case.
func fieldName(key string) string {
	for _, name := range []string{
		"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "annotations", "fsLayers",
		"digest", "size", "urls", "platform", "os", "architecture", "variant", "created",
		"User", "Env", "Entrypoint", "Cmd", "ExposedPorts", "Labels", "rootfs", "type", "diff_ids",
	} {
		if strings.EqualFold(key, name) {
			return name
		}
	}
	return ""
}

// isFreeMap reports whether the keys below key are their author's choice, or belong to
// a part of the document that is not judged.
func isFreeMap(key string) bool {
	switch key {
	case "annotations", "Labels", "ExposedPorts", "Volumes", "history", "container_config", "Healthcheck", "signatures":
		return true
	}
	return false
}
