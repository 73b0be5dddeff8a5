package provenance_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/provenance"
)

// TestLevelsOfCloudBuild: Google documents level 3 for "SLSA version 0.1 and 1.0", and names the builder of each otherwise. Any other pair of
// type and builder is not documented, and is of level 1.
func TestLevelsOfCloudBuild(t *testing.T) {
	b := newBuilder(t)
	img := elsewhere(t)
	for _, tt := range []struct {
		version, id string
		want        int
	}{
		{"v1", hosted, 3},
		{"v1", hosted + "@v0.3", 1},
		{"v1", hosted + "@v0.2", 1},
		{"v1", hosted + "@v1", 1},
		{"v1", hosted + "/", 1},
		{"v1", "https://cloudbuild.googleapis.com/PrivateWorker", 1},
		{"v1", "", 1},
		{"v0.1", hosted + "@v0.3", 3},
		{"v0.1", hosted + "@v0.2", 2},
		{"v0.1", hosted + "@v0.1", 1},
		{"v0.1", hosted + "@v0.30", 1},
		{"v0.1", hosted, 1},
		{"v0.1", "https://cloudbuild.googleapis.com/PrivateWorker@v0.3", 1},
		{"v0.1", "", 1},
		{"v0.2", hosted, 1},
		{"v0.2", hosted + "@v0.3", 1},
		{"v0.2", hosted + "@v0.2", 1},
	} {
		predicate := `{"builder":{"id":"` + tt.id + `"}}`
		if tt.version == "v1" {
			predicate = `{"runDetails":` + predicate + `}`
		}
		got, problems := b.of(img, b.sign(img, about("https://slsa.dev/provenance/"+tt.version, predicate)))
		if len(got) != 1 || len(problems) > 0 || got[0].SLSALevel != tt.want || got[0].Builder != tt.id {
			t.Errorf("%s by %q: %+v, %v; want level %d", tt.version, tt.id, got, problems, tt.want)
		}
	}
}

// TestOccurrencesAreBounded: a thousand are read, of whatever image they are, and that there are more is an error.
func TestOccurrencesAreBounded(t *testing.T) {
	img, list := occurrences(t, sample)
	other := many(newBuilder(t).sign(elsewhere(t), nil), 1000)
	for before, want := range map[int]int{999: 1, 1000: 0} {
		srv := &server{list: append(other[:before:before], list[0]), page: 200}
		got, problems := sourceOf(t, srv, provenance.Config{}).Provenance(t.Context(), []attestor.Image{img}, attestor.ProvenanceNeeds{})
		if len(got) != want || len(problems) != 1-want {
			t.Errorf("behind %d others: %v, %v", before, got, problems)
		}
		for _, p := range problems {
			if p.Status != attestor.StatusError || !strings.Contains(p.Message, "more than 1000 occurrences") {
				t.Errorf("%+v", p)
			}
		}
	}
}

// TestStatementsAreBounded: one of 8 MiB is read, and one of a byte more is not, though it is signed.
func TestStatementsAreBounded(t *testing.T) {
	b := newBuilder(t)
	img := elsewhere(t)
	payload := about("https://slsa.dev/provenance/v1", "{}")
	payload = append(payload, bytes.Repeat([]byte{' '}, 8<<20-len(payload))...)

	if got, problems := b.of(img, b.sign(img, payload)); len(got) != 1 || len(problems) > 0 {
		t.Errorf("of 8 MiB: %v, %v", got, problems)
	}
	got, problems := b.of(img, b.sign(img, append(payload, ' ')))
	if len(got) > 0 || len(problems) != 1 || problems[0].Status != attestor.StatusDeny ||
		!strings.Contains(problems[0].Message, "it has 8388609 bytes, at most 8388608 are read") {
		t.Errorf("of a byte more: %v, %v", got, problems)
	}
}

// TestWhyAListFailed: the message says why, as far as it is known, and the fix is the one for that.
func TestWhyAListFailed(t *testing.T) {
	const msg = "Cloud Build's provenance could not be read in project acme"
	disabled, err := status.New(codes.PermissionDenied, "not enabled").WithDetails(&errdetails.ErrorInfo{
		Reason: "SERVICE_DISABLED", Domain: "googleapis.com",
		Metadata: map[string]string{"service": "containeranalysis.googleapis.com", "consumer": "projects/acme"},
	})
	must(t, err)

	for _, tt := range []struct {
		fails    error
		why, fix string
	}{
		{status.Error(codes.PermissionDenied, "no"), ": permission denied",
			"gcloud projects add-iam-policy-binding acme --member=serviceAccount:GATE --role=roles/containeranalysis.occurrences.viewer"},
		{disabled.Err(), ": containeranalysis.googleapis.com is not enabled in project acme",
			"gcloud services enable containeranalysis.googleapis.com --project=acme, and ask again in some minutes"},
		{status.Error(codes.Internal, "no"), "", "try again; if it persists, see the status of Container Analysis"},
	} {
		srv := &server{fail: func(context.Context, int) error { return tt.fails }}
		img := elsewhere(t)
		got, problems := sourceOf(t, srv, provenance.Config{ScanProjects: map[string]string{img.Registry(): "acme"}}).
			Provenance(t.Context(), []attestor.Image{img}, attestor.ProvenanceNeeds{})
		if len(got) > 0 || len(problems) != 1 || problems[0].Status != attestor.StatusError ||
			problems[0].Message != msg+tt.why || problems[0].Fix != tt.fix {
			t.Errorf("%v: %v, %+v", tt.fails, got, problems)
		}
	}
}

// TestNoImage: without an image, or with an invalid one, nothing is asked and nothing found.
func TestNoImage(t *testing.T) {
	img, list := occurrences(t, sample)
	for _, images := range [][]attestor.Image{nil, {}, {{}}, {img, {}}, {{}, img}} {
		srv := &server{list: list}
		got, problems := sourceOf(t, srv, provenance.Config{}).Provenance(t.Context(), images, attestor.ProvenanceNeeds{})
		if len(got) > 0 || len(srv.asks) > 0 || len(problems) != 1 || problems[0].Status != attestor.StatusError ||
			!strings.Contains(problems[0].Message, "no image") {
			t.Errorf("%v: %v, %+v", images, got, problems)
		}
	}
}

// TestADenialIsShort: it counts every statement that was refused, and names four causes, each once.
func TestADenialIsShort(t *testing.T) {
	b := newBuilder(t)
	img := elsewhere(t)
	unsigned := b.sign(img, nil)
	unsigned.NoteName = "projects/verified-builder/notes/a"
	list := many(unsigned, 3)
	for _, note := range []string{"b", "c", "d", "e", "f"} {
		occ := b.sign(img, nil)
		occ.NoteName = "projects/verified-builder/notes/" + note
		list = append(list, occ)
	}

	why := func(note string) string {
		return fmt.Sprintf("projects/verified-builder/notes/%s: it is not signed", note)
	}
	want := "8 provenance statements were found and none verifies: " + strings.Join([]string{why("a"), why("b"), why("c"), why("d")}, "; ")
	if got, problems := b.of(img, list...); len(got) > 0 || len(problems) != 1 || problems[0].Message != want {
		t.Errorf("got %v, %+v\nwant %s", got, problems, want)
	}
}
