package vuln_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	grafeas "cloud.google.com/go/grafeas/apiv1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
	"github.com/attestor-gate/attestor/vuln"
)

const (
	googleNote = corpus.GoogleNote
	houseNote  = "projects/acme-security/notes/trivy"
)

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func digest(n int) attestor.Digest { return attestor.Digest(fmt.Sprintf("sha256:%064x", n)) }

func image(t testing.TB, s string) attestor.Image {
	t.Helper()
	img, err := attestor.ParseImage(s)
	if err != nil {
		t.Fatal(err)
	}

	return img
}

func api(t testing.TB) attestor.Image {
	return image(t, "us-docker.pkg.dev/acme/prod/api@"+string(digest(1)))
}

// fixture is an emulated Container Analysis and a scanner that asks it.
type fixture struct {
	*emulator.Emulator
	client  *grafeas.Client
	notes   map[string]bool
	touches int
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	s := standin.StartServices(t, emulator.Options{Now: func() time.Time { return start.Add(-time.Hour) }})
	return &fixture{Emulator: s.Emulator, client: s.Grafeas, notes: map[string]bool{}}
}

func (f *fixture) scanner(t testing.TB, change func(*vuln.Config)) *vuln.Scanner {
	t.Helper()
	// A busy machine may take its time: only a test of the limit has one that may be reached.
	c := vuln.Config{Client: f.client, Now: func() time.Time { return start }, Limit: limit.Call(time.Hour)}
	if change != nil {
		change(&c)
	}

	s, err := vuln.New(c)
	if err != nil {
		t.Fatal(err)
	}

	s.SetJitter(func() float64 { return 0 })
	return s
}

// patiently is where imports go, on a machine that may take its time.
func patiently(f *fixture) vuln.UploadConfig {
	return vuln.UploadConfig{Client: f.client, Project: "acme", Limit: limit.Call(time.Hour)}
}

// put creates occurrences in a project, in order, and the notes that they need.
func (f *fixture) put(t testing.TB, project string, occurrences ...*grafeaspb.Occurrence) []*grafeaspb.Occurrence {
	t.Helper()
	ctx := context.Background()

	for _, o := range occurrences {
		f.note(t, o)
	}

	var out []*grafeaspb.Occurrence
	for len(occurrences) > 0 {
		n := min(len(occurrences), 1000)
		got, err := f.client.BatchCreateOccurrences(ctx, &grafeaspb.BatchCreateOccurrencesRequest{Parent: "projects/" + project, Occurrences: occurrences[:n]})
		if err != nil {
			t.Fatal(err)
		}

		out = append(out, got.GetOccurrences()...)
		occurrences = occurrences[n:]
	}

	return out
}

func (f *fixture) note(t testing.TB, o *grafeaspb.Occurrence) {
	t.Helper()
	name := o.GetNoteName()
	if f.notes[name] || strings.HasPrefix(name, "projects/goog-") {
		return
	}

	f.notes[name] = true
	parent, id, ok := strings.Cut(name, "/notes/")
	if !ok {
		t.Fatalf("note %q", name)
	}

	n := &grafeaspb.Note{Type: &grafeaspb.Note_Vulnerability{Vulnerability: &grafeaspb.VulnerabilityNote{}}}
	if o.GetDiscovery() != nil {
		n.Type = &grafeaspb.Note_Discovery{Discovery: &grafeaspb.DiscoveryNote{AnalysisKind: grafeaspb.NoteKind_VULNERABILITY}}
	}
	if _, err := f.client.CreateNote(context.Background(), &grafeaspb.CreateNoteRequest{Parent: parent, NoteId: id, Note: n}); err != nil {
		t.Fatal(err)
	}
}

// The occurrences are the corpus's, of this package's time.

func discovery(uri string, status grafeaspb.DiscoveryOccurrence_AnalysisStatus, changes ...corpus.Change) *grafeaspb.Occurrence {
	return corpus.Discovery(uri, status, start, changes...)
}

func complete(uri string, changes ...corpus.Change) *grafeaspb.Occurrence {
	return corpus.Complete(uri, start, changes...)
}

func under(note string) corpus.Change { return corpus.Under(note) }

func scanned(at time.Time) corpus.Change {
	return func(o *grafeaspb.Occurrence) { o.GetDiscovery().LastScanTime = timestamppb.New(at) }
}

func finding(uri, id string, severity grafeaspb.Severity, changes ...corpus.Change) *grafeaspb.Occurrence {
	return corpus.Finding(uri, id, severity, changes...)
}

func uri(img attestor.Image) string { return "https://" + img.String() }

// samples reads real occurrences and moves them to img, since their own
// resources were masked by who published them.
func samples(t testing.TB, file string, img attestor.Image) []*grafeaspb.Occurrence {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "occurrences", file))
	if err != nil {
		t.Fatal(err)
	}

	var list grafeaspb.ListOccurrencesResponse
	if err := protojson.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}

	for _, o := range list.GetOccurrences() {
		o.ResourceUri = uri(img)
	}
	return list.GetOccurrences()
}

func ids(findings []attestor.Vulnerability) []string {
	var out []string
	for _, f := range findings {
		out = append(out, f.ID)
	}
	return out
}
