package posture

import (
	"slices"
	"strings"
	"unicode"
)

// camel writes a name as the APIs of today do: Config Connector has "invokerIAMDisabled" for "invokerIamDisabled".
func camel(name string) string {
	runes := []rune(name)

	var b strings.Builder
	for i, r := range runes {
		inner := i > 0 && unicode.IsUpper(runes[i-1]) && (i+1 == len(runes) || !unicode.IsLower(runes[i+1]))
		if inner {
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}

	return b.String()
}

// isReference reports a reference of Config Connector: it names a resource of the cluster, or one outside by
// "external".
func isReference(n *node) bool {
	if n == nil || n.kind != nodeMapping || !n.has("external", "name") {
		return false
	}

	for name := range n.fields {
		if !slices.Contains([]string{"external", "name", "namespace", "kind", "apiVersion"}, name) {
			return false
		}
	}

	return true
}

// referredName is the name that a reference leads to.
func referredName(n *node) *node {
	if external := n.at("external"); external.written() != "" {
		return external
	}
	return n.at("name")
}

// put sets a field under the name that rules know it by. A document that says the same thing twice, as "foo" and
// "fooRef", leaves open which of both counts: it is refused, and not judged by either.
func (r *reader) put(out *node, key, name string, field *node) {
	before := out.fields[key]
	switch {
	case before == nil || before.kind == nodeNull:
		out.fields[key] = field
	case field != nil && field.kind != nodeNull:
		r.fault(field, quote(name), "the only field that means "+quote(key)+", and there is another")
	}
}

// dereferenced replaces the references of Config Connector by the names that they lead to: "fooRef" is "foo", and the
// elements of some lists are references themselves. Names are written as the APIs write them.
func (r *reader) dereferenced(n *node) *node {
	if n == nil {
		return nil
	}

	out := &node{kind: n.kind, line: n.line, column: n.column, text: n.text}
	for _, item := range n.items {
		out.items = append(out.items, r.dereferencedItem(item, false))
	}

	if n.kind == nodeMapping {
		out.fields = map[string]*node{}
	}
	for _, name := range sortedFields(n) {
		field := n.fields[name]
		short, ref := strings.CutSuffix(camel(name), "Ref")
		switch {
		// Only a mapping in the form of a reference is replaced: a field may end in Ref by chance.
		case ref && isReference(field):
			r.put(out, short, name, referredName(field))
		case slices.Contains(keyed(), name) && field != nil && field.kind == nodeMapping:
			r.put(out, name, name, field)
		case slices.Contains(referenceLists(), name) && field != nil && field.kind == nodeList:
			list := &node{kind: nodeList, line: field.line, column: field.column}
			for _, item := range field.items {
				list.items = append(list.items, r.dereferencedItem(item, true))
			}
			r.put(out, name, name, list)
		default:
			r.put(out, camel(name), name, r.dereferenced(field))
		}
	}

	return out
}

// referenceLists are the lists whose elements are references.
func referenceLists() []string {
	return []string{"accessLevels", "requireAttestationsBy", "natIps", "instances", "resources"}
}

// dereferencedItem is an element of a list: a value, a reference, or a mapping that holds one reference alone. In a
// list of references a name alone is one.
func (r *reader) dereferencedItem(n *node, references bool) *node {
	if isReference(n) && !n.has("kind") && (references || n.has("external") || n.has("namespace")) {
		return referredName(n)
	}

	if references && n != nil && n.kind == nodeMapping && len(n.fields) == 1 {
		for name, field := range n.fields {
			if strings.HasSuffix(name, "Ref") && isReference(field) {
				return referredName(field)
			}
		}
	}

	return r.dereferenced(n)
}

// keyed are the fields whose keys are data, and no names of fields.
func keyed() []string {
	return []string{"labels", "annotations", "userLabels", "environmentVariables", "attributeMapping",
		"limits", "metadata"}
}

// asBlocks writes a resource of an API as Terraform does: names in snake case, and objects as blocks, which are lists
// of one.
func (r *reader) asBlocks(n *node) *node {
	if n == nil || n.kind != nodeMapping {
		return n
	}

	out := &node{kind: nodeMapping, line: n.line, column: n.column, fields: map[string]*node{}}
	for _, name := range sortedFields(n) {
		field := n.fields[name]
		key := snake(camel(name))
		switch {
		case field == nil, slices.Contains(keyed(), name):
			r.put(out, key, name, field)
		case strings.HasSuffix(name, "AdmissionRules") && field.kind == nodeMapping:
			r.put(out, key, name, r.valuesOf(field)) // a map by cluster, namespace or identity
		case field.kind == nodeMapping:
			r.put(out, key, name, &node{kind: nodeList, line: field.line, column: field.column,
				items: []*node{r.asBlocks(field)}})
		case field.kind == nodeList:
			list := &node{kind: nodeList, line: field.line, column: field.column}
			for _, item := range field.items {
				list.items = append(list.items, r.asBlocks(item))
			}
			r.put(out, key, name, list)
		default:
			r.put(out, key, name, field)
		}
	}

	return out
}

func (r *reader) valuesOf(n *node) *node {
	list := &node{kind: nodeList, line: n.line, column: n.column}
	for _, name := range sortedFields(n) {
		list.items = append(list.items, r.asBlocks(n.fields[name]))
	}

	return list
}

// textNode is a text as a node.
func textNode(s string, line int) *node { return &node{kind: nodeText, text: s, line: line} }
