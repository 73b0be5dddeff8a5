package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	// Build provenance holds messages of Cloud Build in google.protobuf.Any,
	// which can be read and printed only where their types are linked.
	_ "cloud.google.com/go/cloudbuild/apiv1/v2/cloudbuildpb"
	"github.com/google/uuid"
	"go.yaml.in/yaml/v4"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// maxLoad bounds one file.
	maxLoad = 512 << 20
	// maxLoadDepth is how deep occurrences may lie in a document.
	maxLoadDepth = 16
)

// Load takes occurrences and notes from JSON or YAML in any shape that gcloud
// and the API print them in: one, an array, a list response, a stream of
// them, or `images describe` with its summaries. Everything that is an
// occurrence or a note, wherever it lies, is taken with its name and times,
// in place of what had that name; notes that occurrences presuppose are
// created. It takes all or nothing, and n is how many occurrences and notes
// that were.
func (e *Emulator) Load(r io.Reader) (n int, err error) {
	b, err := io.ReadAll(io.LimitReader(r, maxLoad+1))
	if err != nil {
		return 0, fmt.Errorf("reading occurrences: %w", err)
	}
	if len(b) > maxLoad {
		return 0, fmt.Errorf("reading occurrences: more than %d bytes; split the file", maxLoad)
	}

	// All of the file is read and checked before anything of it is stored.
	docs, err := documents(b)
	if err != nil {
		return 0, fmt.Errorf("reading occurrences: %w", err)
	}

	l := &loader{
		Emulator:    e,
		at:          timestamppb.New(e.now()),
		occurrences: map[string]*grafeaspb.Occurrence{},
		notes:       map[string]*grafeaspb.Note{},
	}

	for i, d := range docs {
		if err := l.find(d, 0); err != nil {
			return 0, fmt.Errorf("loading document %d: %w", i+1, err)
		}
	}

	// A file with nothing in it is more likely the wrong file than an empty answer.
	if len(l.order) == 0 {
		return 0, errors.New(
			"loading occurrences: the file has neither occurrences nor notes; want what " +
				"`gcloud … --format=json` or the API print",
		)
	}

	if err := l.keep(); err != nil {
		return 0, err
	}
	return len(l.order), nil
}

// documents splits a stream of JSON or YAML documents.
func documents(b []byte) ([]json.RawMessage, error) {
	b = bytes.TrimSpace(b)
	var out []json.RawMessage
	if len(b) == 0 || b[0] == '{' || b[0] == '[' {
		d := json.NewDecoder(bytes.NewReader(b))
		for {
			var m json.RawMessage
			switch err := d.Decode(&m); {
			case errors.Is(err, io.EOF):
				return out, nil
			case err != nil:
				return nil, err
			}
			out = append(out, m)
		}
	}

	// gcloud prints YAML by default, and JSON on request.
	d := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var n yaml.Node
		switch err := d.Decode(&n); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		}

		v, err := plain(&n, 0)
		if err != nil {
			return nil, err
		}
		m, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
}

// plain is a YAML node as JSON has it. Scalars that YAML takes for times and
// the like stay the text they were printed as.
func plain(n *yaml.Node, depth int) (any, error) {
	// Nesting is bounded, since the walk is recursive; so are aliases, which are
	// refused.
	if depth > 100 {
		return nil, errors.New("YAML nested too deep")
	}

	switch n.Kind {
	case yaml.DocumentNode:
		return plain(n.Content[0], depth+1)
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, c := range n.Content {
			v, err := plain(c, depth+1)
			if err != nil {
				return nil, err
			}
			out[i] = v
		}
		return out, nil
	case yaml.MappingNode:
		out := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := plain(n.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			out[n.Content[i].Value] = v
		}
		return out, nil
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!null":
			return nil, nil
		// Of scalars, only these have another form in JSON.
		case "!!bool", "!!int", "!!float":
			var v any
			err := n.Decode(&v)
			return v, err
		default:
			return n.Value, nil
		}
	default:
		return nil, fmt.Errorf("line %d: aliases are not supported", n.Line)
	}
}

// loader gathers what a file holds before anything of it is stored.
type loader struct {
	*Emulator
	at          *timestamppb.Timestamp // for what has no time of its own
	occurrences map[string]*grafeaspb.Occurrence
	notes       map[string]*grafeaspb.Note
	order       []string // names, as met
}

// find looks for occurrences and notes in a JSON value.
func (l *loader) find(raw json.RawMessage, depth int) error {
	if depth > maxLoadDepth {
		return fmt.Errorf("the file is nested %d deep; at most %d are read", depth, maxLoadDepth)
	}

	switch b := bytes.TrimSpace(raw); b[0] {
	case '[':
		var items []json.RawMessage
		if err := json.Unmarshal(b, &items); err != nil {
			return err
		}
		for _, it := range items {
			if err := l.find(it, depth+1); err != nil {
				return err
			}
		}
	case '{':
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(b, &fields); err != nil {
			return err
		}
		return l.object(b, fields, depth)
	}

	return nil
}

func (l *loader) object(raw json.RawMessage, fields map[string]json.RawMessage, depth int) error {
	// The name decides what an object is: everything that these tools print has one.
	var name string
	if err := json.Unmarshal(fields["name"], &name); err != nil {
		name = "" // absent, or no resource name
	}

	_, hasNote := fields["noteName"]
	_, hasNoteSnake := fields["note_name"]
	switch {
	case hasNote || hasNoteSnake:
		return l.occurrence(raw)
	case strings.Contains(name, "/notes/"):
		return l.note(raw)
	}

	// In the order of names, so that what a file holds is found in the same order each time.
	keys := make([]string, 0, len(fields))
	for k := range fields {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := l.find(fields[k], depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) occurrence(raw json.RawMessage) error {
	o := &grafeaspb.Occurrence{}
	if err := readKinded(raw, o, protojson.UnmarshalOptions{}); err != nil {
		return fmt.Errorf("an occurrence: %w", err)
	}
	withoutValue(o)
	if err := (&grafeasService{Emulator: l.Emulator}).checkLoaded(o); err != nil {
		return fmt.Errorf("occurrence %q: %w", o.GetName(), err)
	}

	// An occurrence without a name gets one in the project of its note, unless that is one of Google's.
	if o.GetName() == "" {
		p := projectOf(o.GetNoteName())
		if providerProject(p) {
			return fmt.Errorf(
				"an occurrence of %s has no name: add \"name\": \"projects/PROJECT/occurrences/ID\"",
				o.GetNoteName(),
			)
		}
		o.Name = "projects/" + p + "/occurrences/" + uuid.NewString()
	}

	if err := checkName(l.names.occurrence, "name", o.GetName()); err != nil {
		return err
	}
	o.CreateTime, o.UpdateTime = l.times(o.GetCreateTime(), o.GetUpdateTime())

	// The same occurrence may be in two lists of one file.
	old, ok := l.occurrences[o.GetName()]
	if ok && !proto.Equal(old, o) {
		return fmt.Errorf("duplicate occurrence %s with other content", o.GetName())
	}

	if !ok {
		l.occurrences[o.GetName()] = o
		l.order = append(l.order, o.GetName())
	}
	return nil
}

// checkLoaded is what an occurrence must have to be stored. That is less than
// what creating one takes: printed ones have passed the service's checks.
func (s *grafeasService) checkLoaded(o *grafeaspb.Occurrence) error {
	kind := kindOf(o)
	switch {
	case o.GetResourceUri() == "":
		return errors.New("no resourceUri")
	case kind == grafeaspb.NoteKind_NOTE_KIND_UNSPECIFIED:
		return errors.New("no details: vulnerability, discovery, build, attestation or another")
	case o.GetKind() != grafeaspb.NoteKind_NOTE_KIND_UNSPECIFIED && o.GetKind() != kind:
		return fmt.Errorf("kind %v, but details of a %v", o.GetKind(), kind)
	}
	o.Kind = kind
	return checkName(s.names.note, "note_name", o.GetNoteName())
}

func (l *loader) note(raw json.RawMessage) error {
	n := &grafeaspb.Note{}
	if err := readKinded(raw, n, protojson.UnmarshalOptions{}); err != nil {
		return fmt.Errorf("a note: %w", err)
	}
	if err := checkName(l.names.note, "name", n.GetName()); err != nil {
		return err
	}

	if err := checkNote(n); err != nil {
		return fmt.Errorf("note %s: %w", n.GetName(), err)
	}
	n.Kind = detailKind(n, "type")
	n.CreateTime, n.UpdateTime = l.times(n.GetCreateTime(), n.GetUpdateTime())
	if old, ok := l.notes[n.GetName()]; ok && !proto.Equal(old, n) {
		return fmt.Errorf("duplicate note %s with other content", n.GetName())
	} else if !ok {
		l.notes[n.GetName()] = n
		l.order = append(l.order, n.GetName())
	}
	return nil
}

func (l *loader) times(created, updated *timestamppb.Timestamp) (c, u *timestamppb.Timestamp) {
	if created == nil {
		created = l.at
	}
	if updated == nil {
		updated = created
	}
	return created, updated
}

// keep writes what was found, and the notes it presupposes, in one go.
func (l *loader) keep() error {
	st := l.store
	st.mu.Lock()
	defer st.mu.Unlock()

	// Notes come first: an occurrence names its note.
	var notes, rest []change
	for _, name := range l.order {
		if n, ok := l.notes[name]; ok {
			notes = append(notes, change{table: tableNotes, name: name, data: encode(n)})
		}
	}

	for _, name := range l.order {
		o, ok := l.occurrences[name]
		if !ok {
			continue
		}
		rest = append(rest, occurrenceChange(o))
		if _, ok := l.notes[o.GetNoteName()]; ok {
			continue
		}

		if _, ok := st.get(tableNotes, o.GetNoteName()); !ok {
			n := noteOf(o, o.GetCreateTime())
			l.notes[n.GetName()] = n
			notes = append(notes, change{table: tableNotes, name: n.GetName(), data: encode(n)})
		}
	}
	return st.apply(append(notes, rest...)...)
}
