package vuln_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/vuln"
)

// npmFinding is a result of Trivy with one finding of an npm package.
func npmFinding(id, more string) string {
	return fmt.Sprintf(`{"Class": "lang-pkgs", "Type": "npm", "Vulnerabilities": [{"VulnerabilityID": %q, "PkgName": "a", `+
		`"InstalledVersion": "1"%s}]}`, id, more)
}

// TestNamesOfNotes: a note is named by its vulnerability, as far as a name can have its characters. What leaves nothing, or more than a name can
// have, is no vulnerability's name.
func TestNamesOfNotes(t *testing.T) {
	for id, want := range map[string]string{
		"CVE-2026-0001":          "CVE-2026-0001",
		"ALSA-2026:1234":         "ALSA-2026-1234",
		"a b//c":                 "a-b-c",
		"a_b.c":                  "a_b.c",
		"-.CVE-2026-0001.-":      "CVE-2026-0001",
		"é":                      "",
		"..":                     "",
		"":                       "",
		strings.Repeat("a", 128): strings.Repeat("a", 128),
		strings.Repeat("a", 129): "",
	} {
		in, err := importedFrom(t, "trivy-complete.json", `"Results": [`, `"Results": [`+npmFinding(id, "")+",")
		if want == "" {
			if !refusalSays(in, err, "is not a vulnerability's name") {
				t.Errorf("%q: %v", id, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%q: %v", id, err)
		}
		name := "projects/acme-security/notes/" + want
		if in.Notes[name] == nil || in.Notes[name].GetShortDescription() != want || in.Vulnerabilities[0].GetNoteName() != name {
			t.Errorf("%q: notes %v", id, in.Notes)
		}
	}
}

// TestFactsOfNotes: a note has the worst that any package's finding says of the vulnerability, and its earliest date.
func TestFactsOfNotes(t *testing.T) {
	const id = "CVE-2026-0001"
	long := strings.Repeat("é", 1001)
	finding := func(severity string, score float64, published, url string) string {
		return npmFinding(id, fmt.Sprintf(`, "PkgPath": %q, "Severity": %q, "CVSS": {"nvd": {"V3Score": %g}}, "PublishedDate": "%sT00:00:00Z", `+
			`"PrimaryURL": %q, "Title": %q`, "/"+severity+published, severity, score, published, url, long))
	}
	for _, list := range [][]string{
		{finding("LOW", 3.1, "2026-03-01", ""), finding("HIGH", 7.5, "2026-02-01", ""), finding("MEDIUM", 5.5, "2026-04-01", "")},
		{finding("HIGH", 7.5, "2026-04-01", ""), finding("LOW", 3.1, "2026-02-01", ""), npmFinding(id, "")},
		{npmFinding(id, ""), finding("LOW", 3.1, "2026-02-01", ""), finding("HIGH", 7.5, "2026-03-01", "")},
	} {
		n := trivyWith(t, strings.Join(list, ",")).Notes["projects/acme-security/notes/"+id]
		v := n.GetVulnerability()
		if v.GetSeverity() != grafeaspb.Severity_HIGH || v.GetCvssScore() != 7.5 ||
			!v.GetAdvisoryPublishTime().AsTime().Equal(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%v", v)
		}
		if len(n.GetRelatedUrl()) != 0 {
			t.Errorf("an address of nothing: %v", n.GetRelatedUrl())
		}
	}

	// Texts are cut at a whole character.
	n := trivyWith(t, finding("LOW", 1, "2026-02-01", "https://x.example/1")).Notes["projects/acme-security/notes/"+id]
	if n.GetLongDescription() != strings.Repeat("é", 1000) || len(n.GetRelatedUrl()) != 1 || n.GetRelatedUrl()[0].GetUrl() != "https://x.example/1" {
		t.Errorf("%d bytes, %v", len(n.GetLongDescription()), n.GetRelatedUrl())
	}
	odd := trivyWith(t, npmFinding(id, `, "Title": "x`+long+`"`)).Notes["projects/acme-security/notes/"+id]
	if odd.GetLongDescription() != "x"+strings.Repeat("é", 999) {
		t.Errorf("%d bytes", len(odd.GetLongDescription()))
	}
	if none := trivyWith(t, npmFinding(id, "")).Notes["projects/acme-security/notes/"+id]; none.GetVulnerability().GetAdvisoryPublishTime() != nil {
		t.Errorf("a date that nobody gave: %v", none)
	}
}

// grypeMatches imports Grype's complete report with matches, all of them of one npm package.
func grypeMatches(t *testing.T, vulnerabilities ...string) vuln.Imported {
	t.Helper()
	var matches []string
	for _, v := range vulnerabilities {
		matches = append(matches, `{"vulnerability": `+v+`, "artifact": {"name": "a", "version": "1", "type": "npm"}}`)
	}
	in, err := importedFrom(t, "grype-complete.json", `"matches": []`, `"matches": [`+strings.Join(matches, ",")+`]`)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// TestHighestRiskCounts: of several values the highest, under whatever name of the vulnerability and in whatever order;
// where the scanner reports no risk, there is none.
func TestHighestRiskCounts(t *testing.T) {
	const head = `{"id": "CVE-2026-0001", "severity": "High"`
	for _, tt := range []struct {
		name      string
		list      []string
		epss      *float64
		exploited *bool
		cvss      *float64
	}{
		{"none", []string{head + "}"}, nil, nil, nil},
		{"empty lists", []string{head + `, "epss": [], "knownExploited": [], "cvss": []}`}, nil, nil, nil},
		{"one of each", []string{head + `, "epss": [{"epss": 0.25}], "cvss": [{"metrics": {"baseScore": 5.5}}]}`}, new(0.25), new(false), new(5.5)},
		{"known to be exploited", []string{head + `, "knownExploited": [{"knownRansomwareCampaignUse": "Known"}]}`}, nil, new(true), nil},
		{"the highest of a list", []string{head + `, "epss": [{"epss": 0.25}, {"epss": 0.5}, {"epss": 0.125}], "cvss": [{"metrics": {"baseScore": 5}}, ` +
			`{"metrics": {"baseScore": 9.1}}, {"metrics": {"baseScore": 7}}]}`}, new(0.5), new(false), new(9.1)},
		{"the highest comes last", []string{head + `, "epss": [{"epss": 0.25}]}`, head + `, "epss": [{"epss": 0.5}]}`}, new(0.5), new(false), nil},
		{"the highest comes first", []string{head + `, "epss": [{"epss": 0.5}]}`, head + `, "epss": [{"epss": 0.25}]}`}, new(0.5), new(false), nil},
		{"each by another match", []string{head + `, "knownExploited": [{}]}`, head + `, "epss": [{"epss": 0.5}]}`, head + "}"},
			new(0.5), new(true), nil},
	} {
		got := scanOfImport(t, grypeMatches(t, tt.list...)).Findings
		if len(got) != 1 || !cmp.Equal(got[0].EPSS, tt.epss) || !cmp.Equal(got[0].KnownExploited, tt.exploited) || !cmp.Equal(got[0].CVSS, tt.cvss) {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}

	in, err := importedFrom(t, "grype-complete.json", `"matches": []`, `"matches": [{"vulnerability": `+
		`{"id": "GHSA-1", "severity": "Low", "epss": [{"epss": 0.25}]}, `+
		`"relatedVulnerabilities": [{"id": "CVE-2026-0001", "epss": [{"epss": 0.75}], "knownExploited": [{}], `+
		`"cvss": [{"metrics": {"baseScore": 9.8}}]}], `+
		`"artifact": {"name": "a", "version": "1", "type": "npm"}}]`)
	if err != nil {
		t.Fatal(err)
	}
	got := scanOfImport(t, in).Findings
	if len(got) != 1 || got[0].ID != "CVE-2026-0001" || !cmp.Equal(got[0].EPSS, new(0.75)) ||
		!cmp.Equal(got[0].KnownExploited, new(true)) || !cmp.Equal(got[0].CVSS, new(9.8)) {
		t.Errorf("by a related name: %+v", got)
	}
}

// TestFixOfAnIssue: an issue says of its own package whether there is a fix; the occurrence, whether any has one.
func TestFixOfAnIssue(t *testing.T) {
	with, without := npmFinding("CVE-2026-0001", `, "PkgPath": "/a", "FixedVersion": "2"`), npmFinding("CVE-2026-0001", `, "PkgPath": "/b"`)
	for want, list := range map[bool][]string{true: {with + "," + without, without + "," + with, with}, false: {without}} {
		for _, results := range list {
			v := trivyWith(t, results).Vulnerabilities[0].GetVulnerability()
			if v.GetFixAvailable() != want {
				t.Errorf("%s: %t", results, v.GetFixAvailable())
			}
			for _, p := range v.GetPackageIssue() {
				fixed := p.GetFileLocation()[0].GetFilePath() == "/a"
				if p.GetFixAvailable() != fixed || (p.GetFixedVersion().GetKind() == grafeaspb.Version_MAXIMUM) == fixed {
					t.Errorf("%s: %v", results, p)
				}
			}
		}
	}
}

// TestCPEOfAnIssue: of a package of the system it is the distribution's; else the scanner's first, else one of its name.
func TestCPEOfAnIssue(t *testing.T) {
	for artifact, want := range map[string]string{
		`"type": "deb", "cpes": ["cpe:2.3:a:x:a:1"]`:                    "cpe:/o:debian:debian_linux:12.5",
		`"type": "npm", "cpes": ["cpe:2.3:a:x:a:1", "cpe:2.3:a:y:a:1"]`: "cpe:2.3:a:x:a:1",
		`"type": "npm", "cpes": []`:                                     "cpe:/a:a:1",
	} {
		in, err := importedFrom(t, "grype-complete.json", `"matches": []`, `"matches": [{"vulnerability": {"id": "CVE-2026-0001"}, "artifact": `+
			`{"name": "a", "version": "1", `+artifact+`}}]`)
		if err != nil {
			t.Fatal(err)
		}
		p := in.Vulnerabilities[0].GetVulnerability().GetPackageIssue()[0]
		if p.GetAffectedCpeUri() != want || p.GetFixedCpeUri() != want {
			t.Errorf("%s: %s and %s, want %s", artifact, p.GetAffectedCpeUri(), p.GetFixedCpeUri(), want)
		}
	}
}

// TestTooManyFindingsAreRefused: a report of 100,000 findings is imported, one more is not.
func TestTooManyFindingsAreRefused(t *testing.T) {
	const one = `{"VulnerabilityID": "CVE-2026-0001", "PkgName": "a"}`
	for n, kind := range map[int]attestor.Kind{100_000: 0, 100_001: attestor.TooLarge} {
		if kind == 0 && os.Getenv("GATE_TEST_ALL") == "" {
			continue // it takes seconds
		}
		in, err := importedFrom(t, "trivy-complete.json", `"Results": [`, `"Results": [{"Class": "lang-pkgs", "Type": "npm", "Vulnerabilities": [`+
			strings.Repeat(one+",", n-1)+one+`]},`)
		if kind == 0 && (err != nil || len(in.Vulnerabilities) != 1) || kind != 0 && attestor.KindOf(err) != kind {
			t.Errorf("%d findings: %v", n, err)
		}
	}
}

// TestWhatAReportCovers: without packages of the system a report covers those of languages at most, whatever a reader made
// of it; with a lack that a reader found, too.
func TestWhatAReportCovers(t *testing.T) {
	const lacking = "the report lists no packages of the operating system"
	for _, tt := range []struct {
		types  []string
		lack   string
		want   vuln.Coverage
		says   string
		listed []string
	}{
		{[]string{"OS", "GO", "OS"}, "", vuln.Complete, "", []string{"GO", "OS"}},
		{[]string{"GO", "GO"}, "", vuln.Partial, lacking, []string{"GO"}},
		{nil, "", vuln.Unsupported, lacking, nil},
		{[]string{"OS", "GO"}, "why", vuln.Partial, "why", []string{"GO"}},
		{[]string{"OS"}, "why", vuln.Unsupported, "why", nil},
	} {
		c, says, listed, err := vuln.CoverageOf(tt.types, tt.lack, nil)
		if err != nil || c != tt.want || says != tt.says || strings.Join(listed, " ") != strings.Join(tt.listed, " ") {
			t.Errorf("%v, %q: %s, %q, %v, %v", tt.types, tt.lack, c, says, listed, err)
		}
	}

	// A database without a scan's time is of no help, and no reason to fail.
	if _, _, _, err := vuln.CoverageOf([]string{"OS"}, "", new(start.AddDate(-1, 0, 0))); err != nil {
		t.Error(err)
	}
}

// TestImportOfAnotherChildOfAnIndex: what is stored of an index counts for its first linux/amd64 child, so that a report
// of another platform must be of one image.
func TestImportOfAnotherChildOfAnIndex(t *testing.T) {
	down := errors.New("down")
	index := func(is bool, err error) func() (bool, error) { return func() (bool, error) { return is, err } }
	asked := func() (bool, error) { return false, errors.New("nobody had to be asked") }
	for _, tt := range []struct {
		name, digest, platform string
		index                  func() (bool, error)
		says                   string
	}{
		{"an index", rubyIndex, "linux/arm64", index(true, nil), "may be an index"},
		{"an image", rubyIndex, "linux/arm64", index(false, nil), ""},
		{"nobody knows", rubyIndex, "linux/arm64", nil, "may be an index"},
		{"nobody answers", rubyIndex, "linux/arm64", index(false, down), "asking whether"},
		{"the manifest is named", rubyManifest, "linux/arm64", asked, ""},
		{"the manifest is named, its platform is not", rubyManifest, "", asked, ""},
	} {
		report := reportFile(t, "grype-chainguard-ruby.json")
		target := vuln.Target{
			Image: image(t, "us-docker.pkg.dev/acme/prod/api@"+tt.digest), Note: houseNote, Platform: tt.platform, Index: tt.index,
		}
		in, err := vuln.Import(strings.NewReader(report), target)
		if (err == nil) != (tt.says == "") || err != nil && (!strings.Contains(err.Error(), tt.says) || in.Discovery != nil) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
		if tt.says == "asking whether" && !errors.Is(err, down) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}

	// A report for linux/amd64 may be stored of an index: it counts for that child.
	for _, platform := range []string{"", "linux/amd64"} {
		target := vuln.Target{
			Image: image(t, "us-docker.pkg.dev/acme/prod/api@"+keycloakIndex), Note: houseNote, Platform: platform, Index: asked,
		}
		if _, err := vuln.Import(strings.NewReader(reportFile(t, "grype-keycloak.json")), target); err != nil {
			t.Errorf("of an index, %q: %v", platform, err)
		}
	}
}

// TestImportUnderWhat: a report is filed under a note of a project, and read to its end.
func TestImportUnderWhat(t *testing.T) {
	for note, ok := range map[string]bool{
		houseNote: true, "projects/p/locations/us/notes/n": false, "projects/p/occurrences/n": false, "projects/p/notes/": false, "n": false, "": false,
	} {
		target := coverageTarget(t)
		target.Note = note
		in, err := vuln.Import(strings.NewReader(coverageReport(t, "trivy-complete.json")), target)
		says := "is not a note's name"
		if ok {
			says = ""
		}
		if !refusalSays(in, err, says) {
			t.Errorf("%q: %v", note, err)
		}
	}

	down := errors.New("down")
	in, err := vuln.Import(iotest.ErrReader(down), coverageTarget(t))
	if !errors.Is(err, down) || in.Discovery != nil {
		t.Errorf("a report that cannot be read: %v", err)
	}
	for _, text := range []string{
		`{"matches": []}`, `{"descriptor": {}}`, `{"SchemaVersion": 2}`, `{"ArtifactType": "container_image"}`, `{"results": [], "SchemaVersion": 2}`,
	} {
		if in, err := vuln.Import(strings.NewReader(text), coverageTarget(t)); !refusalSays(in, err, "in none of the supported formats") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
