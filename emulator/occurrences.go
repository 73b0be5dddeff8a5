package emulator

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/attestor-gate/attestor/internal/describe"
)

// maxBatch is how many occurrences or notes one batch may create.
const maxBatch = 1000

func (s *grafeasService) GetOccurrence(
	ctx context.Context,
	r *grafeaspb.GetOccurrenceRequest,
) (*grafeaspb.Occurrence, error) {
	if err := checkName(s.names.occurrence, "name", r.GetName()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "containeranalysis.occurrences.get", r.GetName()); err != nil {
		return nil, err
	}

	s.store.mu.RLock()
	defer s.store.mu.RUnlock()

	row, ok := s.store.get(tableOccurrences, r.GetName())
	if !ok {
		return nil, notFound("occurrence with name %q does not exist", r.GetName())
	}
	o := decode[grafeaspb.Occurrence](row)
	s.carryVEX(o)
	return o, nil
}

func (s *grafeasService) CreateOccurrence(
	ctx context.Context,
	r *grafeaspb.CreateOccurrenceRequest,
) (*grafeaspb.Occurrence, error) {
	out, err := s.createOccurrences(ctx, r.GetParent(), []*grafeaspb.Occurrence{r.GetOccurrence()})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

func (s *grafeasService) BatchCreateOccurrences(
	ctx context.Context,
	r *grafeaspb.BatchCreateOccurrencesRequest,
) (*grafeaspb.BatchCreateOccurrencesResponse, error) {
	if n := len(r.GetOccurrences()); n == 0 || n > maxBatch {
		return nil, invalid("occurrences", fmt.Sprintf("a batch has 1 to %d occurrences, got %d", maxBatch, n))
	}

	b := s.Behaviour()
	if b.RefuseBatches {
		return nil, status.Error(codes.Unimplemented, "unknown method BatchCreateOccurrences")
	}

	// The behaviour may store a part only, as a server does that fails in the middle.
	all := r.GetOccurrences()
	kept := all
	if n := b.PartialBatches; n > 0 && n < len(all) {
		kept = all[:n]
	}

	out, err := s.createOccurrences(ctx, r.GetParent(), kept)
	if err != nil {
		return nil, err
	}

	// grafeas: "errors encountered when batch creating occurrences: %d of %d occurrences failed".
	if failed := len(all) - len(kept); failed > 0 {
		return nil,
			invalid("occurrences", fmt.Sprintf("%d of %s failed", failed, describe.Plural(len(all), "occurrence")))
	}
	return &grafeaspb.BatchCreateOccurrencesResponse{Occurrences: out}, nil
}

// createOccurrences creates all or none of those it is given.
func (s *grafeasService) createOccurrences(ctx context.Context, parent string,
	in []*grafeaspb.Occurrence) ([]*grafeaspb.Occurrence, error) {
	if err := checkName(s.names.parent, "parent", parent); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "containeranalysis.occurrences.create", parent); err != nil {
		return nil, err
	}

	b := s.Behaviour()
	if b.RefuseCreates {
		return nil, denied("containeranalysis.occurrences.create", parent)
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()

	// One time for the whole batch, which is written as one.
	now := timestamppb.New(s.now())
	var changes []change
	out := make([]*grafeaspb.Occurrence, len(in))
	batch := map[string]bool{} // what this batch creates: attestations by what makes them unique, notes
	for i, o := range in {
		if err := s.checkOccurrence(o); err != nil {
			return nil, err
		}
		note, err := s.attach(ctx, o, b)
		if err != nil {
			return nil, err
		}

		// A provider's note is made with the first occurrence that needs it.
		if note != nil && !batch["note\n"+note.name] {
			batch["note\n"+note.name] = true
			changes = append(changes, *note)
		}

		if err := s.checkUnique(parent, o, b.Uniqueness, batch); err != nil {
			return nil, err
		}

		// The request stays the caller's; names and times are the service's own.
		o = withoutValue(proto.CloneOf(o))
		o.Name, o.Kind = parent+"/occurrences/"+uuid.NewString(), kindOf(o)
		o.CreateTime, o.UpdateTime = now, now
		out[i] = o
		changes = append(changes, occurrenceChange(o))
	}

	if err := s.store.apply(changes...); err != nil {
		return nil, err
	}
	return out, nil
}

// attach checks that the note of an occurrence is there and may be attached
// to, and answers how to create it where it is a provider's.
func (s *grafeasService) attach(ctx context.Context, o *grafeaspb.Occurrence, b Behaviour) (*change, error) {
	name := o.GetNoteName()
	if err := s.requireLocked(ctx, "containeranalysis.notes.attachOccurrence", name); err != nil {
		return nil, err
	}
	row, ok := s.store.get(tableNotes, name)
	if !ok {
		if b.NoProviderNotes || !providerProject(projectOf(name)) {
			return nil, notFound("note with name %q does not exist", name)
		}
		return &change{table: tableNotes, name: name, data: encode(s.noteFor(o))}, nil
	}

	// Grafeas: an occurrence has the kind of its note.
	if want := decode[grafeaspb.Note](row).GetKind(); want != kindOf(o) {
		return nil, invalid(
			"occurrence.note_name",
			fmt.Sprintf("occurrence of kind %v cannot be attached to note %q of kind %v", kindOf(o), name, want),
		)
	}
	return nil, nil
}

// providerProject is whether Google keeps its own notes there.
func providerProject(p string) bool {
	return strings.HasPrefix(p, "goog-") || p == "verified-builder"
}

func (s *grafeasService) checkUnique(
	parent string,
	o *grafeaspb.Occurrence,
	u Uniqueness,
	batch map[string]bool,
) error {
	if kindOf(o) != grafeaspb.NoteKind_ATTESTATION || u == UniqueNone {
		return nil
	}

	// What makes a duplicate is a setting, since the live service's rule is not documented.
	key := o.GetNoteName() + "\n" + o.GetResourceUri()
	if u == UniqueNoteResourceAndPayload {
		key += "\n" + string(o.GetAttestation().GetSerializedPayload())
	}

	if batch[key] {
		return invalid("occurrences", "the batch holds the same attestation twice")
	}

	// The batch is not stored yet, so that it must be compared with itself first.
	batch[key] = true
	for _, r := range s.store.list(tableOccurrences, "resource="+o.GetResourceUri()).after(0) {
		if r.dead || r.occ.note != o.GetNoteName() {
			continue
		}
		if u == UniqueNoteResourceAndPayload &&
			!bytes.Equal(
				decode[grafeaspb.Occurrence](r).GetAttestation().GetSerializedPayload(),
				o.GetAttestation().GetSerializedPayload(),
			) {
			continue
		}

		return alreadyExists(
			r.name,
			fmt.Sprintf("occurrence ID %q already exists in project %q", lastSegment(r.name), projectOf(parent)),
		)
	}
	return nil
}

func (s *grafeasService) UpdateOccurrence(
	ctx context.Context,
	r *grafeaspb.UpdateOccurrenceRequest,
) (*grafeaspb.Occurrence, error) {
	if err := checkName(s.names.occurrence, "name", r.GetName()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "containeranalysis.occurrences.update", r.GetName()); err != nil {
		return nil, err
	}

	b := s.Behaviour()
	if b.RefuseUpdates {
		return nil, denied("containeranalysis.occurrences.update", r.GetName())
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()

	row, ok := s.store.get(tableOccurrences, r.GetName())
	if !ok {
		return nil, notFound("occurrence with name %q does not exist", r.GetName())
	}
	old := decode[grafeaspb.Occurrence](row)
	o, err := updated(old, r.GetOccurrence(), r.GetUpdateMask(), "name", "kind", "create_time", "update_time")
	if err != nil {
		return nil, err
	}

	// Grafeas binds an occurrence to its note and resource for its lifetime.
	for field, change := range map[string]bool{
		"occurrence.resource_uri": o.GetResourceUri() != old.GetResourceUri(),
		"occurrence.note_name":    o.GetNoteName() != old.GetNoteName(),
		"occurrence.details":      kindOf(o) != old.GetKind(),
	} {
		if change {
			return nil, invalid(field, field+" is immutable")
		}
	}

	if err := s.checkOccurrence(o); err != nil {
		return nil, err
	}
	if _, err := s.attach(ctx, o, b); err != nil {
		return nil, err
	}
	o = withoutValue(o)
	o.UpdateTime = timestamppb.New(s.now())
	return o, s.store.apply(occurrenceChange(o))
}

func (s *grafeasService) DeleteOccurrence(
	ctx context.Context,
	r *grafeaspb.DeleteOccurrenceRequest,
) (*emptypb.Empty, error) {
	if err := checkName(s.names.occurrence, "name", r.GetName()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "containeranalysis.occurrences.delete", r.GetName()); err != nil {
		return nil, err
	}

	b := s.Behaviour()
	if b.RefuseDeletes {
		return nil, denied("containeranalysis.occurrences.delete", r.GetName())
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()

	row, ok := s.store.get(tableOccurrences, r.GetName())
	if !ok {
		return nil, notFound("occurrence with name %q does not exist", r.GetName())
	}

	// Deleting takes the right on the note too, as attaching does.
	if err := s.requireLocked(ctx, "containeranalysis.notes.attachOccurrence", row.occ.note); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, s.store.apply(change{table: tableOccurrences, name: row.name})
}

func (s *grafeasService) GetOccurrenceNote(
	ctx context.Context,
	r *grafeaspb.GetOccurrenceNoteRequest,
) (*grafeaspb.Note, error) {
	if err := checkName(s.names.occurrence, "name", r.GetName()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "containeranalysis.occurrences.get", r.GetName()); err != nil {
		return nil, err
	}

	s.store.mu.RLock()
	defer s.store.mu.RUnlock()

	row, ok := s.store.get(tableOccurrences, r.GetName())
	if !ok {
		return nil, notFound("occurrence with name %q does not exist", r.GetName())
	}
	note, ok := s.store.get(tableNotes, row.occ.note)
	if !ok {
		return nil, notFound("note with name %q does not exist", row.occ.note)
	}
	return decode[grafeaspb.Note](note), nil
}

// occurrenceChange writes a finished occurrence.
func occurrenceChange(o *grafeaspb.Occurrence) change {
	return change{table: tableOccurrences, name: o.GetName(), data: encode(o), occ: metaOf(o)}
}

func metaOf(o *grafeaspb.Occurrence) *occMeta {
	return &occMeta{
		kind: o.GetKind(), note: o.GetNoteName(), resource: o.GetResourceUri(),
		created: asTime(o.GetCreateTime()), updated: asTime(o.GetUpdateTime()),
	}
}

func asTime(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// kindOf is the kind that the details of an occurrence decide.
func kindOf(o *grafeaspb.Occurrence) grafeaspb.NoteKind { return detailKind(o, "details") }

// detailKind is the kind named like the field that is set in a oneof.
func detailKind(m proto.Message, oneof protoreflect.Name) grafeaspb.NoteKind {
	r := m.ProtoReflect()

	// Grafeas names each kind like the field of its details, in capitals.
	fd := r.WhichOneof(r.Descriptor().Oneofs().ByName(oneof))
	if fd == nil {
		f, _ := foreignOf(m)
		return foreignNumber(f.Kind) // 0 for none
	}
	return grafeaspb.NoteKind(grafeaspb.NoteKind_value[strings.ToUpper(string(fd.Name()))])
}

// checkOccurrence is what the open-source server validates.
func (s *grafeasService) checkOccurrence(o *grafeaspb.Occurrence) error {
	switch {
	case o == nil:
		return invalid("occurrence", "occurrence is required")
	case o.GetResourceUri() == "":
		return invalid("occurrence.resource_uri", "resource_uri is required")
	case o.GetNoteName() == "":
		return invalid("occurrence.note_name", "note_name is required")
	case kindOf(o) == grafeaspb.NoteKind_NOTE_KIND_UNSPECIFIED:
		return invalid("occurrence.details", "occurrence details are required")
	}

	if err := checkName(s.names.note, "occurrence.note_name", o.GetNoteName()); err != nil {
		return err
	}
	switch {
	case o.GetAttestation() != nil:
		return checkAttestation(o.GetAttestation())
	case o.GetVulnerability() != nil:
		return checkVulnerability(o.GetVulnerability())
	}
	return nil
}

func checkAttestation(a *grafeaspb.AttestationOccurrence) error {
	if len(a.GetSerializedPayload()) == 0 && len(a.GetJwts()) == 0 {
		return invalid("occurrence.attestation", "serialized_payload or jwts is required") //nolint:misspell // a field
	}

	// Grafeas: a signature names its key; whether it verifies is not asked here.
	for i, sig := range a.GetSignatures() {
		if sig.GetPublicKeyId() == "" || len(sig.GetSignature()) == 0 {
			return invalid(
				fmt.Sprintf("occurrence.attestation.signatures[%d]", i),
				"public_key_id and signature are required",
			)
		}
	}
	return nil
}

func checkVulnerability(v *grafeaspb.VulnerabilityOccurrence) error {
	if len(v.GetPackageIssue()) == 0 {
		return invalid("occurrence.vulnerability.package_issue", "at least one package_issue is required")
	}

	// The fields that grafeas marks as required.
	for i, p := range v.GetPackageIssue() {
		if p.GetAffectedCpeUri() == "" || p.GetAffectedPackage() == "" || p.GetAffectedVersion() == nil {
			return invalid(fmt.Sprintf("occurrence.vulnerability.package_issue[%d]", i),
				"affected_cpe_uri, affected_package and affected_version are required")
		}
	}
	return nil
}

func errInternal(format string, args ...any) error {
	return status.Errorf(codes.Internal, format, args...)
}
