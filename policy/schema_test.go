package policy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/schemas"
	"github.com/attestor-gate/attestor/policy"
)

const schemaFile = "testdata/gatepolicy.schema.json"

func schemaText(t testing.TB) []byte {
	t.Helper()
	text, err := policy.Schema()
	if err != nil {
		t.Fatal(err)
	}

	return text
}

func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	return schemas.Compile(t, schemaText(t))
}

// The schema that the repository holds is the one that the types make.
func TestSchemaIsCurrent(t *testing.T) {
	if *update {
		if err := os.WriteFile(schemaFile, schemaText(t), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(readFile(t, schemaFile)), string(schemaText(t))); diff != "" {
		t.Errorf("go test ./policy -run Schema -update writes it (-held +made):\n%s", diff)
	}
}

// Every field of the types is in the schema, with a description, required
// where the loader requires it, and nothing else is.
func TestSchemaHasTheFieldsOfTheTypes(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(schemaText(t), &doc); err != nil {
		t.Fatal(err)
	}

	n := compare(t, doc, reflect.TypeFor[policy.Document](), "")
	if n < 80 {
		t.Errorf("only %d fields were compared", n)
	}
}

func compare(t *testing.T, schema map[string]any, typ reflect.Type, path string) int {
	t.Helper()
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice && schema["items"] != nil {
		if typ.Kind() == reflect.Slice {
			schema, _ = schema["items"].(map[string]any)
		}
		typ = typ.Elem()
	}

	properties, _ := schema["properties"].(map[string]any)
	if typ.Kind() != reflect.Struct || properties == nil {
		return 0
	}

	if schema["additionalProperties"] != false {
		t.Errorf("%s admits unknown fields", path)
	}

	var names, required []string
	n := 0

	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
		if slices.Contains(strings.Split(f.Tag.Get("jsonschema"), ","), "required") {
			required = append(required, name)
		}

		property, _ := properties[name].(map[string]any)
		if property["description"] == nil || property["description"] == "" {
			t.Errorf("%s.%s is not described", path, name)
		}

		n += 1 + compare(t, property, f.Type, path+"."+name)
	}

	var has, needs []string
	for name := range properties {
		has = append(has, name)
	}

	list, _ := schema["required"].([]any)
	for _, name := range list {
		needs = append(needs, name.(string))
	}

	for _, s := range [][]string{names, required, has, needs} {
		slices.Sort(s)
	}

	if diff := cmp.Diff(names, has); diff != "" {
		t.Errorf("%s: fields (-types +schema):\n%s", path, diff)
	}
	if diff := cmp.Diff(required, needs); diff != "" {
		t.Errorf("%s: required (-types +schema):\n%s", path, diff)
	}

	return n
}

// What loads is valid by the schema, and so is what loads once it was written
// out; what the schema refuses does not load.
func TestSchemaAgreesWithTheLoader(t *testing.T) {
	s := schema(t)
	validate := func(t *testing.T, text []byte) error {
		var v any
		if err := yaml.Load(text, &v); err != nil {
			return err
		}

		asJSON, err := json.Marshal(plain(v))
		if err != nil {
			return err
		}

		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
		if err != nil {
			return err
		}

		return s.Validate(doc)
	}

	valid, refused := 0, 0
	for _, name := range policyFiles(t) {
		if strings.HasSuffix(name, "_test.yaml") {
			continue
		}

		text := readFile(t, name)
		set, loadErr := policy.Parse(policy.Source{Name: name, Text: text})
		schemaErr := validate(t, text)
		if loadErr == nil {
			valid++
			if schemaErr != nil {
				t.Errorf("%s loads, and the schema refuses it: %v", filepath.Base(name), schemaErr)
			}
			if err := validate(t, []byte(canonical(t, set.All()[0]))); err != nil {
				t.Errorf("%s, written out: %v", filepath.Base(name), err)
			}
		}
		if schemaErr != nil {
			refused++
			if loadErr == nil {
				t.Errorf("%s: the schema refuses it, and it loads: %v", filepath.Base(name), schemaErr)
			}
		}
	}

	if valid < 5 || refused < 8 {
		t.Errorf("little was compared: %d valid, %d refused", valid, refused)
	}

	err := validate(t, []byte(strings.Replace(strict, "MEDIUM", "MEDUIM", 1)))
	if v, ok := errors.AsType[*jsonschema.ValidationError](err); !ok || len(v.BasicOutput().Errors) == 0 {
		t.Errorf("a misspelt severity: %v", err)
	}
}

// plain turns what YAML read into what JSON can write: dates into their text.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case interface{ Format(string) string }:
		return v.Format("2006-01-02")
	}
	return v
}

// Every enumeration in the schema is the one that the root package knows.
func TestEnumerationsAreTheDomains(t *testing.T) {
	text := string(schemaText(t))
	for _, s := range attestor.Severities() {
		if s.Known() && !strings.Contains(text, `"`+string(s)+`"`) {
			t.Errorf("the schema lacks %s", s)
		}
	}

	for _, c := range []string{"BLOCK_ALL", "MINIMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL", "ALLOW_ALL"} {
		if _, err := attestor.ParseCeiling(c); err != nil {
			t.Error(err)
		}
	}

	if !strings.Contains(text, string(attestor.LayersExact)) || !strings.Contains(text, string(attestor.DryRun)) {
		t.Error("the schema lacks a level or a mode")
	}
}
