package vuln

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
)

// packageType translates a scanner's kind of package to Container Analysis's. A kind
// that it does not have keeps its own name.
func packageType(kind, name string) string {
	kind = strings.ToLower(kind)
	t := knownType(kind)
	if t == "" {
		t = strings.ToUpper(strings.NewReplacer("-", "_", " ", "_").Replace(kind))
	}

	if t == "GO" && (name == "stdlib" || name == "std" || name == "toolchain") {
		return "GO_STDLIB"
	}
	return t
}

func knownType(kind string) string {
	switch kind {
	case "os-pkgs", "apk", "deb", "rpm", "alpm", "portage", "kernel", "linux-kernel",
		"debian", "ubuntu", "alpine", "red hat", "rocky linux", "almalinux", "suse", "opensuse", "wolfi", "chainguard",
		"photon os", "mageia", "openeuler", "azure linux", "minimos", "echo", "linux", "alpaquita",
		"bellsoft hardened containers":
		return "OS"
	case "go", "go-module", "gobinary", "gomod":
		return "GO"
	case "maven", "java-archive", "jenkins-plugin", "jar", "pom", "gradle", "sbt":
		return "MAVEN"
	case "npm", "node-pkg", "yarn", "pnpm", "bun":
		return "NPM"
	case "pypi", "python", "python-pkg", "pip", "pipenv", "poetry", "uv", "pylock":
		return "PYPI"
	case "nuget", "dotnet", "dotnet-core", "packages-props":
		return "NUGET"
	case "rubygems", "gem", "gemspec", "bundler":
		return "RUBYGEMS"
	case "crates.io", "rust-crate", "rustbinary", "rust-binary", "cargo":
		return "RUST"
	case "packagist", "php-composer", "composer", "composer-vendor":
		return "COMPOSER"
	case "swifturl", "swift", "cocoapods":
		return "SWIFT"
	}
	return ""
}

// severityNamed reads every scanner's word for a severity; what is unknown is
// unspecified.
func severityNamed(s string) grafeaspb.Severity {
	switch strings.ToUpper(s) {
	case "CRITICAL":
		return grafeaspb.Severity_CRITICAL
	case "HIGH", "IMPORTANT":
		return grafeaspb.Severity_HIGH
	case "MEDIUM", "MODERATE":
		return grafeaspb.Severity_MEDIUM
	case "LOW":
		return grafeaspb.Severity_LOW
	case "NEGLIGIBLE", "MINIMAL":
		return grafeaspb.Severity_MINIMAL
	}
	return grafeaspb.Severity_SEVERITY_UNSPECIFIED
}

// severityScored is the qualitative rating scale of CVSS v3.1, section 5.
func severityScored(score float64) grafeaspb.Severity {
	switch {
	case score >= 9:
		return grafeaspb.Severity_CRITICAL
	case score >= 7:
		return grafeaspb.Severity_HIGH
	case score >= 4:
		return grafeaspb.Severity_MEDIUM
	case score > 0:
		return grafeaspb.Severity_LOW
	}
	return grafeaspb.Severity_SEVERITY_UNSPECIFIED
}

// cvePattern finds the CVE in ALPINE-CVE-2024-58251 too.
var cvePattern = regexp.MustCompile(`CVE-[0-9]{4}-[0-9]{4,}$`)

// named lists the names of a vulnerability: its CVEs where it has any, since policies
// allow and block by those, and else the scanner's name. An advisory of a malicious
// package is always among them: what an exception for a CVE excuses must not hide it.
func named(id string, aliases ...string) []string {
	var names []string
	for _, a := range append([]string{id}, aliases...) {
		if cve := cvePattern.FindString(a); cve != "" {
			names = append(names, cve)
		}
		if attestor.MaliciousID(a) {
			names = append(names, strings.ToUpper(a))
		}
	}

	if len(names) == 0 {
		return []string{id}
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// osCPE names a distribution as Google's scanner does.
func osCPE(family, version string) string {
	family = cmp.Or(strings.ToLower(strings.ReplaceAll(family, " ", "_")), "unknown")
	return "cpe:/o:" + family + ":" + family + "_linux:" + version
}
