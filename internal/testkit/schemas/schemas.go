// Package schemas reads the JSON schemas that the gate publishes, by another implementation than the one that wrote
// them.
package schemas

import (
	"bytes"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Compile compiles the text of a schema. Its formats are checked too, as strict validators do.
func Compile(tb testing.TB, text []byte) *jsonschema.Schema {
	tb.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		tb.Fatal(err)
	}

	c := jsonschema.NewCompiler()
	c.AssertFormat()

	// The schema has to have an address; nothing is fetched from it.
	const url = "https://schema.example/schema.json"
	if err := c.AddResource(url, doc); err != nil {
		tb.Fatal(err)
	}
	s, err := c.Compile(url)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}
