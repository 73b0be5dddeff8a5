package vuln_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/vuln"
)

// coverageTarget is the image that the reports in testdata/coverage are of.
func coverageTarget(t testing.TB) vuln.Target {
	same := func(c string) attestor.Digest { return attestor.Digest("sha256:" + strings.Repeat(c, 64)) }
	return vuln.Target{
		Image: image(t, "us-docker.pkg.dev/acme/prod/api@"+string(same("1"))), Note: houseNote,
		Layers: func() ([]attestor.Digest, error) { return []attestor.Digest{same("2"), same("3")}, nil },
	}
}

func coverageReport(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "coverage", file))
	if err != nil {
		t.Fatal(err)
	}

	return string(b)
}

// coverageRow is one report: its coverage, or "refused", and a part of what is said about it.
type coverageRow struct{ file, want, says string }

// coverageRows has one row for each file in testdata/coverage, whose README says where each comes from.
func coverageRows() []coverageRow {
	return []coverageRow{
		{"grype-complete.json", "complete", ""},
		{"grype-findings-of-languages.json", "complete", ""},
		{"grype-wolfi.json", "complete", ""},
		{"grype-alpine-edge.json", "complete", ""},
		{"grype-all-layers.json", "complete", ""},
		{"grype-ignored-by-rule.json", "complete", ""},
		{"grype-ignored-by-vex.json", "complete", ""},
		{"grype-schema-5.json", "complete", ""},
		{"grype-by-layers.json", "complete", ""},
		{"grype-other-layers.json", "refused", "another image"},
		{"grype-other-image.json", "refused", "another image"},
		{"grype-no-image.json", "refused", "does not say which image"},
		{"grype-arm64-of-index.json", "refused", "platform"},
		{"grype-source-directory.json", "refused", "not of an image"},
		{"grype-source-file.json", "refused", "not of an image"},
		{"grype-source-sbom-file.json", "refused", "not of an image"},
		{"grype-source-purl.json", "refused", "not of an image"},
		{"grype-source-cpe.json", "refused", "not of an image"},
		{"grype-source-snap.json", "refused", "not of an image"},
		{"grype-source-oci-model.json", "refused", "not of an image"},
		{"grype-source-zarf-package.json", "refused", "not of an image"},
		{"grype-source-unknown.json", "refused", "not of an image"},
		{"grype-distro-eol.json", "unsupported", "past its end of life"},
		{"grype-unknown-alert.json", "unsupported", "Grype warns"},
		{"grype-alerts-off.json", "refused", "past its end of life"},
		{"grype-no-distro.json", "unsupported", "did not recognise"},
		{"grype-no-distro-languages.json", "partial", "did not recognise"},
		{"grype-no-distro-deb.json", "unsupported", "did not recognise"},
		{"grype-no-version.json", "unsupported", "version of the operating system"},
		{"grype-no-provider.json", "unsupported", "no data about the packages of gentoo"},
		{"grype-provider-missing.json", "unsupported", "no data about the packages of debian"},
		{"grype-windows.json", "unsupported", "for Windows"},
		{"grype-only-fixed.json", "refused", "whether they have a fix"},
		{"grype-only-notfixed.json", "refused", "whether they have a fix"},
		{"grype-ignore-states.json", "refused", "state of their fix"},
		{"grype-exclude.json", "refused", "files were excluded"},
		{"grype-distro-by-hand.json", "refused", "by hand"},
		{"grype-no-archives.json", "refused", "not looked into"},
		{"grype-scope-unknown.json", "refused", "scope"},
		{"grype-db-two-years.json", "refused", "730 days old when the scan was made; at most 30 days are allowed"},
		{"grype-db-invalid.json", "refused", "could not be used"},
		{"grype-db-undated.json", "refused", "how old"},
		{"grype-no-db.json", "unsupported", "how old"},
		{"grype-no-configuration.json", "unsupported", "how Grype was configured"},
		{"grype-no-timestamp.json", "refused", "when the scan was made"},
		{"grype-provider-old.json", "refused", "730 days old"},
		{"grype-languages-old.json", "refused", "days old"},
		{"grype-provider-undated.json", "refused", "how old the advisories"},
		{"grype-other-provider-old.json", "complete", ""},
		{"trivy-complete.json", "complete", ""},
		{"trivy-complete-languages.json", "complete", ""},
		{"trivy-findings-only.json", "complete", ""},
		{"trivy-suppressed.json", "complete", ""},
		{"trivy-wolfi.json", "complete", ""},
		{"trivy-server-db.json", "complete", ""},
		{"trivy-by-layers.json", "complete", ""},
		{"trivy-other-layers.json", "refused", "does not say which image"},
		{"trivy-no-image.json", "refused", "does not say which image"},
		{"trivy-other-image.json", "refused", "another image"},
		{"trivy-artifact-filesystem.json", "refused", "not of an image"},
		{"trivy-artifact-repository.json", "refused", "not of an image"},
		{"trivy-artifact-cyclonedx.json", "refused", "not of an image"},
		{"trivy-artifact-spdx.json", "refused", "not of an image"},
		{"trivy-artifact-vm.json", "refused", "not of an image"},
		{"trivy-artifact-aws_account.json", "refused", "not of an image"},
		{"trivy-eosl.json", "unsupported", "past its end of life"},
		{"trivy-eosl-findings.json", "unsupported", "past its end of life"},
		{"trivy-library-only.json", "partial", "were not scanned"},
		{"trivy-no-os.json", "partial", "did not recognise"},
		{"trivy-os-none.json", "partial", "did not recognise"},
		{"trivy-fedora.json", "partial", "no data about the packages of fedora"},
		{"trivy-debian-sid.json", "unsupported", "version of the operating system"},
		{"trivy-no-version.json", "unsupported", "version of the operating system"},
		{"trivy-packages-removed.json", "unsupported", "no packages of debian 12.5 were found"},
		{"trivy-packages-removed-languages.json", "partial", "no packages of debian 12.5 were found"},
		{"trivy-old-clean.json", "unsupported", "an older version"},
		{"trivy-windows.json", "refused", "platform windows/amd64"},
		{"trivy-secrets-only.json", "refused", "lists no packages"},
		{"trivy-licences-only.json", "refused", "lists no packages"},
		{"trivy-misconfiguration-only.json", "refused", "lists no packages"},
		{"trivy-no-results.json", "refused", "lists no packages"},
		{"trivy-schema-1.json", "refused", "schema version 1"},
		{"trivy-server-db-old.json", "refused", "days old"},
		{"trivy-server-javadb-old.json", "refused", "days old"},
		{"trivy-server-no-db.json", "refused", "how old"},
		{"trivy-server-db-undated.json", "refused", "how old"},
		{"trivy-server-javadb-undated.json", "refused", "how old"},
		{"trivy-no-time.json", "refused", "when the scan was made"},
		{"trivy-packages-and-license.json", "refused", "nothing shows"},
		{"trivy-packages-and-secret.json", "refused", "nothing shows"},
		{"trivy-packages-and-config.json", "refused", "nothing shows"},
		{"trivy-findings-and-secret.json", "complete", ""},
		{"trivy-third-party.json", "unsupported", "other repositories"},
		{"trivy-third-party-languages.json", "partial", "other repositories"},
		{"trivy-supplier.json", "complete", ""},
		{"osv-complete.json", "complete", ""},
		{"osv-complete-languages.json", "complete", ""},
		{"osv-wolfi.json", "complete", ""},
		{"osv-languages-only.json", "partial", "no packages of the operating system"},
		{"osv-linux.json", "unsupported", "no data about the packages of Linux"},
		{"osv-no-release.json", "unsupported", "version of the operating system"},
		{"osv-no-release-languages.json", "partial", "version of the operating system"},
		{"osv-lockfile.json", "refused", "not of an image"},
		{"osv-sbom.json", "refused", "not of an image"},
		{"osv-git.json", "refused", "not of an image"},
		{"osv-docker.json", "refused", "not of an image"},
		{"osv-nothing.json", "refused", "not of an image"},
		{"osv-image-empty.json", "refused", "lists no installed packages"},
		{"osv-lockfile-in-image.json", "refused", "lists no installed packages"},
		{"osv-other-layers.json", "refused", "does not say which image"},
		{"osv-no-layers.json", "refused", "does not say which image"},
		{"osv-two-systems.json", "unsupported", "no data about the packages of Linux"},
		{"osv-two-systems-first.json", "unsupported", "no data about the packages of Linux"},
		{"osv-suse-number.json", "unsupported", "no advisory"},
		{"osv-opensuse-leap.json", "unsupported", "source packages"},
		{"osv-rocky-unnumbered.json", "unsupported", "version of the operating system"},
		{"osv-redhat-cpe.json", "unsupported", "version of the operating system"},
		{"osv-no-ecosystem.json", "unsupported", "did not recognise"},
		{"osv-generic.json", "refused", "not about packages"},
		{"other-sarif-grype.json", "refused", "SARIF"},
		{"other-sarif-trivy.json", "refused", "SARIF"},
		{"other-sarif-osv-scanner.json", "refused", "SARIF"},
		{"other-cyclonedx.json", "refused", "CycloneDX' JSON"},
		{"other-cyclonedx-xml.txt", "refused", "CycloneDX' XML"},
		{"other-spdx.json", "refused", "SPDX's JSON"},
		{"other-spdx-3.json", "refused", "SPDX's JSON"},
		{"other-spdx-tag-value.txt", "refused", "SPDX's tag-value"},
		{"other-syft.json", "refused", "Syft's JSON"},
		{"other-openvex.json", "refused", "OpenVEX"},
		{"other-cosign-vuln.json", "refused", "attestation"},
		{"other-table.txt", "refused", "not a JSON object"},
	}
}

// TestImportCoverage: each report counts for what it covers. What is stored says the same to the gate that reads it.
func TestImportCoverage(t *testing.T) {
	for _, tt := range coverageRows() {
		t.Run(tt.file, func(t *testing.T) {
			target := coverageTarget(t)
			in, err := vuln.Import(strings.NewReader(coverageReport(t, tt.file)), target)
			checkRow(t, in, err, tt)
		})
	}
}

// checkRow compares what an import returned with what a row expects.
func checkRow(t *testing.T, in vuln.Imported, err error, tt coverageRow) {
	t.Helper()
	if tt.want == "refused" {
		if attestor.KindOf(err) != attestor.Invalid || !strings.Contains(attestor.Message(err), tt.says) || in.Discovery != nil {
			t.Fatalf("%v, want a refusal that says %q", err, tt.says)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if string(in.Coverage) != tt.want || !strings.Contains(in.Lacks, tt.says) || (in.Lacks == "") != (in.Coverage == vuln.Complete) {
		t.Errorf("%s: %q, want %s: %q", in.Coverage, in.Lacks, tt.want, tt.says)
	}

	checkCoverage(t, in, tt)
}

// checkCoverage stores an import, and reads it as the gate does.
func checkCoverage(t *testing.T, in vuln.Imported, tt coverageRow) {
	t.Helper()
	f := newFixture(t)
	if _, err := vuln.Upload(t.Context(), patiently(f), in); err != nil {
		t.Fatal(err)
	}

	needs := attestor.ScanNeeds{Trusted: []string{houseNote}}
	scan := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: in.Target.Image, Needs: needs})

	state, system := attestor.ScanComplete, slices.Contains(scan.Analyses, "OS")
	if tt.want == string(vuln.Unsupported) {
		state = attestor.ScanUnsupported
		if scan.Problem == nil || !strings.Contains(scan.Problem.Message, tt.says) {
			t.Errorf("problem %+v, want one that says %q", scan.Problem, tt.says)
		}
	}
	if scan.State != state {
		t.Errorf("state %q, want %q", scan.State, state)
	}
	if tt.want == string(vuln.Complete) && !system {
		t.Errorf("analysed: %v, want OS among them", scan.Analyses)
	}
	if tt.want == string(vuln.Partial) && (system || len(scan.Analyses) == 0) {
		t.Errorf("analysed: %v, want types of languages only", scan.Analyses)
	}
}

// TestCoverageIsWhole: every report has a row and an origin, and there are 60 signs of incompleteness at least.
func TestCoverageIsWhole(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join("testdata", "coverage"))
	if err != nil {
		t.Fatal(err)
	}

	readme := coverageReport(t, "README.md")
	var files, rows []string

	for _, e := range entries {
		if e.Name() != "README.md" {
			files = append(files, e.Name())
		}
	}

	incomplete := 0
	for _, tt := range coverageRows() {
		rows = append(rows, tt.file)
		if tt.want != string(vuln.Complete) {
			incomplete++
		}
		if !strings.Contains(readme, "| `"+tt.file+"` | ") {
			t.Errorf("the README does not say where %s comes from", tt.file)
		}
	}

	slices.Sort(rows)
	if diff := cmp.Diff(files, rows); diff != "" {
		t.Errorf("-files +rows:\n%s", diff)
	}
	if incomplete < 60 {
		t.Errorf("%d incomplete reports, want 60", incomplete)
	}
}

// TestScanIsAsOldAsItsDatabase: what was published after the database was made, the scan could not find.
func TestScanIsAsOldAsItsDatabase(t *testing.T) {
	at := func(day, hour int) time.Time { return time.Date(2026, 11, day, hour, 0, 0, 0, time.UTC) }
	for file, want := range map[string]time.Time{
		"grype-complete.json": at(20, 6), "grype-schema-5.json": at(19, 6), "trivy-server-db.json": at(20, 6), "trivy-complete.json": at(20, 12),
	} {
		in, err := vuln.Import(strings.NewReader(coverageReport(t, file)), coverageTarget(t))
		if err != nil {
			t.Fatal(err)
		}
		if got := in.Discovery.GetDiscovery().GetLastScanTime().AsTime(); !got.Equal(want) {
			t.Errorf("%s: scanned %s, want %s", file, got, want)
		}
	}

	// A database of after the scan, by another clock, makes the scan no newer.
	later := strings.Replace(coverageReport(t, "grype-complete.json"), "2026-11-20T06:00:00Z", "2026-11-20T18:00:00Z", 1)
	in, err := vuln.Import(strings.NewReader(later), coverageTarget(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := in.Discovery.GetDiscovery().GetLastScanTime().AsTime(); !got.Equal(at(20, 12)) {
		t.Errorf("by a database of the evening: scanned %s, want %s", got, at(20, 12))
	}

	// At thirty days the database is accepted, and its age is the policy's matter; a second more refuses.
	report := coverageReport(t, "grype-complete.json")
	for built, ok := range map[string]bool{"2026-10-21T12:00:00Z": true, "2026-10-21T11:59:59Z": false} {
		_, err := vuln.Import(strings.NewReader(strings.Replace(report, "2026-11-20T06:00:00Z", built, 1)), coverageTarget(t))
		if (err == nil) != ok {
			t.Errorf("built %s: %v", built, err)
		}
	}
}

// TestLayersThatSayNothing: a report that names no layers is of no image, though the image has none either, and layers that could not be read
// are an error of their own.
func TestLayersThatSayNothing(t *testing.T) {
	named := coverageReport(t, "trivy-by-layers.json")
	unnamed := strings.Replace(named, `"DiffIDs"`, `"diffIDs-of-none"`, 1)
	half := strings.Replace(named, "sha256:3333", "sha256:333", 1)
	none := func() ([]attestor.Digest, error) { return nil, nil }
	first := func() ([]attestor.Digest, error) {
		return []attestor.Digest{attestor.Digest("sha256:" + strings.Repeat("2", 64))}, nil
	}
	for name, tt := range map[string]struct {
		report string
		layers func() ([]attestor.Digest, error)
	}{
		"neither has any": {unnamed, none}, "the image has none": {named, none}, "the report names none": {unnamed, first},
		"one of two is cut": {half, first}, "there is no config": {named, nil},
		"one is cut, and the image has one without a name": {half, func() ([]attestor.Digest, error) {
			return []attestor.Digest{attestor.Digest("sha256:" + strings.Repeat("2", 64)), ""}, nil
		}},
	} {
		target := coverageTarget(t)
		target.Layers = tt.layers
		in, err := vuln.Import(strings.NewReader(tt.report), target)
		if attestor.KindOf(err) != attestor.Invalid || !strings.Contains(attestor.Message(err), "does not say which image") || in.Discovery != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	down := errors.New("down")
	target := coverageTarget(t)
	target.Layers = func() ([]attestor.Digest, error) { return nil, down }
	if in, err := vuln.Import(strings.NewReader(named), target); !errors.Is(err, down) || in.Discovery != nil {
		t.Errorf("layers that could not be read: %v", err)
	}
}

// TestVersionsThatAreNone: advisories are for numbered releases.
func TestVersionsThatAreNone(t *testing.T) {
	report := coverageReport(t, "trivy-complete.json")
	for version, want := range map[string]vuln.Coverage{
		"12.5": vuln.Complete, "v12": vuln.Complete, "0": vuln.Complete, "9": vuln.Complete,
		"": vuln.Unsupported, "v": vuln.Unsupported, "sid": vuln.Unsupported, "-12": vuln.Unsupported, "/12": vuln.Unsupported, ":12": vuln.Unsupported,
	} {
		in, err := vuln.Import(strings.NewReader(strings.Replace(report, `"Name": "12.5"`, `"Name": "`+version+`"`, 1)), coverageTarget(t))
		if err != nil || in.Coverage != want || strings.Contains(in.Lacks, "version of the operating system") != (want != vuln.Complete) {
			t.Errorf("%q: %s (%s), want %s; %v", version, in.Coverage, in.Lacks, want, err)
		}
	}
}

// TestImportNamesTheCommand: a document of another kind is answered with the command of the tool that wrote it, or of all.
func TestImportNamesTheCommand(t *testing.T) {
	grype, trivy, osv := "grype registry:", "trivy image --format json", "osv-scanner scan image"
	for file, want := range map[string][]string{
		"other-sarif-grype.json": {grype}, "other-sarif-trivy.json": {trivy}, "other-sarif-osv-scanner.json": {osv},
		"other-cyclonedx.json": {grype, trivy, osv}, "other-cyclonedx-xml.txt": {grype, trivy, osv},
		"other-spdx.json": {grype, trivy, osv}, "other-spdx-3.json": {grype, trivy, osv}, "other-spdx-tag-value.txt": {grype, trivy, osv},
	} {
		_, err := vuln.Import(strings.NewReader(coverageReport(t, file)), coverageTarget(t))
		refusal, ok := errors.AsType[*attestor.Error](err)
		if !ok {
			t.Fatalf("%s: %v", file, err)
		}

		for _, command := range []string{grype, trivy, osv} {
			if got := strings.Contains(refusal.Fix, command); got != slices.Contains(want, command) {
				t.Errorf("%s: %q names %q: %t", file, refusal.Fix, command, got)
			}
		}
	}
}
