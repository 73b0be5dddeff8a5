package config

import (
	_ "embed"
	"encoding/json"
	"reflect"

	"github.com/invopop/jsonschema"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/fielddoc"
	"github.com/attestor-gate/attestor/internal/when"
)

// source holds the comments that the schema shows as descriptions.
//
//go:embed config.go
var source []byte

// Schema is the JSON schema of attestor.yaml. It comes from the types that [Parse] fills and from their comments; what
// only [Config.Finish] can see, such as contradictions, is not in it.
func Schema() ([]byte, error) {
	comments, err := fielddoc.Of(source, reflect.TypeFor[Config]().PkgPath())
	if err != nil {
		return nil, err
	}

	r := jsonschema.Reflector{
		RequiredFromJSONSchemaTags: true,
		DoNotReference:             true,
		Anonymous:                  true,
		FieldNameTag:               "yaml",
		CommentMap:                 comments,
		Mapper:                     schemaOf,
	}
	s := r.Reflect(&Config{})
	s.ID = "https://github.com/attestor-gate/attestor/configuration-v1.json"
	s.Title = "attestor configuration"
	s.Required = []string{"policies", "registries", "store"}

	out, err := json.MarshalIndent(s, "", "  ")
	return append(out, '\n'), err
}

// schemaOf describes the types whose Go shape is not their shape in a file.
func schemaOf(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[when.Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: when.DurationPattern, MinLength: new(uint64(1))}
	case reflect.TypeFor[attestor.Pattern]():
		return &jsonschema.Schema{Type: "string", Pattern: `^[^\s@]+$`}
	}
	return nil
}
