package vuln_test

import (
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/vuln"
)

func TestScannerContract(t *testing.T) {
	scanned := api(t)
	unscanned := image(t, scanned.Repository()+"@"+string(digest(2)))

	t.Run("Container Analysis", func(t *testing.T) {
		f := newFixture(t)
		f.put(t, "acme", complete(uri(scanned)))
		contract.Scanner(t, contract.Scanning{Scanner: f.scanner(t, nil), Scanned: scanned, Unscanned: unscanned})
	})

	t.Run("on demand", func(t *testing.T) {
		o := finding(scanned.String(), "CVE-1", grafeaspb.Severity_LOW)
		o.Kind, o.CreateTime = grafeaspb.NoteKind_VULNERABILITY, timestamppb.New(start)
		s, err := vuln.NewOnDemand(vuln.OnDemandConfig{Service: serveScan(t, occurrences{o}, 0, 0), Name: scanName})
		if err != nil {
			t.Fatal(err)
		}

		contract.Scanner(t, contract.Scanning{
			Scanner: s, Scanned: scanned, Unscanned: unscanned, Needs: attestor.ScanNeeds{Projects: []string{"projects/scans"}},
		})
	})
}
