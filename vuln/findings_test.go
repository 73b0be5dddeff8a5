package vuln_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/vuln"
)

type issue = grafeaspb.VulnerabilityOccurrence_PackageIssue

// change edits the vulnerability and its first package.
func change(f func(v *grafeaspb.VulnerabilityOccurrence, p *issue)) func(*grafeaspb.Occurrence) {
	return func(o *grafeaspb.Occurrence) { f(o.GetVulnerability(), o.GetVulnerability().GetPackageIssue()[0]) }
}

func version(kind grafeaspb.Version_VersionKind, full string) *grafeaspb.Version {
	return &grafeaspb.Version{Kind: kind, FullName: full}
}

// TestFinding is how one occurrence is read.
func TestFinding(t *testing.T) {
	const none, minimal, low, high, critical = grafeaspb.Severity_SEVERITY_UNSPECIFIED, grafeaspb.Severity_MINIMAL,
		grafeaspb.Severity_LOW, grafeaspb.Severity_HIGH, grafeaspb.Severity_CRITICAL
	levels := func(own, effective, provider grafeaspb.Severity) func(*grafeaspb.Occurrence) {
		return change(func(v *grafeaspb.VulnerabilityOccurrence, p *issue) {
			p.EffectiveSeverity, v.EffectiveSeverity, v.Severity = own, effective, provider
		})
	}
	fix := func(v *grafeaspb.Version, own, any bool) func(*grafeaspb.Occurrence) {
		return change(func(o *grafeaspb.VulnerabilityOccurrence, p *issue) {
			p.FixedVersion, p.FixAvailable, o.FixAvailable = v, own, any
		})
	}
	base := attestor.Vulnerability{
		ID: "CVE-2026-1", Note: "projects/goog-vulnz/notes/CVE-2026-1", Severity: attestor.High,
		Package: "openssl", PackageType: "OS", Version: "3.0.11", FixedVersion: "3.0.15", Fixable: true,
	}
	want := func(f func(*attestor.Vulnerability)) attestor.Vulnerability { v := base; f(&v); return v }
	unfixed := want(func(v *attestor.Vulnerability) { v.Fixable, v.FixedVersion = false, "" })
	tests := []struct {
		name   string
		change func(*grafeaspb.Occurrence)
		want   attestor.Vulnerability
	}{
		{"plain", levels(high, high, high), base},
		{"the package's severity is lower", levels(minimal, high, high), want(func(v *attestor.Vulnerability) { v.Severity = attestor.Minimal })},
		{"the package's severity is higher", levels(critical, low, low), want(func(v *attestor.Vulnerability) { v.Severity = attestor.Critical })},
		{"only the occurrence has one", levels(none, critical, low), want(func(v *attestor.Vulnerability) {
			v.Severity, v.Fallback = attestor.Critical, "occurrence effectiveSeverity"
		})},
		{"only the provider has one", levels(none, none, high), want(func(v *attestor.Vulnerability) { v.Fallback = "occurrence severity" })},
		{"nobody has one", levels(none, none, none), want(func(v *attestor.Vulnerability) { v.Severity = attestor.Unspecified })},
		{"a severity of tomorrow", levels(99, 0, 0), want(func(v *attestor.Vulnerability) { v.Severity = "SEVERITY_99" })},
		{"a severity of tomorrow, and one of today for the occurrence", levels(99, grafeaspb.Severity_LOW, 0),
			want(func(v *attestor.Vulnerability) { v.Severity = "SEVERITY_99" })},
		{"no severity, and one of tomorrow for the occurrence", levels(0, 99, grafeaspb.Severity_LOW), want(func(v *attestor.Vulnerability) {
			v.Severity, v.Fallback = "SEVERITY_99", "occurrence effectiveSeverity"
		})},
		{"no fix, whatever others have", fix(version(grafeaspb.Version_MAXIMUM, ""), false, true), unfixed},
		{"no fix, though marked as having one", fix(version(grafeaspb.Version_MAXIMUM, ""), true, true), unfixed},
		{"no fixed version at all", fix(nil, false, true), unfixed},
		{"a fix of unknown version", fix(nil, true, true), want(func(v *attestor.Vulnerability) { v.FixedVersion = "" })},
		{"a fixed version, though not marked", fix(version(grafeaspb.Version_NORMAL, "3.0.15"), false, false), base},
		{"a version in parts", fix(&grafeaspb.Version{Kind: grafeaspb.Version_NORMAL, Epoch: 1, Name: "3.0.15", Revision: "2"}, true, true),
			want(func(v *attestor.Vulnerability) { v.FixedVersion = "1:3.0.15-2" })},
		{"a version in parts, without an epoch", fix(&grafeaspb.Version{Kind: grafeaspb.Version_NORMAL, Name: "3.0.15", Revision: "2"}, true, true),
			want(func(v *attestor.Vulnerability) { v.FixedVersion = "3.0.15-2" })},
		{"a version in parts, without a revision", fix(&grafeaspb.Version{Kind: grafeaspb.Version_NORMAL, Epoch: 1, Name: "3.0.15"}, true, true),
			want(func(v *attestor.Vulnerability) { v.FixedVersion = "1:3.0.15" })},
		{"a version in full, and in parts", fix(&grafeaspb.Version{Kind: grafeaspb.Version_NORMAL, FullName: "3.0.15-3", Name: "3.0.15", Revision: "2"},
			true, true), want(func(v *attestor.Vulnerability) { v.FixedVersion = "3.0.15-3" })},
		{"parts of no version", fix(&grafeaspb.Version{Kind: grafeaspb.Version_NORMAL, Epoch: 1, Revision: "2"}, false, true), unfixed},
		{"a fixed version of no kind", fix(version(0, "3.0.15"), false, false), base},
		{"a version before all others", fix(version(grafeaspb.Version_MINIMUM, "3.0.15"), false, true), unfixed},
		{"not a CVE", under("projects/goog-vulnz/notes/GHSA-h755-8qp9-cq85"), want(func(v *attestor.Vulnerability) {
			v.ID, v.Note = "GHSA-h755-8qp9-cq85", "projects/goog-vulnz/notes/GHSA-h755-8qp9-cq85"
		})},
		{"a note that is no name", under("what"), want(func(v *attestor.Vulnerability) { v.ID, v.Note = "what", "what" })},
		{"no note", under(""), want(func(v *attestor.Vulnerability) { v.Note = "" })},
		{"no package", change(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) { v.PackageIssue, v.FixAvailable = nil, true }),
			attestor.Vulnerability{ID: base.ID, Note: base.Note, Severity: attestor.High, Fallback: "occurrence effectiveSeverity", Fixable: true}},
		{"score", change(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) { v.CvssScore = 7.1 }),
			want(func(v *attestor.Vulnerability) { v.CVSS = new(7.1) })},
		{"score by version", change(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) { v.Cvssv3 = &grafeaspb.CVSS{BaseScore: 9.8} }),
			want(func(v *attestor.Vulnerability) { v.CVSS = new(9.8) })},
		{"the highest score", change(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) { v.CvssScore = 10 }),
			want(func(v *attestor.Vulnerability) { v.CVSS = new(10.0) })},
		{"a score above the highest", change(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) {
			v.CvssScore, v.Cvssv3 = 10.1, &grafeaspb.CVSS{BaseScore: 9.8}
		}), want(func(v *attestor.Vulnerability) { v.CVSS = new(9.8) })},
		{"an invalid score", change(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) { v.CvssScore = float32(math.NaN()) }), base},
		{"exploited", change(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) {
			v.Risk = &grafeaspb.Risk{CisaKev: &grafeaspb.CISAKnownExploitedVulnerabilities{}, Epss: &grafeaspb.ExploitPredictionScoringSystem{Score: 0.97}}
		}), want(func(v *attestor.Vulnerability) { v.EPSS, v.KnownExploited = new(0.97), new(true) })},
		{"risk without exploitation", change(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) { v.Risk = &grafeaspb.Risk{} }),
			want(func(v *attestor.Vulnerability) { v.KnownExploited = new(false) })},
		{"a probability of nothing", epss(0), want(func(v *attestor.Vulnerability) { v.EPSS, v.KnownExploited = new(0.0), new(false) })},
		{"a probability below nothing", epss(-0.1), want(func(v *attestor.Vulnerability) { v.EPSS, v.KnownExploited = new(1.0), new(false) })},
		{"an impossible probability", change(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) {
			v.Risk = &grafeaspb.Risk{Epss: &grafeaspb.ExploitPredictionScoringSystem{Score: 97}}
		}), want(func(v *attestor.Vulnerability) { v.EPSS, v.KnownExploited = new(1.0), new(false) })},
		{"a probability that is no number", change(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) {
			v.Risk = &grafeaspb.Risk{Epss: &grafeaspb.ExploitPredictionScoringSystem{Score: math.NaN()}}
		}), want(func(v *attestor.Vulnerability) { v.EPSS, v.KnownExploited = new(1.0), new(false) })},
		{"layer without its algorithm",
			at("/usr/bin/x", "8a271324e30f2db078751809a026839101047220c6154378e87121673ec43fbd"),
			want(func(v *attestor.Vulnerability) {
				v.Path, v.DiffIDs = "/usr/bin/x", []attestor.Digest{"sha256:8a271324e30f2db078751809a026839101047220c6154378e87121673ec43fbd"}
			})},
		{"layer in full", at("/x", string(digest(3))), want(func(v *attestor.Vulnerability) { v.Path, v.DiffIDs = "/x", []attestor.Digest{digest(3)} })},
		{"an invalid layer", at("/x", "0xyz"), want(func(v *attestor.Vulnerability) { v.Path = "/x" })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := finding(uri(api(t)), "CVE-2026-1", high, tt.change)
			got, err := vuln.ScanOf(attestor.ScanRequest{Image: api(t)}, nil, occurrences{o})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]attestor.Vulnerability{tt.want}, got.Findings); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func epss(score float64) func(*grafeaspb.Occurrence) {
	return change(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) {
		v.Risk = &grafeaspb.Risk{Epss: &grafeaspb.ExploitPredictionScoringSystem{Score: score}}
	})
}

func at(path, diffID string) func(*grafeaspb.Occurrence) {
	return change(func(_ *grafeaspb.VulnerabilityOccurrence, p *issue) {
		p.FileLocation = append(p.FileLocation, &grafeaspb.FileLocation{FilePath: path, LayerDetails: &grafeaspb.LayerDetails{DiffId: diffID}})
	})
}

// TestVEX: an assessment is believed to come from the project that its note
// names only where nobody else could have written it.
func TestVEX(t *testing.T) {
	const note = "projects/acme-security/notes/image-1"
	assess := func(about, by string, state grafeaspb.VulnerabilityAssessmentNote_Assessment_State) func(*grafeaspb.Occurrence) {
		return change(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) {
			v.VexAssessment = &grafeaspb.VulnerabilityOccurrence_VexAssessment{VulnerabilityId: about, NoteName: by, State: state}
		})
	}
	notAffected := grafeaspb.VulnerabilityAssessmentNote_Assessment_NOT_AFFECTED
	vex := []attestor.VEX{{Status: "not_affected", Project: "acme-security", Note: note}}
	says := func(status, justification string) []attestor.VEX {
		return []attestor.VEX{{Status: status, Project: "acme-security", Note: note, Justification: justification}}
	}
	because := func(t grafeaspb.VulnerabilityAssessmentNote_Assessment_Justification_JustificationType, details string) func(*grafeaspb.Occurrence) {
		return change(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) {
			v.VexAssessment.Justification = &grafeaspb.VulnerabilityAssessmentNote_Assessment_Justification{JustificationType: t, Details: details}
		})
	}
	unreached := grafeaspb.VulnerabilityAssessmentNote_Assessment_Justification_VULNERABLE_CODE_NOT_IN_EXECUTE_PATH
	tests := []struct {
		name    string
		changes []func(*grafeaspb.Occurrence)
		trusted []string
		want    []attestor.VEX
	}{
		{"Google's finding", []func(*grafeaspb.Occurrence){assess("CVE-2026-1", note, notAffected)}, nil, vex},
		{"without an id", []func(*grafeaspb.Occurrence){assess("", note, notAffected)}, nil, vex},
		{"about another vulnerability", []func(*grafeaspb.Occurrence){assess("CVE-2026-2", note, notAffected)}, nil, nil},
		{"of nobody", []func(*grafeaspb.Occurrence){assess("CVE-2026-1", "acme-security", notAffected)}, nil, nil},
		{"affected", []func(*grafeaspb.Occurrence){
			assess("", note, grafeaspb.VulnerabilityAssessmentNote_Assessment_AFFECTED)}, nil, says("affected", "")},
		{"fixed", []func(*grafeaspb.Occurrence){
			assess("", note, grafeaspb.VulnerabilityAssessmentNote_Assessment_FIXED)}, nil, says("fixed", "")},
		{"under investigation", []func(*grafeaspb.Occurrence){
			assess("", note, grafeaspb.VulnerabilityAssessmentNote_Assessment_UNDER_INVESTIGATION)}, nil, says("under_investigation", "")},
		{"for a reason of the list", []func(*grafeaspb.Occurrence){
			assess("", note, notAffected), because(unreached, "")}, nil, says("not_affected", "vulnerable_code_not_in_execute_path")},
		{"for a reason in words", []func(*grafeaspb.Occurrence){
			assess("", note, notAffected), because(unreached, "it is not called")}, nil, says("not_affected", "it is not called")},
		{"for no reason", []func(*grafeaspb.Occurrence){assess("", note, notAffected), because(0, "")}, nil, vex},
		{"no assessment", nil, nil, nil},
		{"under a name that is no note's, though trusted", []func(*grafeaspb.Occurrence){under("what"), assess("", note, notAffected)},
			[]string{"what"}, nil},
		{"a state of tomorrow", []func(*grafeaspb.Occurrence){assess("", note, 99)}, nil, nil},
		{"no state", []func(*grafeaspb.Occurrence){assess("CVE-2026-1", note, 0)}, nil, nil},
		{"anybody's finding", []func(*grafeaspb.Occurrence){under("projects/mallory/notes/CVE-2026-1"), assess("CVE-2026-1", note, notAffected)}, nil, nil},
		{"a trusted scanner's finding", []func(*grafeaspb.Occurrence){
			under("projects/acme-security/notes/CVE-2026-1"), assess("CVE-2026-1", note, notAffected)},
			[]string{"projects/acme-security/notes/CVE-2026-1"}, vex},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := finding(uri(api(t)), "CVE-2026-1", grafeaspb.Severity_HIGH, tt.changes...)
			got, err := vuln.ScanOf(attestor.ScanRequest{Image: api(t), Needs: attestor.ScanNeeds{Trusted: tt.trusted}}, nil, occurrences{o})
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Findings) != 1 {
				t.Fatalf("%d findings, want 1", len(got.Findings))
			}
			if diff := cmp.Diff(tt.want, got.Findings[0].VEX, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestDuplicates: what says the same is one finding; what differs in anything
// that could be judged stays two.
func TestDuplicates(t *testing.T) {
	img := api(t)
	plain := func(changes ...func(*grafeaspb.Occurrence)) *grafeaspb.Occurrence {
		return finding(uri(img), "CVE-2026-1", grafeaspb.Severity_HIGH, changes...)
	}
	excused := change(func(v *grafeaspb.VulnerabilityOccurrence, _ *issue) {
		v.VexAssessment = &grafeaspb.VulnerabilityOccurrence_VexAssessment{
			NoteName: "projects/acme-security/notes/x", State: grafeaspb.VulnerabilityAssessmentNote_Assessment_NOT_AFFECTED,
		}
	})
	bare := func(o *grafeaspb.Occurrence) { o.ResourceUri = img.String() }
	layers := func(n ...int) (out []attestor.Digest) {
		for _, i := range n {
			out = append(out, digest(i))
		}
		return out
	}
	tests := []struct {
		name   string
		put    occurrences
		want   int
		layers []attestor.Digest // of the first
	}{
		{"the same twice", occurrences{plain(), plain()}, 1, nil},
		{"under both names", occurrences{plain(), plain(bare)}, 1, nil},
		{"in two layers", occurrences{plain(at("/x", string(digest(5)))), plain(at("/x", string(digest(4)))),
			plain(at("/x", string(digest(5))))}, 1, layers(4, 5)},
		{"in a layer, and in nobody knows which", occurrences{plain(at("/x", string(digest(5)))), plain(at("/x", ""))}, 2, nil},
		{"in two places", occurrences{plain(at("/base", string(digest(4))), at("/app", string(digest(5))))}, 2, layers(5)},
		{"excused and not", occurrences{plain(), plain(excused)}, 2, nil},
		{"with and without a severity", occurrences{plain(), finding(uri(img), "CVE-2026-1", 0)}, 2, nil},
		{"with and without a fix", occurrences{plain(), plain(change(func(_ *grafeaspb.VulnerabilityOccurrence, p *issue) {
			p.FixedVersion, p.FixAvailable = version(grafeaspb.Version_MAXIMUM, ""), false
		}))}, 2, nil},
		{"by two scanners", occurrences{plain(), plain(under("projects/acme-security/notes/CVE-2026-1"))}, 2, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := vuln.ScanOf(attestor.ScanRequest{Image: img}, nil, tt.put)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Findings) != tt.want {
				t.Fatalf("%d findings, want %d: %+v", len(got.Findings), tt.want, got.Findings)
			}
			if diff := cmp.Diff(tt.layers, got.Findings[0].DiffIDs, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("layers -want +got:\n%s", diff)
			}
		})
	}
}

// TestSamples reads real lists.
func TestSamples(t *testing.T) {
	img := api(t)
	tests := []struct {
		file   string
		state  attestor.ScanState
		counts map[attestor.Severity]int
		types  []string
		spot   attestor.Vulnerability
	}{
		{"defectdojo-2023-all.json", attestor.ScanComplete, map[attestor.Severity]int{"CRITICAL": 6, "HIGH": 1,
			"MEDIUM": 0, "LOW": 0, "MINIMAL": 0, "UNSPECIFIED": 0},
			[]string{"GO", "MAVEN", "NPM", "OS", "PYPI"}, attestor.Vulnerability{
				ID: "CVE-2023-29405", Note: "projects/goog-vulnz/notes/CVE-2023-29405", Severity: attestor.Critical, Package: "go", PackageType: "GO_STDLIB",
				Version: "1.17.6", FixedVersion: "1.19.10", Fixable: true, CVSS: new(9.8), Path: "/tmp/pdscan",
			}},
		{"defectdojo-2025-all.json", attestor.ScanComplete, map[attestor.Severity]int{"CRITICAL": 2, "HIGH": 3,
			"MEDIUM": 1, "LOW": 3, "MINIMAL": 2, "UNSPECIFIED": 2},
			[]string{"COMPOSER", "GO", "MAVEN", "NPM", "NUGET", "OS", "PYPI", "RUBYGEMS", "RUST"}, attestor.Vulnerability{
				ID: "CVE-2023-36665", Note: "projects/goog-vulnz/notes/CVE-2023-36665", Severity: attestor.Critical,
				Package: "some_package", PackageType: "NPM",
				Version: "7.0.0", FixedVersion: "7.2.5", Fixable: true, CVSS: new(9.8), Path: "filePath",
				DiffIDs: []attestor.Digest{"sha256:8a271324e30f2db078751809a026839101047220c6154378e87121673ec43fbd"},
			}},
		{"sedg-gar-2023.json", attestor.ScanNotFound, map[attestor.Severity]int{"CRITICAL": 0, "HIGH": 0, "MEDIUM": 1,
			"LOW": 0, "MINIMAL": 0, "UNSPECIFIED": 0}, nil, attestor.Vulnerability{
			ID: "CVE-2022-29458", Note: "projects/goog-vulnz/notes/CVE-2022-29458", Severity: attestor.Medium, Package: "ncurses", PackageType: "OS",
			Version: "6.2+20201114-2", FixedVersion: "6.2+20201114-2+deb11u1", Fixable: true, CVSS: new(7.1),
		}},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			got, err := vuln.ScanOf(attestor.ScanRequest{Image: img}, nil, samples(t, tt.file, img))
			if err != nil {
				t.Fatal(err)
			}
			if got.State != tt.state {
				t.Errorf("state %q, want %q", got.State, tt.state)
			}
			if diff := cmp.Diff(tt.types, got.Analyses); diff != "" {
				t.Errorf("analyses -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(tt.counts, got.Counts()); diff != "" {
				t.Errorf("counts -want +got:\n%s", diff)
			}
			i := slices.IndexFunc(got.Findings, func(v attestor.Vulnerability) bool { return v.ID == tt.spot.ID })
			if i < 0 {
				t.Fatalf("no %s among %v", tt.spot.ID, ids(got.Findings))
			}
			if diff := cmp.Diff(tt.spot, got.Findings[i]); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// arbitrary makes occurrences that differ, repeat and contradict one another.
func arbitrary(r *rand.Rand, img attestor.Image) *grafeaspb.Occurrence {
	index := img.Sibling(digest(9))
	u := []string{uri(img), img.String(), uri(index), index.String()}[r.IntN(4)]
	if r.IntN(5) == 0 {
		note := []string{googleNote, houseNote, "projects/goog-analysis/locations/us-east1/notes/PACKAGE_VULNERABILITY"}[r.IntN(3)]
		o := discovery(u, grafeaspb.DiscoveryOccurrence_AnalysisStatus(r.IntN(7)), under(note), scanned(start.Add(-time.Duration(1+r.IntN(3))*time.Second)))
		if r.IntN(2) == 0 {
			o.GetDiscovery().AnalysisStatusError = status.New(codes.Internal, []string{"a", "b"}[r.IntN(2)]).Proto()
		}
		o.GetDiscovery().ContinuousAnalysis = grafeaspb.DiscoveryOccurrence_ContinuousAnalysis(r.IntN(3))
		return o
	}
	o := finding(u, []string{"CVE-1", "CVE-2", "GHSA-3"}[r.IntN(3)], grafeaspb.Severity(r.IntN(6)))
	for range r.IntN(3) {
		at([]string{"/a", "/b"}[r.IntN(2)], []string{"", string(digest(4)), string(digest(5))}[r.IntN(3)])(o)
	}
	change(func(v *grafeaspb.VulnerabilityOccurrence, p *issue) {
		p.FixAvailable = r.IntN(2) == 0
		p.EffectiveSeverity = grafeaspb.Severity(r.IntN(6))
		if r.IntN(3) == 0 {
			p.FixedVersion = version(grafeaspb.Version_MAXIMUM, "")
		}
		if r.IntN(3) == 0 {
			v.VexAssessment = &grafeaspb.VulnerabilityOccurrence_VexAssessment{NoteName: "projects/p/notes/n",
				State: grafeaspb.VulnerabilityAssessmentNote_Assessment_State(r.IntN(5))}
		}
		if r.IntN(3) == 0 {
			v.Risk = &grafeaspb.Risk{Epss: &grafeaspb.ExploitPredictionScoringSystem{Score: r.Float64()}}
		}
	})(o)
	return o
}

// TestOrderNeverMatters: the same occurrences in any order are the same scan.
func TestOrderNeverMatters(t *testing.T) {
	img := api(t)
	req := attestor.ScanRequest{Image: img, Index: img.Sibling(digest(9)), Needs: attestor.ScanNeeds{Trusted: []string{houseNote}}}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var all occurrences
		for range r.IntN(30) {
			all = append(all, arbitrary(r, img))
		}
		want, err := vuln.ScanOf(req, nil, all)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			shuffled := slices.Clone(all)
			r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			got, err := vuln.ScanOf(req, nil, shuffled)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d: -want +got:\n%s", seed, diff)
			}
		}
	}
}

// TestMoreOccurrencesNeverRemoveFindings: whatever is added, what was found
// stays found, at no more layers unknown and no fewer known than before.
func TestMoreOccurrencesNeverRemoveFindings(t *testing.T) {
	img := api(t)
	req := attestor.ScanRequest{Image: img, Index: img.Sibling(digest(9))}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		var all occurrences
		for range 1 + r.IntN(20) {
			all = append(all, arbitrary(r, img))
		}
		before, err := vuln.ScanOf(req, nil, all)
		if err != nil {
			t.Fatal(err)
		}
		after, err := vuln.ScanOf(req, nil, append(all, arbitrary(r, img), proto.CloneOf(all[0])))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range before.Findings {
			if !slices.ContainsFunc(after.Findings, func(g attestor.Vulnerability) bool { return covers(g, f) }) {
				t.Fatalf("seed %d: %+v is gone", seed, f)
			}
		}
	}
}

// covers reports whether g is f with perhaps more layers.
func covers(g, f attestor.Vulnerability) bool {
	for _, d := range f.DiffIDs {
		if !slices.Contains(g.DiffIDs, d) {
			return false
		}
	}
	if len(f.DiffIDs) == 0 && len(g.DiffIDs) > 0 {
		return false
	}
	g.DiffIDs = f.DiffIDs
	return cmp.Equal(f, g)
}
