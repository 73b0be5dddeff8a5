package vuln_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/vuln"
)

// children is an index of three platforms, each child with a scan of its own in another state.
func children(t *testing.T, f *fixture) (requests []attestor.ScanRequest, want []attestor.ScanState) {
	t.Helper()
	index := api(t)
	low, high := grafeaspb.Severity_LOW, grafeaspb.Severity_HIGH
	amd64, arm64, riscv := index.Sibling(digest(2)), index.Sibling(digest(3)), index.Sibling(digest(4))
	f.put(t, "acme",
		complete(uri(index)), finding(uri(index), "CVE-1", high), finding(uri(amd64), "CVE-2", low),
		complete(uri(arm64)), finding(uri(arm64), "CVE-3", low), finding(uri(arm64), "CVE-4", high),
		discovery(uri(riscv), grafeaspb.DiscoveryOccurrence_SCANNING),
		complete(uri(index.Sibling(digest(9)))), finding(uri(index.Sibling(digest(9))), "CVE-9", high),
	)
	requests = []attestor.ScanRequest{{Image: amd64, Index: index}, {Image: arm64}, {Image: riscv}}
	return requests, []attestor.ScanState{attestor.ScanComplete, attestor.ScanComplete, attestor.ScanRunning}
}

// found is what of answers a test compares.
func found(scans []attestor.Scan) (states []attestor.ScanState, all [][]string) {
	for _, s := range scans {
		states, all = append(states, s.State), append(all, ids(s.Findings))
	}
	return states, all
}

// severalDigests matches a list over more than one digest.
func severalDigests(req proto.Message) bool {
	filter := req.(*grafeaspb.ListOccurrencesRequest).GetFilter()
	first := strings.Index(filter, "sha256:")
	return first >= 0 && strings.Count(filter, "sha256:") != strings.Count(filter, filter[first:first+len("sha256:")+64])
}

// TestChildrenAreReadByOneList: an index costs one list, and each child gets what it gets alone.
func TestChildrenAreReadByOneList(t *testing.T) {
	f := newFixture(t)
	requests, want := children(t, f)
	s := f.scanner(t, nil)

	f.ResetCalls()
	states, all := found(s.Scans(t.Context(), requests))
	if n := len(f.Calls(list)); n != 1 {
		t.Errorf("three children took %d lists, want 1", n)
	}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("states -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([][]string{{"CVE-1", "CVE-2"}, {"CVE-3", "CVE-4"}, nil}, all); diff != "" {
		t.Errorf("findings -want +got:\n%s", diff)
	}

	// What is found on the digest of a parent counts against each child, in one list too.
	parent := requests[0].Index
	for i := range requests {
		requests[i].Index, requests[i].Parent = attestor.Image{}, parent
	}
	f.ResetCalls()
	states, all = found(s.Scans(t.Context(), requests))
	if n := len(f.Calls(list)); n != 1 {
		t.Errorf("three children of a parent took %d lists, want 1", n)
	}
	if diff := cmp.Diff([]attestor.ScanState{attestor.ScanNotFound, attestor.ScanComplete, attestor.ScanRunning}, states); diff != "" {
		t.Errorf("states of a parent's children -want +got:\n%s", diff)
	}
	if diff := cmp.Diff([][]string{{"CVE-1", "CVE-2"}, {"CVE-1", "CVE-3", "CVE-4"}, {"CVE-1"}}, all); diff != "" {
		t.Errorf("findings of a parent's children -want +got:\n%s", diff)
	}
}

// TestServiceWithoutUnions: a service that takes no filter over several images is asked about each, at once from then
// on, and the answers are the same.
func TestServiceWithoutUnions(t *testing.T) {
	for code, first := range map[codes.Code]int{
		codes.InvalidArgument: 2 + 3, // both forms of the filter are tried
		codes.Unimplemented:   1 + 3,
	} {
		t.Run(code.String(), func(t *testing.T) {
			f := newFixture(t)
			requests, want := children(t, f)
			requests[0].Index = attestor.Image{} // then a list about one child names one digest
			want[0] = attestor.ScanNotFound
			f.Inject(emulator.Fault{Method: list, Code: code, Match: severalDigests})

			s := f.scanner(t, nil)
			for _, calls := range []int{first, 3, 3} {
				f.ResetCalls()
				states, all := found(s.Scans(t.Context(), requests))
				if n := len(f.Calls(list)); n != calls {
					t.Errorf("%d lists, want %d", n, calls)
				}
				if diff := cmp.Diff(want, states); diff != "" {
					t.Errorf("states -want +got:\n%s", diff)
				}
				if diff := cmp.Diff([][]string{{"CVE-2"}, {"CVE-3", "CVE-4"}, nil}, all); diff != "" {
					t.Errorf("findings -want +got:\n%s", diff)
				}
			}
		})
	}
}

// TestARefusalOfEverythingIsNotRemembered: where lists about one image fail as well, the filter was not at fault.
func TestARefusalOfEverythingIsNotRemembered(t *testing.T) {
	for _, code := range []codes.Code{codes.InvalidArgument, codes.Unimplemented, codes.PermissionDenied} {
		f := newFixture(t)
		requests, want := children(t, f)
		remove := f.Inject(emulator.Fault{Method: list, Code: code})
		s := f.scanner(t, nil)
		for _, scan := range s.Scans(t.Context(), requests) {
			if scan.State != attestor.ScanUnavailable || scan.Problem == nil {
				t.Errorf("%s: %q, problem %+v", code, scan.State, scan.Problem)
			}
		}

		remove()
		f.ResetCalls()
		states, _ := found(s.Scans(t.Context(), requests))
		if diff := cmp.Diff(want, states); diff != "" || len(f.Calls(list)) != 1 {
			t.Errorf("after %s: %d lists, want 1; states -want +got:\n%s", code, len(f.Calls(list)), diff)
		}
	}
}

// TestAnOutageFailsEveryChild: a list that is not answered, or says that it is incomplete, is no scan of any child.
func TestAnOutageFailsEveryChild(t *testing.T) {
	for name, fault := range map[string]emulator.Fault{
		"unavailable": {Code: codes.Unavailable},
		"incomplete": {Mutate: func(_, resp proto.Message) {
			resp.(*grafeaspb.ListOccurrencesResponse).Unreachable = []string{"projects/acme/locations/us"}
		}},
	} {
		f := newFixture(t)
		requests, _ := children(t, f)
		fault.Method = list
		f.Inject(fault)
		for i, scan := range f.scanner(t, nil).Scans(t.Context(), requests) {
			if scan.State != attestor.ScanUnavailable || len(scan.Findings) != 0 {
				t.Errorf("%s: child %d is %q with %d findings", name, i, scan.State, len(scan.Findings))
			}
		}
	}
}

// TestTooManyFindingsOfOneChild: a child with more findings than are read fails alone.
func TestTooManyFindingsOfOneChild(t *testing.T) {
	f := newFixture(t)
	requests, want := children(t, f)
	flood := finding(uri(requests[1].Image), "CVE-3", grafeaspb.Severity_LOW)
	f.Inject(emulator.Fault{Method: list, Mutate: func(req, resp proto.Message) {
		if strings.Contains(req.(*grafeaspb.ListOccurrencesRequest).GetFilter(), string(requests[1].Image.Digest())) {
			page := resp.(*grafeaspb.ListOccurrencesResponse)
			for range 200_001 {
				page.Occurrences = append(page.Occurrences, flood)
			}
		}
	}})

	want[1] = attestor.ScanUnavailable
	states, _ := found(f.scanner(t, nil).Scans(t.Context(), requests))
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("states -want +got:\n%s", diff)
	}
}

// TestLongFiltersAreSplit: no filter over several images is longer than 8 KiB, and none is left out.
func TestLongFiltersAreSplit(t *testing.T) {
	f := newFixture(t)
	var requests []attestor.ScanRequest
	for n := range 60 {
		img := api(t).Sibling(digest(n + 1))
		requests = append(requests, attestor.ScanRequest{Image: img})
		f.put(t, "acme", complete(uri(img)), finding(uri(img), "CVE-"+string(img.Digest()[67:]), grafeaspb.Severity_LOW))
	}

	longest := 0
	f.Inject(emulator.Fault{Method: list, Count: -1, Match: func(req proto.Message) bool {
		longest = max(longest, len(req.(*grafeaspb.ListOccurrencesRequest).GetFilter()))
		return false
	}})
	f.ResetCalls()
	scans := f.scanner(t, nil).Scans(t.Context(), requests)
	for i, scan := range scans {
		id := "CVE-" + string(requests[i].Image.Digest()[67:])
		if scan.State != attestor.ScanComplete || !cmp.Equal(ids(scan.Findings), []string{id}) {
			t.Errorf("image %d: %q, %v, want %s", i, scan.State, ids(scan.Findings), id)
		}
	}
	if n := len(f.Calls(list)); longest > 8<<10 || n < 2 || n > 6 {
		t.Errorf("%d lists for 60 images, the longest filter has %d bytes", n, longest)
	}
}

// TestChildrenShareAPoll: while children are waited for, each reading is one list, and the last child ends it.
func TestChildrenShareAPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		index := api(t)
		var requests []attestor.ScanRequest
		for n, after := range map[int]time.Duration{2: 3 * time.Second, 3: 20 * time.Second} {
			img := index.Sibling(digest(n))
			o := f.put(t, "acme", discovery(uri(img), grafeaspb.DiscoveryOccurrence_SCANNING))[0]
			f.becomes(t, o, grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS, after)
			requests = append(requests, attestor.ScanRequest{Image: img, Wait: time.Minute})
		}

		s := f.scanner(t, func(c *vuln.Config) { c.NoListLag = true })
		f.ResetCalls()
		states, _ := found(s.Scans(t.Context(), requests))
		if diff := cmp.Diff([]attestor.ScanState{attestor.ScanComplete, attestor.ScanComplete}, states); diff != "" {
			t.Errorf("states -want +got:\n%s", diff)
		}

		// The readings of a poll come after 1, 1.5, 2.25, 3.4, 5.1, 7.6 s: seven with the first.
		if n := len(f.Calls(list)); n > 8 {
			t.Errorf("%d lists for two children, want one for each reading", n)
		}
		if n := s.Polls(); n != 0 {
			t.Errorf("%d polls left behind", n)
		}
	})
}

// TestOtherQuestionsAreApart: an image of another project is looked up there, and one that nobody waits for is not held up by
// one that somebody waits for.
func TestOtherQuestionsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, img := newFixture(t), api(t)
		other := image(t, "us-docker.pkg.dev/beta/prod/api@"+string(digest(1)))
		f.put(t, "beta", complete(uri(other)), finding(uri(other), "CVE-2", grafeaspb.Severity_LOW))
		now, later := img.Sibling(digest(2)), img.Sibling(digest(3))
		var pending []*grafeaspb.Occurrence
		for _, i := range []attestor.Image{now, later} {
			pending = append(pending, f.put(t, "acme", discovery(uri(i), grafeaspb.DiscoveryOccurrence_PENDING))...)
		}
		for _, o := range pending {
			f.becomes(t, o, grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS, 3*time.Second)
		}

		s := f.scanner(t, nil)
		states, all := found(s.Scans(t.Context(), []attestor.ScanRequest{{Image: now}, {Image: later, Wait: time.Minute}, {Image: other}}))
		if diff := cmp.Diff([]attestor.ScanState{attestor.ScanPending, attestor.ScanComplete, attestor.ScanComplete}, states); diff != "" {
			t.Errorf("states -want +got:\n%s", diff)
		}
		if diff := cmp.Diff([][]string{nil, nil, {"CVE-2"}}, all); diff != "" {
			t.Errorf("findings -want +got:\n%s", diff)
		}
	})
}

// TestAFailureIsAskedAboutOnce: only where the form of the list may be at fault is each image asked about by itself.
func TestAFailureIsAskedAboutOnce(t *testing.T) {
	for code, want := range map[codes.Code]int{codes.PermissionDenied: 1, codes.NotFound: 1, codes.Internal: 1, codes.Unimplemented: 1 + 3} {
		f := newFixture(t)
		requests, _ := children(t, f)
		f.Inject(emulator.Fault{Method: list, Code: code})
		f.ResetCalls()
		for i, scan := range f.scanner(t, nil).Scans(t.Context(), requests) {
			if scan.State != attestor.ScanUnavailable || scan.Problem == nil {
				t.Errorf("%s: child %d is %q", code, i, scan.State)
			}
		}
		if n := len(f.Calls(list)); n != want {
			t.Errorf("%s: %d lists, want %d", code, n, want)
		}
	}
}
