package attestor_test

import (
	"encoding/json"
	"testing"

	"github.com/attestor-gate/attestor"
)

// A note is a scanner's own by project and name, in any location; anything that only resembles it is somebody else's.
func TestNotesOfAScanner(t *testing.T) {
	own := attestor.ScannerInfo{Note: "projects/scans/notes/RESULT"}
	for note, want := range map[string]bool{
		"projects/scans/notes/RESULT":                   true,
		"projects/scans/locations/us/notes/RESULT":      true,
		"projects/scans/notes/OTHER":                    false,
		"projects/scans-evil/notes/RESULT":              false,
		"projects/scans/notes/RESULT/notes/OTHER":       false,
		"projects/evil/projects/scans/notes/RESULT":     false,
		"projects/scans/occurrences/RESULT":             false,
		"projects/scans/notes/":                         false,
		"scans/notes/RESULT":                            false,
		"//projects/scans/notes/RESULT":                 false,
		"organizations/scans/notes/RESULT":              false,
		"projects/evil/locations/scans/notes/RESULT":    false,
		"projects/scans/locations/us/occurrence/RESULT": false,
		"": false,
	} {
		if got := own.Owns(note); got != want {
			t.Errorf("%q is its own: %t, want %t", note, got, want)
		}
	}

	// A scanner without a whole note owns nothing.
	for _, info := range []string{"", "projects//notes/", "projects/scans/notes", "projects/scans/locations/us/notes/RESULT", "///"} {
		for _, note := range []string{"", info, "projects//notes/", "projects/scans/notes/RESULT", "///"} {
			if (attestor.ScannerInfo{Note: info}).Owns(note) {
				t.Errorf("a scanner of note %q owns %q", info, note)
			}
		}
	}
}

// Evidence of versions that did not name the scanner keeps its bytes, and so its content hash, and is by Container
// Analysis.
func TestScansOfOldRecords(t *testing.T) {
	const old = `{"state":"complete","note":"projects/goog-analysis/notes/PACKAGE_VULNERABILITY","continuous":"ACTIVE"}`
	var scan attestor.Scan
	if err := json.Unmarshal([]byte(old), &scan); err != nil {
		t.Fatal(err)
	}

	if text, err := json.Marshal(scan); err != nil || string(text) != old {
		t.Errorf("%s, %v; want %s", text, err, old)
	}
	if by := scan.By(); by.Name != "Container Analysis" || !by.Owns(scan.Note) || by.Platform != "linux/amd64" {
		t.Errorf("%+v", by)
	}

	// A description that is there counts, whatever is missing in it.
	scan.Scanner = &attestor.ScannerInfo{Name: "another"}
	if by := scan.By(); by != *scan.Scanner || by.Owns(scan.Note) {
		t.Errorf("%+v", by)
	}
}
