package vuln_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/vuln"
)

// trivyWith imports Trivy's complete report with results before its own.
func trivyWith(t *testing.T, results string) vuln.Imported {
	t.Helper()
	in, err := importedFrom(t, "trivy-complete.json", `"Results": [`, `"Results": [`+results+`,`)
	if err != nil {
		t.Fatalf("%s: %v", results, err)
	}
	return in
}

// severities are those of findings, by package.
func severities(scan attestor.Scan) map[string]attestor.Severity {
	out := map[string]attestor.Severity{}
	for _, f := range scan.Findings {
		out[f.Package] = f.Severity
	}
	return out
}

// TestPackagesThatNobodyRated: how severe a vulnerability is in one package says nothing of it in another, which the scanner did not rate.
func TestPackagesThatNobodyRated(t *testing.T) {
	in := func(pkg, severity string) string {
		return fmt.Sprintf(`{"VulnerabilityID": "CVE-2026-0001", "PkgName": %q, "InstalledVersion": "1", "Severity": %q}`, pkg, severity)
	}
	for _, tt := range []struct {
		name string
		list []string
		want map[string]attestor.Severity
	}{
		{"rated, then not", []string{in("a", "LOW"), in("b", "UNKNOWN")}, map[string]attestor.Severity{"a": "LOW", "b": "UNSPECIFIED"}},
		{"not rated, then rated", []string{in("a", "UNKNOWN"), in("b", "CRITICAL")},
			map[string]attestor.Severity{"a": "UNSPECIFIED", "b": "CRITICAL"}},
		{"both rated", []string{in("a", "LOW"), in("b", "HIGH")}, map[string]attestor.Severity{"a": "LOW", "b": "HIGH"}},
		{"neither rated", []string{in("a", "UNKNOWN"), in("b", "UNKNOWN")}, map[string]attestor.Severity{"a": "UNSPECIFIED", "b": "UNSPECIFIED"}},
		{"one package twice, rated once", []string{in("a", "UNKNOWN"), in("a", "HIGH"), in("a", "UNKNOWN")}, map[string]attestor.Severity{"a": "HIGH"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := trivyWith(t, `{"Class": "lang-pkgs", "Type": "npm", "Vulnerabilities": [`+strings.Join(tt.list, ",")+`]}`)
			scan := scanOfImport(t, in)
			if diff := cmp.Diff(tt.want, severities(scan)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}

			// The occurrence's own severity is that of the worst package, if all are rated.
			got, worst := in.Vulnerabilities[0].GetVulnerability(), 0
			for _, s := range tt.want {
				rank := slices.Index([]attestor.Severity{"UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL"}, s)
				if rank == 0 {
					worst = 0
					break
				}
				worst = max(worst, rank)
			}
			if int(got.GetSeverity()) != worst || int(got.GetEffectiveSeverity()) != worst {
				t.Errorf("the occurrence has %s and %s, want %d", got.GetSeverity(), got.GetEffectiveSeverity(), worst)
			}
		})
	}
}

// TestFindingsInAnyResult: a vulnerability counts in a result of whatever class, a suppressed one too; findings of other
// kinds do not, and secrets are stored as secrets.
func TestFindingsInAnyResult(t *testing.T) {
	const found, ignored, other = `{"VulnerabilityID": "CVE-2026-0001", "PkgName": "a", "InstalledVersion": "1"}`,
		`{"VulnerabilityID": "CVE-2026-0002", "PkgName": "a", "InstalledVersion": "1"}`,
		`{"VulnerabilityID": "CVE-2026-0003", "PkgName": "a", "InstalledVersion": "1"}`
	for _, class := range []string{"os-pkgs", "lang-pkgs", "custom", "unknown", ""} {
		in := trivyWith(t, `{"Class": "`+class+`", "Type": "x", "Vulnerabilities": [`+found+`], "Secrets": [{"RuleID": "a"}, {"RuleID": "b"}], `+
			`"ExperimentalModifiedFindings": [{"Type": "vulnerability", "Finding": `+ignored+`}, {"Type": "secret", "Finding": `+other+`}]}`)
		if diff := cmp.Diff([]string{"CVE-2026-0001", "CVE-2026-0002"}, ids(scanOfImport(t, in).Findings)); diff != "" {
			t.Errorf("%q: -want +got:\n%s", class, diff)
		}
		if len(in.Secrets) != 3 || in.Coverage != vuln.Complete {
			t.Errorf("%q: %d secrets, %s", class, len(in.Secrets), in.Coverage)
		}
	}
}

// TestPlaceThatTrivyReports: a package of a language has its path, else the file that it was read from; one of the
// system has a layer alone.
func TestPlaceThatTrivyReports(t *testing.T) {
	layer := `"Layer": {"DiffID": "` + string(digest(4)) + `"}, `
	for _, tt := range []struct {
		class, more, path string
		layers            []attestor.Digest
		places            int
	}{
		{"lang-pkgs", `"PkgPath": "/x/package.json", ` + layer, "/x/package.json", []attestor.Digest{digest(4)}, 1},
		{"lang-pkgs", `"PkgPath": "/x/package.json", `, "/x/package.json", nil, 1},
		{"lang-pkgs", "", "/app/lock", nil, 1},
		{"os-pkgs", layer, "", []attestor.Digest{digest(4)}, 1},
		{"os-pkgs", "", "", nil, 0},
	} {
		in := trivyWith(t, `{"Class": "`+tt.class+`", "Type": "npm", "Target": "/app/lock", "Vulnerabilities": [{`+tt.more+
			`"VulnerabilityID": "CVE-2026-0001", "PkgName": "a", "InstalledVersion": "1"}]}`)
		got := scanOfImport(t, in).Findings
		if len(got) != 1 || got[0].Path != tt.path || !cmp.Equal(got[0].DiffIDs, tt.layers) {
			t.Errorf("%s, %s: %+v", tt.class, tt.more, got)
		}
		issue := in.Vulnerabilities[0].GetVulnerability().GetPackageIssue()[0]
		if len(issue.GetFileLocation()) != tt.places || tt.layers == nil && tt.places == 1 && issue.GetFileLocation()[0].LayerDetails != nil {
			t.Errorf("%s, %s: places %v", tt.class, tt.more, issue.GetFileLocation())
		}
		if system := strings.HasPrefix(issue.GetAffectedCpeUri(), "cpe:/o:debian:"); system != (tt.class == "os-pkgs") {
			t.Errorf("%s: %s", tt.class, issue.GetAffectedCpeUri())
		}
	}
}

// TestScoreThatTrivyReports: that of the source of the severity, by its newest version of CVSS; else the highest.
func TestScoreThatTrivyReports(t *testing.T) {
	for scores, want := range map[string]*float64{
		`"SeveritySource": "nvd", "CVSS": {"nvd": {"V2Score": 9.1, "V3Score": 5.5}, "ghsa": {"V3Score": 9.8}}`:                  new(5.5),
		`"SeveritySource": "nvd", "CVSS": {"nvd": {"V2Score": 9.1, "V3Score": 5.5, "V40Score": 4.2}, "ghsa": {"V3Score": 9.8}}`: new(4.2),
		`"SeveritySource": "nvd", "CVSS": {"nvd": {"V2Score": 3.1}, "ghsa": {"V3Score": 9.8}}`:                                  new(3.1),
		`"SeveritySource": "nvd", "CVSS": {"nvd": {}, "ghsa": {"V3Score": 9.8}}`:                                                new(9.8),
		`"SeveritySource": "debian", "CVSS": {"nvd": {"V3Score": 5.5}, "ghsa": {"V40Score": 6.1}}`:                              new(6.1),
		`"CVSS": {"nvd": {"V2Score": 7.2, "V3Score": 5.5}}`:                                                                     new(7.2),
		`"CVSS": {"nvd": {"V3Score": 10}}`:                                                                                      new(10.0),
		`"CVSS": {"nvd": {"V3Score": 10.1}}`:                                                                                    nil,
		`"CVSS": {"nvd": {"V3Score": -1}}`:                                                                                      nil,
		`"CVSS": {}`:                                                                                                            nil,
	} {
		in := trivyWith(t, `{"Class": "lang-pkgs", "Type": "npm", "Vulnerabilities": [{"VulnerabilityID": "CVE-2026-0001", `+
			`"PkgName": "a", "InstalledVersion": "1", `+scores+`}]}`)
		if got := scanOfImport(t, in).Findings; len(got) != 1 || !cmp.Equal(got[0].CVSS, want) {
			t.Errorf("%s: %+v", scores, got)
		}
	}
}

// TestDatabasesOfTrivysServer: the older of the two counts, and a database without a date does not count, if a server says anything.
func TestDatabasesOfTrivysServer(t *testing.T) {
	const day, zero = `{"UpdatedAt": "2026-11-%02dT00:00:00Z"}`, `{"UpdatedAt": "0001-01-01T00:00:00Z"}`
	at := func(n int) string { return fmt.Sprintf(day, n) }
	of := func(n int) *time.Time { return new(time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC)) }
	const old = "how old the databases"
	for server, tt := range map[string]struct {
		want *time.Time
		says string
	}{
		`{}`:                                  {nil, ""},
		`{"Version": "0.7"}`:                  {nil, old},
		`{"VulnerabilityDB": ` + at(18) + `}`: {of(18), ""},
		`{"Version": "0.7", "VulnerabilityDB": ` + at(18) + `}`:                      {of(18), ""},
		`{"JavaDB": ` + at(18) + `}`:                                                 {nil, old},
		`{"VulnerabilityDB": ` + at(18) + `, "JavaDB": ` + at(17) + `}`:              {of(17), ""},
		`{"VulnerabilityDB": ` + at(18) + `, "JavaDB": ` + at(19) + `}`:              {of(18), ""},
		`{"VulnerabilityDB": ` + zero + `, "JavaDB": ` + at(19) + `}`:                {nil, old},
		`{"VulnerabilityDB": ` + at(18) + `, "JavaDB": ` + zero + `}`:                {nil, old},
		`{"VulnerabilityDB": {}, "JavaDB": ` + at(19) + `}`:                          {nil, old},
		`{"Version": "0.7", "VulnerabilityDB": ` + at(18) + `, "JavaDB": {}}`:        {nil, old},
		`{"VulnerabilityDB": {"UpdatedAt": "2026-10-20T00:00:00Z"}, "JavaDB": null}`: {nil, "31 days old"},
	} {
		in, err := importedFrom(t, "trivy-complete.json", `"Version": "0.74.0"`, `"Version": "0.74.0", "Server": `+server)
		if !refusalSays(in, err, tt.says) {
			t.Errorf("%s: %v, want %q", server, err, tt.says)
		} else if !cmp.Equal(in.Database, tt.want) {
			t.Errorf("%s: of %v, want %v", server, in.Database, tt.want)
		}
	}
}

// TestImageThatTrivyScanned: of what Trivy was asked for and what it scanned, either may name the image; two that
// contradict each other name none. Half a platform is not believed, nor is the zero time.
func TestImageThatTrivyScanned(t *testing.T) {
	const (
		ours  = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
		asked = `"ArtifactName": "registry.example/app@` + ours + `"`
		list  = `"RepoDigests": [
   "registry.example/app@` + ours + `"
  ]`
	)
	no := func(s string) string { return strings.ReplaceAll(s, ours, string(digest(7))) }
	for _, tt := range []struct {
		name  string
		edits []string
		says  string
	}{
		{"asked for a tag", []string{asked, `"ArtifactName": "app:1"`}, ""},
		{"asked for ours, nothing else is named", []string{list, `"RepoDigests": []`}, ""},
		{"asked for ours, another was scanned", []string{list, no(list)}, "contradicts itself"},
		{"asked for another, ours was scanned", []string{asked, no(asked)}, "contradicts itself"},
		{"another in both", []string{asked, no(asked), list, no(list)}, "another image"},
		{"no architecture", []string{`"architecture": "amd64"`, `"architecture": ""`}, ""},
		{"no system", []string{`"os": "linux"`, `"os": ""`}, ""},
		{"another platform", []string{`"architecture": "amd64"`, `"architecture": "arm64"`}, "platform linux/arm64"},
		{"the zero time", []string{`"CreatedAt": "2026-11-20T12:00:00Z"`, `"CreatedAt": "0001-01-01T00:00:00Z"`}, "when the scan was made"},
	} {
		in, err := importedFrom(t, "trivy-complete.json", tt.edits...)
		if !refusalSays(in, err, tt.says) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.says)
		}
	}
}

// TestWhatTrivyListedOfTheSystem: one list of packages of the system is enough, wherever it stands; packages of others
// count among those of the system alone.
func TestWhatTrivyListedOfTheSystem(t *testing.T) {
	const third = `"Packages": [{"Name": "p", "Repository": {"Class": "third-party"}}]`
	for results, says := range map[string]string{
		`{"Class": "os-pkgs", "Type": "debian"}`:         "",
		`{"Class": "lang-pkgs", "Type": "npm"}`:          "",
		`{"Class": "lang-pkgs", "Type": "npm", ` + third: "",
		`{"Class": "os-pkgs", "Type": "debian", ` + third: "other repositories than its distributor's, so that Trivy compares them with" +
			" nothing (1, such as p)",
	} {
		in := trivyWith(t, strings.TrimSuffix(results, "}")+"}")
		if (in.Coverage == vuln.Complete) != (says == "") || !strings.Contains(in.Lacks, says) {
			t.Errorf("%s: %s: %q, want %q", results, in.Coverage, in.Lacks, says)
		}
	}

	// Behind the list that counts, too.
	in, err := importedFrom(t, "trivy-complete.json", `"Version": "5.2"
    }
   ]
  }`, `"Version": "5.2"
    }
   ]
  }, {"Class": "os-pkgs", "Type": "debian"}`)
	if err != nil || in.Coverage != vuln.Complete {
		t.Errorf("behind the list: %s: %q, %v", in.Coverage, in.Lacks, err)
	}
}
