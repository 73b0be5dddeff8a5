package event

import (
	_ "embed"
	"encoding/json"
	"reflect"

	"github.com/invopop/jsonschema"

	"github.com/attestor-gate/attestor/internal/fielddoc"
)

// source holds the comments that the schema shows as descriptions.
//
//go:embed data.go
var source []byte

// Schema is the JSON schema of events: CloudEvents 1.0 in JSON, with this gate's data.
func Schema() ([]byte, error) {
	comments, err := fielddoc.Of(source, reflect.TypeFor[Data]().PkgPath())
	if err != nil {
		return nil, err
	}

	// Receivers must ignore members that they do not know: more may come.
	r := jsonschema.Reflector{
		DoNotReference: true, Anonymous: true, CommentMap: comments, AllowAdditionalProperties: true,
	}
	data := r.Reflect(&Data{})
	data.Version, data.ID = "", ""

	text := func(description string) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", MinLength: new(uint64(1)), Description: description}
	}
	types := &jsonschema.Schema{Description: "What has happened."}
	for _, t := range append(Types(), DecisionRecorded) {
		types.Enum = append(types.Enum, t)
	}
	properties := jsonschema.NewProperties()
	properties.Set("specversion", &jsonschema.Schema{Const: "1.0"})
	properties.Set("id", text("The same whenever the event is sent again."))
	properties.Set("source", &jsonschema.Schema{Type: "string", Format: "uri", Description: "The gate."})
	properties.Set("type", types)
	properties.Set("time", &jsonschema.Schema{Type: "string", Format: "date-time",
		Description: "When it has happened."})
	properties.Set("subject", text("The image, where the event is about one."))
	properties.Set("datacontenttype", &jsonschema.Schema{Const: "application/json"})
	properties.Set("dataschema", &jsonschema.Schema{Const: DataSchema})
	properties.Set("data", data)

	out, err := json.MarshalIndent(&jsonschema.Schema{
		Version: jsonschema.Version, ID: DataSchema, Title: "attestor event", Type: "object", Properties: properties,
		Required: []string{"specversion", "id", "source", "type", "time", "datacontenttype", "dataschema", "data"},
	}, "", "  ")
	return append(out, '\n'), err
}
