package strictyaml

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxVisited bounds the values that are looked at, so that aliases cannot multiply.
const maxVisited = 100_000

// A Fault is one value of the wrong type, and its place.
type Fault struct {
	Line, Column int
	Path         string // limits.queue, callers[0].email
	Message      string
}

// Error is one line without the file's name.
func (f Fault) Error() string {
	return fmt.Sprintf("line %d, column %d: %s: %s", f.Line, f.Column, f.Path, f.Message)
}

// Shape says how Go types describe a document.
type Shape struct {
	Tag         string // the key of struct tags that names fields: "yaml" or "json"
	NullRemoves bool   // null is a value: it removes what it is merged into
	Identifiers bool   // a whole decimal number is a text too, as in the numeric ids of identity providers
}

// Check lists the scalars of a document that are not of the type that t wants, in their order. It looks at scalars
// only: unknown fields, and a mapping in the place of a list, are left to whoever decodes the document.
func (s Shape) Check(n *yaml.Node, t reflect.Type) []Fault {
	c := checker{shape: s}
	c.value(n, t, "")
	return c.faults
}

type checker struct {
	shape   Shape
	visited int
	faults  []Fault
}

func (c *checker) fault(n *yaml.Node, path, message string) {
	c.faults = append(c.faults, Fault{Line: n.Line, Column: n.Column, Path: path, Message: message})
}

func (c *checker) value(n *yaml.Node, t reflect.Type, path string) {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if c.visited++; c.visited > maxVisited {
		if c.visited == maxVisited+1 {
			c.fault(n, path, fmt.Sprintf("more than %d values", maxVisited))
		}
		return
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}

	switch n.Kind {
	case yaml.DocumentNode:
		for _, root := range n.Content {
			c.value(root, t, path)
		}
	case yaml.MappingNode:
		c.mapping(n, t, path)
	case yaml.SequenceNode:
		if t.Kind() == reflect.Slice {
			for i, item := range n.Content {
				c.value(item, t.Elem(), path+"["+strconv.Itoa(i)+"]")
			}
		}
	case yaml.ScalarNode:
		c.scalar(n, t, path)
	}
}

func (c *checker) mapping(n *yaml.Node, t reflect.Type, path string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.ShortTag() == "!!merge" { // its fields are those of this mapping
			c.merged(value, t, path)
			continue
		}

		at := strings.TrimPrefix(path+"."+key.Value, ".")
		switch {
		case t.Kind() == reflect.Map:
			c.value(value, t.Elem(), at)
		case t.Kind() == reflect.Struct:
			if field, known := c.field(t, key.Value); known {
				c.value(value, field, at)
			}
		}
	}
}

func (c *checker) merged(n *yaml.Node, t reflect.Type, path string) {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	if n.Kind != yaml.SequenceNode {
		c.value(n, t, path)
		return
	}
	for _, item := range n.Content {
		c.value(item, t, path)
	}
}

// field finds a field by the name in its tag; those of embedded types are among a type's own.
func (c *checker) field(t reflect.Type, name string) (reflect.Type, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		tagged, _, _ := strings.Cut(f.Tag.Get(c.shape.Tag), ",")
		switch {
		case tagged == name && tagged != "":
			return f.Type, true
		case tagged == "" && f.Anonymous && f.Type.Kind() == reflect.Struct:
			if found, ok := c.field(f.Type, name); ok {
				return found, true
			}
		}
	}
	return nil, false
}

func (c *checker) scalar(n *yaml.Node, t reflect.Type, path string) {
	// Many decoders take an empty value for an absent one, which would get the default.
	if n.ShortTag() == "!!null" {
		if !c.shape.NullRemoves {
			c.fault(n, path, "is empty: give it a value, or remove the field")
		}
		return
	}

	var err error
	switch {
	// reads the text as it was written
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
	case t.Kind() == reflect.Bool:
		_, err = Bool(n)
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		_, err = Int(n)
	case t.Kind() == reflect.Float64 || t.Kind() == reflect.Float32:
		_, err = Float(n)
	case t.Kind() == reflect.String:
		if c.shape.Identifiers && n.ShortTag() == "!!int" && wholeForm.MatchString(n.Value) {
			return
		}
		_, err = Text(n)
	}
	if err != nil {
		c.fault(n, path, err.Error())
	}
}
