package vuln_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/vuln"
)

// The layers of the images that osv-scanner's reports are of.
const (
	npmLayer    attestor.Digest = "sha256:b612b7cd58e0549cb9fe4fba24d98a81ac00df11bfdb436cd5bd6995693a61e1" // node_modules
	debianLayer attestor.Digest = "sha256:a42ca53bdaae2933cb67899f881ee61b9b79d2e7fd2f476b4c6e0b475942c530"
	appLayer    attestor.Digest = "sha256:7492e5d80331a22622e6c9a26a93b5f5298a6c1140daeb4e4dafee55107f00b9" // on debianLayer
)

// madeByOSVScanner are the rows of osv-scanner's reports.
func madeByOSVScanner() []madeRow {
	row := func(file, want, says string, layers ...attestor.Digest) madeRow {
		return madeRow{coverageRow: coverageRow{"osv-" + file + ".json", want, says}, layers: layers}
	}
	const (
		nothing = "could not reach its database"
		byName  = "source packages"
		alpine  = "sha256:ebee57464086a8b2374f6f65fbe5759b522181423f2ebed2df3a312a04da661f"
		clean   = "sha256:e3808233c399d8d76214004889aae7f98c73d5aaf60b48056f8aeafb0c601469"
		other   = "sha256:0ea48bacae1a3cee72325f166e46860180d7c48519a1c750923b50a06e314599" // on clean
	)

	return []madeRow{
		row("debian", "complete", "", debianLayer, appLayer),
		row("debian-end-of-life", "complete", "", "sha256:92958d9fea680551d089f7a50925706f18919519a135b10c3d07c155de44a968"),
		row("distroless", "complete", "", "sha256:66780acc2e30bc013a67fb62e2433b466f2116713b80c773c79eeb4239adcda4"),
		row("wolfi", "complete", "", "sha256:555e58eeda3264688a9fd9e72f42a83c91291a98475a77e9abd46058b42eba0d"),
		row("alpine", "complete", "", alpine),
		row("almalinux", "complete", "", "sha256:ae89145520cfe19d8fe76f587189c3aed575d295b823085eaf5cba8f4bd7a992"),
		row("findings-only", "complete", "", alpine),
		row("plugins-os", "complete", "", debianLayer, appLayer),

		row("no-system", "partial", "no packages of the operating system", npmLayer),
		row("go", "partial", "no packages of the operating system", "sha256:d62cb76b3099ad6b06362b05cefb9362551ac8c9fecf71db80969577d8a8a479"),
		row("no-list", "partial", "no packages of the operating system",
			"sha256:5a28abe2e4b3b389cae6d7b458ae7a324b9f9e2fd7535bb05d05af2c4ddcac1e"),
		row("plugins-languages", "partial", "no packages of the operating system", debianLayer, appLayer),
		row("gentoo", "partial", "did not recognise", "sha256:7a22399387137b7b337cd60276e098d545bfb116019afd4e0097dc1a6e382206"),
		row("fedora", "partial", "did not recognise",
			"sha256:fc67bb8f691dd721054d50d65bc774ba8c7d1a6d853ac9477296eb8a66aaac8c", npmLayer),

		// Packages that were compared with advisories of another form: each image has a known vulnerability in the system,
		// which osv-scanner did not find, and one in npm, which it found.
		row("alpine-edge", "partial", "Alpine v3.23_alpha20250612 with no advisory",
			"sha256:c54a9f7247fa7142949d385712e0ab870a3637526aa69fdb4e276a483c28372d", npmLayer),
		row("minimos", "partial", "Alpine v20241031 with no advisory", "sha256:db807e9caab44ea128be8a23f20401199ccdc6d7206cfec8e44ea9eeafb9d910", npmLayer),
		row("azure", "partial", byName, "sha256:c41e1c4edbad35afaf127c1f8362aee2778534f0643ad08eca297b4235080380", npmLayer),
		row("opensuse-leap", "partial", byName, "sha256:16f50ca3150dfcd364fb6aa6b022dcb304d60b5fdb087f2c3a8d91a9864ba279", npmLayer),
		row("mageia", "partial", byName, "sha256:175b3e4ef5c914c95846657ee1817dba0455c29502500f8cc8e2a783d10750f5", npmLayer),
		row("openeuler", "partial", byName, "sha256:de15f2a8c8704c2ecfa006ee3f9eb11d86dc1472f39040716e57494e52b2241e", npmLayer),
		row("chisel", "partial", byName, "sha256:106715654b198339534ecf5227e6a0cf64c07b1b72fba19dd6d0b003a18e6626", npmLayer),

		row("debian-testing", "unsupported", "version of the operating system",
			"sha256:60a075b190de6c3b8df1c88f8d096cb1c88c6e4f77c5b9617da002a906b2497a"),
		row("no-os-release", "unsupported", "no data about the packages of Linux",
			"sha256:ec4efdfec6bab35bb040470beb3c0885a955515390222d55f95b2d24c9854132"),
		row("rocky", "unsupported", "version of the operating system",
			"sha256:c7a2695fc3ae83b5fc73c6c6269b96c37b5917acbe6225e04062edbf9cf7d466"),
		row("redhat", "unsupported", "version of the operating system",
			"sha256:f21c4d3a6e5d361d3e4452b8e84986ac64fc4380c991ccfce0ada09b221754dc"),
		row("suse", "unsupported", "for products by name", "sha256:b8eb420cb77aafd4dc9cc7db66111ac2d0e49259b0c368e579ada42d999dd45e"),

		// Without a finding nothing shows that any package was compared: the second to the fourth have vulnerabilities.
		row("clean", "unsupported", nothing, clean, other),
		row("no-network", "unsupported", nothing, debianLayer, appLayer),
		row("no-database", "unsupported", nothing, debianLayer, appLayer),
		row("ubuntu", "unsupported", nothing, "sha256:77cd6b6d23cb16bcecb91a8b8a01686f5b42d35856010471be92d9c8168483d5"),

		row("no-packages", "refused", "lists no installed packages", clean, other),
		row("lock-file-in-image", "refused", "lists no installed packages",
			"sha256:930b8609596d88d97dd166ba68c3266a46553628532ed83236f7983aef9efffb"),
		row("weak-password", "refused", "not about packages", "sha256:089a9d89537a0ffde255979b1b97fd9f330fcc8e4f09357f445e1fe4ced1b3d3"),
		row("empty", "refused", "in none of the supported formats"),
		row("lock-file", "refused", "not of an image"),
		row("directory", "refused", "not of an image"),
		row("sbom", "refused", "not of an image"),
		row("sarif", "refused", "SARIF", debianLayer, appLayer),
		row("cyclonedx", "refused", "CycloneDX' JSON", debianLayer, appLayer),
		row("spdx", "refused", "SPDX's JSON", debianLayer, appLayer),

		// What osv-scanner was told to ignore, and what a part of its database would have shown, no report says: docs/scans.md
		// names these flaws.
		row("ignored", "complete", "", debianLayer, appLayer),
		row("ignored-package", "complete", "", debianLayer, appLayer),
		row("part-of-database", "complete", "", debianLayer, appLayer),
	}
}

// TestFindingsThatOSVScannerWrote: what a real report says of a vulnerability, the gate reads.
func TestFindingsThatOSVScannerWrote(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "made", "osv-debian.json"))
	if err != nil {
		t.Fatal(err)
	}
	in, err := vuln.Import(bytes.NewReader(b), madeRow{layers: []attestor.Digest{debianLayer, appLayer}}.target(t))
	if err != nil {
		t.Fatal(err)
	}

	// As the images and the advisories were written. The scores are those of the advisories' vectors.
	note := "projects/acme-security/notes/"
	want := []attestor.Vulnerability{
		{
			ID: "CVE-2026-90001", Note: note + "CVE-2026-90001", Severity: attestor.Critical, CVSS: new(9.8), Package: "bash", PackageType: "OS",
			Version: "5.2.15-2", FixedVersion: "5.2.15-3", Fixable: true, DiffIDs: []attestor.Digest{debianLayer}, Path: "/var/lib/dpkg/status",
		},
		{
			ID: "CVE-2026-90002", Note: note + "CVE-2026-90002", Severity: attestor.Medium, CVSS: new(5.3), Package: "libdash0", PackageType: "OS",
			Version: "0.5.12-2", FixedVersion: "0.5.12-3", Fixable: true, DiffIDs: []attestor.Digest{debianLayer}, Path: "/var/lib/dpkg/status",
		},
		{
			ID: "CVE-2026-90003", Note: note + "CVE-2026-90003", Severity: attestor.Critical, CVSS: new(9.8), Package: "left-pad", PackageType: "NPM",
			Version: "1.3.0", FixedVersion: "1.3.1", Fixable: true, DiffIDs: []attestor.Digest{appLayer}, Path: "/app/node_modules/.package-lock.json",
		},
	}

	got := scanOfImport(t, in).Findings
	slices.SortFunc(got, func(a, b attestor.Vulnerability) int { return bytes.Compare([]byte(a.ID), []byte(b.ID)) })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestReleasesThatOSVHas: a release counts in the form that OSV's advisories have it.
func TestReleasesThatOSVHas(t *testing.T) {
	for ecosystem, want := range map[string]vuln.Coverage{
		"Debian:12": vuln.Complete, "Debian:12.5": vuln.Unsupported, "Debian:12/sid": vuln.Unsupported,
		"AlmaLinux:9": vuln.Complete, "AlmaLinux:9.4": vuln.Unsupported,
		"Alpine:v3.22": vuln.Complete, "Alpine:3.22": vuln.Unsupported, "Alpine:v3": vuln.Unsupported, "Alpine:edge": vuln.Unsupported,
		"Ubuntu:24.04": vuln.Complete, "Ubuntu:24.04:LTS": vuln.Complete,
		"openSUSE:Leap 15.6": vuln.Unsupported, "openSUSE:Tumbleweed": vuln.Unsupported,
		"SUSE:15.6": vuln.Unsupported, "SUSE:Linux Enterprise Server 15 SP6": vuln.Unsupported,
		"Azure Linux:3": vuln.Unsupported, "Azure Linux:3.0": vuln.Unsupported, "Mageia:9": vuln.Unsupported,
		"openEuler:24.03-LTS": vuln.Unsupported,
	} {
		report := strings.Replace(coverageReport(t, "osv-complete.json"), "Debian:12", ecosystem, 1)
		in, err := vuln.Import(strings.NewReader(report), coverageTarget(t))
		if err != nil || in.Coverage != want {
			t.Errorf("%s: %s, %v, want %s", ecosystem, in.Coverage, err, want)
		}
	}
}
