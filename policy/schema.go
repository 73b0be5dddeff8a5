package policy

import (
	"embed"
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/fielddoc"
	"github.com/attestor-gate/attestor/internal/when"
	"github.com/invopop/jsonschema"
)

// sources hold the comments that the schema shows as descriptions.
//
//go:embed document.go document_evidence.go
var sources embed.FS

// Schema is the JSON schema (2020-12) of policy files, for editors. It is made
// from the types that the loader fills and from their comments, so that they cannot disagree about
// names; what only the loader can see, such as contradictions, is not in it.
func Schema() ([]byte, error) {
	comments := map[string]string{}
	for _, name := range []string{"document.go", "document_evidence.go"} {
		source, err := sources.ReadFile(name)
		if err != nil {
			return nil, err
		}
		of, err := fielddoc.Of(source, reflect.TypeFor[Document]().PkgPath())
		if err != nil {
			return nil, err
		}
		maps.Copy(comments, of)
	}

	r := jsonschema.Reflector{
		RequiredFromJSONSchemaTags: true,
		DoNotReference:             true,
		Anonymous:                  true,
		CommentMap:                 comments,
		Mapper:                     schemaOf,
	}

	s := r.Reflect(&Document{})
	datedLimits(s, reflect.TypeFor[Document](), r.Reflect(&Effective{}))
	s.ID = "https://github.com/attestor-gate/attestor/gatepolicy-v1.json"
	s.Title = "attestor GatePolicy"
	out, err := json.MarshalIndent(s, "", "  ")
	return append(out, '\n'), err
}

// schemaOf describes the types whose Go shape is not their shape in a file.
func schemaOf(t reflect.Type) *jsonschema.Schema {
	text := func(pattern string) *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Pattern: pattern} }
	if values := enumValues(t); values != nil {
		s := &jsonschema.Schema{Type: "string"}
		for _, v := range values {
			s.Enum = append(s.Enum, v)
		}
		return s
	}

	switch t {
	case reflect.TypeFor[Duration]():
		number := &jsonschema.Schema{Type: "integer", Enum: []any{0}}
		units := text(when.DurationPattern)
		units.MinLength = new(uint64(1))
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{number, units}}
	case reflect.TypeFor[Date]():
		return text(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	case reflect.TypeFor[attestor.Pattern]():
		return text(`^[^\s@]+$`)
	case reflect.TypeFor[attestor.Digest]():
		return text(`^sha256:[0-9a-f]{64}$`)
	case reflect.TypeFor[OrAll]():
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
			{Type: "string", Enum: []any{"all"}},
			{Type: "array", Items: &jsonschema.Schema{Type: "string"}, MinItems: new(uint64(1))},
		}}
	}

	// JSON Schema has no type for keys: each allowed one is a property.
	if t.Kind() == reflect.Map && enumValues(t.Key()) != nil {
		properties := jsonschema.NewProperties()
		for _, key := range enumValues(t.Key()) {
			properties.Set(key, schemaOf(t.Elem()))
		}
		return &jsonschema.Schema{Type: "object", Properties: properties, AdditionalProperties: jsonschema.FalseSchema}
	}
	return nil
}

// datedLimits lets every limit be written with a date beside its short form. Tags of fields say which are limits, so
// that the types alone do not make their schema.
func datedLimits(s *jsonschema.Schema, t reflect.Type, effective *jsonschema.Schema) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		if t.Kind() == reflect.Slice && s != nil {
			s = s.Items
		}
		t = t.Elem()
	}
	if s == nil || s.Properties == nil || t.Kind() != reflect.Struct {
		return
	}

	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		property, known := s.Properties.Get(name)
		if !known {
			continue
		}
		nothing, isLimit := f.Tag.Lookup("limit")
		if !isLimit {
			datedLimits(property, f.Type, effective)
			continue
		}

		short := *property
		short.Description, short.Default = "", nil
		long := &jsonschema.Schema{
			Type: "object", Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema,
			Required: []string{"value", "effectiveFrom"},
		}

		// As the loader has it: such a limit has no value that refuses nothing.
		if nothing == "" {
			long.Required = append(long.Required, "until")
		}
		long.Properties.Set("value", &short)
		long.Properties.Set("until", &short)
		long.Properties.Set("effectiveFrom", effective)

		s.Properties.Set(name, &jsonschema.Schema{
			Description: property.Description, Default: property.Default, OneOf: []*jsonschema.Schema{&short, long},
		})
	}
}
