package vuln_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/vuln"
)

// upload imports a sample for img under a note and stores it.
func (f *fixture) upload(t *testing.T, file string, img attestor.Image, note string) (vuln.Uploaded, error) {
	t.Helper()
	report := strings.Replace(reportFile(t, file), `"EOSL": true`, `"EOSL": false`, 1)
	target := targetOf(t, img, report)
	target.Note = note
	in, err := vuln.Import(strings.NewReader(report), target)
	if err != nil {
		t.Fatal(err)
	}
	return vuln.Upload(t.Context(), patiently(f), in)
}

// left are those of occurrences that are still there.
func (f *fixture) left(t *testing.T, names ...string) []string {
	t.Helper()
	var out []string
	for _, name := range names {
		if _, err := f.client.GetOccurrence(t.Context(), &grafeaspb.GetOccurrenceRequest{Name: name}); err == nil {
			out = append(out, name)
		}
	}
	return out
}

// TestUploadReplacesItsOwn: an import replaces the earlier one of its image and note, and of nothing else; of several
// discoveries of the note it leaves one.
func TestUploadReplacesItsOwn(t *testing.T) {
	const another = "projects/acme-security/notes/grype"
	f, img := newFixture(t), api(t)
	sibling := img.Sibling(digest(2))
	for _, u := range []struct {
		img  attestor.Image
		note string
	}{{img, houseNote}, {img, another}, {sibling, houseNote}} {
		if done, err := f.upload(t, "osv-go.json", u.img, u.note); err != nil || done.Created != 2 || done.Replaced != 0 {
			t.Fatalf("%s under %s: %+v, %v", u.img, u.note, done, err)
		}
	}

	// Some tool stored the state once more, under each form of the name.
	f.notes[houseNote] = true
	twins := f.put(t, "acme", complete(uri(img), under(houseNote)), complete(img.String(), under(houseNote)))
	kept := f.put(t, "acme", complete(uri(img)), complete(uri(sibling), under(houseNote)))
	done, err := f.upload(t, "trivy-fluentd-gems.json", img, houseNote)
	if err != nil || done.Created != 2 || done.Replaced != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	if got := f.left(t, twins[0].GetName(), twins[1].GetName()); len(got) > 1 || len(got) == 1 && got[0] != done.Discovery {
		t.Errorf("discoveries left beside %s: %v", done.Discovery, got)
	}
	if got := f.left(t, done.Discovery, kept[0].GetName(), kept[1].GetName()); len(got) != 3 {
		t.Errorf("of the import's and others' discoveries are left: %v", got)
	}

	scan := func(img attestor.Image, notes ...string) attestor.Scan {
		return f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Trusted: notes}})
	}
	if got := scan(img, houseNote); got.State != attestor.ScanComplete || len(got.Findings) != 4 {
		t.Errorf("%q with %d findings, want those of both notes", got.State, len(got.Findings))
	}
	if got := scan(img, another); got.State != attestor.ScanComplete || len(got.Findings) != 4 {
		t.Errorf("under the other note: %q with %d findings", got.State, len(got.Findings))
	}
	if got := scan(sibling, houseNote); got.State != attestor.ScanComplete || len(got.Findings) != 2 {
		t.Errorf("of the other image: %q with %d findings", got.State, len(got.Findings))
	}
}

// TestUploadOfWhatIsGoneMeanwhile: what somebody else deleted is deleted; what could not be deleted is not.
func TestUploadOfWhatIsGoneMeanwhile(t *testing.T) {
	for code, ok := range map[codes.Code]bool{codes.NotFound: true, codes.PermissionDenied: false} {
		f, img := newFixture(t), api(t)
		if _, err := f.upload(t, "osv-go.json", img, houseNote); err != nil {
			t.Fatal(err)
		}
		f.Inject(emulator.Fault{Method: "DeleteOccurrence", Code: code})
		if _, err := f.upload(t, "osv-go.json", img, houseNote); (err == nil) != ok {
			t.Errorf("%s: %v", code, err)
		}
	}
}

// TestUploadIsStoredAsItIs: an answer that shows another state, or fewer findings, than what was sent is no success, and
// the scan reads as running. A type that is there twice is the same type.
func TestUploadIsStoredAsItIs(t *testing.T) {
	discovery := func(f func(*grafeaspb.DiscoveryOccurrence)) func(_, resp proto.Message) {
		return func(_, resp proto.Message) { f(resp.(*grafeaspb.Occurrence).GetDiscovery()) }
	}
	types := func(more ...string) func(_, resp proto.Message) {
		return discovery(func(d *grafeaspb.DiscoveryOccurrence) {
			d.GetAnalysisCompleted().AnalysisType = append(d.GetAnalysisCompleted().GetAnalysisType(), more...)
		})
	}
	twice := discovery(func(d *grafeaspb.DiscoveryOccurrence) {
		list := d.GetAnalysisCompleted().GetAnalysisType()
		slices.Reverse(list)
		d.AnalysisCompleted.AnalysisType = append(list, list...)
	})
	scanned := func(at *timestamppb.Timestamp) func(_, resp proto.Message) {
		return discovery(func(d *grafeaspb.DiscoveryOccurrence) { d.LastScanTime = at })
	}
	made := timestamppb.New(time.Date(2021, 8, 25, 12, 20, 30, 0, time.UTC)) // the report has five nanoseconds more
	const other = "another state of the scan"
	for _, tt := range []struct {
		name, method string
		change       func(_, resp proto.Message)
		says         string
	}{
		{"types of the earlier report are kept", "UpdateOccurrence", types("GO"), other},
		{"no types", "UpdateOccurrence", discovery(func(d *grafeaspb.DiscoveryOccurrence) { d.AnalysisCompleted = nil }), other},
		{"complete at once", "UpdateOccurrence", discovery(func(d *grafeaspb.DiscoveryOccurrence) {
			d.AnalysisStatus = grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS
		}), other},
		{"no time of the scan", "UpdateOccurrence", scanned(nil), other},
		{"the time of the import", "UpdateOccurrence", scanned(timestamppb.New(start)), other},
		{"a second later", "UpdateOccurrence", scanned(timestamppb.New(made.AsTime().Add(time.Second + 5))), other},
		{"a second earlier", "UpdateOccurrence", scanned(timestamppb.New(made.AsTime().Add(5 - time.Second))), other},
		{"a finding less", "BatchCreateOccurrences", func(_, resp proto.Message) {
			r := resp.(*grafeaspb.BatchCreateOccurrencesResponse)
			r.Occurrences = r.GetOccurrences()[1:]
		}, "stored 1 of the 2 findings"},
		{"types twice, in another order", "UpdateOccurrence", twice, ""},
		{"the time in whole seconds", "UpdateOccurrence", scanned(made), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, img := newFixture(t), api(t)
			if _, err := f.upload(t, "trivy-fluentd-gems.json", img, houseNote); err != nil {
				t.Fatal(err)
			}
			f.Inject(emulator.Fault{Method: tt.method, Mutate: tt.change})
			_, err := f.upload(t, "trivy-fluentd-gems.json", img, houseNote)
			state := attestor.ScanComplete
			if tt.says != "" {
				state = attestor.ScanRunning
				if attestor.KindOf(err) != attestor.Upstream || !strings.Contains(attestor.Message(err), tt.says) {
					t.Errorf("%v, want %q", err, tt.says)
				}
			} else if err != nil {
				t.Error(err)
			}
			scan := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Trusted: []string{houseNote}}})
			if scan.State != state {
				t.Errorf("state %q, want %q", scan.State, state)
			}
		})
	}

	// A report without a time has that of its import. The first import of an image is compared, too.
	f, img := newFixture(t), api(t)
	f.Inject(emulator.Fault{Method: "UpdateOccurrence", Mutate: scanned(timestamppb.New(start))})
	if _, err := f.upload(t, "osv-go.json", img, houseNote); err != nil {
		t.Error(err)
	}
	f = newFixture(t)
	f.Inject(emulator.Fault{Method: "CreateOccurrence", Mutate: scanned(nil)})
	if _, err := f.upload(t, "trivy-fluentd-gems.json", img, houseNote); !strings.Contains(attestor.Message(err), other) {
		t.Errorf("the first import: %v", err)
	}
	scan := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Trusted: []string{houseNote}}})
	if scan.State != attestor.ScanRunning {
		t.Errorf("the first import: state %q", scan.State)
	}
}

// TestUploadOfNothing: each part is needed.
func TestUploadOfNothing(t *testing.T) {
	f, img := newFixture(t), api(t)
	in := imported(t, "osv-go.json", img)
	for name, tt := range map[string]struct {
		c  vuln.UploadConfig
		in vuln.Imported
	}{
		"no client":          {vuln.UploadConfig{Project: "acme"}, in},
		"no project":         {vuln.UploadConfig{Client: f.client}, in},
		"an empty project":   {vuln.UploadConfig{Client: f.client, Project: "projects/"}, in},
		"no report":          {patiently(f), vuln.Imported{}},
		"a report of no one": {patiently(f), vuln.Imported{Target: in.Target, Notes: in.Notes}},
	} {
		if done, err := vuln.Upload(t.Context(), tt.c, tt.in); err == nil {
			t.Errorf("%s: %+v", name, done)
		}
	}
}
