package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor/internal/nearest"
	"github.com/attestor-gate/attestor/internal/strictyaml"
	"github.com/attestor-gate/attestor/policy"
)

// Bounds of one YAML document.
const (
	maxNodes = 50_000
	maxDepth = 50
)

// read finds the documents of a source. A name that ends in .toml, and a text that is no YAML mapping, is Voucher's.
func read(s policy.Source) ([]document, error) {
	if len(s.Text) > MaxFile {
		return nil, invalid("%s is larger than %d bytes", s.Name, MaxFile)
	}
	if strings.HasSuffix(s.Name, ".toml") {
		return readVoucher(s)
	}

	loader, err := yaml.NewLoader(bytes.NewReader(s.Text))
	if err != nil {
		return nil, invalid("%s: not YAML: %v", s.Name, err)
	}
	var out []document
	for first := true; ; first = false {
		var node yaml.Node
		err := loader.Load(&node)
		if errors.Is(err, io.EOF) {
			break
		}

		// A TOML file is either no YAML or one long text.
		if first && (err != nil || !isMapping(&node)) {
			return readVoucher(s)
		}
		if err != nil {
			return nil, invalid("%s: not YAML: %v", s.Name, err)
		}

		list, err := readDocument(s.Name, &node)
		if err != nil {
			return nil, err
		}
		if out = append(out, list...); len(out) > maxDocuments {
			return nil, invalid("%s has more than %d documents", s.Name, maxDocuments)
		}
	}

	if len(out) == 0 {
		return nil, invalid("%s has no policy of a format that is read", s.Name)
	}
	return out, nil
}

func isMapping(n *yaml.Node) bool {
	return n.Kind == yaml.DocumentNode && len(n.Content) == 1 && n.Content[0].Kind == yaml.MappingNode
}

const formats = "Voucher's configuration (TOML); Kritis' ImageSecurityPolicy, VulnzSigningPolicy and " +
	"AttestationAuthority; " +
	"the policy of a project (gcloud container binauthz policy export) and platform policies of Binary Authorization"

// readDocument recognises a format by what only that format has.
func readDocument(source string, doc *yaml.Node) ([]document, error) {
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		doc = doc.Content[0]
	}
	if doc.Kind == yaml.ScalarNode && doc.ShortTag() == "!!null" {
		return nil, nil // nothing between two lines of ---
	}

	if doc.Kind != yaml.MappingNode {
		return nil, invalid("%s:%d: not a mapping; what is read: %s", source, doc.Line, formats)
	}
	if err := bounded(source, doc); err != nil {
		return nil, err
	}

	kind := textAt(doc, "kind")
	switch {
	case kind == "List" || strings.HasSuffix(kind, "PolicyList") || kind == "AttestationAuthorityList":
		return readList(source, doc)
	case kind != "":
		return readKritis(source, kind, doc)
	case at(doc, "gkePolicy") != nil:
		return readPlatform(source, doc)
	case at(doc, "defaultAdmissionRule") != nil:
		return readProject(source, doc)
	}
	return nil, invalid("%s:%d: not a policy of a format that is read: %s", source, doc.Line, formats)
}

// readList reads the items of kubectl get -o yaml.
func readList(source string, doc *yaml.Node) ([]document, error) {
	items := at(doc, "items")
	if items == nil || items.Kind != yaml.SequenceNode {
		return nil, invalid("%s:%d: a list without items", source, doc.Line)
	}

	var out []document
	for _, item := range items.Content {
		kind := textAt(item, "kind")
		if kind == "" || kind == "List" {
			return nil, invalid("%s:%d: an item without a kind", source, item.Line)
		}
		list, err := readKritis(source, kind, item)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}

	return out, nil
}

// bounded refuses what no export has: references to other nodes, which could multiply, and depth.
func bounded(source string, doc *yaml.Node) error {
	// The document comes from outside: nodes and depth of the walk are bounded.
	nodes := 0
	var walk func(n *yaml.Node, depth int) error
	walk = func(n *yaml.Node, depth int) error {
		nodes++
		switch {
		case n.Kind == yaml.AliasNode || n.Anchor != "":
			return invalid("%s:%d: anchors and aliases are not read", source, n.Line)
		case nodes > maxNodes || depth > maxDepth:
			return invalid("%s:%d: more than %d values, or deeper than %d", source, n.Line, maxNodes, maxDepth)
		}

		for i, child := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 0 &&
				(child.Kind != yaml.ScalarNode || child.ShortTag() == "!!merge") {
				return invalid("%s:%d: a key that is not text", source, child.Line)
			}
			if err := walk(child, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return walk(doc, 0)
}

// at is the value of a key of a mapping, or nil.
func at(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func textAt(n *yaml.Node, key string) string {
	if v := at(n, key); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

// strict decodes a document into v, a pointer to a struct. A field that is not known may be a requirement of a newer
// version, and is an error; so is a value of another type.
func strict(source string, n *yaml.Node, v any) error {
	// Unknown fields first, since decoding would leave them out.
	if err := known(source, n, reflect.TypeOf(v).Elem(), ""); err != nil {
		return err
	}
	for _, fault := range (strictyaml.Shape{Tag: "yaml"}).Check(n, reflect.TypeOf(v)) {
		return invalid("%s: %v", source, fault)
	}

	if err := n.Decode(v); err != nil {
		return invalid("%s: %v", source, err)
	}
	return nil
}

// known compares the shape of a document with a Go type.
func known(source string, n *yaml.Node, t reflect.Type, path string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	wrong := func(want string) error {
		return invalid("%s:%d: %s: want %s", source, n.Line, strings.TrimPrefix(path, "."), want)
	}

	switch {
	case t == reflect.TypeFor[yaml.Node](): // not read
		return nil
	case t.Kind() == reflect.Slice && n.Kind != yaml.SequenceNode:
		return wrong("a list")
	case t.Kind() == reflect.Slice:
		for i, item := range n.Content {
			if err := known(source, item, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		return nil
	case (t.Kind() == reflect.Struct || t.Kind() == reflect.Map) && n.Kind != yaml.MappingNode:
		return wrong("a mapping")
	case t.Kind() == reflect.Struct || t.Kind() == reflect.Map:
		return knownKeys(source, n, t, path)
	case n.Kind != yaml.ScalarNode:
		return wrong("one value")
	}
	return nil
}

func knownKeys(source string, n *yaml.Node, t reflect.Type, path string) error {
	var names []string
	seen := map[string]bool{}
	types := map[string]reflect.Type{}
	if t.Kind() == reflect.Struct {
		for f := range t.Fields() {
			names = append(names, f.Tag.Get("yaml"))
			types[f.Tag.Get("yaml")] = f.Type
		}
	}

	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		field, ok := types[key.Value]
		if t.Kind() == reflect.Map {
			field, ok = t.Elem(), true
		}

		switch {
		case seen[key.Value]:
			return invalid("%s:%d: %s.%s is given twice", source, key.Line, path, key.Value)
		case !ok:
			hint := ""
			if near := nearest.To(key.Value, names); near != "" {
				hint = "; did you mean " + near + "?"
			}
			return invalid("%s:%d: the field %s is not known, and may demand something%s", source, key.Line,
				quote(strings.TrimPrefix(path+"."+key.Value, ".")), hint)
		}

		seen[key.Value] = true
		if err := known(source, n.Content[i+1], field, path+"."+key.Value); err != nil {
			return err
		}
	}
	return nil
}
