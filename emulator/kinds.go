package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"strings"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The REST description of the API has kinds that the Go types do not have yet. Over gRPC such an occurrence has a kind
// by number and details in a field that is not known. The emulator stores them so: the details are JSON in a field of
// the emulator's own.
const (
	foreignField = 536_870_911 // the highest number that a field can have
	firstForeign = 1 << 20     // the kinds that nobody has numbered yet are numbered from here
)

// kindForm is the form of a kind's name.
var kindForm = regexp.MustCompile(`\A[A-Z][A-Z0-9]*(_[A-Z0-9]+)*\z`)

// foreignNumber is the number of a kind that the Go types do not have; 0 for any other name.
func foreignNumber(name string) grafeaspb.NoteKind {
	if _, known := grafeaspb.NoteKind_value[name]; known || len(name) > 64 || !kindForm.MatchString(name) {
		return 0
	}
	if name == "AI_SKILL_ANALYSIS" {
		return 14
	}
	return grafeaspb.NoteKind(firstForeign + crc32.ChecksumIEEE([]byte(name))%firstForeign)
}

// camel is the JSON name of the details of a kind: AI_SKILL_ANALYSIS has aiSkillAnalysis.
func camel(kind string) string {
	words := strings.Split(strings.ToLower(kind), "_")
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "")
}

// kinded is an occurrence or a note.
type kinded interface {
	proto.Message
	GetKind() grafeaspb.NoteKind
}

// A foreign is what of a kinded message the Go types do not have.
type foreign struct {
	Kind    string          `json:"kind"`
	Details json.RawMessage `json:"details"`
}

// readKinded decodes JSON as [protojson] does, and a kind that the Go types do not have as well.
func readKinded(b []byte, m kinded, options protojson.UnmarshalOptions) error {
	var fields map[string]json.RawMessage
	var f foreign
	if json.Unmarshal(b, &fields) != nil || json.Unmarshal(fields["kind"], &f.Kind) != nil ||
		foreignNumber(f.Kind) == 0 {
		return options.Unmarshal(b, m)
	}

	// The details are an object under the kind's own name, and there are no others.
	name := camel(f.Kind)
	if f.Details = fields[name]; len(f.Details) == 0 || f.Details[0] != '{' {
		return fmt.Errorf("kind %s has its details in %s, which is missing or not an object", f.Kind, name)
	}
	delete(fields, "kind")
	delete(fields, name)
	rest, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	if err := options.Unmarshal(rest, m); err != nil {
		return err
	}

	// Details of a known kind beside those of a foreign one would leave open which of them holds.
	if r := m.ProtoReflect(); r.WhichOneof(r.Descriptor().Oneofs().Get(0)) != nil {
		return errors.New("kind " + f.Kind + ", and details of another kind")
	}
	return setForeign(m, f)
}

func setForeign(m kinded, f foreign) error {
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	r := m.ProtoReflect()
	r.Set(r.Descriptor().Fields().ByName("kind"), protoreflect.ValueOfEnum(foreignNumber(f.Kind).Number()))
	r.SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, foreignField, protowire.BytesType), text))
	return nil
}

// foreignOf is the part of m that the Go types do not have.
func foreignOf(m proto.Message) (f foreign, ok bool) {
	for b := m.ProtoReflect().GetUnknown(); len(b) > 0; {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return foreign{}, false
		}
		b = b[n:]
		if field == foreignField && kind == protowire.BytesType {
			text, n := protowire.ConsumeBytes(b)
			return f, n >= 0 && json.Unmarshal(text, &f) == nil
		}
		if n = protowire.ConsumeFieldValue(field, kind, b); n < 0 {
			return foreign{}, false
		}
		b = b[n:]
	}
	return foreign{}, false
}

// writeForeign puts the foreign parts of a message, or of those in its one list, into its JSON.
func writeForeign(b []byte, m proto.Message) ([]byte, error) {
	switch m := m.(type) {
	case *grafeaspb.Occurrence:
		return patchForeign(b, m)
	case *grafeaspb.Note:
		return patchForeign(b, m)
	case *grafeaspb.ListOccurrencesResponse:
		return patchList(b, "occurrences", m.GetOccurrences())
	case *grafeaspb.ListNoteOccurrencesResponse:
		return patchList(b, "occurrences", m.GetOccurrences())
	case *grafeaspb.BatchCreateOccurrencesResponse:
		return patchList(b, "occurrences", m.GetOccurrences())
	case *grafeaspb.ListNotesResponse:
		return patchList(b, "notes", m.GetNotes())
	}
	return b, nil
}

func patchForeign(b []byte, m proto.Message) ([]byte, error) {
	f, ok := foreignOf(m)
	if !ok {
		return b, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return nil, err
	}
	fields["kind"], fields[camel(f.Kind)] = json.RawMessage(`"`+f.Kind+`"`), f.Details
	return json.Marshal(fields)
}

func patchList[M proto.Message](b []byte, field string, list []M) ([]byte, error) {
	// A list without such kinds stays as it is written.
	found := false
	for _, m := range list {
		if _, ok := foreignOf(m); ok {
			found = true
		}
	}
	if !found {
		return b, nil
	}

	var fields map[string]json.RawMessage
	var items []json.RawMessage
	if err := errors.Join(json.Unmarshal(b, &fields), json.Unmarshal(fields[field], &items)); err != nil {
		return nil, err
	}
	for i := range items {
		item, err := patchForeign(items[i], list[i])
		if err != nil {
			return nil, err
		}
		items[i] = item
	}
	text, err := json.Marshal(items)
	if err != nil {
		return nil, err
	}
	fields[field] = text
	return json.Marshal(fields)
}

// readBatch decodes a batch, whose occurrences may be of any kind.
func readBatch(b []byte, m *grafeaspb.BatchCreateOccurrencesRequest, options protojson.UnmarshalOptions) error {
	var fields map[string]json.RawMessage
	var items []json.RawMessage
	if json.Unmarshal(b, &fields) != nil || json.Unmarshal(fields["occurrences"], &items) != nil {
		return options.Unmarshal(b, m)
	}

	delete(fields, "occurrences")
	rest, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	if err := options.Unmarshal(rest, m); err != nil {
		return err
	}
	for _, item := range items {
		o := &grafeaspb.Occurrence{}
		if err := readKinded(item, o, options); err != nil {
			return err
		}
		m.Occurrences = append(m.Occurrences, o)
	}
	return nil
}

// withoutValue drops what may be a secret itself. The REST API has no such field, and the emulator keeps its state on
// disk.
func withoutValue(o *grafeaspb.Occurrence) *grafeaspb.Occurrence {
	if s := o.GetSecret(); s != nil {
		s.Data = nil
	}
	return o
}
