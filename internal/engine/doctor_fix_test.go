package engine_test

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	artifactregistry "cloud.google.com/go/artifactregistry/apiv1"
	"cloud.google.com/go/artifactregistry/apiv1/artifactregistrypb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/api/option"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/probe"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
)

// A failing is one kind of failure, as Google's services answer it.
type failing struct {
	name   string
	code   codes.Code
	reason string   // of google.rpc.ErrorInfo
	retry  bool     // Google's clients repeat it until the question's time is over
	fix    []string // in the fix of every dependency
	never  []string // what would not help
}

// failures are the kinds that have one fix whatever was asked. What is denied and what is not found depend on the row.
var failures = []failing{
	{"no credentials", codes.Unauthenticated, "CREDENTIALS_MISSING", false, []string{"credentials", "service account"}, []string{"grant", "try again"}},
	{"credentials expired", codes.Unauthenticated, "ACCESS_TOKEN_EXPIRED", false, []string{"log in again"}, []string{"grant", "try again"}},
	{"API disabled", codes.PermissionDenied, "SERVICE_DISABLED", false, []string{"gcloud services enable"}, []string{"grant", "try again"}},
	{"unreachable", codes.Unavailable, "", true, []string{"try again", "googleapis.com"}, []string{"grant", "log in"}},
	{"timed out", codes.DeadlineExceeded, "", true, []string{"try again", "googleapis.com"}, []string{"grant", "log in"}},
	{"quota", codes.ResourceExhausted, "", false, []string{"quota"}, []string{"grant", "log in"}},
	{"permission denied", codes.PermissionDenied, "", false, nil, []string{"try again", "log in"}},
	{"not found", codes.NotFound, "", false, nil, []string{"try again", "log in", "grant"}},
}

// askedOf says by which call a row is asked, and what its fix says where that call is denied and where the thing is
// not found.
var askedOf = []struct {
	row, method, about string // about: a part of the resource, where several rows are asked by one method
	denied, missing    string
	late               bool // it is asked only if the others are good
}{
	{
		"signing key: cloudkms.cryptoKeyVersions.viewPublicKey", "GetPublicKey", "cryptoKeys/gate",
		"roles/cloudkms.publicKeyViewer", "correct the attestor's signer", false,
	},
	{
		"signing key: cloudkms.cryptoKeyVersions.useToSign", "TestIamPermissions", "cryptoKeys/gate",
		"roles/cloudkms.signer", "correct the attestor's signer", true,
	},
	{
		"log key: cloudkms.cryptoKeyVersions.viewPublicKey", "GetPublicKey", "cryptoKeys/log",
		"roles/cloudkms.signerVerifier", "correct its name", false,
	},
	{
		"log key: cloudkms.cryptoKeyVersions.useToSign", "TestIamPermissions", "cryptoKeys/log",
		"roles/cloudkms.signerVerifier", "correct its name", true,
	},
	{
		"Binary Authorization: binaryauthorization.attestors.get", "GetAttestor", "",
		"roles/binaryauthorization.attestorsViewer", "attestors create", false,
	},
	{
		"Container Analysis: containeranalysis.notes.get", "GetNote", "",
		"roles/containeranalysis.notes.attacher", "create an attestation note", true,
	},
	{
		"Container Analysis: containeranalysis.notes.attachOccurrence, containeranalysis.notes.listOccurrences",
		"TestIamPermissions", "/notes/", "roles/containeranalysis.notes.attacher", "create the note", true,
	},
	{
		"Container Analysis: containeranalysis.occurrences.list", "ListOccurrences", "",
		"roles/containeranalysis.occurrences.viewer", "check the project", false,
	},
	{
		"Container Analysis: containeranalysis.occurrences.create, containeranalysis.occurrences.get, " +
			"containeranalysis.occurrences.delete",
		"google.cloud.resourcemanager.v3.Projects/TestIamPermissions", "",
		"services enable cloudresourcemanager", "correct the project", false,
	},
	{"Pub/Sub: pubsub.topics.publish", "", "", "roles/pubsub.publisher", "correct its name", false},
}

// TestDoctorFixesFit: whatever is asked, and however it fails, the fix is one that would end that failure.
func TestDoctorFixesFit(t *testing.T) {
	keys := corpus.NewIssuer()
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			p := newPatient(t, keys)
			if f.retry {
				p.hurry()
			}

			// What is asked only of a dependency that answered fails by itself: the note after the attestor, rights after
			// the note.
			var seen []string
			for _, methods := range [][]string{nil, {"GetNote"}, {"TestIamPermissions"}} {
				p.emulator().ClearFaults()
				p.topic.err = nil
				if methods == nil {
					p.topic.err = f.err()
				}
				for _, a := range askedOf {
					if a.method != "" && (a.late && slices.Contains(methods, a.method) || !a.late && methods == nil) {
						p.emulator().Inject(f.fault(a.method, a.about))
					}
				}
				seen = append(seen, check(t, f, p.examine())...)
			}

			// Where the time is short, a dependency may be too late to lead to the next question.
			for _, a := range askedOf {
				if !slices.Contains(seen, a.row) && (!a.late || !p.brief) {
					t.Errorf("%s was not asked", a.row)
				}
			}
		})
	}
}

// info is what Google adds to a status of that kind; nil: nothing.
func (f failing) info() *errdetails.ErrorInfo {
	if f.reason == "" {
		return nil
	}
	return &errdetails.ErrorInfo{
		Reason: f.reason, Domain: "googleapis.com",
		Metadata: map[string]string{"service": "some.googleapis.com", "consumer": "projects/123"},
	}
}

func (f failing) fault(method, about string) emulator.Fault {
	return emulator.Fault{Method: method, Code: f.code, Reason: f.info(), Match: func(m proto.Message) bool {
		switch r := m.(type) {
		case *iampb.TestIamPermissionsRequest:
			return strings.Contains(r.GetResource(), about)
		case interface{ GetName() string }:
			return strings.Contains(r.GetName(), about)
		}
		return true
	}}
}

func (f failing) err() error {
	s := status.New(f.code, "no")
	if info := f.info(); info != nil {
		s, _ = s.WithDetails(info)
	}
	return s.Err()
}

// check compares the fixes of rows that failed, and returns those rows.
func check(t *testing.T, f failing, results []probe.Result) (seen []string) {
	t.Helper()
	for _, r := range results {
		row := r.Dependency + ": " + r.Question
		for _, a := range askedOf {
			if a.row == row && r.Err != nil {
				seen = append(seen, row)
				f.fits(t, row, r.Err, a.denied, a.missing)
			}
		}
	}
	return seen
}

// fits compares one fix.
func (f failing) fits(t *testing.T, row string, err error, denied, missing string) {
	t.Helper()
	want := f.fix
	switch f.name {
	case "permission denied":
		want = []string{denied}
	case "not found":
		want = []string{missing}
	}
	e, ok := errors.AsType[*attestor.Error](err)
	if !ok {
		t.Errorf("%s: no fix: %v", row, err)
		return
	}
	for _, word := range want {
		if !strings.Contains(e.Fix, word) {
			t.Errorf("%s: the fix does not say %q: %s; %s", row, word, e.Msg, e.Fix)
		}
	}
	for _, word := range f.never {
		if strings.Contains(e.Fix, word) {
			t.Errorf("%s: %q would not help: %s; %s", row, word, e.Msg, e.Fix)
		}
	}
}

// TestArtifactRegistryFixesFit is TestDoctorFixesFit for the service that the emulator leaves out.
func TestArtifactRegistryFixesFit(t *testing.T) {
	t.Parallel()
	const repository = "projects/acme/locations/us/repositories/prod"
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			client := artifactRegistry(t, &registryIAM{iamOf: iamOf{err: f.err()}})
			question := limit.Call(time.Minute)
			if f.retry {
				question = limit.Call(time.Second)
			}
			results := engine.ProbeRepositories(t.Context(), client, []string{repository}, question)
			if len(results) != 1 || results[0].Err == nil {
				t.Fatalf("%+v", results)
			}
			f.fits(t, "Artifact Registry", results[0].Err, "roles/artifactregistry.reader on "+repository, "correct its name")
		})
	}
}

// artifactRegistry is a client of a server on this machine.
func artifactRegistry(t *testing.T, r *registryIAM) *artifactregistry.Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	artifactregistrypb.RegisterArtifactRegistryServer(s, r)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)

	client, err := artifactregistry.NewClient(t.Context(), option.WithEndpoint(l.Addr().String()), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}
