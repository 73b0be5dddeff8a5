package vuln_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/resource"
	"github.com/attestor-gate/attestor/vuln"
)

// TestListLagOfAnImport: a report is stored hours after its scan was made. What was stored moments ago may not be listed
// whole yet, whatever the scan's time is, and by a clock that is behind Google's, too.
func TestListLagOfAnImport(t *testing.T) {
	stored := start.Add(-time.Hour) // by the service's clock
	for _, tt := range []struct {
		after time.Duration // the gate's clock
		noLag bool
		want  attestor.ScanState
	}{
		{0, false, attestor.ScanRunning},
		{resource.ListLag - time.Millisecond, false, attestor.ScanRunning},
		{resource.ListLag, false, attestor.ScanComplete},
		{time.Hour, false, attestor.ScanComplete},
		{-time.Second, false, attestor.ScanRunning},
		{-59 * time.Second, false, attestor.ScanRunning},
		{-time.Minute, false, attestor.ScanComplete}, // no clock that is kept right is that far behind
		{0, true, attestor.ScanComplete},
	} {
		t.Run(fmt.Sprintf("%s after, no lag %t", tt.after, tt.noLag), func(t *testing.T) {
			f, img := newFixture(t), api(t)
			f.put(t, "acme", complete(uri(img), under(houseNote), scanned(stored.Add(-24*time.Hour))))
			s := f.scanner(t, func(c *vuln.Config) {
				c.Now, c.NoListLag = func() time.Time { return stored.Add(tt.after) }, tt.noLag
			})
			got := s.Scan(t.Context(), attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Trusted: []string{houseNote}}})
			if got.State != tt.want || (got.Problem != nil) != (tt.want == attestor.ScanRunning) {
				t.Errorf("state %q, problem %+v, want %q", got.State, got.Problem, tt.want)
			}
		})
	}
}
