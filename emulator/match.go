package emulator

import (
	"math"
	"strconv"
	"strings"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// occView is an occurrence under a filter: what its row knows and, only if a
// test needs more, the message itself. Other lists filter messages that are no
// occurrences; of those it is the message alone.
type occView struct {
	row *row
	// vex, if set, carries the assessments of VEX notes into the message.
	vex   func(*grafeaspb.Occurrence)
	msg   *grafeaspb.Occurrence
	other protoreflect.Message
}

func (v *occView) message() *grafeaspb.Occurrence {
	if v.msg == nil {
		v.msg = decode[grafeaspb.Occurrence](v.row)
		if v.vex != nil {
			v.vex(v.msg)
		}
	}
	return v.msg
}

// reflect is the message, whatever its type.
func (v *occView) reflect() protoreflect.Message {
	if v.other != nil {
		return v.other
	}
	return v.message().ProtoReflect()
}

// matches says whether the filter selects the occurrence.
func matches(n node, v *occView) bool {
	switch n := n.(type) {
	case nil:
		return true
	case andNode:
		for _, s := range n.sub {
			if !matches(s, v) {
				return false
			}
		}
		return true
	case orNode:
		for _, s := range n.sub {
			if matches(s, v) {
				return true
			}
		}
		return false
	case notNode:
		// A filter that cannot be evaluated was refused when it was compiled, so that
		// negation is safe.
		return !matches(n.sub, v)
	case testNode:
		return n.test(v)
	default:
		return false
	}
}

// indexHint finds index keys outside which the filter selects nothing, so
// that a list need not read a whole project.
func indexHint(n node) (keys []string, ok bool) {
	switch n := n.(type) {
	case testNode:
		if n.field != "resourceUri" {
			return nil, false
		}

		// Equality selects one resource, and a suffix with a whole digest one digest:
		// both have a list.
		if n.op == "=" {
			return []string{"resource=" + n.literal}, true
		}

		if d := n.literal; n.op == "has_suffix" && digestOf("@"+d[max(0, len(d)-71):]) != "" {
			return []string{"digest=" + d[len(d)-71:]}, true
		}
	case andNode:
		for _, s := range n.sub {
			// Any term of a conjunction narrows it.
			if keys, ok := indexHint(s); ok {
				return keys, true
			}
		}
	case orNode:
		for _, s := range n.sub {
			// Every term of a disjunction must have a list, or rows outside them could
			// match.
			k, ok := indexHint(s)
			if !ok {
				return nil, false
			}
			keys = append(keys, k...)
		}
		return keys, true
	}
	return nil, false
}

// resourcesOf is how many images a filter names, the schemes of their resources aside.
func resourcesOf(n node) int {
	seen := map[string]bool{}
	var visit func(node)
	visit = func(n node) {
		switch n := n.(type) {
		case testNode:
			if n.field == "resourceUri" {
				seen[strings.TrimPrefix(n.literal, "https://")] = true
			}
		case notNode:
			visit(n.sub)
		case andNode:
			for _, s := range n.sub {
				visit(s)
			}
		case orNode:
			for _, s := range n.sub {
				visit(s)
			}
		}
	}

	visit(n)
	return len(seen)
}

// canonicalField maps the filter language's own field names, and the snake
// case that clients also send, to the message's.
func canonicalField(field string) string {
	switch field {
	case "resourceUrl", "resource_url", "resourceUri", "resource_uri":
		return "resourceUri"
	case "noteProjectId", "note_project_id":
		return "noteProjectId"
	case "noteId", "note_id":
		return "noteId"
	default:
		return field
	}
}

// compileTest type-checks a comparison or call.
func compileTest(field, op, literal string) (node, error) {
	t := testNode{field: canonicalField(field), op: op, literal: literal}
	var err error
	switch t.field {
	case "resourceUri":
		t.test, err = stringTest(op, literal, func(v *occView) string { return v.row.occ.resource })
	case "noteProjectId":
		t.test, err = stringTest(op, literal, func(v *occView) string { return projectOf(v.row.occ.note) })
	case "noteId":
		t.test, err = stringTest(op, literal, func(v *occView) string { return lastSegment(v.row.occ.note) })
	case "kind":
		t.test, err = kindTest(op, literal)
	case "createTime", "create_time":
		t.test, err = timeTest(op, literal, func(v *occView) time.Time { return v.row.occ.created })
	case "updateTime", "update_time":
		t.test, err = timeTest(op, literal, func(v *occView) time.Time { return v.row.occ.updated })
	default:
		t.test, err = pathTest((*grafeaspb.Occurrence)(nil).ProtoReflect().Descriptor(), t.field, op, literal)
	}

	return t, err
}

// compileFor type-checks the comparisons of a list of messages that are no
// occurrences: any field, by its path.
func compileFor(md protoreflect.MessageDescriptor) func(field, op, literal string) (node, error) {
	return func(field, op, literal string) (node, error) {
		test, err := pathTest(md, field, op, literal)
		return testNode{field: field, op: op, literal: literal, test: test}, err
	}
}

func kindTest(op, literal string) (func(*occView) bool, error) {
	// An unknown kind is refused rather than never matched: a misspelt filter must not
	// look like an empty list.
	n, ok := grafeaspb.NoteKind_value[literal]
	if !ok && literal == "AI_SKILL_ANALYSIS" {
		n, ok = int32(foreignNumber(literal)), true
	}
	if !ok {
		return nil, filterError("unknown kind %q", literal)
	}

	switch kind := grafeaspb.NoteKind(n); op {
	case "=":
		return func(v *occView) bool { return v.row.occ.kind == kind }, nil
	case "!=":
		return func(v *occView) bool { return v.row.occ.kind != kind }, nil
	default:
		return nil, filterError("operator %s does not apply to kind", op)
	}
}

func stringTest(op, literal string, get func(*occView) string) (func(*occView) bool, error) {
	f, err := compareStrings(op, literal)
	if err != nil {
		return nil, err
	}
	return func(v *occView) bool { return f(get(v)) }, nil
}

func compareStrings(op, literal string) (func(string) bool, error) {
	switch op {
	case "=":
		return func(s string) bool { return s == literal }, nil
	case "!=":
		return func(s string) bool { return s != literal }, nil
	case "has_prefix":
		return func(s string) bool { return strings.HasPrefix(s, literal) }, nil
	case "has_suffix":
		return func(s string) bool { return strings.HasSuffix(s, literal) }, nil
	case ":":
		// Cloud KMS, "Sorting and filtering list results": "Containment. This is a case-insensitive substring match."
		want := strings.ToLower(literal)
		return func(s string) bool { return strings.Contains(strings.ToLower(s), want) }, nil
	default:
		return nil, filterError("operator %s does not apply to strings", op)
	}
}

func timeTest(op, literal string, get func(*occView) time.Time) (func(*occView) bool, error) {
	want, err := time.Parse(time.RFC3339Nano, literal)
	if err != nil {
		return nil, filterError("%q is not an RFC 3339 time", literal)
	}
	cmp, err := ordered(op)
	if err != nil {
		return nil, err
	}
	return func(v *occView) bool { return cmp(get(v).Compare(want)) }, nil
}

func ordered(op string) (func(int) bool, error) {
	switch op {
	case "=":
		return func(c int) bool { return c == 0 }, nil
	case "!=":
		return func(c int) bool { return c != 0 }, nil
	case "<":
		return func(c int) bool { return c < 0 }, nil
	case "<=":
		return func(c int) bool { return c <= 0 }, nil
	case ">":
		return func(c int) bool { return c > 0 }, nil
	case ">=":
		return func(c int) bool { return c >= 0 }, nil
	default:
		return nil, filterError("%s takes a string field", op)
	}
}

// pathTest is a test of any other field of a message, by its path. A
// repeated field passes if one of its elements does; where the path leads
// through a message that is not there, the test fails.
func pathTest(md protoreflect.MessageDescriptor, path, op, literal string) (func(*occView) bool, error) {
	var fields []protoreflect.FieldDescriptor
	rest := path
	for more := true; more; {
		var part string
		part, rest, more = strings.Cut(rest, ".")

		// The path goes on below something that has no fields.
		if md == nil {
			return nil, filterError("unknown field %q", path)
		}
		fd := md.Fields().ByJSONName(part)
		if fd == nil {
			fd = md.Fields().ByName(protoreflect.Name(part))
		}

		// Cloud KMS, "Sorting and filtering list results": "Use the dot syntax for a label, and any other map type".
		if fd != nil && fd.IsMap() && more && fd.MapValue().Kind() == protoreflect.StringKind {
			return mapTest(append(fields, fd), rest, op, literal)
		}

		if fd == nil || fd.IsMap() {
			return nil, filterError("unknown field %q", path)
		}
		fields, md = append(fields, fd), fd.Message()
	}

	test, err := valueTest(fields[len(fields)-1], op, literal)
	if err != nil {
		return nil, err
	}
	return func(v *occView) bool { return walk(v.reflect(), fields, test) }, nil
}

// mapTest is a test of one entry of a map of strings. An entry that is not there passes no test.
func mapTest(fields []protoreflect.FieldDescriptor, key, op, literal string) (func(*occView) bool, error) {
	compare, err := compareStrings(op, literal)
	if err != nil {
		return nil, err
	}
	last := fields[len(fields)-1]
	entry := func(m protoreflect.Message) bool {
		v := m.Get(last).Map().Get(protoreflect.ValueOfString(key).MapKey())
		return v.IsValid() && compare(v.String())
	}

	if len(fields) == 1 {
		return func(v *occView) bool { return entry(v.reflect()) }, nil
	}
	inner := func(v protoreflect.Value) bool { return entry(v.Message()) }
	return func(v *occView) bool { return walk(v.reflect(), fields[:len(fields)-1], inner) }, nil
}

func walk(m protoreflect.Message, fields []protoreflect.FieldDescriptor, test func(protoreflect.Value) bool) bool {
	fd, rest := fields[0], fields[1:]
	visit := test
	if len(rest) > 0 {
		visit = func(v protoreflect.Value) bool { return walk(v.Message(), rest, test) }
	}

	if fd.IsList() {
		for l, i := m.Get(fd).List(), 0; i < l.Len(); i++ {
			if visit(l.Get(i)) {
				return true
			}
		}
		return false
	}

	// A field that is not there passes no test, whatever its default.
	if fd.HasPresence() && !m.Has(fd) {
		return false
	}
	return visit(m.Get(fd))
}

// valueTest tests a single value of the field's type.
func valueTest(fd protoreflect.FieldDescriptor, op, literal string) (func(protoreflect.Value) bool, error) {
	switch fd.Kind() {
	case protoreflect.StringKind:
		f, err := compareStrings(op, literal)
		if err != nil {
			return nil, err
		}
		return func(v protoreflect.Value) bool { return f(v.String()) }, nil
	case protoreflect.EnumKind:
		return enumTest(fd, op, literal)
	case protoreflect.BoolKind:
		return boolTest(fd, op, literal)
	case protoreflect.FloatKind, protoreflect.DoubleKind, protoreflect.Int32Kind, protoreflect.Int64Kind:
		return numberTest(fd, op, literal)
	case protoreflect.MessageKind:
		if fd.Message().FullName() == (*timestamppb.Timestamp)(nil).ProtoReflect().Descriptor().FullName() {
			return momentTest(op, literal)
		}
		return nil, filterError("field %q cannot be compared", fd.JSONName())
	default:
		return nil, filterError("field %q cannot be compared", fd.JSONName())
	}
}

// momentTest compares a google.protobuf.Timestamp with an RFC 3339 time.
func momentTest(op, literal string) (func(protoreflect.Value) bool, error) {
	want, err := time.Parse(time.RFC3339Nano, literal)
	if err != nil {
		return nil, filterError("%q is not an RFC 3339 time", literal)
	}
	compare, err := ordered(op)
	if err != nil {
		return nil, err
	}

	return func(v protoreflect.Value) bool {
		t, ok := v.Message().Interface().(*timestamppb.Timestamp)
		return ok && compare(t.AsTime().Compare(want))
	}, nil
}

func enumTest(fd protoreflect.FieldDescriptor, op, literal string) (func(protoreflect.Value) bool, error) {
	values := fd.Enum().Values()
	if op == ":" {
		contains, err := compareStrings(op, literal)
		return func(v protoreflect.Value) bool {
			name := values.ByNumber(v.Enum())
			return name != nil && contains(string(name.Name()))
		}, err
	}

	want := values.ByName(protoreflect.Name(literal))
	if want == nil {
		return nil, filterError("unknown value %q of %s", literal, fd.JSONName())
	}
	if op != "=" && op != "!=" {
		return nil, filterError("operator %s does not apply to %s", op, fd.JSONName())
	}
	return func(v protoreflect.Value) bool { return (v.Enum() == want.Number()) == (op == "=") }, nil
}

func boolTest(fd protoreflect.FieldDescriptor, op, literal string) (func(protoreflect.Value) bool, error) {
	if literal != "true" && literal != "false" || op != "=" && op != "!=" {
		return nil, filterError("want %s = true or %s = false", fd.JSONName(), fd.JSONName())
	}
	return func(v protoreflect.Value) bool { return (v.Bool() == (literal == "true")) == (op == "=") }, nil
}

func numberTest(fd protoreflect.FieldDescriptor, op, literal string) (func(protoreflect.Value) bool, error) {
	want, err := strconv.ParseFloat(literal, 64)
	if err != nil || math.IsNaN(want) {
		return nil, filterError("%q is not a number", literal)
	}
	cmp, err := ordered(op)
	if err != nil {
		return nil, err
	}

	integer := fd.Kind() == protoreflect.Int32Kind || fd.Kind() == protoreflect.Int64Kind
	return func(v protoreflect.Value) bool {
		got := 0.0
		if integer {
			got = float64(v.Int())
		} else {
			got = v.Float()
		}

		switch {
		case got < want:
			return cmp(-1)
		case got > want:
			return cmp(1)
		default:
			return cmp(0)
		}
	}, nil
}

// decode reads a row's message. Rows are only ever made by encode.
func decode[T any, P interface {
	*T
	proto.Message
}](r *row) *T {
	m := new(T)
	if err := proto.Unmarshal(r.data, P(m)); err != nil {
		panic("emulator: decoding stored " + r.name + ": " + err.Error())
	}
	return m
}
