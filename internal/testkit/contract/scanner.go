package contract

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
)

// Scanning is a scanner that knows a finished scan of one image.
type Scanning struct {
	attestor.Scanner
	Scanned, Unscanned attestor.Image
	Needs              attestor.ScanNeeds // under which the scan counts
}

// scan asks about one image.
func (w Scanning) scan(ctx context.Context, t *testing.T, img attestor.Image) attestor.Scan {
	t.Helper()
	scans := w.Scans(ctx, []attestor.ScanRequest{{Image: img, Needs: w.Needs}})
	if len(scans) != 1 {
		t.Fatalf("asked about one image, it answers about %d", len(scans))
	}
	return scans[0]
}

// Scanner is the suite of [attestor.Scanner]: a scan is complete only where it
// was found so, every answer names the scanner that was asked, and of several
// images each gets the answer that it gets alone.
func Scanner(t *testing.T, w Scanning) {
	if s := w.scan(t.Context(), t, w.Scanned); s.State != attestor.ScanComplete || s.Problem != nil {
		t.Errorf("the scanned image is %q, problem %+v", s.State, s.Problem)
	}
	if s := w.scan(t.Context(), t, w.Unscanned); s.State == attestor.ScanComplete || s.State == "" {
		t.Errorf("the image that was never scanned is %q", s.State)
	}

	for _, image := range []attestor.Image{w.Scanned, w.Unscanned} {
		s := w.scan(t.Context(), t, image)
		if s.Scanner == nil || s.Scanner.Name == "" {
			t.Errorf("the scan of %s names no scanner", image)
		}
	}

	// An outage is no scan, and says so.
	s := w.scan(gone(t), t, w.Scanned)
	if s.State == attestor.ScanComplete || s.State == attestor.ScanNotFound {
		t.Errorf("asked with an ended context, the scan is %q", s.State)
	}

	if s.State == attestor.ScanUnavailable && (s.Problem == nil || s.Problem.Message == "") {
		t.Error("the scan is unavailable and does not say why")
	}

	w.together(t)
}

// together asks about several images at once, among them one twice and one that is not an image.
func (w Scanning) together(t *testing.T) {
	if n := len(w.Scans(t.Context(), nil)); n != 0 {
		t.Errorf("asked about nothing, it answers about %d", n)
	}

	images := []attestor.Image{w.Unscanned, w.Scanned, {}, w.Scanned, w.Unscanned}
	requests := make([]attestor.ScanRequest, len(images))
	for i, img := range images {
		requests[i] = attestor.ScanRequest{Image: img, Needs: w.Needs}
	}

	scans := w.Scans(t.Context(), requests)
	if len(scans) != len(requests) {
		t.Fatalf("asked about %d images, it answers about %d", len(requests), len(scans))
	}
	for i, img := range images {
		alone := w.scan(t.Context(), t, img)
		if diff := cmp.Diff(alone.State, scans[i].State); diff != "" {
			t.Errorf("image %d, alone and among others -want +got:\n%s", i, diff)
		}
		if diff := cmp.Diff(alone.Findings, scans[i].Findings); diff != "" {
			t.Errorf("the findings of image %d, alone and among others -want +got:\n%s", i, diff)
		}
	}
}
