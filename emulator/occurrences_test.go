package emulator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/attestor-gate/attestor/emulator"
)

func discovery(resource string) *grafeaspb.Occurrence {
	return &grafeaspb.Occurrence{
		ResourceUri: resource, NoteName: "projects/goog-analysis/notes/PACKAGE_VULNERABILITY",
		Details: &grafeaspb.Occurrence_Discovery{Discovery: &grafeaspb.DiscoveryOccurrence{
			AnalysisStatus:     grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS,
			ContinuousAnalysis: grafeaspb.DiscoveryOccurrence_ACTIVE,
			LastScanTime:       timestamppb.New(start.Add(123456789 * time.Nanosecond)),
		}},
	}
}

func vulnerability(resource, cve string) *grafeaspb.Occurrence {
	return &grafeaspb.Occurrence{
		ResourceUri: resource, NoteName: "projects/goog-vulnz/notes/" + cve,
		Details: &grafeaspb.Occurrence_Vulnerability{Vulnerability: &grafeaspb.VulnerabilityOccurrence{
			Severity: grafeaspb.Severity_HIGH, EffectiveSeverity: grafeaspb.Severity_CRITICAL, FixAvailable: true, ShortDescription: cve,
			PackageIssue: []*grafeaspb.VulnerabilityOccurrence_PackageIssue{{
				AffectedCpeUri: "cpe:/o:debian:debian_linux:12", AffectedPackage: "openssl", PackageType: "OS",
				AffectedVersion: &grafeaspb.Version{Name: "3.0.11", Kind: grafeaspb.Version_NORMAL, FullName: "3.0.11"},
				FixedVersion:    &grafeaspb.Version{Name: "3.0.15", Kind: grafeaspb.Version_NORMAL, FullName: "3.0.15"},
				FixAvailable:    true, EffectiveSeverity: grafeaspb.Severity_CRITICAL,
			}},
		}},
	}
}

func TestCreateOccurrenceRefuses(t *testing.T) {
	g := newGoogle(t, emulator.Options{Behaviour: emulator.Behaviour{NoProviderNotes: true}})
	g.createNote(t, note)
	good := func() *grafeaspb.Occurrence { return attestation(note, imageA, []byte("p"), []byte("s")) }

	for _, tt := range []struct {
		name   string
		mutate func(*grafeaspb.Occurrence)
		want   codes.Code
	}{
		{"no resource", func(o *grafeaspb.Occurrence) { o.ResourceUri = "" }, codes.InvalidArgument},
		{"no note", func(o *grafeaspb.Occurrence) { o.NoteName = "" }, codes.InvalidArgument},
		{"malformed note", func(o *grafeaspb.Occurrence) { o.NoteName = "gate" }, codes.InvalidArgument},
		{"unknown note", func(o *grafeaspb.Occurrence) { o.NoteName = "projects/p/notes/other" }, codes.NotFound},
		{"provider's note", func(o *grafeaspb.Occurrence) { o.NoteName = "projects/goog-vulnz/notes/CVE-1" }, codes.NotFound},
		{"no details", func(o *grafeaspb.Occurrence) { o.Details = nil }, codes.InvalidArgument},
		{"details of another kind than the note's", func(o *grafeaspb.Occurrence) { o.Details = discovery(imageA).GetDetails() }, codes.InvalidArgument},
		{"no payload", func(o *grafeaspb.Occurrence) { o.GetAttestation().SerializedPayload = nil }, codes.InvalidArgument},
		{"signature without key", func(o *grafeaspb.Occurrence) { o.GetAttestation().Signatures[0].PublicKeyId = "" }, codes.InvalidArgument},
		{"signature without bytes", func(o *grafeaspb.Occurrence) { o.GetAttestation().Signatures[0].Signature = nil }, codes.InvalidArgument},
		{"vulnerability without package", func(o *grafeaspb.Occurrence) {
			o.Details = &grafeaspb.Occurrence_Vulnerability{Vulnerability: &grafeaspb.VulnerabilityOccurrence{}}
		}, codes.InvalidArgument},
		{"vulnerability without version", func(o *grafeaspb.Occurrence) {
			o.Details = vulnerability(imageA, "x").GetDetails()
			o.GetVulnerability().GetPackageIssue()[0].AffectedVersion = nil
		}, codes.InvalidArgument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := good()
			tt.mutate(o)
			_, err := g.Grafeas.CreateOccurrence(ctxFor(t), &grafeaspb.CreateOccurrenceRequest{Parent: "projects/p", Occurrence: o})
			wantCode(t, err, tt.want)

			// A batch is all or nothing.
			_, err = g.Grafeas.BatchCreateOccurrences(ctxFor(t), &grafeaspb.BatchCreateOccurrencesRequest{
				Parent: "projects/p", Occurrences: []*grafeaspb.Occurrence{good(), o}})
			wantCode(t, err, tt.want)
			if got := g.list(t, "projects/p", ""); len(got) != 0 {
				t.Errorf("%d occurrences were kept", len(got))
			}
		})
	}

	for name, occ := range map[string][]*grafeaspb.Occurrence{"empty": nil, "too large": make([]*grafeaspb.Occurrence, 1001), "nil": {nil}} {
		for i := range occ {
			if name == "too large" {
				occ[i] = good()
			}
		}
		if _, err := g.Grafeas.BatchCreateOccurrences(ctxFor(t), &grafeaspb.BatchCreateOccurrencesRequest{Parent: "projects/p", Occurrences: occ}); err == nil {
			t.Errorf("a batch that is %s is accepted", name)
		}
	}
}

func TestUniqueness(t *testing.T) {
	for _, tt := range []struct {
		u                         emulator.Uniqueness
		samePayload, otherPayload codes.Code
	}{
		{emulator.UniqueNoteAndResource, codes.AlreadyExists, codes.AlreadyExists},
		{emulator.UniqueNoteResourceAndPayload, codes.AlreadyExists, codes.OK},
		{emulator.UniqueNone, codes.OK, codes.OK},
	} {
		t.Run(tt.u.String(), func(t *testing.T) {
			if u, err := emulator.ParseUniqueness(tt.u.String()); u != tt.u || err != nil {
				t.Errorf("parsed %v, %v", u, err)
			}

			g := newGoogle(t, emulator.Options{})
			g.SetBehaviour(emulator.Behaviour{Uniqueness: tt.u})
			g.createNote(t, note)
			create := func(parent, payload string) error {
				_, err := g.Grafeas.CreateOccurrence(ctxFor(t), &grafeaspb.CreateOccurrenceRequest{Parent: parent,
					Occurrence: attestation(note, imageA, []byte(payload), []byte("s"))})
				return err
			}

			if err := create("projects/p", "one"); err != nil {
				t.Fatal(err)
			}

			err := create("projects/other", "one")
			wantCode(t, err, tt.samePayload)
			if tt.samePayload != codes.OK && !strings.Contains(err.Error(), "already exists") {
				t.Errorf("message %q does not name the occurrence", err)
			}

			wantCode(t, create("projects/p", "two"), tt.otherPayload)
		})
	}
}

func TestUpdateOccurrence(t *testing.T) {
	now := start
	g := newGoogle(t, emulator.Options{Now: func() time.Time { return now }})
	o, err := g.Grafeas.CreateOccurrence(ctxFor(t), &grafeaspb.CreateOccurrenceRequest{Parent: "projects/p", Occurrence: discovery(imageA)})
	if err != nil {
		t.Fatal(err)
	}

	now = now.Add(time.Hour)
	update := func(in *grafeaspb.Occurrence, paths ...string) (*grafeaspb.Occurrence, error) {
		return g.Grafeas.UpdateOccurrence(ctxFor(t), &grafeaspb.UpdateOccurrenceRequest{Name: o.GetName(),
			Occurrence: in, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}})
	}

	in := &grafeaspb.Occurrence{
		Name: "ignored", Kind: grafeaspb.NoteKind_BUILD, Remediation: "push again",
		Details: &grafeaspb.Occurrence_Discovery{Discovery: &grafeaspb.DiscoveryOccurrence{AnalysisStatus: grafeaspb.DiscoveryOccurrence_FINISHED_FAILED}},
	}

	got, err := update(in, "discovery.analysis_status", "name", "kind")
	if err != nil {
		t.Fatal(err)
	}

	want := proto.CloneOf(o)
	want.GetDiscovery().AnalysisStatus, want.UpdateTime = grafeaspb.DiscoveryOccurrence_FINISHED_FAILED, timestamppb.New(now)
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("a mask of one field: -want +got\n%s", diff)
	}
	if got, err = update(in); err != nil || got.GetRemediation() != "push again" ||
		got.GetDiscovery().GetLastScanTime() != nil || got.GetName() != o.GetName() {
		t.Errorf("without a mask: %v, %v", got, err)
	}
	if got, err = update(&grafeaspb.Occurrence{}, "remediation"); err != nil || got.GetRemediation() != "" || got.GetDiscovery() == nil {
		t.Errorf("clearing a field: %v, %v", got, err)
	}

	for name, tt := range map[string]struct {
		in   *grafeaspb.Occurrence
		mask string
	}{
		"resource_uri is immutable":   {&grafeaspb.Occurrence{ResourceUri: imageB}, "resource_uri"},
		"note_name is immutable":      {&grafeaspb.Occurrence{NoteName: note}, "note_name"},
		"kind is immutable":           {vulnerability(imageA, "CVE-1"), "vulnerability"},
		"details cannot be cleared":   {&grafeaspb.Occurrence{}, "discovery"},
		"unknown field":               {in, "nope"},
		"field beneath a scalar":      {in, "remediation.x"},
		"all of it, with other names": {&grafeaspb.Occurrence{ResourceUri: imageB}, "*"},
	} {
		if _, err := update(tt.in, tt.mask); code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want INVALID_ARGUMENT", name, err)
		}
	}

	_, err = g.Grafeas.UpdateOccurrence(ctxFor(t), &grafeaspb.UpdateOccurrenceRequest{Name: "projects/p/occurrences/none", Occurrence: in})
	wantCode(t, err, codes.NotFound)
}

func TestNotes(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	ctx := ctxFor(t)
	published := &grafeaspb.Note{Type: &grafeaspb.Note_Vulnerability{Vulnerability: &grafeaspb.VulnerabilityNote{AdvisoryPublishTime: timestamppb.New(start)}}}
	n, err := g.Grafeas.CreateNote(ctx, &grafeaspb.CreateNoteRequest{Parent: "projects/goog-vulnz", NoteId: "CVE-1", Note: published})
	if err != nil || n.GetName() != "projects/goog-vulnz/notes/CVE-1" || n.GetKind() != grafeaspb.NoteKind_VULNERABILITY {
		t.Fatalf("%v, %v", n, err)
	}
	if _, err := g.Grafeas.CreateOccurrence(ctx, &grafeaspb.CreateOccurrenceRequest{Parent: "projects/p",
		Occurrence: vulnerability(imageA, "CVE-1")}); err != nil {
		t.Fatal(err)
	}

	got, err := g.Grafeas.GetNote(ctx, &grafeaspb.GetNoteRequest{Name: n.GetName()})
	if err != nil || !got.GetVulnerability().GetAdvisoryPublishTime().AsTime().Equal(start) {
		t.Errorf("an occurrence replaced its note: %v, %v", got, err)
	}

	_, err = g.Grafeas.CreateNote(ctx, &grafeaspb.CreateNoteRequest{Parent: "projects/goog-vulnz", NoteId: "CVE-1", Note: published})
	wantCode(t, err, codes.AlreadyExists)
	_, err = g.Grafeas.CreateNote(ctx, &grafeaspb.CreateNoteRequest{Parent: "projects/p", NoteId: "x", Note: &grafeaspb.Note{}})
	wantCode(t, err, codes.InvalidArgument)
	_, err = g.Grafeas.CreateNote(ctx, &grafeaspb.CreateNoteRequest{Parent: "projects/p", NoteId: "a/b", Note: published})
	wantCode(t, err, codes.InvalidArgument)

	batch, err := g.Grafeas.BatchCreateNotes(ctx, &grafeaspb.BatchCreateNotesRequest{Parent: "projects/p",
		Notes: map[string]*grafeaspb.Note{"b": published, "a": published}})
	if err != nil || len(batch.GetNotes()) != 2 || batch.GetNotes()[0].GetName() != "projects/p/notes/a" {
		t.Errorf("%v, %v", batch, err)
	}

	updated, err := g.Grafeas.UpdateNote(ctx, &grafeaspb.UpdateNoteRequest{Name: n.GetName(), Note: &grafeaspb.Note{
		ShortDescription: "s"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"short_description"}}})
	if err != nil || updated.GetShortDescription() != "s" || updated.GetVulnerability().GetAdvisoryPublishTime() == nil {
		t.Errorf("%v, %v", updated, err)
	}

	_, err = g.Grafeas.UpdateNote(ctx, &grafeaspb.UpdateNoteRequest{Name: n.GetName(),
		Note: &grafeaspb.Note{Type: &grafeaspb.Note_Build{Build: &grafeaspb.BuildNote{}}}})
	wantCode(t, err, codes.InvalidArgument)
	_, err = g.Grafeas.ListNotes(ctx, &grafeaspb.ListNotesRequest{Parent: "projects/p", Filter: "x"}).Next()
	wantCode(t, err, codes.InvalidArgument)
	if err := g.Grafeas.DeleteNote(ctx, &grafeaspb.DeleteNoteRequest{Name: "projects/p/notes/a"}); err != nil {
		t.Fatal(err)
	}

	left, err := g.Grafeas.ListNotes(ctx, &grafeaspb.ListNotesRequest{Parent: "projects/p"}).Next()
	if err != nil || left.GetName() != "projects/p/notes/b" {
		t.Errorf("%v, %v", left, err)
	}

	_, err = g.Grafeas.GetNote(ctx, &grafeaspb.GetNoteRequest{Name: "projects/p/notes/a"})
	wantCode(t, err, codes.NotFound)
}

func TestRefusals(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.createNote(t, note)
	ctx := ctxFor(t)
	create := func() (*grafeaspb.Occurrence, error) {
		return g.Grafeas.CreateOccurrence(ctx, &grafeaspb.CreateOccurrenceRequest{Parent: "projects/p",
			Occurrence: attestation(note, imageA, []byte("p"), []byte("s"))})
	}

	g.SetBehaviour(emulator.Behaviour{RefuseCreates: true})
	_, err := create()
	wantCode(t, err, codes.PermissionDenied)
	g.SetBehaviour(emulator.Behaviour{RefuseUpdates: true, RefuseDeletes: true})
	o, err := create()
	if err != nil {
		t.Fatal(err)
	}

	_, err = g.Grafeas.UpdateOccurrence(ctx, &grafeaspb.UpdateOccurrenceRequest{Name: o.GetName(), Occurrence: o})
	wantCode(t, err, codes.PermissionDenied)
	wantCode(t, g.Grafeas.DeleteOccurrence(ctx, &grafeaspb.DeleteOccurrenceRequest{Name: o.GetName()}), codes.PermissionDenied)
}
