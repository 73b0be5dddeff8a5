package vuln_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/eol"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/vuln"
)

// TestSystem: what was scanned is what the scanner says, else what the findings are of; one that is over comes first.
func TestSystem(t *testing.T) {
	as := func(cpe string) corpus.Change {
		return func(o *grafeaspb.Occurrence) { o.GetDiscovery().Cpe = cpe }
	}
	img := api(t)
	of := func(ids ...string) (out occurrences) {
		for i, cpe := range ids {
			out = append(out, finding(uri(img), "CVE-2026-"+string(rune('1'+i)), grafeaspb.Severity_LOW, corpus.OfSystem(cpe)))
		}
		return out
	}
	const debian10, debian12, ubuntu24 = "cpe:/o:debian:debian_linux:10", "cpe:/o:debian:debian_linux:12", "cpe:/o:canonical:ubuntu_linux:24.04"
	for _, tt := range []struct {
		name string
		all  occurrences
		want string
	}{
		{"nothing said", occurrences{complete(uri(img))}, ""},
		{"by the discovery", occurrences{complete(uri(img), as(debian12))}, "debian 12"},
		{"by a finding", append(of(debian12), complete(uri(img))), "debian 12"},
		{"by most findings", append(of(debian12, ubuntu24, ubuntu24), complete(uri(img))), "ubuntu 24.04"},
		{"by one that is over", append(of(debian12, debian10, debian12), complete(uri(img))), "debian 10"},
		{"by the discovery before findings", append(of(debian10), complete(uri(img), as(debian12))), "debian 12"},
		{"of software only", append(of("cpe:/a:openssl:openssl:3"), complete(uri(img))), ""},
		{"another image's", append(occurrences{finding(uri(img.Sibling(digest(2))), "CVE-1", grafeaspb.Severity_LOW,
			corpus.OfSystem(debian10))}, complete(uri(img))), ""},
		{"before the scan has finished", append(of(debian10), discovery(uri(img), grafeaspb.DiscoveryOccurrence_SCANNING)), "debian 10"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.put(t, "acme", tt.all...)
			f.ResetCalls()
			got := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img}).System
			name := ""
			if got != nil {
				name = got.Name()
			}
			if name != tt.want || len(f.Calls(list)) != 1 {
				t.Errorf("%+v, want %q, by %d calls", got, tt.want, len(f.Calls(list)))
			}
		})
	}
}

// TestSystemOfAnotherTable: the configured table is asked.
func TestSystemOfAnotherTable(t *testing.T) {
	table, err := eol.Parse(strings.NewReader("date,2026-01-02\nsource,x\nid,version,end\ndebian,12,2026-01-31\n"))
	if err != nil {
		t.Fatal(err)
	}
	f, img := newFixture(t), api(t)
	f.put(t, "acme", complete(uri(img)), finding(uri(img), "CVE-1", grafeaspb.Severity_LOW))
	got := f.scanner(t, func(c *vuln.Config) { c.Ends = table }).Scan(t.Context(), attestor.ScanRequest{Image: img}).System
	want := &attestor.System{ID: "debian", Version: "12", Release: "12", Source: attestor.SystemFromScan, End: "2026-01-31", Table: "2026-01-02"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestImportedSystem: a report without findings still says which distribution it is of.
func TestImportedSystem(t *testing.T) {
	for _, tt := range []struct{ report, want string }{
		{"grype-complete.json", "debian"}, {"trivy-complete.json", "debian"}, {"osv-complete.json", "debian"},
	} {
		in, err := vuln.Import(strings.NewReader(coverageReport(t, tt.report)), coverageTarget(t))
		if err != nil {
			t.Fatalf("%s: %v", tt.report, err)
		}
		cpe := in.Discovery.GetDiscovery().GetCpe()
		if s, ok := eol.FromCPE(cpe); !ok || s.ID != tt.want || s.Version == "" {
			t.Errorf("%s: %q", tt.report, cpe)
		}
	}
}
