package config

import (
	_ "embed"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/when"
)

// source holds the comments that the schema shows as descriptions.
//
//go:embed config.go
var source []byte

// Schema is the JSON schema of attestor.yaml. It comes from the types that [Parse] fills and from their comments; what
// only [Config.Finish] can see, such as contradictions, is not in it.
func Schema() ([]byte, error) {
	comments, err := comments()
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

// comments are those of the fields in config.go, by package, type and field, as the reflector looks them up.
func comments() (map[string]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments)
	if err != nil {
		return nil, err
	}

	out := map[string]string{}
	path := reflect.TypeFor[Config]().PkgPath() + "."
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		fields, ok := spec.Type.(*ast.StructType)
		if !ok {
			return false
		}

		for _, f := range fields.Fields.List {
			text := f.Doc.Text()
			if text == "" {
				text = f.Comment.Text()
			}
			for _, name := range f.Names {
				out[path+spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(text), " ")
			}
		}
		return false
	})
	return out, nil
}
