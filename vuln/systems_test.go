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

// TestImportedSystemsEnd: an imported report names its distribution in a form that the table of ends knows, so that one that is over is refused
// even where the scanner, or its version, has no word for that.
func TestImportedSystemsEnd(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		edits      []string // old, new, …
		want       string
	}{
		{"Grype without alerts", "grype-schema-5.json", []string{`"debian"`, `"centos"`, `"12.5"`, `"6.10"`}, "centos 6 2020-11-30"},
		{"Grype without alerts, served", "grype-schema-5.json", nil, "debian 12 2028-06-30"},
		{"osv-scanner", "osv-complete.json", []string{"Debian:12", "Alpine:v3.18"}, "alpine 3.18 2025-05-09"},
		{"osv-scanner, Debian", "osv-complete.json", []string{"Debian:12", "Debian:10"}, "debian 10 2024-06-30"},
		{"osv-scanner, Ubuntu", "osv-complete.json", []string{"Debian:12", "Ubuntu:20.04:LTS"}, "ubuntu 20.04 2025-05-31"},
		{"osv-scanner, openSUSE", "osv-complete.json", []string{"Debian:12", "openSUSE:Leap 15.6"}, "opensuse-leap 15.6 2026-04-30"},
		{"osv-scanner, Rocky", "osv-complete.json", []string{"Debian:12", "Rocky Linux:8"}, "rocky 8 2029-05-31"},
		{"osv-scanner, AlmaLinux", "osv-complete.json", []string{"Debian:12", "AlmaLinux:9"}, "almalinux 9 2032-05-31"},
		{"Trivy", "trivy-complete.json", []string{`"debian"`, `"alpine"`, `"12.5"`, `"3.16.2"`}, "alpine 3.16 2024-05-23"},
		{"Trivy, Amazon", "trivy-complete.json", []string{`"Family": "debian"`, `"Family": "amazon"`, `"12.5"`, `"2 (Karoo)"`}, "amzn 2 2026-06-30"},
		{"Trivy, Oracle", "trivy-complete.json", []string{`"Family": "debian"`, `"Family": "oracle"`, `"12.5"`, `"7.9"`}, "ol 7 2024-12-31"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.NewReplacer(tt.edits...).Replace(coverageReport(t, tt.file))
			in, err := vuln.Import(strings.NewReader(text), coverageTarget(t))
			if err != nil {
				t.Fatal(err)
			}
			f := newFixture(t)
			if _, err := vuln.Upload(t.Context(), patiently(f), in); err != nil {
				t.Fatal(err)
			}
			needs := attestor.ScanNeeds{Trusted: []string{houseNote}}
			s := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: in.Target.Image, Needs: needs}).System
			if s == nil {
				t.Fatal("no system")
			}
			if got := s.ID + " " + s.Release + " " + s.End; got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
