package vuln_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/vuln"
)

func imported(t testing.TB, file string, img attestor.Image) vuln.Imported {
	t.Helper()

	// What is stored is the same for a distribution that is still maintained, and its state is the usual one.
	report := strings.Replace(reportFile(t, file), `"EOSL": true`, `"EOSL": false`, 1)
	in, err := vuln.Import(strings.NewReader(report), targetOf(t, img, report))
	if err != nil {
		t.Fatal(err)
	}

	return in
}

// TestUpload: what is uploaded is read as the scan that it was, by who trusts
// the note and by nobody else; a new report replaces the old.
func TestUpload(t *testing.T) {
	f, img := newFixture(t), api(t)
	theirs := f.put(t, "acme", finding(uri(img), "CVE-2026-GOOGLE", grafeaspb.Severity_LOW))
	c := vuln.UploadConfig{Client: f.client, Project: "projects/acme"}
	trusting := attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Trusted: []string{houseNote}, Advisories: true}}
	steps := []struct {
		file     string
		created  int
		replaced int
		findings int // Google's among them
	}{
		{"trivy-fluentd-gems.json", 2, 0, 3},
		{"trivy-fluentd-gems.json", 2, 2, 3},
		{"osv-go.json", 2, 2, 3},
	}

	for i, step := range steps {
		got, err := vuln.Upload(t.Context(), c, imported(t, step.file, img))
		if err != nil {
			t.Fatal(err)
		}

		if got.Created != step.created || got.Replaced != step.replaced || got.Discovery == "" {
			t.Errorf("step %d: %+v, want %d created and %d replaced", i, got, step.created, step.replaced)
		}

		s := f.scanner(t, nil)
		scan := s.Scan(t.Context(), trusting)
		if scan.State != attestor.ScanComplete || len(scan.Findings) != step.findings || scan.Note != houseNote {
			t.Errorf("step %d: state %q with %d findings under %s, want complete with %d (%+v)", i, scan.State,
				len(scan.Findings), scan.Note, step.findings, scan.Problem)
		}
		if scan := s.Scan(t.Context(), attestor.ScanRequest{Image: img}); scan.State != attestor.ScanNotFound {
			t.Errorf("step %d: who does not trust the note sees %q", i, scan.State)
		}
	}

	if _, err := f.client.GetOccurrence(t.Context(), &grafeaspb.GetOccurrenceRequest{Name: theirs[0].GetName()}); err != nil {
		t.Errorf("somebody else's finding: %v", err)
	}

	scan := f.scanner(t, nil).Scan(t.Context(), trusting)
	i := slices.IndexFunc(scan.Findings, func(v attestor.Vulnerability) bool { return v.ID == "CVE-2021-3121" })
	if i < 0 || scan.Findings[i].Published == nil {
		t.Errorf("the date of publication did not come through: %+v", scan.Findings)
	}
}

// TestUploadHalfWay: wherever an upload breaks off, nobody takes the part for
// the whole, and repeating it completes it.
func TestUploadHalfWay(t *testing.T) {
	for _, again := range []bool{false, true} {
		for _, method := range []string{"CreateNote", "ListOccurrences", "CreateOccurrence", "BatchCreateOccurrences", "DeleteOccurrence", "UpdateOccurrence"} {
			for _, lost := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, answer lost %t, over an earlier one %t", method, lost, again), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testHalfWay(t, method, lost, again) })
				})
			}
		}
	}
}

func testHalfWay(t *testing.T, method string, lost, again bool) {
	f, img := newFixture(t), api(t)
	c := patiently(f)
	trusting := attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Trusted: []string{houseNote}}}
	if again {
		if _, err := vuln.Upload(t.Context(), c, imported(t, "osv-go.json", img)); err != nil {
			t.Fatal(err)
		}
	}

	in := imported(t, "trivy-alpine-39.json", img)
	remove := f.Inject(emulator.Fault{Method: method, Code: codes.Internal, AnswerLost: lost})
	_, err := vuln.Upload(t.Context(), c, in)
	scan := f.scanner(t, nil).Scan(t.Context(), trusting)
	complete := scan.State == attestor.ScanComplete

	switch {
	case err == nil && method != "DeleteOccurrence" && method != "UpdateOccurrence" && method != "CreateOccurrence":
		t.Error("the failure was not told")
	case err == nil && (!complete || len(scan.Findings) != 6):
		t.Errorf("said to be done, but state %q with %d findings", scan.State, len(scan.Findings))
	case err != nil && complete && len(scan.Findings) < 2:
		t.Errorf("broken off, but complete with %d findings", len(scan.Findings))
	}

	if midway := method == "BatchCreateOccurrences" || method == "DeleteOccurrence" && again; midway && scan.State != attestor.ScanRunning {
		t.Errorf("broken off midway: state %q, want scanning", scan.State)
	}

	remove()
	if _, err := vuln.Upload(t.Context(), c, in); err != nil {
		t.Fatal(err)
	}

	scan = f.scanner(t, nil).Scan(t.Context(), trusting)
	if scan.State != attestor.ScanComplete || len(scan.Findings) != 6 {
		t.Errorf("after repeating: state %q with %d findings", scan.State, len(scan.Findings))
	}
}

// TestUploadRefused: the missing role is named.
func TestUploadRefused(t *testing.T) {
	tests := []struct{ permission, resource, role string }{
		{"containeranalysis.notes.create", "projects/acme-security", "roles/containeranalysis.notes.editor"},
		{"containeranalysis.occurrences.list", "projects/acme", "roles/containeranalysis.occurrences.viewer"},
		{"containeranalysis.occurrences.create", "projects/acme", "roles/containeranalysis.occurrences.editor"},
		{"containeranalysis.notes.attachOccurrence", "", "roles/containeranalysis.notes.attacher"},
	}

	for _, tt := range tests {
		t.Run(tt.permission, func(t *testing.T) {
			f, img := newFixture(t), api(t)
			f.SetBehaviour(emulator.Behaviour{Denied: []emulator.Denial{{Permission: tt.permission, Resource: tt.resource}}})
			_, err := vuln.Upload(t.Context(), patiently(f), imported(t, "osv-go.json", img))
			if attestor.KindOf(err) != attestor.Upstream || !strings.Contains(attestor.Message(err), tt.role) {
				t.Errorf("%v, want one that names %s", err, tt.role)
			}
		})
	}

	if _, err := vuln.Upload(t.Context(), vuln.UploadConfig{}, vuln.Imported{}); err == nil {
		t.Error("nothing was uploaded to nowhere, and that was fine")
	}
}

// TestUploadMany: more than one batch, with progress.
func TestUploadMany(t *testing.T) {
	f, img := newFixture(t), api(t)
	var b strings.Builder

	for i := range 1201 {
		fmt.Fprintf(&b, `,{"VulnerabilityID": "CVE-2026-%05d", "PkgName": "p", "InstalledVersion": "1", "Severity": "LOW"}`, i)
	}

	report := `{"SchemaVersion": 2, "CreatedAt": "2026-11-20T12:00:00Z", "ArtifactType": "container_image", "ArtifactName": "x/y@` + string(digest(1)) + `",
		"Metadata": {"OS": {"Family": "debian", "Name": "12.5"}}, "Results": [{"Class": "os-pkgs", "Type": "debian", "Vulnerabilities": [` +
		b.String()[1:] + `]}]}`

	in, err := vuln.Import(strings.NewReader(report), vuln.Target{Image: img, Note: houseNote})
	if err != nil {
		t.Fatal(err)
	}

	var progress []int
	_, err = vuln.Upload(context.WithoutCancel(t.Context()), vuln.UploadConfig{
		Client: f.client, Project: "acme", Limit: limit.Call(time.Minute), Progress: func(done, of int) { progress = append(progress, done, of) },
	}, in)

	if err != nil {
		t.Fatal(err)
	}

	if want := []int{500, 1201, 1000, 1201, 1201, 1201}; !slices.Equal(progress, want) {
		t.Errorf("progress %v, want %v", progress, want)
	}

	scan := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Trusted: []string{houseNote}}})
	if scan.State != attestor.ScanComplete || len(scan.Findings) != 1201 {
		t.Errorf("state %q with %d findings", scan.State, len(scan.Findings))
	}
}
