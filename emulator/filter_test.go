package emulator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/attestor-gate/attestor/emulator"
)

// corpus is a handful of occurrences, by what they are called in tests.
func corpus() map[string]*grafeaspb.Occurrence {
	at := func(h int) *timestamppb.Timestamp { return timestamppb.New(start.Add(time.Duration(h) * time.Hour)) }
	finish := func(name string, h int, kind grafeaspb.NoteKind, o *grafeaspb.Occurrence) *grafeaspb.Occurrence {
		o.Name, o.Kind, o.CreateTime, o.UpdateTime = "projects/p/occurrences/"+name, kind, at(h), at(h+1)
		return o
	}

	minimal := vulnerability("https://"+imageB, "GHSA-x")
	minimal.GetVulnerability().EffectiveSeverity = grafeaspb.Severity_MINIMAL
	minimal.GetVulnerability().FixAvailable = false
	minimal.GetVulnerability().CvssScore = 3.1
	return map[string]*grafeaspb.Occurrence{
		"disc":   finish("disc", 0, grafeaspb.NoteKind_DISCOVERY, discovery("https://"+imageA)),
		"vulnA":  finish("vulnA", 1, grafeaspb.NoteKind_VULNERABILITY, vulnerability("https://"+imageA, "CVE-1")),
		"vulnB":  finish("vulnB", 2, grafeaspb.NoteKind_VULNERABILITY, minimal),
		"attest": finish("attest", 3, grafeaspb.NoteKind_ATTESTATION, attestation(note, imageA, []byte("p"), []byte("s"))),
	}
}

func TestFilterSelects(t *testing.T) {
	all := []string{"attest", "disc", "vulnA", "vulnB"}
	for _, tt := range []struct {
		filter string
		want   []string
	}{
		{"", all},
		{" \t\n", all},
		// As real clients send them: gcloud, Voucher, Kritis.
		{`((kind = "VULNERABILITY") OR (kind = "DISCOVERY")) AND ((resourceUrl = ` +
			`"https://` + imageA + `") OR (resourceUrl = "` + imageA + `"))`, []string{"disc", "vulnA"}},
		{`((kind = "BUILD") OR (kind = "SBOM_REFERENCE")) AND ((resourceUrl = "https://` + imageA + `"))`, nil},
		{`((resourceUrl = "https://` + imageA + `") OR (resourceUrl = "` + imageA + `"))`, []string{"attest", "disc", "vulnA"}},
		{`(((kind = "DISCOVERY"))) AND ((resourceUrl = "https://` + imageA + `"))`, []string{"disc"}},
		{`((vulnerability.effectiveSeverity="CRITICAL") AND ((kind = "VULNERABILITY"))) AND ((resourceUrl = "https://` + imageA + `"))`, []string{"vulnA"}},
		{`((has_prefix(resourceUrl, "https://us-docker.pkg.dev/p/r") OR has_prefix(resourceUrl, ` +
			`"us-docker.pkg.dev/p/r")) AND (kind="BUILD" OR kind="DISCOVERY"))`, []string{"disc"}},
		{`has_suffix(resourceUrl, "` + digestA + `")`, []string{"attest", "disc", "vulnA"}},
		{`has_suffix(resourceUrl, "` + digestA[7:] + `")`, []string{"attest", "disc", "vulnA"}},
		{`resourceUrl="https://` + imageA + `" AND kind="DISCOVERY" AND noteProjectId="goog-analysis" AND noteId="PACKAGE_VULNERABILITY"`, []string{"disc"}},
		{`noteProjectId="goog-vulnz"`, []string{"vulnA", "vulnB"}},
		// The grammar.
		{`kind="DISCOVERY" OR kind="ATTESTATION" AND noteProjectId="p"`, []string{"attest"}}, // OR binds tighter
		{`kind="DISCOVERY" noteProjectId="goog-analysis"`, []string{"disc"}},                 // juxtaposition
		{`NOT kind="VULNERABILITY"`, []string{"attest", "disc"}},
		{`-kind="VULNERABILITY" AND -(kind="DISCOVERY")`, []string{"attest"}},
		{`kind!="VULNERABILITY"`, []string{"attest", "disc"}},
		{`kind=DISCOVERY`, []string{"disc"}},
		{`resource_url = 'https://` + imageA + `'`, []string{"disc", "vulnA"}},
		{`resourceUri = "https://` + imageA + `\""`, nil},
		// Other fields.
		{`createTime > "2026-11-21T12:30:00Z"`, []string{"attest", "vulnA", "vulnB"}},
		{`createTime >= "2026-11-21T13:00:00Z" AND updateTime < "2026-11-21T15:00:00+00:00"`, []string{"vulnA"}},
		{`createTime = "2026-11-21T12:00:00Z"`, []string{"disc"}},
		{`vulnerability.cvssScore > 3`, []string{"vulnB"}},
		{`vulnerability.cvss_score >= -1 AND vulnerability.cvssScore <= 0`, []string{"vulnA"}},
		{`vulnerability.fixAvailable = true`, []string{"vulnA"}},
		{`vulnerability.packageIssue.affectedPackage = "openssl"`, []string{"vulnA", "vulnB"}},
		{`vulnerability.packageIssue.affectedVersion.epoch = 0`, []string{"vulnA", "vulnB"}},
		{`discovery.analysisStatus = "FINISHED_SUCCESS"`, []string{"disc"}},
		{`NOT discovery.analysisStatus = "FINISHED_SUCCESS"`, []string{"attest", "vulnA", "vulnB"}},
		{`name = "projects/p/occurrences/disc"`, []string{"disc"}},
	} {
		t.Run(tt.filter, func(t *testing.T) {
			f, err := emulator.ParseFilter(tt.filter)
			if err != nil {
				t.Fatal(err)
			}

			occ := corpus()
			var got []string

			for _, name := range all {
				if f.Matches(occ[name]) {
					got = append(got, name)
					if !f.Hinted(occ[name]) {
						t.Errorf("%s matches but a list would not look at it", name)
					}
				}
			}

			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestFilterRefuses(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.createNote(t, note)

	for _, filter := range []string{
		`x`, `"x"`, `kind`, `kind=`, `kind = = "BUILD"`, `= "BUILD"`, `kind="NO_SUCH"`, `kind="PACKAGE_VULNERABILITY"`, `kind>"BUILD"`, `kind:"BUILD"`,
		`noSuchField="x"`, `vulnerability.nope="x"`, `vulnerability="x"`, `kind.x="y"`, `resourceUrl>"a"`, `resourceUrl ! "a"`,
		`(kind="BUILD"`, `kind="BUILD")`, `()`, `AND`, `OR`, `NOT`, `kind="BUILD" AND`, `AND kind="BUILD"`, `kind="BUILD" OR`, `NOT NOT kind="BUILD"`,
		`kind="BUILD`, `kind="BUI\LD"`, `has_prefix(resourceUrl)`, `has_prefix(resourceUrl, x)`, `has_prefix("a","b")`, `has_suffix(kind, "x")`,
		`contains(resourceUrl, "x")`, `has_suffix resourceUrl "x"`, `createTime > "yesterday"`,
		`has_prefix(createTime, "2026")`, `vulnerability.cvssScore > "x"`, `vulnerability.cvssScore > NaN`,
		`vulnerability.fixAvailable = yes`, `vulnerability.fixAvailable > true`,
		`vulnerability.effectiveSeverity = "HUGE"`, `vulnerability.effectiveSeverity > "LOW"`,
		`envelope.payload = "x"`, `*`, `kind=*`, `resourceUrl = "a" | kind="BUILD"`, `kind="BUILD";`,
		"kind=\"BUILD\"\x00", "kind=\"\xff\"", `kind=AND`, `kind = -"BUILD"`,
		strings.Repeat("(", 100) + `kind="BUILD"` + strings.Repeat(")", 100), `resourceUrl="` + strings.Repeat("x", 20000) + `"`,
	} {
		_, err := g.Grafeas.ListOccurrences(ctxFor(t), &grafeaspb.ListOccurrencesRequest{Parent: "projects/p", Filter: filter}).Next()
		if filter == "kind=\"\xff\"" {
			// Not even a message: protobuf refuses it first.
			if err == nil {
				t.Errorf("%q is accepted", filter)
			}
			continue
		}
		if got := code(err); got != codes.InvalidArgument {
			t.Errorf("%q: list says %v (%v), want INVALID_ARGUMENT", filter, got, err)
		}

		_, err = g.Grafeas.ListNoteOccurrences(ctxFor(t), &grafeaspb.ListNoteOccurrencesRequest{Name: note, Filter: filter}).Next()
		if got := code(err); got != codes.InvalidArgument {
			t.Errorf("%q: list of a note says %v, want INVALID_ARGUMENT", filter, got)
		}
	}
}

// FuzzFilter: no input panics; one that is accepted is blank or makes a
// choice, which its negation reverses; and an index is never a wrong short cut.
func FuzzFilter(f *testing.F) {
	accepted := 0
	for _, s := range []string{
		"", `kind="BUILD"`, `((kind = "VULNERABILITY") OR (kind = "DISCOVERY")) AND ((resourceUrl = "https://` + imageA + `") OR (resourceUrl = "x"))`,
		`has_suffix(resourceUrl, "` + digestA + `")`, `NOT kind=BUILD -noteId="x" createTime > "2026-11-21T12:30:00Z"`,
		`vulnerability.cvssScore >= -1.5`, `a."b`, `((((`, `kind="BU\"ILD"`,
	} {
		if p, err := emulator.ParseFilter(s); err == nil && !p.Blank() {
			accepted++
		}
		f.Add(s)
	}

	if accepted < 4 {
		f.Fatalf("%d seeds are filters: the fuzzer would learn nothing", accepted)
	}

	occ := corpus()
	f.Fuzz(func(t *testing.T, s string) {
		parsed, err := emulator.ParseFilter(s)
		if err != nil {
			wantCode(t, err, codes.InvalidArgument)
			return
		}
		if parsed.Blank() {
			if strings.TrimSpace(s) != "" {
				t.Fatalf("%q selects everything", s)
			}
			return
		}
		if !strings.ContainsAny(s, "=<>") && !strings.Contains(s, "has_") {
			t.Fatalf("%q is accepted without a comparison", s)
		}

		negated, err := emulator.ParseFilter("NOT (" + s + ")")
		for name, o := range occ {
			if m := parsed.Matches(o); err == nil && negated.Matches(o) == m {
				t.Fatalf("%q and its negation agree on %s", s, name)
			} else if m && !parsed.Hinted(o) {
				t.Fatalf("%q selects %s, which a list would not look at", s, name)
			}
		}
	})
}
