package vuln_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/vuln"
)

func reportFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "reports", name))
	if err != nil {
		t.Fatal(err)
	}

	// Of osv-scanner there are samples of source trees; as an image's they have its layers beside them.
	if strings.HasPrefix(name, "osv-") {
		b = bytes.Replace(b, []byte("{"), []byte(`{"image_metadata": {"os": "Debian GNU/Linux 12 (bookworm)", `+
			`"layer_metadata": [{"diff_id": "`+string(digest(9))+`"}]},`), 1)
		b = bytes.ReplaceAll(b, []byte(`"type": "lockfile"`), []byte(`"type": "artifact"`))
	}

	// The samples of Grype's own tests leave the time out, so that they stay the same.
	if name == "grype-v0.121-epss.json" {
		b = bytes.Replace(b, []byte(`"timestamp":""`), []byte(`"timestamp": "2026-11-20T12:00:00Z"`), 1)
	}
	return string(b)
}

// targetOf is img, which consists of the layers that the report lists.
func targetOf(t testing.TB, img attestor.Image, report string) vuln.Target {
	t.Helper()
	var r struct {
		Metadata struct{ DiffIDs []attestor.Digest }
		Image    struct {
			Layers []struct {
				DiffID attestor.Digest `json:"diff_id"`
			} `json:"layer_metadata"`
		} `json:"image_metadata"`
	}

	if err := json.Unmarshal([]byte(report), &r); err != nil {
		t.Fatal(err)
	}

	for _, l := range r.Image.Layers {
		r.Metadata.DiffIDs = append(r.Metadata.DiffIDs, l.DiffID)
	}
	return vuln.Target{Image: img, Note: houseNote, Layers: func() ([]attestor.Digest, error) { return r.Metadata.DiffIDs, nil }}
}

const (
	keycloakManifest = "sha256:d1630d3eb8285a978301bcefc5b223e564ae300750af2fc9ea3f413c5376a47e"
	keycloakIndex    = "sha256:347a0d748d05a050dc64b92de2246d2240db6eb38afbc17c3c08d0acb0db1b50"
	rubyManifest     = "sha256:86abe662dfa3746038eea6b0db91092b0767d78b8b8938a343d614cd1579adc2"
	rubyIndex        = "sha256:3c9afb4f188827ea1062ec3b8acea32893236a0d7df31e0498df93486cff0978"
	ghsaManifest     = "sha256:1212e7636ec0b1a7b90eb354e761e67163c2256de127036f086876e190631b43"
	epssManifest     = "sha256:ca738abb87a8d58f112d3400ebb079b61ceae7dc290beb34bda735be4b1941d5"
)

// scanOfImport reads an import as the gate would.
func scanOfImport(t *testing.T, in vuln.Imported) attestor.Scan {
	t.Helper()
	needs := attestor.ScanNeeds{Trusted: []string{in.Target.Note}}
	scan, err := vuln.ScanOf(attestor.ScanRequest{Image: in.Target.Image, Needs: needs}, nil, append(in.Vulnerabilities, in.Discovery))
	if err != nil {
		t.Fatal(err)
	}

	return scan
}

// TestImport is the mapping, on the scanners' own reports.
func TestImport(t *testing.T) {
	type counts = map[attestor.Severity]int
	at := func(s string) *time.Time {
		when, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return new(when.UTC())
	}

	const notes = "projects/acme-security/notes/"
	const complete, unsupported = attestor.ScanComplete, attestor.ScanUnsupported
	tests := []struct {
		file     string
		digest   string
		state    attestor.ScanState
		scanner  string
		finished *time.Time
		types    []string
		counts   counts
		spot     attestor.Vulnerability
	}{
		{
			"trivy-alpine-39.json", string(digest(1)), unsupported, "trivy", at("2021-08-25T12:20:30.000000005Z"), []string{"OS"},
			counts{"CRITICAL": 2, "HIGH": 0, "MEDIUM": 4, "LOW": 0, "MINIMAL": 0, "UNSPECIFIED": 0},
			attestor.Vulnerability{
				ID: "CVE-2019-1549", Severity: attestor.Medium, Package: "libcrypto1.1", PackageType: "OS", Version: "1.1.1b-r1", FixedVersion: "1.1.1d-r0",
				Fixable: true, CVSS: new(5.3), DiffIDs: []attestor.Digest{"sha256:f1b5933fe4b5f49bbe8258745cf396afe07e625bdab3168e364daf7c956b6b81"},
			},
		},
		{
			"trivy-fluentd-gems.json", string(digest(1)), complete, "trivy", at("2021-08-25T12:20:30.000000005Z"), []string{"OS", "RUBYGEMS"},
			counts{"CRITICAL": 1, "HIGH": 1, "MEDIUM": 0, "LOW": 0, "MINIMAL": 0, "UNSPECIFIED": 0},
			attestor.Vulnerability{
				ID: "CVE-2020-8165", Severity: attestor.High, Package: "activesupport", PackageType: "RUBYGEMS",
				Version: "6.0.2.1", FixedVersion: "6.0.3.1, 5.2.4.3",
				Fixable: true, CVSS: new(9.8), Path: "var/lib/gems/2.5.0/specifications/activesupport-6.0.2.1.gemspec",
				DiffIDs: []attestor.Digest{"sha256:75e43d55939745950bc3f8fad56c5834617c4339f0f54755e69a0dd5372624e9"},
			},
		},
		{
			"grype-keycloak.json", keycloakManifest, complete, "grype 0.66.0", at("2023-09-01T01:26:55Z"), []string{"OS"},
			counts{"CRITICAL": 0, "HIGH": 0, "MEDIUM": 0, "LOW": 6, "MINIMAL": 0, "UNSPECIFIED": 0},
			attestor.Vulnerability{
				ID: "CVE-2020-12413", Severity: attestor.Low, Package: "nspr", PackageType: "OS", Version: "4.34.0-17.el9_1", CVSS: new(5.9),
				Path: "/var/lib/rpm/rpmdb.sqlite", DiffIDs: []attestor.Digest{"sha256:798d91f89858e63627a98d3a196c9ee4d0899259c0f64b68b1e0260a67c9cd2b"},
			},
		},
		{
			// Once by its GHSA id and once by its CVE: both are the CVE here.
			"grype-ghsa.json", ghsaManifest, complete, "grype 0.65.1", at("2023-08-31T01:24:19Z"), []string{"MAVEN", "OS"},
			counts{"CRITICAL": 0, "HIGH": 0, "MEDIUM": 2, "LOW": 0, "MINIMAL": 0, "UNSPECIFIED": 0},
			attestor.Vulnerability{
				ID: "CVE-2014-3577", Severity: attestor.Medium, Package: "httpclient", PackageType: "MAVEN", Version: "4.1.1",
				CVSS: new(5.8), Path: "/TwilioNotifier.hpi", DiffIDs: []attestor.Digest{
					"sha256:6cc6db176440e3dc3218d2e325716c1922ea9d900b61d7ad6f388fd0ed2b4ef9"},
			},
		},
		{
			"grype-chainguard-ruby.json", rubyManifest, complete, "grype 0.61.1", at("2023-05-17T01:32:43Z"), []string{"OS", "RUBYGEMS"},
			counts{"CRITICAL": 0, "HIGH": 3, "MEDIUM": 0, "LOW": 0, "MINIMAL": 0, "UNSPECIFIED": 0},
			attestor.Vulnerability{
				ID: "CVE-2023-28755", Severity: attestor.High, Package: "ruby-3.0", PackageType: "OS",
				Version: "3.0.4-r1", FixedVersion: "3.0.6-r0", Fixable: true,
				CVSS: new(7.5), Path: "/lib/apk/db/installed", DiffIDs: []attestor.Digest{
					"sha256:ed905fc06ed3176315bd1e33075ca5b09cd768ad78142fb45439350469556880"},
			},
		},
		{
			"osv-cargo.json", string(digest(1)), complete, "osv-scanner", nil, []string{"RUST"},
			counts{"CRITICAL": 1, "HIGH": 1, "MEDIUM": 2, "LOW": 0, "MINIMAL": 0, "UNSPECIFIED": 0},
			attestor.Vulnerability{
				ID: "CVE-2021-25900", Severity: attestor.Critical, Package: "smallvec", PackageType: "RUST", Version: "1.6.0", FixedVersion: "0.6.14, 1.6.1",
				Fixable: true, Path: "/path/to/Cargo.lock",
			},
		},
	}

	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			img := image(t, "us-docker.pkg.dev/acme/prod/api@"+tt.digest)
			report := reportFile(t, tt.file)
			target := targetOf(t, img, report)
			target.Platform = platformOf(tt.file)
			in, err := vuln.Import(strings.NewReader(report), target)
			if err != nil {
				t.Fatal(err)
			}

			scan := scanOfImport(t, in)
			if scan.State != tt.state || scan.Note != houseNote || scan.Resource != uri(img) || in.Scanner != tt.scanner {
				t.Errorf("scan %+v by %q", scan, in.Scanner)
			}
			if diff := cmp.Diff(tt.finished, scan.Finished); diff != "" {
				t.Errorf("finished -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(tt.types, scan.Analyses); diff != "" {
				t.Errorf("types -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(tt.counts, scan.Counts()); diff != "" {
				t.Errorf("counts -want +got:\n%s", diff)
			}

			tt.spot.Note = notes + tt.spot.ID
			if !slices.ContainsFunc(scan.Findings, func(v attestor.Vulnerability) bool { return cmp.Equal(v, tt.spot) }) {
				t.Errorf("no such finding: %+v\namong %+v", tt.spot, scan.Findings)
			}
		})
	}
}

func platformOf(file string) string {
	if strings.Contains(file, "ruby") {
		return "linux/arm64/v8"
	}
	return ""
}

// TestImportedRisk: exploitation is passed on where the scanner reports it.
func TestImportedRisk(t *testing.T) {
	in, err := vuln.Import(strings.NewReader(reportFile(t, "grype-v0.121-epss.json")), vuln.Target{
		Image: image(t, "us-docker.pkg.dev/acme/prod/api@"+epssManifest), Note: houseNote,
	})

	if err != nil {
		t.Fatal(err)
	}

	got := map[string][2]any{}
	for _, f := range scanOfImport(t, in).Findings {
		got[f.ID] = [2]any{*f.EPSS, *f.KnownExploited}
	}

	want := map[string][2]any{"CVE-1999-0001": {0.03, false}, "CVE-1999-0002": {0.08, true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestImportedAdvisories: the date of publication goes to the note, from which
// grace periods count.
func TestImportedAdvisories(t *testing.T) {
	in := imported(t, "osv-go.json", api(t))
	n := in.Notes["projects/acme-security/notes/CVE-2021-3121"]
	if n == nil {
		t.Fatalf("notes %v", in.Notes)
	}

	// Of the two advisories that have this CVE the earlier counts.
	if got := n.GetVulnerability().GetAdvisoryPublishTime().AsTime(); !got.Equal(time.Date(2021, 4, 14, 20, 4, 52, 0, time.UTC)) {
		t.Errorf("published %s", got)
	}
	if in.Notes[houseNote].GetDiscovery().GetAnalysisKind() != grafeaspb.NoteKind_VULNERABILITY {
		t.Errorf("the scanner's note: %v", in.Notes[houseNote])
	}
}

// TestImportOfWhat: a report counts only for the image that it is of.
func TestImportOfWhat(t *testing.T) {
	tests := []struct {
		name, file, digest, platform string
		ok                           bool
	}{
		{"the manifest itself", "grype-keycloak.json", keycloakManifest, "", true},
		{"an index, amd64", "grype-keycloak.json", keycloakIndex, "", true},
		{"an index, said to be arm64", "grype-keycloak.json", keycloakIndex, "linux/arm64", false},
		{"another image", "grype-keycloak.json", rubyManifest, "", false},
		{"the manifest itself, arm64", "grype-chainguard-ruby.json", rubyManifest, "", true},
		{"an index, arm64", "grype-chainguard-ruby.json", rubyIndex, "", false},
		{"a digest, said to be arm64", "grype-chainguard-ruby.json", rubyIndex, "linux/arm64", true},
		{"a manifest, said to be amd64", "grype-chainguard-ruby.json", rubyManifest, "linux/amd64", false},
		{"nothing is named", "trivy-alpine-39.json", keycloakManifest, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := vuln.Target{
				Image: image(t, "us-docker.pkg.dev/acme/prod/api@"+tt.digest), Note: houseNote, Platform: tt.platform,
				Index: func() (bool, error) { return false, nil },
			}
			in, err := vuln.Import(strings.NewReader(reportFile(t, tt.file)), target)
			if (err == nil) != tt.ok {
				t.Fatal(err)
			}

			if err != nil && (attestor.KindOf(err) != attestor.Invalid || in.Discovery != nil) {
				t.Errorf("%v, discovery %v", err, in.Discovery)
			}
		})
	}
}

// TestImportRefuses: what is not whole, not of an image or not a report says
// nothing of an image.
func TestImportRefuses(t *testing.T) {
	grype, trivy := reportFile(t, "grype-v0.121-epss.json"), reportFile(t, "trivy-alpine-39.json")
	trivy = strings.Replace(trivy, `"Metadata": {`, `"Metadata": {"RepoDigests": ["x/y@`+epssManifest+`"],`, 1)
	tests := []struct{ name, report, says string }{
		{"empty", "", "not a JSON object"},
		{"a list", "[]", "not a JSON object"},
		{"an empty object", "{}", "none of the supported formats"},
		{"null results", `{"results": null}`, "none of the supported formats"},
		{"cut off", trivy[:len(trivy)/2], "not a JSON object"},
		{"in UTF-16", "\xff\xfe{\x00}\x00", "in UTF-16"},
		{"two in one", trivy + trivy, "not a JSON object"},
		{"a list that is there twice, which another reader would take the other of",
			strings.Replace(trivy, `"Results": [`, `"Results": [], "Results": [`, 1), `duplicate key "Results"`},
		{"an advisory", `{"id": "GHSA-1", "affected": []}`, "not a scanner's report"},
		{"no packages, by Trivy", reportFile(t, "trivy-no-packages.json"), "lists no packages"},
		{"secrets only, by Trivy", strings.ReplaceAll(trivy, `"os-pkgs"`, `"secret"`), "lists no packages"},
		{"of a file system, by Trivy", reportFile(t, "trivy-npm-filesystem.json"), "not of an image"},
		{"an older schema of Trivy", strings.Replace(trivy, `"SchemaVersion": 2`, `"SchemaVersion": 1`, 1), "schema version 1"},
		{"Trivy with other types", strings.Replace(trivy, `"Results": [`, `"Results": "none", "x": [`, 1), "cannot be read"},
		{"of a directory, by Grype", strings.Replace(grype, `"type": "image"`, `"type": "directory"`, 1), "not of an image"},
		{"only what has a fix, by Grype", strings.Replace(grype, `"descriptor": {`, `"descriptor": {"configuration": {"only-fixed": true},`, 1), "leaves out"},
		{"of two images, by Trivy", strings.NewReplacer(`"x/y@`+epssManifest+`"`, `"x/y@`+string(digest(1))+`"`,
			`"ArtifactName": "testdata/fixtures/images/alpine-39.tar.gz"`,
			`"ArtifactName": "x/y@`+epssManifest+`"`).Replace(trivy), "contradicts itself"},
		{"of two images, by Grype", strings.NewReplacer(`"userInput": "user-input"`, `"userInput": "x/y@`+epssManifest+`"`,
			`"manifestDigest": "`+epssManifest, `"manifestDigest": "`+string(digest(2)),
			`"repoDigests": []`, `"repoDigests": ["x/y@`+string(digest(1))+`"]`,
			`"architecture": ""`, `"architecture": "amd64"`, `"os": ""`, `"os": "linux"`).Replace(grype), "contradicts itself"},
		{"of nothing, by osv-scanner", `{"results": [], "image_metadata": {}}`, "lists no installed packages"},
		{"a vulnerability without a name", strings.Replace(trivy, `"VulnerabilityID": "CVE-2019-1549"`,
			`"VulnerabilityID": "//"`, 1), "not a vulnerability's name"},
		{"named like the scanner's note", strings.Replace(trivy, `"VulnerabilityID": "CVE-2019-1549"`,
			`"VulnerabilityID": "trivy"`, 1), "has the name of a vulnerability"},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := vuln.Target{Image: image(t, "us-docker.pkg.dev/acme/prod/api@"+epssManifest), Note: houseNote}
			in, err := vuln.Import(strings.NewReader(tt.report), target)
			if attestor.KindOf(err) != attestor.Invalid || !strings.Contains(attestor.Message(err), tt.says) {
				t.Errorf("error %v, want one that says %q", err, tt.says)
			}
			if in.Discovery != nil || in.Vulnerabilities != nil {
				t.Errorf("occurrences all the same: %+v", in)
			}
		})
	}

	// A byte order mark before UTF-8 is read over.
	target := vuln.Target{Image: image(t, "us-docker.pkg.dev/acme/prod/api@"+epssManifest), Note: houseNote}
	if _, err := vuln.Import(strings.NewReader("\ufeff"+trivy), target); err != nil {
		t.Errorf("with a byte order mark: %v", err)
	}

	for _, target := range []vuln.Target{
		{}, {Image: api(t)}, {Note: houseNote}, {Image: api(t), Note: "trivy"}, {Image: api(t),
			Note: "projects/p/locations/us/notes/n"}, {Image: api(t), Note: "projects/p/occurrences/n"},
	} {
		if _, err := vuln.Import(strings.NewReader(trivy), target); attestor.KindOf(err) != attestor.Invalid {
			t.Errorf("target %+v: %v", target, err)
		}
	}
}

// TestImportCountsTheSuppressed: what was ignored when scanning is a finding
// here, and what has several names is one under each.
func TestImportCountsTheSuppressed(t *testing.T) {
	tests := []struct {
		name, report string
		want         []string
	}{
		{"Grype", `{"matches": [], "descriptor": {"name": "grype", "timestamp": "2026-11-20T12:00:00Z"}, "source": ` +
			`{"type": "image", "target": {"manifestDigest": "` + string(digest(1)) + `"}}, "ignoredMatches": [
			{"vulnerability": {"id": "CVE-2026-0001", "severity": "Critical"}, "artifact": {"name": "a",
				"version": "1", "type": "deb"}, "appliedIgnoreRules": [{"vulnerability": "CVE-2026-0001"}]}]}`,
			[]string{"CVE-2026-0001"}},
		{"Trivy", `{"SchemaVersion": 2, "CreatedAt": "2026-11-20T12:00:00Z", "ArtifactType": "container_image", ` +
			`"ArtifactName": "x/y@` + string(digest(1)) +
			`", "Results": [{"Class": "os-pkgs", "Type": "debian", "ExperimentalModifiedFindings": [
			{"Type": "vulnerability", "Status": "ignored", "Finding": {"VulnerabilityID": "CVE-2026-0001",
				"PkgName": "a", "InstalledVersion": "1", "Severity": "CRITICAL"}}]}]}`,
			[]string{"CVE-2026-0001"}},
		{"aliases", `{"image_metadata": {"layer_metadata": [{"diff_id": "` + string(digest(9)) +
			`"}]}, "results": [{"source": {"path": "/x", "type": "artifact"}, "packages": [{"package": {"name": "a",
				"version": "1", "ecosystem": "Go"}, "vulnerabilities": [
			{"id": "GO-2026-0001", "aliases": ["CVE-2026-0002", "GHSA-1", "CVE-2026-0001"]}]}]}]}`, []string{"CVE-2026-0001", "CVE-2026-0002"}},
		{"a distribution's name", `{"image_metadata": {"layer_metadata": [{"diff_id": "` + string(digest(9)) +
			`"}]}, "results": [{"source": {"path": "/x", "type": "artifact"}, "packages": [{"package": {"name": "a",
				"version": "1", "ecosystem": "Alpine:v3.22"}, "vulnerabilities": [
			{"id": "ALPINE-CVE-2024-58251"}]}]}]}`, []string{"CVE-2024-58251"}},
		{"a name that no note has", `{"image_metadata": {"layer_metadata": [{"diff_id": "` + string(digest(9)) +
			`"}]}, "results": [{"source": {"path": "/x", "type": "artifact"}, "packages": [{"package": {"name": "a",
				"version": "1", "ecosystem": "AlmaLinux:8"}, "vulnerabilities": [
			{"id": "ALSA-2021:1234"}]}]}]}`, []string{"ALSA-2021-1234"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in, err := vuln.Import(strings.NewReader(tt.report), targetOf(t, api(t), tt.report))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, ids(scanOfImport(t, in).Findings)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestImportedLayer: osv-scanner's layer, where it exists.
func TestImportedLayer(t *testing.T) {
	for index, want := range map[string][]attestor.Digest{"1": {digest(5)}, "2": nil, "-1": nil} {
		report := `{"results": [{"source": {"path": "/lib/apk/db/installed", "type": "os"}, "packages": [{
			"package": {"name": "openssl", "os_package_name": "libcrypto3", "version": "3.5.4-r0",
				"ecosystem": "Alpine:v3.22", "image_origin_details": {"index": ` +
			index + `}},
			"groups": [{"ids": ["ALPINE-CVE-2025-15467"], "max_severity": "9.8"}],
			"vulnerabilities": [{"id": "ALPINE-CVE-2025-15467", "upstream": ["CVE-2025-15467"], "affected": [
				{"package": {"name": "openssl", "ecosystem": "Alpine:v3.21"}, "ranges": [{"type": "ECOSYSTEM",
					"events": [{"introduced": "0"}, {"fixed": "3.3.6-r0"}]}]},
				{"package": {"name": "openssl", "ecosystem": "Alpine:v3.22"}, "ranges": [{"type": "ECOSYSTEM",
					"events": [{"introduced": "0"}, {"fixed": "3.5.5-r0"}]}]}]}]}]}],
			"image_metadata": {"layer_metadata": [{"diff_id": "` + string(digest(4)) + `"}, {"diff_id": "` + string(digest(5)) + `"}]}}`

		in, err := vuln.Import(strings.NewReader(report), targetOf(t, api(t), report))
		if err != nil {
			t.Fatal(err)
		}

		wanted := []attestor.Vulnerability{{
			ID: "CVE-2025-15467", Note: "projects/acme-security/notes/CVE-2025-15467", Severity: attestor.Critical, Package: "libcrypto3", PackageType: "OS",
			Version: "3.5.4-r0", FixedVersion: "3.5.5-r0", Fixable: true, CVSS: new(9.8), DiffIDs: want, Path: "/lib/apk/db/installed",
		}}

		if diff := cmp.Diff(wanted, scanOfImport(t, in).Findings); diff != "" {
			t.Errorf("layer %s: -want +got:\n%s", index, diff)
		}
	}
}

// FuzzImport: whatever a report holds, it is refused or it names the target,
// under the target's note, and nothing else.
func FuzzImport(f *testing.F) {
	f.Add(`{"matches": [{"vulnerability": {"id": "CVE-2026-0001", "severity": "Low", "fix": {"versions": ["2"],
		"state": "fixed"}}, "relatedVulnerabilities": [{"id": "GHSA-1"}],
		"artifact": {"name": "a", "version": "1", "type": "deb", "locations": [{"path": "/x",
			"layerID": "sha256:1"}]}}], "descriptor": {"name": "grype", "timestamp": "2026-11-20T12:00:00Z"},
			"source": {"type": "image", "target": {"userInput": "x@` +
		string(digest(1)) + `"}}}`)

	f.Add(`{"SchemaVersion": 2, "CreatedAt": "2026-11-20T12:00:00Z", "ArtifactType": "container_image", ` +
		`"ArtifactName": "x/y@` + string(digest(1)) +
		`", "Results": [{"Class": "os-pkgs", "Type": "debian", "Vulnerabilities": [
		{"VulnerabilityID": "CVE-2026-0001", "PkgName": "a", "InstalledVersion": "1", "Severity": "CRITICAL",
			"Layer": {"DiffID": "sha256:1"}, "CVSS": {"nvd": {"V3Score": 7}}}]}]}`)

	f.Add(`{"image_metadata": {"layer_metadata": [{"diff_id": "` + string(digest(9)) +
		`"}]}, "results": [{"source": {"path": "/x", "type": "artifact"}, "packages": [{"package": {"name": "a",
			"version": "1", "ecosystem": "Go"}, "groups": [{"ids": ["GO-1"], "max_severity": "7"}],
		"vulnerabilities": [{"id": "GO-1", "aliases": ["CVE-2026-0002"], "affected": [{"package": {"name": "a",
			"ecosystem": "Go"}, "ranges": [{"type": "SEMVER", "events": [{"fixed": "2"}]}]}]}]}]}]}`)

	img := api(f)
	f.Fuzz(func(t *testing.T, report string) {
		target := vuln.Target{Image: img, Note: houseNote, Layers: func() ([]attestor.Digest, error) { return []attestor.Digest{digest(9)}, nil }}
		in, err := vuln.Import(strings.NewReader(report), target)
		if err != nil {
			if in.Discovery != nil {
				t.Error("a discovery beside an error")
			}
			return
		}
		if in.Discovery.GetNoteName() != houseNote || in.Discovery.GetResourceUri() != uri(img) {
			t.Errorf("discovery %v", in.Discovery)
		}

		for _, o := range in.Vulnerabilities {
			if o.GetResourceUri() != uri(img) || !strings.HasPrefix(o.GetNoteName(), "projects/acme-security/notes/") || in.Notes[o.GetNoteName()] == nil {
				t.Errorf("occurrence %v", o)
			}
			if _, err := proto.Marshal(o); err != nil {
				t.Error(err)
			}
		}
	})
}
