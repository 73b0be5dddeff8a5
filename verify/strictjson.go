package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
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
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := walkValue(d, true, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the document")
	}
	if err := json.Unmarshal(b, v); err != nil {
		return errors.New("it is not of the form that it should have")
	}
	return nil
}

// walkValue reads one value. fields is false within maps whose keys are free.
func walkValue(d *json.Decoder, fields bool, depth int) error {
	if depth > maxJSONDepth {
		return fmt.Errorf("it is nested deeper than %d", maxJSONDepth)
	}
	t, err := d.Token()
	if err != nil {
		return errors.New("it is not JSON, or breaks off")
	}
	switch t {
	case json.Delim('['):
		for d.More() {
			if err := walkValue(d, fields, depth+1); err != nil {
				return err
			}
		}
	case json.Delim('{'):
		if err := walkObject(d, fields, depth); err != nil {
			return err
		}
	default:
		return nil
	}
	if _, err := d.Token(); err != nil { // the closing delimiter
		return errors.New("it is not JSON, or breaks off")
	}
	return nil
}

func walkObject(d *json.Decoder, fields bool, depth int) error {
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return errors.New("it is not JSON, or breaks off")
		}
		key, _ := t.(string)
		if seen[key] {
			return fmt.Errorf("key %q is there twice", clip(key))
		}
		seen[key] = true
		if name := fieldName(key); fields && name != "" && name != key {
			return fmt.Errorf("key %q differs from %q in case only", clip(key), name)
		}
		if err := walkValue(d, fields && !isFreeMap(key), depth+1); err != nil {
			return err
		}
	}
	return nil
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
