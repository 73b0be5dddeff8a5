package vuln_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/vuln"
)

// Google's scanner reports malware as vulnerabilities: by the id of the note, or by the short description.
func TestMaliciousFindings(t *testing.T) {
	said := func(text string) corpus.Change {
		return func(o *grafeaspb.Occurrence) { o.GetVulnerability().ShortDescription = text }
	}
	for _, tt := range []struct {
		name, id string
		change   corpus.Change
		want     bool
	}{
		{"by the note", "MAL-2026-1001", nil, true},
		{"by the note, in small letters", "mal-2026-1001", nil, true},
		{"by the note, and described otherwise", "MAL-2026-1001", said("CVE-2026-1"), true},
		{"by the short description", "CVE-2026-1", said("MAL-2026-1001"), true},
		{"a vulnerability", "CVE-2026-1", nil, false},
		{"a note that begins with the word only", "MALFORMED-1", nil, false},
		{"a description that has it in its middle", "CVE-2026-1", said("not MAL-2026-1001"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var changes []corpus.Change
			if tt.change != nil {
				changes = append(changes, tt.change)
			}

			img := api(t)
			needs := attestor.ScanRequest{Image: img}
			scan, err := vuln.ScanOf(needs, nil, []*grafeaspb.Occurrence{
				complete(uri(img)), finding(uri(img), tt.id, grafeaspb.Severity_CRITICAL, changes...),
			})

			if err != nil || len(scan.Findings) != 1 {
				t.Fatalf("%v: %+v", err, scan)
			}
			if v := scan.Findings[0]; v.IsMalicious() != tt.want || v.Malicious != tt.want {
				t.Errorf("malicious: %t and %t, want %t", v.IsMalicious(), v.Malicious, tt.want)
			}
		})
	}
}

// Malware whose details are of a version to come is malware all the same.
func TestMaliciousFindingsWithoutDetails(t *testing.T) {
	img := api(t)
	for id, want := range map[string]bool{"MAL-2026-1001": true, "CVE-2026-1": false} {
		o := finding(uri(img), id, grafeaspb.Severity_LOW)
		o.Details, o.Kind = nil, grafeaspb.NoteKind_VULNERABILITY
		scan, err := vuln.ScanOf(attestor.ScanRequest{Image: img}, nil, []*grafeaspb.Occurrence{o})
		if err != nil || len(scan.Findings) != 1 || scan.Findings[0].Malicious != want || scan.Findings[0].Severity != "UNREADABLE" {
			t.Errorf("%s: %v: %+v", id, err, scan)
		}
	}
}

// What a scanner calls malware stays malware when its report is imported, whatever other names it has.
func TestImportedMalware(t *testing.T) {
	digest := strings.Repeat("1", 64)
	grype := coverageReport(t, "grype-complete.json")
	osv := coverageReport(t, "osv-complete-languages.json")

	for _, tt := range []struct {
		name, report string
		want         map[string]bool // ids, and whether each is malware
	}{
		{"Grype's id", strings.Replace(grype, `"matches": []`, `"matches": [{"vulnerability": {"id": "MAL-2026-1001", `+
			`"severity": "Critical"}, "artifact": {"name": "evil-loader", "version": "1", "type": "npm"}}]`, 1),
			map[string]bool{"MAL-2026-1001": true}},
		{"one of Grype's related ids", strings.Replace(grype, `"matches": []`, `"matches": [{"vulnerability": `+
			`{"id": "GHSA-x-y-z", "severity": "Critical"}, "relatedVulnerabilities": [{"id": "CVE-2026-1001"}, `+
			`{"id": "MAL-2026-1001"}], "artifact": {"name": "evil-loader", "version": "1", "type": "npm"}}]`, 1),
			map[string]bool{"CVE-2026-1001": false, "MAL-2026-1001": true}},
		{"osv-scanner's alias", strings.Replace(osv, `"package": {
      "name": "a",
      "os_package_name": "",`, `"vulnerabilities": [{"id": "GHSA-x-y-z", "aliases": ["CVE-2026-1001", `+
			`"MAL-2026-1001"]}], "package": {"name": "a", "os_package_name": "",`, 1),
			map[string]bool{"CVE-2026-0001": false, "CVE-2026-1001": false, "MAL-2026-1001": true}},
		{"Trivy's id", `{"SchemaVersion": 2, "CreatedAt": "2026-11-20T12:00:00Z", ` +
			`"ArtifactType": "container_image", "ArtifactName": "x@sha256:` + digest + `", "Results": [
			{"Class": "lang-pkgs", "Type": "node-pkg", "Vulnerabilities": [{"VulnerabilityID": "CVE-2026-1001",
				"VendorIDs": ["MAL-2026-1001"], "PkgName": "evil-loader", "InstalledVersion": "1"}]}]}`,
			map[string]bool{"CVE-2026-1001": false, "MAL-2026-1001": true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, err := vuln.Import(strings.NewReader(tt.report), coverageTarget(t))
			if err != nil {
				t.Fatal(err)
			}

			got := map[string]bool{}
			for _, v := range scanOfImport(t, in).Findings {
				got[v.ID] = v.IsMalicious()
			}

			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
