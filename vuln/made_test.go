package vuln_test

import (
	"bytes"
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/vuln"
)

// madeRow is one report that a scanner wrote about the image of that digest, or of those layers.
type madeRow struct {
	coverageRow
	digest attestor.Digest
	layers []attestor.Digest // of the image's config, where the report does not name the digest
}

// target is the image that the report is of.
func (r madeRow) target(t testing.TB) vuln.Target {
	t.Helper()
	d := cmp.Or(r.digest, attestor.Digest("sha256:"+strings.Repeat("2", 64)))
	return vuln.Target{
		Image:  image(t, "us-docker.pkg.dev/acme/prod/api@"+string(d)),
		Note:   houseNote,
		Layers: func() ([]attestor.Digest, error) { return r.layers, nil },
	}
}

// madeRows has one row for each of Grype's reports in testdata/made, whose README says what wrote them.
func madeRows() []madeRow {
	return []madeRow{
		{coverageRow{"grype-debian.json", "complete", ""}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73", nil},
		{coverageRow{"grype-debian-end-of-life.json", "unsupported", "past its end of life"},
			"sha256:887d725cf2f9c9b4a23338a63a30764f68d800ddf3fd7d7874ee048f3512210d", nil},
		{coverageRow{"grype-debian-testing.json", "unsupported", "version of the operating system"},
			"sha256:53d86e4db60c1a6fb911b94a7900ce4e048a6f70bbb8d2c26de81ce1e422a2b8", nil},
		{coverageRow{"grype-no-os-release.json", "unsupported", "did not recognise"},
			"sha256:8a6c8349197a2b662dca5ee9d3a3af68fb7fb7a9841375141f496c93371cb0f7", nil},
		{coverageRow{"grype-no-system.json", "partial", "did not recognise"},
			"sha256:a785e0f869e2bea50e54319561217c9cc9aa28f0cef67a1c3191ecc52e79c4f1", nil},
		{coverageRow{"grype-gentoo.json", "unsupported", "no data about the packages of gentoo"},
			"sha256:1326696883227d5c45da80a5c0ad7941fb601749ce3d7d0987ba82198285fd58", nil},
		{coverageRow{"grype-support-end.json", "unsupported", "past its end of life"},
			"sha256:527b3b116004b50c6d8c38bc96b93cc5229246c325eba5c1985aadcd069ec7eb", nil},
		{coverageRow{"grype-alpine.json", "complete", ""}, "sha256:580f3b83d740161a214aa7a3e8d975d2924c18034fb56dbd656b646868cc9964", nil},
		{coverageRow{"grype-ignore.json", "complete", ""}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73", nil},
		{coverageRow{"grype-exclude.json", "refused", "files were excluded"},
			"sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73", nil},
		{coverageRow{"grype-distro.json", "refused", "by hand"}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73", nil},
		{coverageRow{"grype-only-fixed.json", "refused", "whether they have a fix"},
			"sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73", nil},
		{coverageRow{"grype-ignore-states.json", "refused", "state of their fix"},
			"sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73", nil},
		{coverageRow{"grype-directory.json", "refused", "not of an image"},
			"sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73", nil},
		{coverageRow{"grype-no-timestamp.json", "refused", "when the scan was made"},
			"sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73", nil},
		{coverageRow{"grype-all-layers.json", "complete", ""}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73", nil},
		{coverageRow{"grype-by-tag.json", "complete", ""}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73", nil},
		{coverageRow{"grype-sarif.json", "refused", "SARIF"}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73", nil},
		{coverageRow{"grype-cyclonedx.json", "refused", "CycloneDX' JSON"},
			"sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73", nil},
	}
}

// madeByTrivy are the rows of Trivy's reports.
func madeByTrivy() []madeRow {
	const (
		debian    = "sha256:7c3c249f692816ac01630f478ff45c273dc4b9fc6aaba895bfa91d0afb7bb2e9"
		debian9   = "sha256:6b4144168982abcd26588c0a9d77b9d77294a36baa73baa56baf066a23522679"
		testing   = "sha256:0e4001b7205d4309b6095d86ecaef08bec7add6862b5bc0c7f3f10323ba28915"
		noList    = "sha256:8e33e0fa46caca20ed3d4d5a3fc0851f6ef947dce8c1a3baec7364341640de07"
		noListNPM = "sha256:efc91f5edaaff42d2edde866a02b053ac7c15a20ab45b8ad1a69df1baaa74cc2"
		alpine    = "sha256:78b050a1ac240fe7d0d058973530699ee910f4cca5996d1b69b29a071abeb008"
		alpine316 = "sha256:b8882f917539fcdb868f2acd874969fa33bc4b30528df13840872abd1e05d4d5"
		npm       = "sha256:17b092609e7b1104067b593e84a3e93f312b3e53da6a2cfcc4705a7270841291"
		noRelease = "sha256:bebe67adb393cf65ad65d83317e81854eb98c18b22ded3e5a7323dd939a779bc"
		gentoo    = "sha256:335a85917d05feb09936f932adfe69301ee1b9431720c2c6040a2a51fde8cdfb"
		fedora    = "sha256:2e7c15e398729a434ebf98dd98b9f9754837a901f4e13aa7ed0afaf767bbc7ae"
		empty     = "sha256:3b141b87c8de12774994ce8045bf68b47e21f21b753e53af8f5f560c5a0159cd"
		lock      = "sha256:30052f7c568b3b07b0a739e0884a7d175f8873bf8ba14319737cf7c4702f4aad"
		secret    = "sha256:c058ab8328f9479337995d3fc4fe0cfebdb632fe536249100ef6495c7d1de119"
	)
	return []madeRow{
		{coverageRow{"trivy-debian.json", "complete", ""}, debian, nil},
		{coverageRow{"trivy-debian-end-of-life.json", "unsupported", "past its end of life"}, debian9, nil},
		{coverageRow{"trivy-debian-testing.json", "unsupported", "version of the operating system"}, testing, nil},
		{coverageRow{"trivy-no-list.json", "unsupported", "no packages of debian 12.5 were found"}, noList, nil},
		{coverageRow{"trivy-no-list-languages.json", "partial", "no packages of debian 12.5 were found"}, noListNPM, nil},
		{coverageRow{"trivy-alpine.json", "complete", ""}, alpine, nil},
		{coverageRow{"trivy-alpine-end-of-life.json", "unsupported", "past its end of life"}, alpine316, nil},
		{coverageRow{"trivy-no-system.json", "partial", "did not recognise"}, npm, nil},
		{coverageRow{"trivy-no-os-release.json", "refused", "lists no packages"}, noRelease, nil},
		{coverageRow{"trivy-gentoo.json", "refused", "lists no packages"}, gentoo, nil},
		{coverageRow{"trivy-fedora.json", "partial", "no data about the packages of fedora"}, fedora, nil},
		{coverageRow{"trivy-empty.json", "refused", "lists no packages"}, empty, nil},
		{coverageRow{"trivy-lock-file.json", "complete", ""}, lock, nil},
		{coverageRow{"trivy-library.json", "partial", "were not scanned"}, debian, nil},
		{coverageRow{"trivy-os.json", "complete", ""}, debian, nil},
		{coverageRow{"trivy-no-packages.json", "unsupported", "no packages of alpine 3.22.1 were found"}, alpine, nil},
		{coverageRow{"trivy-findings-only.json", "complete", ""}, debian, nil},
		{coverageRow{"trivy-secret-and-vuln.json", "complete", ""}, secret, nil},
		{coverageRow{"trivy-license.json", "refused", "nothing shows"}, debian, nil},
		{coverageRow{"trivy-suppressed.json", "complete", ""}, debian, nil},
		{coverageRow{"trivy-by-tag.json", "complete", ""}, debian, nil},
		{coverageRow{"trivy-server.json", "complete", ""}, debian, nil},
		{coverageRow{"trivy-tarball.json", "refused", "does not say which image"}, debian, nil},
		{coverageRow{"trivy-directory.json", "refused", "not of an image"}, debian, nil},
		{coverageRow{"trivy-sbom.json", "refused", "not of an image"}, debian, nil},
		{coverageRow{"trivy-sarif.json", "refused", "SARIF"}, debian, nil},
		{coverageRow{"trivy-cyclonedx.json", "refused", "CycloneDX' JSON"}, debian, nil},
		{coverageRow{"trivy-spdx.json", "refused", "SPDX's JSON"}, debian, nil},
		{coverageRow{"trivy-cosign-vuln.json", "refused", "attestation"}, debian, nil},

		// Trivy lists packages whatever it was told to look for. That it looked for vulnerabilities and found none, or for
		// secrets or mistakes of the configuration and found none, reads the same: docs/scans.md says so.
		{coverageRow{"trivy-secret.json", "complete", ""}, secret, nil},
		{coverageRow{"trivy-misconfig.json", "complete", ""}, debian, nil},
	}
}

// TestReportsThatScannersWrote: what real scanners say of real images is read as the documents that were typed from
// their sources are.
func TestReportsThatScannersWrote(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join("testdata", "made"))
	if err != nil {
		t.Fatal(err)
	}
	rows := slices.Concat(madeRows(), madeByTrivy(), madeByOSVScanner())
	if n := len(entries) - 1; n != len(rows) {
		t.Errorf("%d reports and %d rows", n, len(rows))
	}

	for _, tt := range rows {
		t.Run(tt.file, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("testdata", "made", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			in, err := vuln.Import(bytes.NewReader(b), tt.target(t))
			checkRow(t, in, err, tt.coverageRow)

			// Of any other image it says nothing.
			other := attestor.Digest("sha256:" + strings.Repeat("1", 64))
			if _, err := vuln.Import(bytes.NewReader(b), madeRow{digest: other, layers: []attestor.Digest{other}}.target(t)); err == nil {
				t.Error("the report counts for another image")
			}
		})
	}
}
