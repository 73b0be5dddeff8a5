package emulator

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func (s *grafeasService) GetNote(ctx context.Context, r *grafeaspb.GetNoteRequest) (*grafeaspb.Note, error) {
	if err := checkName(s.names.note, "name", r.GetName()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "containeranalysis.notes.get", r.GetName()); err != nil {
		return nil, err
	}

	s.store.mu.RLock()
	defer s.store.mu.RUnlock()

	row, ok := s.store.get(tableNotes, r.GetName())
	if !ok {
		return nil, notFound("note with name %q does not exist", r.GetName())
	}
	return decode[grafeaspb.Note](row), nil
}

// ListNotes filters by any field of a note. Which fields the live service takes is not documented; `gcloud artifacts
// vulnerabilities load-vex` sends vulnerability_assessment.product.generic_uri="…".
func (s *grafeasService) ListNotes(
	ctx context.Context,
	r *grafeaspb.ListNotesRequest,
) (*grafeaspb.ListNotesResponse, error) {
	if err := checkName(s.names.parent, "parent", r.GetParent()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "containeranalysis.notes.list", r.GetParent()); err != nil {
		return nil, err
	}

	n, err := dialect{compile: compileFor((*grafeaspb.Note)(nil).ProtoReflect().Descriptor())}.parse(r.GetFilter())
	if err != nil {
		return nil, err
	}
	unreachable, err := s.unreachable(r.GetParent(), r.GetReturnPartialSuccess())
	if err != nil {
		return nil, err
	}

	// Notes of one project, in the order of their creation.
	out, next, err := objectPage[grafeaspb.Note](s.store, tableNotes, objectQuery{
		parent: r.GetParent(), size: r.GetPageSize(), token: r.GetPageToken(), filter: r.GetFilter(), meaning: n,
	})
	if err != nil {
		return nil, err
	}
	return &grafeaspb.ListNotesResponse{Notes: out, NextPageToken: next, Unreachable: unreachable}, nil
}

func (s *grafeasService) CreateNote(ctx context.Context, r *grafeaspb.CreateNoteRequest) (*grafeaspb.Note, error) {
	out, err := s.createNotes(ctx, r.GetParent(), map[string]*grafeaspb.Note{r.GetNoteId(): r.GetNote()})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

func (s *grafeasService) BatchCreateNotes(
	ctx context.Context,
	r *grafeaspb.BatchCreateNotesRequest,
) (*grafeaspb.BatchCreateNotesResponse, error) {
	if n := len(r.GetNotes()); n == 0 || n > maxBatch {
		return nil, invalid("notes", fmt.Sprintf("a batch has 1 to %d notes, got %d", maxBatch, n))
	}
	out, err := s.createNotes(ctx, r.GetParent(), r.GetNotes())
	if err != nil {
		return nil, err
	}
	return &grafeaspb.BatchCreateNotesResponse{Notes: out}, nil
}

// createNotes creates all or none, in order of their ids.
func (s *grafeasService) createNotes(ctx context.Context, parent string,
	in map[string]*grafeaspb.Note) ([]*grafeaspb.Note, error) {
	if err := checkName(s.names.parent, "parent", parent); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "containeranalysis.notes.create", parent); err != nil {
		return nil, err
	}

	s.store.mu.Lock()
	defer s.store.mu.Unlock()

	now := timestamppb.New(s.now())
	var out []*grafeaspb.Note
	var changes []change

	// Sorted, since a map's order would make two runs differ.
	for _, id := range slices.Sorted(maps.Keys(in)) {
		name := parent + "/notes/" + id
		if err := checkName(s.names.note, "note_id", name); err != nil {
			return nil, err
		}
		n := proto.CloneOf(in[id])
		if err := checkNote(n); err != nil {
			return nil, err
		}

		if _, ok := s.store.get(tableNotes, name); ok {
			return nil, alreadyExists(name, fmt.Sprintf("note with name %q already exists", name))
		}
		n.Name, n.Kind, n.CreateTime, n.UpdateTime = name, detailKind(n, "type"), now, now
		out, changes = append(out, n), append(changes, change{table: tableNotes, name: name, data: encode(n)})
	}

	if err := s.store.apply(changes...); err != nil {
		return nil, err
	}
	return out, nil
}

func (s *grafeasService) UpdateNote(ctx context.Context, r *grafeaspb.UpdateNoteRequest) (*grafeaspb.Note, error) {
	if err := checkName(s.names.note, "name", r.GetName()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "containeranalysis.notes.update", r.GetName()); err != nil {
		return nil, err
	}

	s.store.mu.Lock()
	defer s.store.mu.Unlock()

	row, ok := s.store.get(tableNotes, r.GetName())
	if !ok {
		return nil, notFound("note with name %q does not exist", r.GetName())
	}

	// The kind and the times are the service's own, whatever the mask names.
	old := decode[grafeaspb.Note](row)
	n, err := updated(old, r.GetNote(), r.GetUpdateMask(), "name", "kind", "create_time", "update_time")
	if err != nil {
		return nil, err
	}

	if detailKind(n, "type") != old.GetKind() {
		return nil, invalid("note.type", "the kind of a note is immutable")
	}
	if err := checkNote(n); err != nil {
		return nil, err
	}
	n.UpdateTime = timestamppb.New(s.now())
	return n, s.store.apply(change{table: tableNotes, name: n.GetName(), data: encode(n)})
}

func (s *grafeasService) DeleteNote(ctx context.Context, r *grafeaspb.DeleteNoteRequest) (*emptypb.Empty, error) {
	if err := checkName(s.names.note, "name", r.GetName()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "containeranalysis.notes.delete", r.GetName()); err != nil {
		return nil, err
	}

	s.store.mu.Lock()
	defer s.store.mu.Unlock()

	if _, ok := s.store.get(tableNotes, r.GetName()); !ok {
		return nil, notFound("note with name %q does not exist", r.GetName())
	}
	return &emptypb.Empty{}, s.store.apply(change{table: tableNotes, name: r.GetName()})
}

// checkNote is what the open-source server validates of notes the gate uses.
func checkNote(n *grafeaspb.Note) error {
	if n == nil || detailKind(n, "type") == grafeaspb.NoteKind_NOTE_KIND_UNSPECIFIED {
		return invalid("note.type", "a note of some type is required")
	}
	if h := n.GetAttestation().GetHint(); h != nil && h.GetHumanReadableName() == "" {
		return invalid("note.attestation.hint.human_readable_name", "human_readable_name is required")
	}
	return nil
}

// noteFor is the note of Google's own that an occurrence presupposes.
func (s *grafeasService) noteFor(o *grafeaspb.Occurrence) *grafeaspb.Note {
	return noteOf(o, timestamppb.New(s.now()))
}

// noteOf is an empty note of the occurrence's kind.
func noteOf(o *grafeaspb.Occurrence, now *timestamppb.Timestamp) *grafeaspb.Note {
	n := newNote(o.GetNoteName(), kindOf(o), now)
	if f, ok := foreignOf(o); ok {
		f.Details = json.RawMessage("{}")
		if err := setForeign(n, f); err != nil {
			panic("emulator: a note of kind " + f.Kind + ": " + err.Error()) // it was read from JSON
		}
	}
	return n
}

// newNote is a note of a kind with nothing in it.
func newNote(name string, kind grafeaspb.NoteKind, now *timestamppb.Timestamp) *grafeaspb.Note {
	n := &grafeaspb.Note{Name: name, Kind: kind, ShortDescription: lastSegment(name), CreateTime: now, UpdateTime: now}
	r := n.ProtoReflect()

	// The field whose name is that of the kind is set, empty.
	fields := r.Descriptor().Oneofs().ByName("type").Fields()
	for i := range fields.Len() {
		if fd := fields.Get(i); detailName(kind) == string(fd.Name()) {
			r.Set(fd, r.NewField(fd))
		}
	}
	return n
}
