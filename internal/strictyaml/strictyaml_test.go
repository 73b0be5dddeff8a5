package strictyaml_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/internal/strictyaml"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

// scalar is the value of the field a in a document.
func scalar(t *testing.T, text string) *yaml.Node {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Load([]byte("a: "+text), &doc); err != nil {
		t.Fatalf("%s: %v", text, err)
	}

	return doc.Content[0].Content[1]
}

// TestScalars is the matrix of how a value is written and which type it may be read as.
func TestScalars(t *testing.T) {
	const boolean, whole, number, text = "bool", "int", "float", "text"
	for written, want := range map[string][]string{
		"true": {boolean}, "false": {boolean}, `!!bool "true"`: {boolean},
		"True": nil, "TRUE": nil, "False": nil,
		"yes": {text}, "no": {text}, "on": {text}, "off": {text}, "y": {text}, "n": {text}, // texts in YAML 1.2, booleans in 1.1
		`"true"`: {text}, `'false'`: {text}, "!!str true": {text}, "|-\n  true": {text},

		"0": {whole, number}, "5": {whole, number}, "-5": {whole, number}, "!!int 5": {whole, number},
		"9223372036854775807": {whole, number}, "9223372036854775808": {number},
		"+5": nil, "007": nil, "0x1F": nil, "0o17": nil, "0b11": nil, "1_000": nil, "-0": {number},
		`"5"`: {text}, `'1.5'`: {text}, "!!str 5": {text},

		"1.5": {number}, ".5": {number}, "5.": {number}, "1e3": {number}, "1.10": {number},
		".inf": nil, "-.inf": nil, ".nan": nil, "+1.5": nil, "1e999": {text}, "00.5": nil,

		"null": nil, "~": nil, "": nil, "Null": nil, `"null"`: {text}, `"~"`: {text}, `""`: {text},
		"2026-11-01": {text}, "2026-11-01T08:00:00Z": {text}, `"2026-11-01"`: {text}, "12:30:45": {text}, "words": {text},
	} {
		n := scalar(t, written)
		var got []string

		for _, r := range []struct {
			as   string
			read func(*yaml.Node) (any, error)
		}{
			{boolean, func(n *yaml.Node) (any, error) { return strictyaml.Bool(n) }},
			{whole, func(n *yaml.Node) (any, error) { return strictyaml.Int(n) }},
			{number, func(n *yaml.Node) (any, error) { return strictyaml.Float(n) }},
			{text, func(n *yaml.Node) (any, error) { return strictyaml.Text(n) }},
		} {
			v, err := r.read(n)
			if err == nil {
				got = append(got, r.as)
			} else if v != reflect.Zero(reflect.TypeOf(v)).Interface() {
				t.Errorf("%s as %s: %v beside an error", written, r.as, v)
			}
		}

		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s may be read as (-want +got):\n%s", written, diff)
		}
	}
}

func TestValuesAreThoseWritten(t *testing.T) {
	if b, err := strictyaml.Bool(scalar(t, "true")); !b || err != nil {
		t.Errorf("%v, %v", b, err)
	}
	if i, err := strictyaml.Int(scalar(t, "-42")); i != -42 || err != nil {
		t.Errorf("%v, %v", i, err)
	}
	if f, err := strictyaml.Float(scalar(t, "0.25")); f != 0.25 || err != nil {
		t.Errorf("%v, %v", f, err)
	}
	if s, err := strictyaml.Text(scalar(t, "2026-11-01")); s != "2026-11-01" || err != nil {
		t.Errorf("%v, %v", s, err)
	}
	if _, err := strictyaml.Bool(scalar(t, `"`+strings.Repeat("x", 1000)+`"`)); err == nil || len(err.Error()) > 200 {
		t.Errorf("a long value fills the message: %v", err)
	}
}

type inner struct {
	Port *int `yaml:"port"`
}

type outer struct {
	inner
	On    bool               `yaml:"on"`
	Names []string           `yaml:"names"`
	Ratio map[string]float64 `yaml:"ratio"`
	At    time.Time          `yaml:"at"`
	Inner *inner             `yaml:"inner"`
}

func faults(t *testing.T, s strictyaml.Shape, text string) []string {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Load([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}

	out := []string{}
	for _, f := range s.Check(&doc, reflect.TypeFor[outer]()) {
		out = append(out, fmt.Sprintf("%d:%d %s", f.Line, f.Column, f.Path))
	}

	return out
}

// Every place of a document is looked at: embedded fields, lists, maps, pointers, aliases and merged mappings.
func TestCheckFindsEveryPlace(t *testing.T) {
	strict := strictyaml.Shape{Tag: "yaml"}
	got := faults(t, strict, `on: yes
port: "80"
names: [fine, 1.10, null, true]
ratio: {a: 1, b: "2"}
at: 2026-11-01T00:00:00Z
inner: &p {port: 0x50}
`)

	want := []string{"1:5 on", "2:7 port", "3:15 names[1]", "3:21 names[2]", "3:27 names[3]", "4:18 ratio.b", "6:18 inner.port"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	for text, want := range map[string][]string{
		"inner: &p {port: '1'}\nnames: [a]\n":                   {"1:18 inner.port"},
		"ratio: &r {a: '1'}\non: true\n":                        {"1:15 ratio.a"},
		"<<: &m {on: 'true'}\nport: 1\n":                        {"1:13 on"},
		"<<: [{on: 'true'}, {port: '1'}]\n":                     {"1:11 on", "1:27 port"},
		"names: [&b 'true']\non: *b\n":                          {"1:9 on"},
		"on: true\nnames: ['1']\nratio: {}\ninner: {port: 1}\n": {},
		"unknown: yes\nplain: 1\ninner: [1]\nnames: {a: 1}\n":   {}, // left to the decoder
		"on: {a: b}\n": {},
		"at: null\n":   {"1:5 at"},
	} {
		if diff := cmp.Diff(want, faults(t, strict, text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestShapes(t *testing.T) {
	if got := faults(t, strictyaml.Shape{Tag: "yaml", NullRemoves: true}, "on: null\nnames: null\n"); len(got) != 0 {
		t.Errorf("null removes: %v", got)
	}
	if got := faults(t, strictyaml.Shape{Tag: "yaml", Identifiers: true}, "names: [12, 012, 1.0]\n"); len(got) != 2 {
		t.Errorf("identifiers: %v", got)
	}
	if got := faults(t, strictyaml.Shape{Tag: "json"}, "on: yes\n"); len(got) != 0 {
		t.Errorf("another tag: %v", got)
	}
}

// Aliases of aliases end.
func TestCheckIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("x0: &x0 ['1', '1', '1', '1', '1', '1', '1', '1', '1', '1']\n")
	var doc yaml.Node
	if err := yaml.Load([]byte(b.String()), &doc); err != nil {
		t.Fatal(err)
	}

	list := doc.Content[0].Content[1]
	for range 9 { // ten billion values, without the parser's own guard
		next := &yaml.Node{Kind: yaml.SequenceNode}
		for range 10 {
			next.Content = append(next.Content, &yaml.Node{Kind: yaml.AliasNode, Alias: list})
		}
		list = next
	}

	type deep [][][][][][][][][][]int
	if got := (strictyaml.Shape{}).Check(list, reflect.TypeFor[deep]()); len(got) > 200_000 || len(got) == 0 {
		t.Errorf("%d faults", len(got))
	}
}
