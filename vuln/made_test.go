package vuln_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/vuln"
)

// madeRow is one report that a scanner wrote about the image of that digest.
type madeRow struct {
	coverageRow
	digest attestor.Digest
}

// madeRows has one row for each file in testdata/made, whose README says what wrote them.
func madeRows() []madeRow {
	return []madeRow{
		{coverageRow{"grype-debian.json", "complete", ""}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73"},
		{coverageRow{"grype-debian-end-of-life.json", "unsupported", "past its end of life"},
			"sha256:887d725cf2f9c9b4a23338a63a30764f68d800ddf3fd7d7874ee048f3512210d"},
		{coverageRow{"grype-debian-testing.json", "unsupported", "version of the operating system"},
			"sha256:53d86e4db60c1a6fb911b94a7900ce4e048a6f70bbb8d2c26de81ce1e422a2b8"},
		{coverageRow{"grype-no-os-release.json", "unsupported", "did not recognise"},
			"sha256:8a6c8349197a2b662dca5ee9d3a3af68fb7fb7a9841375141f496c93371cb0f7"},
		{coverageRow{"grype-no-system.json", "partial", "did not recognise"}, "sha256:a785e0f869e2bea50e54319561217c9cc9aa28f0cef67a1c3191ecc52e79c4f1"},
		{coverageRow{"grype-gentoo.json", "unsupported", "no data about the packages of gentoo"},
			"sha256:1326696883227d5c45da80a5c0ad7941fb601749ce3d7d0987ba82198285fd58"},
		{coverageRow{"grype-support-end.json", "unsupported", "past its end of life"},
			"sha256:527b3b116004b50c6d8c38bc96b93cc5229246c325eba5c1985aadcd069ec7eb"},
		{coverageRow{"grype-alpine.json", "complete", ""}, "sha256:580f3b83d740161a214aa7a3e8d975d2924c18034fb56dbd656b646868cc9964"},
		{coverageRow{"grype-ignore.json", "complete", ""}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73"},
		{coverageRow{"grype-exclude.json", "refused", "files were excluded"}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73"},
		{coverageRow{"grype-distro.json", "refused", "by hand"}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73"},
		{coverageRow{"grype-only-fixed.json", "refused", "whether they have a fix"}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73"},
		{coverageRow{"grype-ignore-states.json", "refused", "state of their fix"}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73"},
		{coverageRow{"grype-directory.json", "refused", "not of an image"}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73"},
		{coverageRow{"grype-no-timestamp.json", "refused", "when the scan was made"},
			"sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73"},
		{coverageRow{"grype-all-layers.json", "complete", ""}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73"},
		{coverageRow{"grype-by-tag.json", "complete", ""}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73"},
		{coverageRow{"grype-sarif.json", "refused", "SARIF"}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73"},
		{coverageRow{"grype-cyclonedx.json", "refused", "CycloneDX' JSON"}, "sha256:46b811966e320bf46c574f092272c958e4fd8c46062e910189c36051bf24bb73"},
	}
}

// TestReportsThatScannersWrote: what real scanners say of real images is read as the documents that were typed from
// their sources are.
func TestReportsThatScannersWrote(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join("testdata", "made"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(entries) - 1; n != len(madeRows()) {
		t.Errorf("%d reports and %d rows", n, len(madeRows()))
	}

	for _, tt := range madeRows() {
		t.Run(tt.file, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("testdata", "made", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			target := vuln.Target{Image: image(t, "us-docker.pkg.dev/acme/prod/api@"+string(tt.digest)), Note: houseNote}
			in, err := vuln.Import(bytes.NewReader(b), target)
			checkRow(t, in, err, tt.coverageRow)

			// Of any other image it says nothing.
			target.Image = image(t, "us-docker.pkg.dev/acme/prod/api@sha256:"+strings.Repeat("1", 64))
			if _, err := vuln.Import(bytes.NewReader(b), target); err == nil {
				t.Error("the report counts for another image")
			}
		})
	}
}
