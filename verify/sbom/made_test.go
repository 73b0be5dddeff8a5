package sbom_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/sbom"
)

// TestDocumentsThatSyftWrote: whatever form syft writes about one image, the packages are the same. testdata/made says how
// the documents came to be.
func TestDocumentsThatSyftWrote(t *testing.T) {
	want := []attestor.Package{
		{Type: "deb", Name: "debian/bash", Version: "5.2"}, {Type: "deb", Name: "debian/dash", Version: "0.5"},
		{Type: "deb", Name: "debian/zlib1g", Version: "1.2"}, {Type: "npm", Name: "left-pad", Version: "1.0.0", Licenses: []string{"MIT"}},
	}
	forms := map[string]string{
		"syft-spdx-2.3.json": "spdx 2.3", "syft-spdx-2.2.json": "spdx 2.2", "syft-cyclonedx-1.7.json": "cyclonedx 1.7",
		"syft-cyclonedx-1.5.json": "cyclonedx 1.5", "syft.json": "",
	}
	entries, err := os.ReadDir(filepath.Join("testdata", "made"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(entries) - 1; n != len(forms) {
		t.Errorf("%d documents beside the README, %d are expected", n, len(forms))
	}

	for file, form := range forms {
		b, err := os.ReadFile(filepath.Join("testdata", "made", file))
		if err != nil {
			t.Fatal(err)
		}
		got, err := sbom.Read(b, sbom.MaxPackages)

		// Syft's own form is not read, and must not read as a document without packages.
		if form == "" {
			if e, ok := errors.AsType[*sbom.Error](err); !ok || e.Fault != sbom.Unsupported {
				t.Errorf("%s: %+v, %v", file, got, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		sorted := cmp.Options{cmpopts.SortSlices(func(a, b attestor.Package) bool { return a.Name < b.Name }), cmpopts.EquateEmpty()}
		if diff := cmp.Diff(want, got.Packages, sorted); diff != "" || got.Format+" "+got.Version != form {
			t.Errorf("%s: %s %s\n%s", file, got.Format, got.Version, diff)
		}
	}
}
