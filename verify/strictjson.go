package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

const maxJSONDepth = 64

// decodeStrict decodes b, unless another decoder could read it differently:
// encoding/json takes the last of duplicate keys and ignores case, so that
// "user" would overrule "User" here and be nothing to a registry's importer.
// Unknown fields are allowed, since the formats grow.
func decodeStrict(b []byte, v any) error {
	if !utf8.Valid(b) {
		return errors.New("it is not UTF-8")
	}
	d := jsontext.NewDecoder(
		bytes.NewBuffer(b), jsontext.AllowInvalidUTF8(true),
	) // of escaped surrogates, which others accept

	if err := walkValue(d, true, 0); err != nil {
		return err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the document")
	}

	if err := json.Unmarshal(b, v); err != nil {
		return errors.New("it is not of the form that it should have")
	}
	return nil
}

// walkValue reads one value. fields is false within maps whose keys are free.
func walkValue(d *jsontext.Decoder, fields bool, depth int) error {
	if depth > maxJSONDepth {
		return fmt.Errorf("it is nested deeper than %d", maxJSONDepth)
	}
	kind := d.PeekKind()
	if kind != '[' && kind != '{' {
		return notJSON(d.SkipValue())
	}

	if _, err := d.ReadToken(); err != nil {
		return notJSON(err)
	}
	for end := kind + 2; d.PeekKind() != end; { // ] and } come two after [ and {
		inner := fields
		if kind == '{' {
			var err error
			if inner, err = walkKey(d, fields); err != nil {
				return err
			}
		}

		if err := walkValue(d, inner, depth+1); err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return notJSON(err)
}

// walkKey reads a key and reports whether keys within its value are fields.
// The decoder refuses one that is there twice.
func walkKey(d *jsontext.Decoder, fields bool) (bool, error) {
	t, err := d.ReadToken()
	if err != nil || !fields {
		return false, notJSON(err)
	}
	key := t.String()
	if name := fieldName(key); name != "" && name != key {
		return false, fmt.Errorf("key %q differs from %q in case only", clip(key), name)
	}
	return !isFreeMap(key), nil
}

func notJSON(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jsontext.ErrDuplicateName):
		key := ""
		if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			key = e.JSONPointer.LastToken()
		}
		return fmt.Errorf("key %q is there twice", clip(key))
	}
	return errors.New("it is not JSON, or breaks off")
}

// fieldName is the exact spelling of a field that is judged, if key is one but
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

// isFreeMap reports whether what is under key has keys of its author's choice,
// or is nothing that is judged.
func isFreeMap(key string) bool {
	switch key {
	case "annotations", "Labels", "ExposedPorts", "Volumes", "history", "container_config", "Healthcheck", "signatures":
		return true
	}
	return false
}
