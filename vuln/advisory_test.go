package vuln_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/vuln"
)

// publish makes a note that says when its advisory was published; the zero
// time is a note that does not.
func (f *fixture) publish(t testing.TB, id string, at time.Time) {
	t.Helper()
	v := &grafeaspb.VulnerabilityNote{}
	if !at.IsZero() {
		v.AdvisoryPublishTime = timestamppb.New(at)
	}

	_, err := f.client.CreateNote(t.Context(), &grafeaspb.CreateNoteRequest{
		Parent: "projects/acme-security", NoteId: id, Note: &grafeaspb.Note{Type: &grafeaspb.Note_Vulnerability{Vulnerability: v}},
	})

	if err != nil {
		t.Fatal(err)
	}

	f.notes["projects/acme-security/notes/"+id] = true
}

func published(scan attestor.Scan) map[string]string {
	out := map[string]string{}
	for _, v := range scan.Findings {
		if v.Published == nil {
			out[v.ID] = "unknown"
		} else {
			out[v.ID] = v.Published.Format(time.DateOnly)
		}
	}
	return out
}

// TestAdvisories: dates come from the notes, one call for each, remembered for
// a day, and only where the policy needs them.
func TestAdvisories(t *testing.T) {
	f, img := newFixture(t), api(t)
	f.publish(t, "CVE-1", time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	f.publish(t, "CVE-2", time.Time{})
	ours := func(id string) func(*grafeaspb.Occurrence) { return under("projects/acme-security/notes/" + id) }
	f.put(t, "acme", complete(uri(img)),
		finding(uri(img), "CVE-1", grafeaspb.Severity_HIGH, ours("CVE-1")), finding(uri(img), "CVE-1", grafeaspb.Severity_LOW, ours("CVE-1")),
		finding(uri(img), "CVE-2", grafeaspb.Severity_HIGH, ours("CVE-2")), finding(uri(img), "CVE-3", grafeaspb.Severity_HIGH, ours("CVE-3")))

	if err := f.client.DeleteNote(t.Context(), &grafeaspb.DeleteNoteRequest{Name: "projects/acme-security/notes/CVE-3"}); err != nil {
		t.Fatal(err)
	}

	now := start
	s := f.scanner(t, func(c *vuln.Config) { c.Now = func() time.Time { return now } })
	ask := func(advisories bool, wantCalls int) {
		t.Helper()
		f.ResetCalls()
		scan := s.Scan(t.Context(), attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Advisories: advisories}})
		want := map[string]string{"CVE-1": "unknown", "CVE-2": "unknown", "CVE-3": "unknown"}
		if advisories {
			want["CVE-1"] = "2026-11-01"
		}
		if diff := cmp.Diff(want, published(scan)); diff != "" || scan.State != attestor.ScanComplete {
			t.Errorf("state %q (%+v), -want +got:\n%s", scan.State, scan.Problem, diff)
		}
		if n := len(f.Calls("GetNote")); n != wantCalls {
			t.Errorf("%d calls for notes, want %d", n, wantCalls)
		}
	}

	ask(false, 0)
	ask(true, 3)
	ask(true, 0)
	now = now.Add(2 * time.Hour) // absence is believed for an hour only
	ask(true, 2)
	now = now.Add(23 * time.Hour)
	ask(true, 3)
}

// TestAdvisoriesFail: a date that could not be asked for is an error, and
// neither a grace nor the lack of one.
func TestAdvisoriesFail(t *testing.T) {
	tests := []struct {
		code codes.Code
		want attestor.Code
		says string
	}{
		{codes.PermissionDenied, attestor.CodeScanPermissionDenied, "roles/containeranalysis.notes.viewer"},
		{codes.Unavailable, attestor.CodeScanUnavailable, "UNAVAILABLE"},
		{codes.ResourceExhausted, attestor.CodeScanUnavailable, "quota"},
	}
	for _, tt := range tests {
		t.Run(tt.code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, img := newFixture(t), api(t)
				f.put(t, "acme", complete(uri(img)))

				for i := range 40 {
					f.put(t, "acme", finding(uri(img), fmt.Sprintf("CVE-2026-%d", i), grafeaspb.Severity_HIGH))
				}

				f.Inject(emulator.Fault{Method: "GetNote", Code: tt.code, Skip: 20})
				scan := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Advisories: true}})
				if scan.State != attestor.ScanUnavailable || scan.Problem == nil || scan.Problem.Code != tt.want {
					t.Fatalf("state %q, problem %+v", scan.State, scan.Problem)
				}
				if !strings.Contains(scan.Problem.Message, tt.says) {
					t.Errorf("%q does not say %q", scan.Problem.Message, tt.says)
				}
			})
		})
	}
}

// TestAdvisoriesOfStrangers: what somebody else's scanner keeps to itself is no
// reason to fail, and no grace.
func TestAdvisoriesOfStrangers(t *testing.T) {
	f, img := newFixture(t), api(t)
	f.put(t, "acme", complete(uri(img)), finding(uri(img), "CVE-1", grafeaspb.Severity_HIGH, under("projects/partner/notes/CVE-1")))
	f.SetBehaviour(emulator.Behaviour{Denied: []emulator.Denial{{Permission: "containeranalysis.notes.get", Resource: "projects/partner"}}})
	req := attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Advisories: true}}
	scan := f.scanner(t, nil).Scan(t.Context(), req)
	if diff := cmp.Diff(map[string]string{"CVE-1": "unknown"}, published(scan)); diff != "" || scan.State != attestor.ScanComplete {
		t.Errorf("state %q (%+v), -want +got:\n%s", scan.State, scan.Problem, diff)
	}

	for trusted, want := range map[string]attestor.ScanState{
		"projects/partner/notes/scanner":   attestor.ScanUnavailable, // a trusted scanner's notes are out of reach
		"projects/partner-2/notes/scanner": attestor.ScanComplete,
		"partner":                          attestor.ScanComplete,
	} {
		req.Needs.Trusted = []string{trusted}
		if scan := f.scanner(t, nil).Scan(t.Context(), req); scan.State != want {
			t.Errorf("%s is trusted: state %q, want %q", trusted, scan.State, want)
		}
	}
}

// TestAdvisoriesOfStrangersFail: a stranger's note that could not be asked for is no note without a date, as one that may
// not be read is.
func TestAdvisoriesOfStrangersFail(t *testing.T) {
	for _, code := range []codes.Code{codes.Unavailable, codes.Internal, codes.Unauthenticated} {
		synctest.Test(t, func(t *testing.T) {
			f, img := newFixture(t), api(t)
			f.put(t, "acme", complete(uri(img)), finding(uri(img), "CVE-1", grafeaspb.Severity_HIGH, under("projects/partner/notes/CVE-1")))
			f.Inject(emulator.Fault{Method: "GetNote", Code: code})
			scan := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Advisories: true}})
			if scan.State != attestor.ScanUnavailable || scan.Problem == nil {
				t.Errorf("%s: state %q, problem %+v", code, scan.State, scan.Problem)
			}
		})
	}
}

// TestAdvisoriesOfNoNote: a finding under what is no note's name has no date, and nobody is asked for one.
func TestAdvisoriesOfNoNote(t *testing.T) {
	f, img := newFixture(t), api(t)
	f.put(t, "acme", complete(uri(img)), finding(uri(img), "CVE-1", grafeaspb.Severity_HIGH))
	f.Inject(emulator.Fault{Method: list, Mutate: func(_, resp proto.Message) {
		for _, o := range resp.(*grafeaspb.ListOccurrencesResponse).GetOccurrences() {
			if o.GetVulnerability() != nil {
				o.NoteName = "CVE-1"
			}
		}
	}})
	f.ResetCalls()
	scan := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Advisories: true}})
	if diff := cmp.Diff(map[string]string{"CVE-1": "unknown"}, published(scan)); diff != "" || scan.State != attestor.ScanComplete {
		t.Errorf("state %q (%+v), -want +got:\n%s", scan.State, scan.Problem, diff)
	}
	if n := len(f.Calls("GetNote")); n != 0 {
		t.Errorf("%d notes were asked for", n)
	}
}
