package vuln_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/vuln"
)

// osvWith imports osv-scanner's complete report of packages of a system and of a language, with results before its own.
func osvWith(t *testing.T, results string) vuln.Imported {
	t.Helper()
	in, err := importedFrom(t, "osv-complete-languages.json", `"results": [`, `"results": [`+results+`,`)
	if err != nil {
		t.Fatalf("%s: %v", results, err)
	}
	return in
}

// osvPackage is a result of one package of Go, with what else is said of it.
func osvPackage(more string) string {
	return `{"source": {"path": "/app/x", "type": "artifact"}, "packages": [{"package": {"name": "p", "version": "1", "ecosystem": "Go"}, ` + more + `}]}`
}

// findingNamed is the finding of that id.
func findingNamed(t *testing.T, in vuln.Imported, id string) attestor.Vulnerability {
	t.Helper()
	all := scanOfImport(t, in).Findings
	i := slices.IndexFunc(all, func(v attestor.Vulnerability) bool { return v.ID == id })
	if i < 0 {
		t.Fatalf("no %s among %v", id, ids(all))
	}
	return all[i]
}

// TestSeverityThatOSVReports: the worst of the group's score and of what any advisory of the group says in a word.
func TestSeverityThatOSVReports(t *testing.T) {
	const twin = `, {"id": "GHSA-1", "aliases": ["CVE-2026-0009"], "database_specific": {"severity": "CRITICAL"}}`
	advisory := func(specific string) string {
		return `"vulnerabilities": [{"id": "CVE-2026-0100"` + specific + `}`
	}
	group := func(list string) string { return `], "groups": [` + list + `]` }
	for _, tt := range []struct {
		name, more string
		want       attestor.Severity
		cvss       *float64
	}{
		{"nothing", advisory("") + "]", attestor.Unspecified, nil},
		{"a word", advisory(`, "database_specific": {"severity": "MODERATE"}`) + "]", attestor.Medium, nil},
		{"no word", advisory(`, "database_specific": {"severity": ["HIGH"]}`) + "]", attestor.Unspecified, nil},
		{"a score", advisory("") + group(`{"ids": ["CVE-2026-0100"], "max_severity": "7.5"}`), attestor.High, new(7.5)},
		{"a word in place of a score", advisory("") + group(`{"ids": ["CVE-2026-0100"], "max_severity": "high"}`), attestor.Unspecified, nil},
		{"a score that is no number", advisory("") + group(`{"ids": ["CVE-2026-0100"], "max_severity": "NaN"}`), attestor.Unspecified, nil},
		{"a score without bounds", advisory("") + group(`{"ids": ["CVE-2026-0100"], "max_severity": "Inf"}`), attestor.Critical, nil},
		{"the score of two groups", advisory("") + group(`{"ids": ["CVE-2026-0100"], "max_severity": "5"}, `+
			`{"ids": ["CVE-2026-0100"], "max_severity": "4.5"}`), attestor.Medium, new(5.0)},
		{"another group's score", advisory("") + group(`{"ids": ["CVE-2026-0101"], "max_severity": "9.8"}`), attestor.Unspecified, nil},
		{"a word that is worse than the score", advisory(`, "database_specific": {"severity": "HIGH"}`) +
			group(`{"ids": ["CVE-2026-0100"], "max_severity": "5"}`), attestor.High, new(5.0)},
		{"a score that is worse than the word", advisory(`, "database_specific": {"severity": "LOW"}`) +
			group(`{"ids": ["CVE-2026-0100"], "max_severity": "9.8"}`), attestor.Critical, new(9.8)},
		{"a twin's word", advisory("") + twin + group(`{"ids": ["CVE-2026-0100", "GHSA-1"]}`), attestor.Critical, nil},
		{"the word of an advisory outside the group", advisory("") + twin + group(`{"ids": ["CVE-2026-0100"]}`), attestor.Unspecified, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := findingNamed(t, osvWith(t, osvPackage(tt.more)), "CVE-2026-0100")
			if got.Severity != tt.want || !cmp.Equal(got.CVSS, tt.cvss) {
				t.Errorf("%s, %v; want %s, %v", got.Severity, got.CVSS, tt.want, tt.cvss)
			}
		})
	}
}

// TestScaleOfScores: the qualitative scale of CVSS v3.1, section 5.
func TestScaleOfScores(t *testing.T) {
	for score, want := range map[string]attestor.Severity{
		"10": attestor.Critical, "9.0": attestor.Critical, "8.9": attestor.High, "7.0": attestor.High, "6.9": attestor.Medium,
		"4.0": attestor.Medium, "3.9": attestor.Low, "0.1": attestor.Low, "0": attestor.Unspecified, "0.0": attestor.Unspecified, "": attestor.Unspecified,
	} {
		in := osvWith(t, osvPackage(`"vulnerabilities": [{"id": "CVE-2026-0100"}], "groups": [{"ids": ["CVE-2026-0100"], "max_severity": "`+score+`"}]`))
		if got := findingNamed(t, in, "CVE-2026-0100").Severity; got != want {
			t.Errorf("%q: %s, want %s", score, got, want)
		}
	}
}

// TestFixThatOSVReports: the versions that end a range of this very package, of its release where the advisory has releases.
func TestFixThatOSVReports(t *testing.T) {
	affected := func(name, ecosystem, ranges string) string {
		return `{"package": {"name": "` + name + `", "ecosystem": "` + ecosystem + `"}, "ranges": [` + ranges + `]}`
	}
	fixed := func(v string) string {
		return `{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "` + v + `"}]}`
	}
	for _, tt := range []struct{ name, affected, want string }{
		{"this package", affected("p", "Go", fixed("2")), "2"},
		{"no package", "", ""},
		{"another package", affected("q", "Go", fixed("2")), ""},
		{"a namesake in another ecosystem", affected("p", "npm", fixed("2")), ""},
		{"another release", affected("p", "Go:1", fixed("2")), ""},
		{"a range without a fix", affected("p", "Go", `{"type": "SEMVER", "events": [{"introduced": "0"}]}`), ""},
		{"commits", affected("p", "Go", `{"type": "GIT", "events": [{"fixed": "abcdef"}]}`), ""},
		{"commits, and a version", affected("p", "Go", `{"type": "GIT", "events": [{"fixed": "abcdef"}]}, `+fixed("2")), "2"},
		{"two ranges", affected("p", "Go", fixed("1.5")+", "+fixed("2.1")), "1.5, 2.1"},
		{"one version twice", affected("p", "Go", fixed("2")+", "+fixed("2")), "2"},
		{"another package first", affected("q", "Go", fixed("9")) + ", " + affected("p", "Go", fixed("2")), "2"},
	} {
		in := osvWith(t, osvPackage(`"vulnerabilities": [{"id": "CVE-2026-0100", "affected": [`+tt.affected+`]}]`))
		if got := findingNamed(t, in, "CVE-2026-0100"); got.FixedVersion != tt.want || got.Fixable != (tt.want != "") {
			t.Errorf("%s: %q, fixable %t, want %q", tt.name, got.FixedVersion, got.Fixable, tt.want)
		}
	}

	// An advisory without releases is about all of them.
	for ecosystem, want := range map[string]string{"Debian:12": "2", "Debian": "2", "Debian:11": ""} {
		in := osvWith(t, `{"source": {"path": "/var/lib/dpkg/status", "type": "os"}, "packages": [{"package": {"name": "p", "version": "1", `+
			`"ecosystem": "Debian:12"}, "vulnerabilities": [{"id": "CVE-2026-0100", "affected": [`+affected("p", ecosystem, fixed("2"))+`]}]}]}`)
		if got := findingNamed(t, in, "CVE-2026-0100"); got.FixedVersion != want {
			t.Errorf("of %s: %q, want %q", ecosystem, got.FixedVersion, want)
		}
	}
}

// TestWhatOSVFindsInFiles: a finding counts wherever it was found; the type of a package only where it is installed.
func TestWhatOSVFindsInFiles(t *testing.T) {
	result := func(kind, ecosystem, id string) string {
		return `{"source": {"path": "/app/x", "type": "` + kind + `"}, "packages": [{"package": {"name": "p", "version": "1", "ecosystem": "` +
			ecosystem + `"}, "vulnerabilities": [{"id": "` + id + `"}]}]}`
	}
	in := osvWith(t, strings.Join([]string{
		result("lockfile", "npm", "CVE-2026-0100"), result("artifact", "Go", "CVE-2026-0101"), result("sbom", "Maven", "CVE-2026-0102"),
	}, ","))
	scan := scanOfImport(t, in)
	if diff := cmp.Diff([]string{"GO", "OS", "PYPI"}, scan.Analyses); diff != "" {
		t.Errorf("types -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"CVE-2026-0001", "CVE-2026-0100", "CVE-2026-0101", "CVE-2026-0102"}, ids(scan.Findings)); diff != "" {
		t.Errorf("findings -want +got:\n%s", diff)
	}

	// A package without a version is named by its commit; a package of the system by its own name, not by its source's.
	for pkg, want := range map[string]string{
		`"name": "p", "version": "1", "commit": "abc", "ecosystem": "Go"`:                   "p 1",
		`"name": "p", "commit": "abc", "ecosystem": "Go"`:                                   "p abc",
		`"name": "p", "os_package_name": "libp1", "version": "1", "ecosystem": "Debian:12"`: "libp1 1",
		`"name": "p", "os_package_name": "", "version": "1", "ecosystem": "Debian:12"`:      "p 1",
		`"name": "p", "os_package_name": "libp1", "version": "1", "ecosystem": "Go"`:        "p 1",
		`"name": "stdlib", "version": "1.24.1", "ecosystem": "Go"`:                          "stdlib 1.24.1",
	} {
		in := osvWith(t, `{"source": {"path": "/x", "type": "artifact"}, "packages": [{"package": {`+pkg+`}, "vulnerabilities": [{"id": "CVE-2026-0100"}]}]}`)
		if got := findingNamed(t, in, "CVE-2026-0100"); got.Package+" "+got.Version != want {
			t.Errorf("%s: %s %s, want %s", pkg, got.Package, got.Version, want)
		}
	}
}

// TestFirstSystemOfAReport: the report is of the system whose packages it lists first.
func TestFirstSystemOfAReport(t *testing.T) {
	in := osvWith(t, `{"source": {"path": "/lib/apk/db/installed", "type": "os"}, "packages": [{"package": {"name": "p", "version": "1", `+
		`"ecosystem": "Alpine:v3.22"}}]}`)
	if got, want := in.Discovery.GetDiscovery().GetCpe(), "cpe:/o:alpine:alpine_linux:v3.22"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestKindsOfSources: a refusal names what the report is of, each kind once and five at most.
func TestKindsOfSources(t *testing.T) {
	var all []string
	for _, kind := range []string{"a", "", "b", "a", "c", "d", "e", "f"} {
		all = append(all, `{"source": {"type": "`+kind+`"}}`)
	}
	for list, want := range map[string]string{
		"":                                 "it has no image_metadata",
		`{"source": {"type": ""}}`:         "it has no image_metadata",
		`{"source": {"type": "lockfile"}}`: "it has no image_metadata, and its sources are of type lockfile",
		strings.Join(all, ","):             "it has no image_metadata, and its sources are of type a, b, c, d, e",
		`{"source": {"type": "lockfile", "x": {"type": "y"}}}`: "it has no image_metadata, and its sources are of type lockfile",
	} {
		in, err := vuln.Import(strings.NewReader(`{"results": [`+list+`]}`), coverageTarget(t))
		if !refusalSays(in, err, "not of an image") || !strings.HasSuffix(attestor.Message(err), want) {
			t.Errorf("[%s]: %v, want %q", list, err, want)
		}
	}
	in, err := vuln.Import(strings.NewReader(`{"results": ["x"]}`), coverageTarget(t))
	if !refusalSays(in, err, "looks like osv-scanner's, but cannot be read") {
		t.Errorf("results of another type: %v", err)
	}
}

// TestTypesOfPackages: every scanner's word for a kind of package is Container Analysis' own; one that it does not have
// stays, in capitals.
func TestTypesOfPackages(t *testing.T) {
	words := map[string][]string{
		"OS": {"deb", "rpm", "apk", "alpm", "portage", "linux-kernel", "kernel", "Debian", "Red Hat", "openSUSE", "os-pkgs", "linux",
			"alpaquita"},
		"GO":        {"go-module", "gobinary", "gomod", "Go"},
		"MAVEN":     {"java-archive", "jenkins-plugin", "jar", "pom", "gradle", "sbt", "Maven"},
		"NPM":       {"npm", "node-pkg", "yarn", "pnpm", "bun"},
		"PYPI":      {"python", "python-pkg", "pip", "pipenv", "poetry", "uv", "pylock", "PyPI"},
		"NUGET":     {"dotnet", "nuget", "dotnet-core", "packages-props"},
		"RUBYGEMS":  {"gem", "gemspec", "bundler", "RubyGems"},
		"RUST":      {"rust-crate", "rustbinary", "rust-binary", "cargo", "crates.io"},
		"COMPOSER":  {"php-composer", "composer", "composer-vendor", "Packagist"},
		"SWIFT":     {"swift", "SwiftURL", "cocoapods"},
		"CONAN":     {"conan"},
		"DART_PUB":  {"dart-pub"},
		"A_NEW_ONE": {"a new-one"},
	}
	for want, list := range words {
		for _, word := range list {
			for name, also := range map[string]string{"p": want, "stdlib": want, "std": want, "toolchain": want} {
				if want == "GO" && name != "p" {
					also = "GO_STDLIB"
				}
				in, err := importedFrom(t, "grype-complete.json", `"matches": []`, fmt.Sprintf(`"matches": [{"vulnerability": {"id": "CVE-2026-0001"}, `+
					`"artifact": {"name": %q, "version": "1", "type": %q}}]`, name, word))
				if err != nil {
					t.Fatal(err)
				}
				if got := scanOfImport(t, in).Findings[0].PackageType; got != also {
					t.Errorf("%s of %s: %s, want %s", name, word, got, also)
				}
			}
		}
	}

	for word, want := range map[string]attestor.Severity{
		"Critical": "CRITICAL", "High": "HIGH", "Important": "HIGH", "Medium": "MEDIUM", "Moderate": "MEDIUM", "Low": "LOW", "Negligible": "MINIMAL",
		"Minimal": "MINIMAL", "Unknown": "UNSPECIFIED", "": "UNSPECIFIED",
	} {
		in, err := importedFrom(t, "grype-complete.json", `"matches": []`, fmt.Sprintf(`"matches": [{"vulnerability": `+
			`{"id": "CVE-2026-0001", "severity": %q}, "artifact": {"name": "p", "version": "1", "type": "npm"}}]`, word))
		if err != nil {
			t.Fatal(err)
		}
		if got := scanOfImport(t, in).Findings[0].Severity; got != want {
			t.Errorf("%q: %s, want %s", word, got, want)
		}
	}
}
