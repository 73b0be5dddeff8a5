// Package inplace changes single fields of a YAML or JSON document in its text, so that comments, order and layout of
// everything else stay as they are.
package inplace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// ErrForm is the error for a text that is written in a way that is not changed: an alias, a scalar over several lines.
var ErrForm = errors.New("the document is written in a form that is not changed in place")

// A Change sets or removes one field.
type Change struct {
	Path   []string // "[]": every element of a list
	Value  any      // text, number, flag, or fields within fields
	Remove bool
	Keep   bool // only where the field is absent
}

// Apply makes a change in the mapping that begins at a line and a column, from 1: that of its brace, or of its first
// key. A field to remove that is not there is no error.
func Apply(text []byte, line, column int, c Change) ([]byte, error) {
	for i := 0; ; i++ { // every element of a list, one after another, since each change moves the next
		t, err := parse(text)
		if err != nil {
			return nil, err
		}

		root := t.find(line, column)
		if root == nil {
			return nil, ErrForm
		}

		path, more := c.Path, false
		if n := listOf(root, c.Path); n >= 0 {
			if i >= n {
				return text, nil
			}
			path, more = elementOf(c.Path, i), i+1 < n
		}

		// The index of the element stands for the path's "[]" in this round.
		one := c
		one.Path = path
		if text, err = t.set(root, one); err != nil || !more {
			return text, err
		}
	}
}

// listOf is the length of the list that "[]" in a path means; -1 for a path without one.
func listOf(root *yaml.Node, path []string) int {
	n := root
	for _, name := range path {
		if name == "[]" {
			if n == nil || n.Kind != yaml.SequenceNode {
				return 0
			}
			return len(n.Content)
		}
		_, n = valueOf(n, name)
	}

	return -1
}

// elementOf is a path with the index of one element.
func elementOf(path []string, i int) []string {
	out := make([]string, 0, len(path))
	for _, name := range path {
		if name == "[]" {
			name = "[" + strconv.Itoa(i) + "]"
		}
		out = append(out, name)
	}

	return out
}

// A document is a text with its nodes.
type document struct {
	text  []byte
	lines []int // where each begins
	nodes []*yaml.Node
}

func parse(text []byte) (*document, error) {
	d := &document{text: text, lines: []int{0}}
	for i, b := range text {
		if b == '\n' {
			d.lines = append(d.lines, i+1)
		}
	}

	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		return nil, ErrForm
	}

	for {
		var n yaml.Node
		err := loader.Load(&n)
		if errors.Is(err, io.EOF) {
			return d, nil
		}
		if err != nil {
			return nil, ErrForm
		}
		d.nodes = append(d.nodes, &n)
	}
}

// find returns the mapping that begins at a place.
//
// What has an anchor is found by nobody: a change of it would change each place that has its alias.
func (d *document) find(line, column int) *yaml.Node {
	var walk func(n *yaml.Node) *yaml.Node
	walk = func(n *yaml.Node) *yaml.Node {
		if n.Anchor != "" {
			return nil
		}
		if n.Kind == yaml.MappingNode && n.Line == line && n.Column == column {
			return n
		}
		for _, child := range n.Content {
			if found := walk(child); found != nil {
				return found
			}
		}

		return nil
	}

	for _, n := range d.nodes {
		if found := walk(n); found != nil {
			return found
		}
	}

	return nil
}

// valueOf is the key and the value of a field.
func valueOf(n *yaml.Node, name string) (key, value *yaml.Node) {
	if n == nil {
		return nil, nil
	}
	if i, ok := strings.CutPrefix(name, "["); ok && n.Kind == yaml.SequenceNode {
		if at, err := strconv.Atoi(strings.TrimSuffix(i, "]")); err == nil && at < len(n.Content) {
			return nil, n.Content[at]
		}
		return nil, nil
	}

	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}

	return nil, nil
}

func (d *document) set(n *yaml.Node, c Change) ([]byte, error) {
	key, value := valueOf(n, c.Path[0])
	rest := c
	rest.Path = c.Path[1:]

	// The order matters: what an alias or anchor shares is refused before anything is written.
	switch {
	case value == nil && (c.Remove || strings.HasPrefix(c.Path[0], "[")):
		return d.text, nil
	case value == nil:
		return d.insert(n, c.Path[0], nested(rest.Path, c.Value))
	case value.Kind == yaml.AliasNode || n.Kind == yaml.AliasNode || value.Anchor != "":
		return nil, ErrForm
	case len(rest.Path) == 0 && c.Remove:
		return d.remove(n, key, value)
	case len(rest.Path) == 0 && c.Keep:
		return d.text, nil
	case len(rest.Path) == 0:
		return d.replace(n, value, c.Value)
	case value.Kind == yaml.ScalarNode && value.ShortTag() == "!!null" && key != nil:
		if c.Remove {
			return d.text, nil
		}
		return d.fill(n, key, value, nested(rest.Path, c.Value))
	case value.Kind == yaml.ScalarNode:
		return nil, ErrForm
	}

	return d.set(value, rest)
}

func nested(path []string, value any) any {
	if len(path) == 0 {
		return value
	}
	return map[string]any{path[0]: nested(path[1:], value)}
}

func (d *document) offset(n *yaml.Node) int { return d.lines[n.Line-1] + n.Column - 1 }

func (d *document) splice(from, to int, text string) []byte {
	out := append([]byte{}, d.text[:from]...)
	out = append(out, text...)
	return append(out, d.text[to:]...)
}

func isFlow(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

// insert puts a field before the first one of a mapping, where nothing else moves.
func (d *document) insert(n *yaml.Node, name string, value any) ([]byte, error) {
	if n.Kind != yaml.MappingNode {
		return nil, ErrForm
	}

	if isFlow(n) {
		open := d.offset(n)
		if open >= len(d.text) || d.text[open] != '{' {
			return nil, ErrForm
		}
		pair, err := flow(name, value)
		if err != nil {
			return nil, err
		}
		if len(n.Content) == 0 {
			return d.splice(open+1, open+1, pair), nil
		}

		// Behind the brace if the first field is on its line, or else on a line of its own.
		first := n.Content[0]
		if first.Line == n.Line {
			return d.splice(open+1, open+1, pair+", "), nil
		}

		at := d.offset(first)

		return d.splice(at, at, pair+",\n"+string(d.text[d.lines[first.Line-1]:at])), nil
	}

	if len(n.Content) == 0 {
		return nil, ErrForm
	}

	first := n.Content[0]
	at := d.offset(first)
	indent := strings.Repeat(" ", first.Column-1)
	lines, err := blockLines(name, value, indent)
	if err != nil {
		return nil, err
	}

	return d.splice(at, at, strings.TrimPrefix(lines, indent)+"\n"+indent), nil
}

// fill gives a field without a value its first one.
func (d *document) fill(n, key, value *yaml.Node, fields any) ([]byte, error) {
	if value.Value != "" || isFlow(n) {
		token := len(value.Value)
		pairs, err := json.Marshal(fields)
		if err != nil || value.Value == "" {
			return nil, ErrForm
		}
		return d.splice(d.offset(value), d.offset(value)+token, string(pairs)), nil
	}

	// The new lines follow the key's, before whatever comes next.
	end := len(d.text)
	if key.Line < len(d.lines) {
		end = d.lines[key.Line] - 1
	}

	var out strings.Builder
	for name, v := range fields.(map[string]any) {
		lines, err := blockLines(name, v, strings.Repeat(" ", key.Column+1))
		if err != nil {
			return nil, err
		}
		out.WriteString("\n" + lines)
	}

	return d.splice(end, end, out.String()), nil
}

// replace writes a scalar anew.
func (d *document) replace(parent, n *yaml.Node, value any) ([]byte, error) {
	end, err := d.end(n)
	if err != nil {
		return nil, err
	}

	text, err := scalar(value, isFlow(parent))
	if err != nil {
		return nil, err
	}

	return d.splice(d.offset(n), end, text), nil
}

// end is where a scalar on one line ends.
func (d *document) end(n *yaml.Node) (int, error) {
	at := d.offset(n)
	if n.Kind != yaml.ScalarNode || at >= len(d.text) {
		return 0, ErrForm
	}

	switch quote := d.text[at]; {
	case quote == '"' || quote == '\'':
		for i := at + 1; i < len(d.text) && d.text[i] != '\n'; i++ {
			switch {
			case quote == '"' && d.text[i] == '\\':
				i++
			case quote == '\'' && d.text[i] == '\'' && i+1 < len(d.text) && d.text[i+1] == '\'':
				i++
			case d.text[i] == quote:
				return i + 1, nil
			}
		}
	case bytes.HasPrefix(d.text[at:], []byte(n.Value)) && !strings.Contains(n.Value, "\n"):
		return at + len(n.Value), nil
	}

	return 0, ErrForm
}

// remove takes a field with a scalar out, with its line where it has one of its own.
func (d *document) remove(n, key, value *yaml.Node) ([]byte, error) {
	end, err := d.end(value)
	if err != nil {
		return nil, err
	}

	start := d.offset(key)
	if !isFlow(n) {
		line := d.lines[key.Line-1]
		if strings.TrimSpace(string(d.text[line:start])) != "" {
			return nil, ErrForm // behind the dash of a list
		}
		if key.Line < len(d.lines) {
			return d.splice(line, d.lines[key.Line], ""), nil
		}
		return d.splice(line, len(d.text), ""), nil
	}

	// The comma that separates the field goes too: the one behind it, or of the last field the one before.
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i] != key {
			continue
		}
		if i+2 < len(n.Content) {
			return d.splice(start, d.offset(n.Content[i+2]), ""), nil
		}
		if i > 0 { // with the comma before it
			before, err := d.end(n.Content[i-1])
			if err != nil {
				before = bytes.LastIndexByte(d.text[:start], ',')
			}
			return d.splice(before, end, ""), nil
		}
	}

	return d.splice(start, end, ""), nil
}

// flow is a field in JSON, which YAML reads too.
func flow(name string, value any) (string, error) {
	b, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	return strconv.Quote(name) + ": " + string(b), nil
}

// blockLines is a field in YAML, its lines indented.
func blockLines(name string, value any, indent string) (string, error) {
	b, err := yaml.Dump(map[string]any{name: value}, yaml.WithIndent(2))
	if err != nil {
		return "", err
	}

	lines := strings.Split(strings.TrimSpace(string(b)), "\n")

	return indent + strings.Join(lines, "\n"+indent), nil
}

// scalar is a value on one line.
func scalar(value any, quoted bool) (string, error) {
	switch v := value.(type) {
	case string:
		if quoted {
			b, err := json.Marshal(v)
			return string(b), err
		}
		b, err := yaml.Dump(v)

		return strings.TrimSpace(string(b)), err
	case int, bool:
		return fmt.Sprint(v), nil
	}

	return "", ErrForm
}
