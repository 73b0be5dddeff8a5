package vuln_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/vuln"
)

type occurrences = []*grafeaspb.Occurrence

// TestScanState is every state, and who may speak of it.
func TestScanState(t *testing.T) {
	img := api(t)
	u, bare := uri(img), img.String()
	other := uri(image(t, "us-docker.pkg.dev/acme/prod/api@"+string(digest(2))))
	elsewhere := uri(image(t, "us-docker.pkg.dev/acme/prod/other@"+string(digest(1))))
	ok := grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS
	tests := []struct {
		name    string
		trusted []string
		put     occurrences
		want    attestor.ScanState
	}{
		{"nothing is known", nil, nil, attestor.ScanNotFound},
		{"findings but no scan", nil, occurrences{finding(u, "CVE-2026-1", grafeaspb.Severity_LOW)}, attestor.ScanNotFound},
		{"pending", nil, occurrences{discovery(u, grafeaspb.DiscoveryOccurrence_PENDING)}, attestor.ScanPending},
		{"scanning", nil, occurrences{discovery(u, grafeaspb.DiscoveryOccurrence_SCANNING)}, attestor.ScanRunning},
		{"success", nil, occurrences{complete(u)}, attestor.ScanComplete},
		{"success under the bare name", nil, occurrences{complete(bare)}, attestor.ScanComplete},
		{"failed", nil, occurrences{discovery(u, grafeaspb.DiscoveryOccurrence_FINISHED_FAILED)}, attestor.ScanFailed},
		{"unsupported", nil, occurrences{discovery(u, grafeaspb.DiscoveryOccurrence_FINISHED_UNSUPPORTED)}, attestor.ScanUnsupported},
		{"no status", nil, occurrences{discovery(u, 0)}, ""},
		{"a status of tomorrow", nil, occurrences{discovery(u, 77)}, ""},
		{"another kind of analysis finished", nil, occurrences{complete(u, under("projects/goog-analysis/notes/COMPLIANCE"))}, attestor.ScanNotFound},
		{"another kind finished, this one runs", nil, occurrences{
			complete(u, under("projects/goog-analysis/notes/COMPLIANCE")), discovery(u, grafeaspb.DiscoveryOccurrence_SCANNING),
		}, attestor.ScanRunning},
		{
			"a regional note",
			nil,
			occurrences{complete(u, under("projects/goog-analysis/locations/us-east1/notes/PACKAGE_VULNERABILITY"))},
			attestor.ScanComplete,
		},
		{"a namesake in another project", nil, occurrences{complete(u, under("projects/mallory/notes/PACKAGE_VULNERABILITY"))}, attestor.ScanNotFound},
		{"a project that looks like it", nil, occurrences{complete(u, under("projects/goog-analysis-2/notes/PACKAGE_VULNERABILITY"))}, attestor.ScanNotFound},
		{"a scanner that is not trusted", nil, occurrences{complete(u, under(houseNote))}, attestor.ScanNotFound},
		{"a name that is no note's, though trusted", []string{"what"}, occurrences{complete(u, under("what"))}, attestor.ScanNotFound},
		{"a scanner that is trusted", []string{houseNote}, occurrences{complete(u, under(houseNote))}, attestor.ScanComplete},
		{"another note of a trusted project", []string{houseNote}, occurrences{complete(u, under(houseNote+"-2"))}, attestor.ScanNotFound},
		{"another digest", nil, occurrences{complete(other)}, attestor.ScanNotFound},
		{"another repository", nil, occurrences{complete(elsewhere)}, attestor.ScanNotFound},
		{"failed before, succeeded since", nil, occurrences{
			discovery(u, grafeaspb.DiscoveryOccurrence_FINISHED_FAILED, said(-3*time.Hour)), discovery(bare, ok, said(-2*time.Hour)),
		}, attestor.ScanComplete},
		{"succeeded before, failed since", nil, occurrences{
			discovery(u, ok, said(-3*time.Hour)), discovery(bare, grafeaspb.DiscoveryOccurrence_FINISHED_FAILED, said(-2*time.Hour)),
		}, attestor.ScanFailed},
		{"succeeded before, is scanned again", nil, occurrences{
			discovery(bare, grafeaspb.DiscoveryOccurrence_SCANNING, said(-2*time.Hour)), discovery(u, ok, said(-3*time.Hour)),
		}, attestor.ScanRunning},
		{"both at the same time: the worse", nil, occurrences{
			discovery(u, ok, said(-3*time.Hour)), discovery(bare, grafeaspb.DiscoveryOccurrence_FINISHED_FAILED, said(-3*time.Hour)),
		}, attestor.ScanFailed},
		{"the later report counts, not the report of the later scan", nil, occurrences{
			discovery(u, ok, said(-2*time.Hour)),
			discovery(bare, grafeaspb.DiscoveryOccurrence_FINISHED_FAILED, said(-time.Hour), scanned(start.Add(-5*time.Hour))),
		}, attestor.ScanFailed},
		{"one trusted scanner succeeded, another failed since", []string{houseNote, houseNote + "-2"}, occurrences{
			discovery(u, ok, under(houseNote), said(-3*time.Hour)),
			discovery(u, grafeaspb.DiscoveryOccurrence_FINISHED_FAILED, under(houseNote+"-2"), said(-2*time.Hour)),
		}, attestor.ScanComplete},
		{"finished, with an error of no text", nil, occurrences{complete(u, erred(codes.Internal, ""))}, attestor.ScanFailed},
		{"finished, with an error of no code", nil, occurrences{complete(u, erred(0, "no layer"))}, attestor.ScanFailed},
		{"finished, with an empty error", nil, occurrences{complete(u, erred(0, ""))}, attestor.ScanComplete},
		{"runs again after an error", nil, occurrences{
			discovery(u, grafeaspb.DiscoveryOccurrence_SCANNING, erred(codes.Internal, "no layer"))}, attestor.ScanRunning},
		{"Google cannot, a trusted scanner can", []string{houseNote}, occurrences{
			discovery(u, grafeaspb.DiscoveryOccurrence_FINISHED_UNSUPPORTED), complete(u, under(houseNote)),
		}, attestor.ScanComplete},
		{"finished, with errors", nil, occurrences{complete(u, broken)}, attestor.ScanFailed},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := vuln.ScanOf(attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Trusted: tt.trusted}}, nil, tt.put)
			if err != nil {
				t.Fatal(err)
			}

			if got.State != tt.want {
				t.Errorf("state %q, want %q", got.State, tt.want)
			}
			if (got.State == attestor.ScanFailed) != (got.Problem != nil) {
				t.Errorf("state %q with problem %+v", got.State, got.Problem)
			}
		})
	}
}

func said(ago time.Duration) func(*grafeaspb.Occurrence) {
	return func(o *grafeaspb.Occurrence) {
		o.UpdateTime = timestamppb.New(start.Add(ago))
		o.GetDiscovery().LastScanTime = nil
	}
}

func broken(o *grafeaspb.Occurrence) {
	d := o.GetDiscovery()
	d.AnalysisError = append(d.AnalysisError, status.New(codes.Internal, "layer 3 could not be read").Proto())
}

func erred(code codes.Code, text string) corpus.Change {
	return func(o *grafeaspb.Occurrence) {
		o.GetDiscovery().AnalysisStatusError = &rpcstatus.Status{Code: int32(code), Message: text}
	}
}

// TestWhichScanCounts: of scanners that are trusted alike, the one counts that is further: complete, and of those one that goes on, before one
// that may yet be complete, before one that will not be.
func TestWhichScanCounts(t *testing.T) {
	const zeta = "projects/zeta/notes/scanner" // comes behind Google's by name
	img := api(t)
	as := func(status grafeaspb.DiscoveryOccurrence_AnalysisStatus, changes ...corpus.Change) func(note string) *grafeaspb.Occurrence {
		return func(note string) *grafeaspb.Occurrence {
			return discovery(uri(img), status, append(changes, under(note))...)
		}
	}
	continuous := func(c grafeaspb.DiscoveryOccurrence_ContinuousAnalysis) corpus.Change {
		return func(o *grafeaspb.Occurrence) { o.GetDiscovery().ContinuousAnalysis = c }
	}
	archived := func(o *grafeaspb.Occurrence) {
		o.GetDiscovery().ArchiveTime = timestamppb.New(start.Add(-time.Minute))
	}
	ok, active, inactive := grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS, continuous(grafeaspb.DiscoveryOccurrence_ACTIVE),
		continuous(grafeaspb.DiscoveryOccurrence_INACTIVE)

	// Each comes before those behind it, whoever says so.
	order := []struct {
		name string
		by   func(note string) *grafeaspb.Occurrence
	}{
		{"complete and watched", as(ok, active)},
		{"complete", as(ok, inactive)},
		{"complete, archived and watched", as(ok, archived, active)},
		{"complete and archived, of an hour ago", as(ok, archived, inactive, scanned(start.Add(-time.Hour)))},
		{"complete and archived, of two hours ago", as(ok, archived, inactive, scanned(start.Add(-2*time.Hour)))},
		{"complete and archived, of no time", as(ok, archived, inactive, func(o *grafeaspb.Occurrence) {
			o.GetDiscovery().LastScanTime, o.UpdateTime = nil, nil
		})},
		{"running", as(grafeaspb.DiscoveryOccurrence_SCANNING)},
		{"pending", as(grafeaspb.DiscoveryOccurrence_PENDING)},
		{"unknown", as(77)},
		{"failed", as(grafeaspb.DiscoveryOccurrence_FINISHED_FAILED)},
		{"unsupported", as(grafeaspb.DiscoveryOccurrence_FINISHED_UNSUPPORTED)},
	}
	req := attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Trusted: []string{zeta}}}
	counts := func(t *testing.T, want string, put ...*grafeaspb.Occurrence) {
		t.Helper()
		got, err := vuln.ScanOf(req, nil, put)
		if err != nil || got.Note != want {
			t.Errorf("that of %q counts (%q), want %q; %v", got.Note, got.State, want, err)
		}
	}
	for i, better := range order {
		for _, worse := range order[i+1:] {
			t.Run(better.name+" before "+worse.name, func(t *testing.T) {
				for range 8 { // the order of a map does not matter
					counts(t, googleNote, better.by(googleNote), worse.by(zeta))
					counts(t, zeta, worse.by(googleNote), better.by(zeta))
				}
			})
		}

		// Google's is told where both say the same.
		for range 16 {
			counts(t, googleNote, better.by(googleNote), better.by(zeta))
		}
	}
}

// TestWhyAScanFailed: every text that the scanner gives is told once, in one order.
func TestWhyAScanFailed(t *testing.T) {
	const failed = "the scanner reports that the scan failed"
	img := api(t)
	for _, tt := range []struct {
		errors []*rpcstatus.Status
		want   string
	}{
		{nil, failed},
		{[]*rpcstatus.Status{{}}, failed},
		{[]*rpcstatus.Status{{Code: 13, Message: "b"}}, failed + ": b"},
		{[]*rpcstatus.Status{{Code: 13}}, failed + ": error code 13"},
		{[]*rpcstatus.Status{{Message: "b"}, {Message: "a"}, {Message: "b"}}, failed + ": a; b"},
		{[]*rpcstatus.Status{{Message: strings.Repeat("x", 300)}}, failed + ": " + strings.Repeat("x", 300)},
		{[]*rpcstatus.Status{{Message: strings.Repeat("x", 301)}}, failed + ": " + strings.Repeat("x", 300) + "…"},
	} {
		o := discovery(uri(img), grafeaspb.DiscoveryOccurrence_FINISHED_FAILED, func(o *grafeaspb.Occurrence) {
			o.GetDiscovery().AnalysisError = tt.errors
		})
		got, err := vuln.ScanOf(attestor.ScanRequest{Image: img}, nil, occurrences{o})
		if err != nil || got.State != attestor.ScanFailed || got.Problem == nil || got.Problem.Message != tt.want {
			t.Errorf("%v: state %q, %+v, want %q; %v", tt.errors, got.State, got.Problem, tt.want, err)
		}
	}
}

// TestFailuresInAnyOrder: of two failures at one time the same is told,
// whichever is listed first.
func TestFailuresInAnyOrder(t *testing.T) {
	img := api(t)
	fail := func(why string) *grafeaspb.Occurrence {
		return discovery(uri(img), grafeaspb.DiscoveryOccurrence_FINISHED_FAILED, func(o *grafeaspb.Occurrence) {
			o.GetDiscovery().AnalysisStatusError = status.New(codes.Internal, why).Proto()
		})
	}

	var got []attestor.Scan
	for _, put := range []occurrences{{fail("a"), fail("b")}, {fail("b"), fail("a")}} {
		scan, err := vuln.ScanOf(attestor.ScanRequest{Image: img}, nil, put)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, scan)
	}

	if diff := cmp.Diff(got[0], got[1]); diff != "" || got[0].Problem == nil {
		t.Errorf("first a, then b: %+v\n%s", got[0].Problem, diff)
	}
}

// TestScanFacts is what else a discovery says.
func TestScanFacts(t *testing.T) {
	img := api(t)
	full := complete(uri(img), func(o *grafeaspb.Occurrence) {
		d := o.GetDiscovery()
		d.ArchiveTime = timestamppb.New(start.Add(-time.Minute))
		d.ContinuousAnalysis = grafeaspb.DiscoveryOccurrence_INACTIVE
		d.AnalysisCompleted = &grafeaspb.DiscoveryOccurrence_AnalysisCompleted{AnalysisType: []string{"OS", "GO", "OS"}}
	})

	unscanned := complete(uri(img), func(o *grafeaspb.Occurrence) {
		o.GetDiscovery().LastScanTime, o.UpdateTime = nil, timestamppb.New(start.Add(-time.Hour))
		o.GetDiscovery().ContinuousAnalysis = 0
	})

	tests := []struct {
		name string
		put  *grafeaspb.Occurrence
		want attestor.Scan
	}{
		{"all", full, attestor.Scan{
			State: attestor.ScanComplete, Note: googleNote, Resource: uri(img), Finished: new(start.Add(-2 * time.Hour)),
			Continuous: "INACTIVE", Archived: new(start.Add(-time.Minute)), Analyses: []string{"GO", "OS"},
		}},
		{"without lastScanTime", unscanned, attestor.Scan{
			State: attestor.ScanComplete, Note: googleNote, Resource: uri(img), Finished: new(start.Add(-time.Hour)),
		}},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := vuln.ScanOf(attestor.ScanRequest{Image: img}, nil, occurrences{tt.put})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestIndexScan: a scan of the index counts for the one child it is said to be
// about, is marked, and does not outdo the child's own.
func TestIndexScan(t *testing.T) {
	child, index, none := api(t), api(t).Sibling(digest(9)), attestor.Image{}
	low := grafeaspb.Severity_LOW
	tests := []struct {
		name    string
		index   attestor.Image
		parent  attestor.Image
		put     occurrences
		state   attestor.ScanState
		byIndex bool
		ids     []string
	}{
		{"first child", index, none, occurrences{complete(uri(index)), finding(uri(index), "CVE-1", low)}, attestor.ScanComplete, true, []string{"CVE-1"}},
		{"another child", none, none, occurrences{complete(uri(index)), finding(uri(index), "CVE-1", low)}, attestor.ScanNotFound, false, nil},
		{"both scanned", index, none, occurrences{
			complete(uri(index), scanned(start.Add(-time.Hour))), complete(uri(child)), finding(uri(index), "CVE-1", low), finding(uri(child), "CVE-2", low),
		}, attestor.ScanComplete, false, []string{"CVE-1", "CVE-2"}},
		{
			"child runs, index done",
			index,
			none,
			occurrences{complete(uri(index)), discovery(uri(child), grafeaspb.DiscoveryOccurrence_SCANNING)},
			attestor.ScanComplete,
			true,
			nil,
		},
		{
			"no child is the scanner's",
			none,
			index,
			occurrences{complete(uri(index)), finding(uri(index), "CVE-1", low)},
			attestor.ScanNotFound,
			false,
			[]string{"CVE-1"},
		},
		{"no child is the scanner's, and this one was scanned", none, index, occurrences{
			complete(uri(child)), finding(uri(index), "CVE-1", low), finding(uri(child), "CVE-2", low),
		}, attestor.ScanComplete, false, []string{"CVE-1", "CVE-2"}},
		{"no child is the scanner's, and the index's scan failed", none, index, occurrences{
			complete(uri(child)), discovery(uri(index), grafeaspb.DiscoveryOccurrence_FINISHED_FAILED),
		}, attestor.ScanComplete, false, nil},
		{"the image is its own parent", none, child, occurrences{complete(uri(child))}, attestor.ScanComplete, false, nil},
		{"the image is its own index", child, none, occurrences{complete(uri(child))}, attestor.ScanComplete, false, nil},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := vuln.ScanOf(attestor.ScanRequest{Image: child, Index: tt.index, Parent: tt.parent}, nil, tt.put)
			if err != nil {
				t.Fatal(err)
			}

			if got.State != tt.state || got.ByIndex != tt.byIndex {
				t.Errorf("state %q by index %t, want %q %t", got.State, got.ByIndex, tt.state, tt.byIndex)
			}
			if diff := cmp.Diff(tt.ids, ids(got.Findings)); diff != "" {
				t.Errorf("findings -want +got:\n%s", diff)
			}
		})
	}

	f := newFixture(t)
	f.put(t, "acme", complete(uri(index)), finding(uri(child), "CVE-2", low))
	f.ResetCalls()
	got := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: child, Index: index})
	if n := len(f.Calls(list)); n != 1 || got.State != attestor.ScanComplete || !got.ByIndex || len(got.Findings) != 1 {
		t.Errorf("both digests took %d calls, want 1: %+v", n, got)
	}

	foreign := image(t, "us-docker.pkg.dev/acme/prod/other@"+string(digest(9)))
	for _, r := range []attestor.ScanRequest{{Image: child, Index: foreign}, {Image: child, Parent: foreign}} {
		if _, err := vuln.ScanOf(r, nil, nil); err == nil {
			t.Errorf("an index of another repository was accepted: %+v", r)
		}
	}
}
