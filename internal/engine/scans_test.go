package engine_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/engine"
)

// oneScan answers every request alike.
type oneScan attestor.Scan

func (s oneScan) Scans(_ context.Context, requests []attestor.ScanRequest) []attestor.Scan {
	out := make([]attestor.Scan, len(requests))
	for i := range out {
		out[i] = attestor.Scan(s)
	}
	return out
}

// Whoever attests may name scans beside the one that is there. What was found of an image stays found: a secret or
// malware may be known of an image that has no scan, and a scan that is named must not make it unknown. Nor is what the
// named scan found left out, whatever became of the other one.
func TestNamedScansTakeNothingAway(t *testing.T) {
	own := func(state attestor.ScanState) attestor.Scan {
		return attestor.Scan{
			State: state, Findings: []attestor.Vulnerability{{ID: "MAL-2026-1"}}, Secrets: []attestor.Secret{{Kind: "own"}},
			SecretsListed: true, Unread: []attestor.UnreadKind{{Kind: "B", Count: 1}}, KindsUnlisted: true,
			System: &attestor.System{ID: "debian", End: "2030-06-30"},
		}
	}
	named := func(state attestor.ScanState) attestor.Scan {
		return attestor.Scan{
			State: state, Note: "projects/scans/locations/us/scans/7", Findings: []attestor.Vulnerability{{ID: "CVE-2026-1"}},
			Secrets: []attestor.Secret{{Kind: "named"}}, Unread: []attestor.UnreadKind{{Kind: "A", Count: 1}, {Kind: "B", Count: 2}},
			System: &attestor.System{ID: "debian", End: "2024-06-30"},
		}
	}

	for _, tt := range []struct{ own, named, want attestor.ScanState }{
		{attestor.ScanComplete, attestor.ScanComplete, attestor.ScanComplete},
		{attestor.ScanNotFound, attestor.ScanComplete, attestor.ScanComplete},
		{attestor.ScanUnsupported, attestor.ScanComplete, attestor.ScanUnsupported},
		{attestor.ScanFailed, attestor.ScanComplete, attestor.ScanFailed},
		{attestor.ScanRunning, attestor.ScanComplete, attestor.ScanRunning},
		{attestor.ScanUnavailable, attestor.ScanComplete, attestor.ScanUnavailable},
		{attestor.ScanComplete, attestor.ScanFailed, attestor.ScanFailed},
		{attestor.ScanNotFound, attestor.ScanFailed, attestor.ScanFailed},
	} {
		// A scan that does not count stays the answer, also beside one that does.
		for _, scans := range [][]attestor.Scanner{{oneScan(named(tt.named))}, {oneScan(named(tt.named)), oneScan(named(attestor.ScanComplete))}} {
			got := engine.Named(oneScan(own(tt.own)), scans...).Scans(t.Context(), make([]attestor.ScanRequest, 2))
			for _, scan := range got {
				ids, kinds := map[string]int{}, map[string]int{}
				for _, v := range scan.Findings {
					ids[v.ID]++
				}
				for _, s := range scan.Secrets {
					kinds[s.Kind]++
				}

				n := len(scans)
				if scan.State != tt.want {
					t.Errorf("%s beside %s: %s, want %s", tt.named, tt.own, scan.State, tt.want)
				}
				if d := cmp.Diff(map[string]int{"MAL-2026-1": 1, "CVE-2026-1": n}, ids); d != "" {
					t.Errorf("%s beside %s: findings (-want +got):\n%s", tt.named, tt.own, d)
				}
				if d := cmp.Diff(map[string]int{"own": 1, "named": n}, kinds); d != "" {
					t.Errorf("%s beside %s: secrets (-want +got):\n%s", tt.named, tt.own, d)
				}
				if d := cmp.Diff([]attestor.UnreadKind{{Kind: "A", Count: n}, {Kind: "B", Count: 1 + 2*n}}, scan.Unread); d != "" {
					t.Errorf("%s beside %s: kinds (-want +got):\n%s", tt.named, tt.own, d)
				}
				if !scan.SecretsListed || !scan.KindsUnlisted || scan.System == nil || scan.System.End != "2024-06-30" {
					t.Errorf("%s beside %s: %+v", tt.named, tt.own, scan)
				}
			}
		}
	}
}
