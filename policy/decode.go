package policy

import (
	"bytes"
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/nearest"
	"github.com/attestor-gate/attestor/internal/strictyaml"
	"go.yaml.in/yaml/v4"
)

// Bounds of what is read. A policy of hundreds of exceptions is some 100 KiB.
const (
	maxFile  = 1 << 20
	maxNodes = 50_000 // visited, so that aliases cannot multiply
)

// decoder fills typed values from YAML nodes. It reports every fault rather
// than the first, and remembers where each path stands.
type decoder struct {
	file   string
	nodes  int
	errs   Errors
	places map[string]place
	failed map[string]bool // paths whose value could not be read, and so need no second fault

	upcoming []upcoming // what refuses from a date on

	owners  map[*yaml.Node]string // the files of nodes that are another's; only read
	partial bool                  // a fragment: nothing is required, and nothing has a default
}

// A place is where something stands; file is "" for the decoder's own.
type place struct {
	line, column int
	file         string
}

func newDecoder(file string) *decoder {
	return &decoder{file: file, places: map[string]place{"": {1, 1, ""}}, failed: map[string]bool{}}
}

// decode reads exactly one document into v, a pointer to a struct.
func decode(file string, text []byte, v any) (*decoder, Errors) {
	d := newDecoder(file)
	root, err := d.document(text)
	if err != nil {
		return d, d.errs
	}
	d.value(root, reflect.ValueOf(v).Elem(), "")
	return d, d.errs
}

func (d *decoder) document(text []byte) (*yaml.Node, error) {
	fail := func(line, column int, message string) (*yaml.Node, error) {
		d.errs = append(d.errs, Diagnostic{File: d.file, Line: max(line, 1), Column: max(column, 1), Message: message})
		return nil, d.errs
	}
	if len(text) > maxFile {
		return fail(1, 1, fmt.Sprintf("the file has more than the %d bytes that are allowed", maxFile))
	}

	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		return fail(1, 1, err.Error())
	}

	// Of several documents only the first would be in force, and its author would not know.
	var doc, more yaml.Node
	if err := loader.Load(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return fail(1, 1, "the file is empty")
		}
		if e, ok := errors.AsType[*yaml.LoadError](err); ok {
			return fail(e.Mark.Line, e.Mark.Column, "not YAML: "+e.Message)
		}
		return fail(1, 1, "not YAML: "+err.Error())
	}

	if err := loader.Load(&more); !errors.Is(err, io.EOF) {
		return fail(more.Line, more.Column, "a second document: one file holds one policy")
	}
	if doc.Kind == yaml.DocumentNode && len(doc.Content) == 1 {
		return doc.Content[0], nil
	}
	return fail(1, 1, "the file is empty")
}

// maxErrors bounds the errors that are listed for one file: a hostile file costs no more
// than its own size, and a person mends no more at once.
const maxErrors = 200

// errorAt notes an error at n. A file with errors never loads, whether or not
// all of them are listed.
func (d *decoder) errorAt(n *yaml.Node, path, message string, allowed []string, near string) {
	switch {
	case len(d.errs) == maxErrors:
		message, allowed, near = fmt.Sprintf("more than %d errors: the rest is not listed", maxErrors), nil, ""
	case len(d.errs) > maxErrors:
		return
	}

	d.errs = append(d.errs, Diagnostic{
		File:    cmp.Or(d.owners[n], d.file),
		Line:    n.Line,
		Column:  n.Column,
		Path:    path,
		Message: message,
		Allowed: allowed,
		Nearest: near,
	})
	if n.Kind == yaml.ScalarNode {
		d.failed[path] = true
	}
}

// at reports a fault in what stands, or should stand, at a path.
func (d *decoder) at(path, format string, args ...any) {
	if d.failed[path] {
		return
	}
	path = d.valuePath(path)

	// What is missing has no place: the nearest mapping that should hold it does.
	p, known := d.places[path]
	for parent := path; !known && parent != ""; p, known = d.places[parent] {
		parent = parent[:max(strings.LastIndexAny(parent, ".["), 0)]
	}

	d.errs = append(
		d.errs,
		Diagnostic{File: cmp.Or(p.file, d.file), Line: p.line, Column: p.column, Path: path,
			Message: fmt.Sprintf(format, args...)},
	)
}

// has reports whether a path was written.
func (d *decoder) has(path string) bool { _, ok := d.places[path]; return ok }

func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	n = aliased(n)
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.errorAt(n, path, fmt.Sprintf("more than %d values", maxNodes), nil, "")
		}
		return
	}

	// Noted before the value is read, so that a fault in it has a place.
	d.places[path] = place{n.Line, n.Column, d.owners[n]}
	if n.Style&yaml.TaggedStyle != 0 &&
		!strings.HasPrefix(n.ShortTag(), "!!") { // it would be ignored, whatever its author meant by it
		d.errorAt(
			n, path,
			fmt.Sprintf("has the tag %q, which means nothing here: write the value alone", clip(n.ShortTag())), nil,
			"",
		)
		return
	}

	if v.Type() == reflect.TypeFor[yaml.Node]() { // left to the caller
		v.Set(reflect.ValueOf(*n))
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}

	_, textual := v.Addr().Interface().(encoding.TextUnmarshaler)
	switch {
	// Empty is neither absent, which would get the default, nor a value.
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		d.errorAt(n, path, "is empty: want "+want(v.Type()), enumValues(v.Type()), "")
	case textual, v.Type() == reflect.TypeFor[OrAll]() && n.Kind == yaml.ScalarNode:
		d.scalar(n, v, path)
	case v.Kind() == reflect.Struct:
		d.object(n, v, path)
	case v.Kind() == reflect.Slice:
		d.list(n, v, path)
	case v.Kind() == reflect.Map:
		d.mapping(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

func (d *decoder) object(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.errorAt(n, path, "want "+want(v.Type()), nil, "")
		return
	}
	fields := map[string]int{}
	var names []string
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		fields[name] = i
		names = append(names, name)
	}

	// An unknown field is an error: a demand with a spelling mistake would demand nothing.
	seen := map[string]bool{}
	for key, value := range d.pairs(n, path) {
		i, known := fields[key.Value]
		switch {
		case !known:
			d.errorAt(key, path, fmt.Sprintf("unknown field %q", clip(key.Value)), names, nearest.To(key.Value, names))
		case seen[key.Value]: // reported by pairs
		default:
			seen[key.Value] = true
			d.field(value, v.Field(i), v.Type().Field(i), path, key.Value)
		}
	}

	// Defaults come last, since only now it is known what is absent.
	for i, name := range names {
		if !seen[name] {
			d.absent(n, v.Field(i), v.Type().Field(i), path, name)
		}
	}
}

// field reads one field. A limit may be written with a date, and some mappings have one.
func (d *decoder) field(n *yaml.Node, v reflect.Value, f reflect.StructField, path, name string) {
	nothing, isLimit := f.Tag.Lookup("limit")
	if resolved := aliased(n); isLimit && resolved.Kind == yaml.MappingNode {
		d.limit(resolved, v, join(path, name), nothing)
		return
	}

	d.value(n, v, join(path, name))
	if from, ok := v.Interface().(*Effective); ok && from != nil {
		d.upcoming = append(d.upcoming, upcoming{Effective: *from, path: path})
	}
}

func aliased(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// absent fills in a default, or says that there is none.
func (d *decoder) absent(n *yaml.Node, v reflect.Value, f reflect.StructField, path, name string) {
	// Of a fragment nothing is known to be absent: the policy or another fragment may have it.
	if d.partial {
		return
	}
	def, required := tagDefault(f)
	switch {
	case required:
		d.errorAt(n, path, fmt.Sprintf("%s is missing: want %s", name, want(f.Type)), enumValues(f.Type), "")
	case def != "":
		d.tagged(n, v, join(path, name), def)
	// The fields of an absent mapping have defaults too, and may be required.
	case v.Kind() == reflect.Struct && !isText(v) && f.Type != reflect.TypeFor[yaml.Node]():
		d.object(&yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}, v, join(path, name))
	}
}

// tagged reads a value that stands in a struct tag: it has the type of its field.
func (d *decoder) tagged(n *yaml.Node, v reflect.Value, path, text string) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}

	tag := "!!str"
	switch {
	case isText(v):
	case v.Kind() == reflect.Bool:
		tag = "!!bool"
	case v.Kind() == reflect.Int64:
		tag = "!!int"
	}
	d.scalar(&yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text, Line: n.Line, Column: n.Column}, v, path)
}

func isText(v reflect.Value) bool {
	_, ok := v.Addr().Interface().(encoding.TextUnmarshaler)
	return ok
}

func tagDefault(f reflect.StructField) (def string, required bool) {
	for part := range strings.SplitSeq(f.Tag.Get("jsonschema"), ",") {
		if part == "required" {
			required = true
		} else if s, ok := strings.CutPrefix(part, "default="); ok {
			def = s
		}
	}
	return def, required
}

// pairs yields a mapping's keys and values, and reports keys that are no
// plain text or stand twice.
func (d *decoder) pairs(n *yaml.Node, path string) func(func(k, v *yaml.Node) bool) {
	return func(yield func(k, v *yaml.Node) bool) {
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			// The file does not load: further keys would only cost time.
			if len(d.errs) > maxErrors {
				return
			}

			key := aliased(n.Content[i])
			if key.Kind != yaml.ScalarNode {
				d.errorAt(key, path, "a key must be plain text", nil, "")
				continue
			}

			// YAML 1.2.2, section 3.2.1.1: keys of a mapping are unique. Libraries keep one of two in silence.
			if seen[key.Value] {
				d.errorAt(key, path, fmt.Sprintf("duplicate %q", clip(key.Value)), nil, "")
			}
			seen[key.Value] = true
			if !yield(key, n.Content[i+1]) {
				return
			}
		}
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.errorAt(n, path, "want "+want(v.Type()), nil, "")
		return
	}

	// Allocated by what the document holds, never by a number that it says.
	out := reflect.MakeSlice(v.Type(), 0, min(len(n.Content), maxNodes))
	for i, item := range n.Content {
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(item, element, path+"["+strconv.Itoa(i)+"]")
		out = reflect.Append(out, element)
		if d.nodes > maxNodes {
			break
		}
	}

	v.Set(out)
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.errorAt(n, path, "want "+want(v.Type()), nil, "")
		return
	}

	v.Set(reflect.MakeMap(v.Type()))
	keys := enumValues(v.Type().Key())
	for key, value := range d.pairs(n, path) {
		// A key that is no value of the enumeration would be a setting that nothing reads.
		if keys != nil && !slices.Contains(keys, key.Value) {
			d.errorAt(key, path, fmt.Sprintf("unknown key %q", clip(key.Value)), keys, nearest.To(key.Value, keys))
			continue
		}
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(value, element, join(path, key.Value))
		v.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), element)
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	wrong := func(message string) { d.errorAt(n, path, message, nil, "") }
	if n.Kind != yaml.ScalarNode {
		wrong("want " + want(v.Type()))
		return
	}

	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(n.Value)); err != nil {
			wrong(message(err))
		}
		return
	}

	// Words are compared exactly: another case is another word, and an error.
	if values := enumValues(v.Type()); values != nil {
		if !slices.Contains(values, n.Value) {
			d.errorAt(n, path, fmt.Sprintf("%q is not allowed", clip(n.Value)), values, nearest.To(n.Value, values))
		}
		v.SetString(n.Value)
		return
	}

	if v.Type() == reflect.TypeFor[attestor.Digest]() {
		digest, err := attestor.ParseDigest(n.Value)
		if err != nil {
			wrong(message(err))
		}
		v.SetString(string(digest))
		return
	}

	if err := bareScalar(n, v); err != nil {
		wrong(err.Error())
	}
}

// bareScalar reads a bool, number or string written as such: a number is not a string until it is quoted, and what is
// quoted is no number and no bool.
func bareScalar(n *yaml.Node, v reflect.Value) (err error) {
	switch v.Kind() {
	case reflect.Bool:
		var b bool
		b, err = strictyaml.Bool(n)
		v.SetBool(b)
	case reflect.Int64:
		var i int64
		i, err = strictyaml.Int(n)
		v.SetInt(i)
	case reflect.Float64:
		var f float64
		f, err = strictyaml.Float(n)
		v.SetFloat(f)
	case reflect.String:
		var s string
		s, err = strictyaml.Text(n)
		v.SetString(s)
	case reflect.Slice: // OrAll
		if n.Value != "all" {
			return fmt.Errorf("%q is not %s", clip(n.Value), want(v.Type()))
		}
		v.SetZero()
	default:
		return fmt.Errorf("%q is not %s", clip(n.Value), want(v.Type()))
	}
	return err
}

// want names a type for people.
func want(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return want(t.Elem())
	case enumValues(t) != nil:
		return "one word"
	case t == reflect.TypeFor[OrAll]():
		return `"all" or a list of texts`
	case t == reflect.TypeFor[Duration]():
		return "a duration such as 14d or 1h30m"
	case t == reflect.TypeFor[Date]():
		return "a date, YYYY-MM-DD"
	case t == reflect.TypeFor[attestor.Pattern]():
		return "a repository pattern"
	case t == reflect.TypeFor[attestor.Digest]():
		return "a digest"
	case t == reflect.TypeFor[Effective]():
		return "a day with its owner, such as {date: 2027-03-01, owner: platform-team}"
	case t == reflect.TypeFor[yaml.Node]():
		return "a value"
	}

	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.String:
		return "a text"
	case reflect.Slice:
		return "a list"
	}
	return "a mapping"
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// message is an error's public text.
func message(err error) string {
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		return e.Msg
	}
	return err.Error()
}
