package vex_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/vex"
)

// TestDocumentOfGoVEX: a document that go-vex wrote says of the image what its author made it say, and the statement about
// another image says nothing here.
func TestDocumentOfGoVEX(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "made", "go-vex.json"))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)
	want := []attestor.VEXStatement{
		{
			IDs: []string{"CVE-2026-1", "GHSA-aaaa-bbbb-cccc"}, Status: "not_affected", Justification: "vulnerable_code_not_present",
			Exact: true, Time: at,
		},
		{
			IDs: []string{"CVE-2026-2"}, Status: "fixed", Exact: true, Time: at,
			Packages: []attestor.VEXPackage{{Type: "deb", Name: "openssl", Version: "3.0.11"}},
		},
		{IDs: []string{"CVE-2026-3"}, Status: "under_investigation", Exact: true, Time: at},
		{IDs: []string{"CVE-2026-4"}, Status: "affected", Exact: true, Time: at},
	}
	got, err := vex.Document(b, images(t))
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
