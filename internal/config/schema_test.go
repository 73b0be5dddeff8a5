package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/testkit/schemas"
)

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	return schemas.Compile(t, text)
}

// The schema takes the example, and what the loader refuses by type or name the schema refuses too.
func TestSchemaAgreesWithTheLoader(t *testing.T) {
	s := compiled(t)
	example, err := os.ReadFile("../../attestor.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	minimal := "policies: [p]\nregistries: {allowed: [r]}\nstore: {none: true}\n"

	for name, tt := range map[string]struct {
		text string
		want bool
	}{
		"the example":        {string(example), true},
		"the least":          {minimal, true},
		"an unknown key":     {minimal + "polices: [p]\n", false},
		"a key of a part":    {minimal + "limits: {maxWiat: 3s}\n", false},
		"a text as a number": {minimal + "limits: {queue: \"5\"}\n", false},
		"no such duration":   {minimal + "policyReload: 10 seconds\n", false},
		"a list for a text":  {minimal + "listen: [a]\n", false},
	} {
		var v any
		if err := yaml.Unmarshal([]byte(tt.text), &v); err != nil {
			t.Fatal(name, err)
		}
		_, loads := config.Parse([]byte(tt.text))
		if err := s.Validate(v); (err == nil) != tt.want || (loads == nil) != tt.want {
			t.Errorf("%s: the schema says %v, the loader %v, want accepted: %v", name, err, loads, tt.want)
		}
	}
}

// Every key has a description: editors show it.
func TestSchemaDescribesTheParts(t *testing.T) {
	text, err := config.Schema()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"description": "Listen is HOST:PORT; 127.0.0.1:8080 by default.`, `"description": "KMS is a key version`, `"additionalProperties": false`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the schema lacks %s", want)
		}
	}
}

func TestUnknownKeysAreExplained(t *testing.T) {
	for text, want := range map[string]string{
		"polices: [p]\n":                      `line 1, column 1: unknown key "polices"; did you mean policies?`,
		"registries: {alowed: [r]}\n":         `unknown key "alowed"; did you mean allowed?`,
		"identity: {callers: [{emial: a}]}\n": `unknown key "emial"; did you mean email?`,
		"store: {mongo: a}\n":                 `unknown key "mongo": want sqlite, postgres, replica, connections, retention, none`,
	} {
		if _, err := config.Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
