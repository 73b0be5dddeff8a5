package contract

import (
	"testing"

	"github.com/attestor-gate/attestor"
)

// Scanning is a scanner that knows a finished scan of one image.
type Scanning struct {
	attestor.Scanner
	Scanned, Unscanned attestor.Image
	Needs              attestor.ScanNeeds // under which the scan counts
}

// Scanner is the suite of [attestor.Scanner]: a scan is complete only where it
// was found so, and every answer names the scanner that was asked.
func Scanner(t *testing.T, w Scanning) {
	if s := w.Scan(t.Context(), attestor.ScanRequest{Image: w.Scanned, Needs: w.Needs}); s.State != attestor.ScanComplete || s.Problem != nil {
		t.Errorf("the scanned image is %q, problem %+v", s.State, s.Problem)
	}
	if s := w.Scan(t.Context(), attestor.ScanRequest{Image: w.Unscanned, Needs: w.Needs}); s.State == attestor.ScanComplete || s.State == "" {
		t.Errorf("the image that was never scanned is %q", s.State)
	}

	for _, image := range []attestor.Image{w.Scanned, w.Unscanned} {
		s := w.Scan(t.Context(), attestor.ScanRequest{Image: image, Needs: w.Needs})
		if s.Scanner == nil || s.Scanner.Name == "" {
			t.Errorf("the scan of %s names no scanner", image)
		}
	}

	// An outage is no scan, and says so.
	s := w.Scan(gone(t), attestor.ScanRequest{Image: w.Scanned, Needs: w.Needs})
	if s.State == attestor.ScanComplete || s.State == attestor.ScanNotFound {
		t.Errorf("asked with an ended context, the scan is %q", s.State)
	}

	if s.State == attestor.ScanUnavailable && (s.Problem == nil || s.Problem.Message == "") {
		t.Error("the scan is unavailable and does not say why")
	}
}
