package config

import (
	"reflect"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/fielddoc"
	"github.com/attestor-gate/attestor/internal/when"
)

// A Key is one key of attestor.yaml, for the reference.
type Key struct {
	Path     string            // identity.callers[].email
	Value    string            // of what kind: text, list of text, duration, number, yes or no, section
	Comment  string            // of its field
	Field    string            // the field's name, with which the comment may begin
	Siblings map[string]string // key by field name, of the section that it is in
}

// Keys lists every key of attestor.yaml in the order of the sections and their fields.
func Keys() []Key {
	said, err := fielddoc.Of(source, reflect.TypeFor[Config]().PkgPath())
	if err != nil {
		return nil // the schema's test fails for it
	}
	return keysUnder("", reflect.TypeFor[Config](), said)
}

func keysUnder(prefix string, t reflect.Type, said map[string]string) []Key {
	// Comments name fields by their names in Go, and readers know the keys.
	siblings := map[string]string{}
	for i := range t.NumField() {
		siblings[t.Field(i).Name] = yamlKey(t.Field(i))
	}

	var out []Key
	for i := range t.NumField() {
		f := t.Field(i)
		path := prefix + yamlKey(f)
		value, section := valueOf(f.Type)
		out = append(out, Key{
			Path: path, Value: value, Comment: said[t.PkgPath()+"."+t.Name()+"."+f.Name], Field: f.Name,
			Siblings: siblings,
		})
		if section != nil {
			if strings.HasPrefix(value, "list") {
				path += "[]"
			}
			out = append(out, keysUnder(path+".", section, said)...)
		}
	}
	return out
}

func yamlKey(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return key
}

// valueOf says what a value is in the file, and the type of the section that it holds; nil: none.
func valueOf(t reflect.Type) (value string, section reflect.Type) {
	switch t {
	case reflect.TypeFor[when.Duration]():
		return "duration", nil
	case reflect.TypeFor[attestor.Pattern]():
		return "pattern", nil
	}

	switch t.Kind() {
	case reflect.Pointer:
		return valueOf(t.Elem())
	case reflect.Slice:
		value, section = valueOf(t.Elem())
		return "list of " + plural(value), section
	case reflect.Map:
		value, _ = valueOf(t.Elem())
		return "map of " + plural(value), nil
	case reflect.Struct:
		return "section", t
	case reflect.Bool:
		return "true or false", nil
	case reflect.Int, reflect.Float64:
		return "number", nil
	}
	return "text", nil
}

func plural(value string) string {
	if value == "section" || value == "pattern" {
		return value + "s"
	}
	return value
}
