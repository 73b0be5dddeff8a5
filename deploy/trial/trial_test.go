package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/google/go-cmp/cmp"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

const project = "throw-away-7"

// serve puts an emulator on a port.
func serve(t *testing.T, b emulator.Behaviour) (*emulator.Emulator, string) {
	t.Helper()
	e := standin.StartServices(t, emulator.Options{Behaviour: b}).Emulator
	return e, standin.Serve(t, e)
}

// try runs a trial; the report is what it printed.
func try(ctx context.Context, t *testing.T, address string, args ...string) (report, string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(ctx, append([]string{"-project", project, "-emulator", address, "-gcloud", ""}, args...), &out, io.Discard)
	var r report
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			t.Fatalf("%v in %s", err, out.String())
		}
	}
	return r, out.String(), err
}

// wantNothing: no note, attestor or occurrence of a trial is there, and no key that signs.
func wantNothing(t *testing.T, e *emulator.Emulator) {
	t.Helper()
	ctx := t.Context()
	notes, err := grafeaspb.NewGrafeasClient(e.Conn()).ListNotes(ctx, &grafeaspb.ListNotesRequest{Parent: "projects/" + project})
	if err != nil || len(notes.GetNotes()) > 0 {
		t.Errorf("notes are left: %v, %v", notes.GetNotes(), err)
	}
	occurrences, err := grafeaspb.NewGrafeasClient(e.Conn()).ListOccurrences(ctx, &grafeaspb.ListOccurrencesRequest{Parent: "projects/" + project})
	if err != nil || len(occurrences.GetOccurrences()) > 0 {
		t.Errorf("occurrences are left: %v, %v", occurrences.GetOccurrences(), err)
	}
	attestors, err := binaryauthorizationpb.NewBinauthzManagementServiceV1Client(e.Conn()).ListAttestors(ctx,
		&binaryauthorizationpb.ListAttestorsRequest{Parent: "projects/" + project})
	if err != nil || len(attestors.GetAttestors()) > 0 {
		t.Errorf("attestors are left: %v, %v", attestors.GetAttestors(), err)
	}

	keys := kmspb.NewKeyManagementServiceClient(e.Conn())
	rings, err := keys.ListKeyRings(ctx, &kmspb.ListKeyRingsRequest{Parent: "projects/" + project + "/locations/global"})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rings.GetKeyRings() {
		versions, err := keys.ListCryptoKeyVersions(ctx, &kmspb.ListCryptoKeyVersionsRequest{
			Parent: r.GetName() + "/cryptoKeys/signer", Filter: "-state=DESTROY_SCHEDULED",
		})
		if err != nil || len(versions.GetCryptoKeyVersions()) > 0 {
			t.Errorf("key versions are left: %v, %v", versions.GetCryptoKeyVersions(), err)
		}
	}
}

// TestTrial: what a trial finds is how the services behave, and the emulator that loads its report behaves so.
func TestTrial(t *testing.T) {
	for name, b := range map[string]emulator.Behaviour{
		"as assumed":             {},
		"by payload":             {Uniqueness: emulator.UniqueNoteResourceAndPayload},
		"never a duplicate":      {Uniqueness: emulator.UniqueNone, RefuseUpdates: true},
		"no scans of strangers":  {NoProviderNotes: true},
		"one call for each":      {RefuseBatches: true, RefuseUnions: true},
		"lists that lag, barely": {ListLag: 300 * time.Millisecond, NoProviderNotes: true},
	} {
		t.Run(name, func(t *testing.T) {
			e, address := serve(t, b)
			r, text, err := try(t.Context(), t, address)
			if err != nil || !r.Complete || len(r.Left) > 0 {
				t.Fatalf("complete %v, left %v: %v", r.Complete, r.Left, err)
			}
			wantNothing(t, e)
			if strings.Contains(text, project) || strings.Contains(text, prefix) {
				t.Errorf("the report has names:\n%s", text)
			}

			// The second emulator gives the same answers to the same questions.
			again, err := emulator.ReadBehaviour(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if again.Uniqueness != b.Uniqueness || again.RefuseUpdates != b.RefuseUpdates || again.NoProviderNotes != b.NoProviderNotes ||
				again.RefuseBatches != b.RefuseBatches || again.RefuseUnions != b.RefuseUnions || again.RefuseDeletes ||
				again.ListLag < b.ListLag || b.ListLag == 0 && again.ListLag != 0 {
				t.Errorf("found %+v, want %+v", again, b)
			}
			if b.ListLag > 0 {
				return // measured, and so not the same twice
			}
			_, address = serve(t, again)
			second, _, err := try(t.Context(), t, address)
			if err != nil || !cmp.Equal(r, second) {
				t.Errorf("%v\n%s", err, cmp.Diff(r, second))
			}
		})
	}
}

// TestDifferencesAreSaid: a service that behaves otherwise is found to.
func TestDifferencesAreSaid(t *testing.T) {
	e, address := serve(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone, RefuseUpdates: true, NoProviderNotes: true})
	e.Inject(emulator.Fault{Method: "GetPublicKey", Skip: 1, Mutate: func(_, resp proto.Message) {
		resp.(*kmspb.PublicKey).PemCrc32C.Value++
	}})
	r, _, err := try(t.Context(), t, address)
	if err != nil {
		t.Fatal(err)
	}
	differs := map[string]string{}
	for _, f := range r.Facts {
		if f.Agrees != (f.Found == f.Assumed) {
			t.Errorf("%s agrees: %v, with %q and %q", f.ID, f.Agrees, f.Found, f.Assumed)
		}
		if !f.Agrees {
			differs[f.ID] = f.Found
		}
	}
	want := map[string]string{
		"kms-answers": "true true true false", "attestation-unique": "none", "attestation-update": "PermissionDenied",
		"note-of-google": "NotFound",
	}
	if !cmp.Equal(differs, want) {
		t.Errorf("%s", cmp.Diff(want, differs))
	}
}

// TestInterrupted: wherever a trial is stopped, what it made is deleted, and the report says that it is not whole.
func TestInterrupted(t *testing.T) {
	for _, at := range []string{
		"CreateNote", "CreateKeyRing", "CreateCryptoKey", "CreateAttestor", "ValidateAttestationOccurrence", "CreateOccurrence",
		"ListNoteOccurrences", "UpdateCryptoKeyVersion", "BatchCreateOccurrences", "CreateCryptoKeyVersion", "UpdateAttestor", "DeleteOccurrence",
	} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			e, address := serve(t, emulator.Behaviour{})
			ctx, stop := context.WithCancel(t.Context())
			// The call takes effect, and the signal comes before its answer.
			e.Inject(emulator.Fault{Method: at, Count: 1, AnswerLost: true, Hang: true, Match: func(proto.Message) bool { stop(); return true }})
			r, _, err := try(ctx, t, address)
			if err == nil || r.Complete || len(r.Left) > 0 || r.Format == "" {
				t.Errorf("error %v, complete %v, left %v", err, r.Complete, r.Left)
			}
			wantNothing(t, e)
		})
	}
}

// TestLeftAndSwept: what cannot be deleted is named, without names, and a later run deletes it.
func TestLeftAndSwept(t *testing.T) {
	e, address := serve(t, emulator.Behaviour{})
	remove := e.Inject(emulator.Fault{Method: "DeleteNote", Code: codes.PermissionDenied, Message: "no right on " + project})
	also := e.Inject(emulator.Fault{Method: "DeleteAttestor", Code: codes.PermissionDenied})
	r, text, err := try(t.Context(), t, address)
	if err == nil || len(r.Left) != 2 || strings.Contains(text, project) {
		t.Fatalf("error %v, left %v", err, r.Left)
	}
	remove()
	also()
	if _, text, err := try(t.Context(), t, address, "-sweep"); err != nil || text != "" {
		t.Errorf("sweeping: %v %s", err, text)
	}
	wantNothing(t, e)
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{}, {"-project", ""}, {"-project", "p", "more"}, {"-unknown"}} {
		if err := run(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}

// TestDocument: docs/trial.json is what a trial finds of the emulator as it is by default.
func TestDocument(t *testing.T) {
	_, address := serve(t, emulator.Behaviour{})
	path := filepath.Join(t.TempDir(), "trial.json")
	if _, _, err := try(t.Context(), t, address, "-out", path); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../docs/trial.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/trial.json is not what is found; run attestor emulator, and\ngo run ./deploy/trial -project "+
			"p -emulator HOST:PORT -gcloud '' -out docs/trial.json\n%s", cmp.Diff(string(want), string(got)))
	}
}
