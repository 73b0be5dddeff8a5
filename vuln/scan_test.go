package vuln_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/resource"
	"github.com/attestor-gate/attestor/vuln"
)

const list = "ListOccurrences"

// many are n findings, the last of them the only critical one.
func many(img attestor.Image, n int) occurrences {
	out := make(occurrences, n)
	for i := range out {
		out[i] = finding(uri(img), fmt.Sprintf("CVE-2026-%d", i), grafeaspb.Severity_LOW, at("/usr/lib/x", string(digest(i%40))))
	}
	if n > 0 {
		out[n-1] = finding(uri(img), "CVE-2026-LAST", grafeaspb.Severity_CRITICAL)
	}
	return out
}

// TestPages: every finding is seen however many pages there are, with empty
// pages among them, and one page is one call.
func TestPages(t *testing.T) {
	for _, n := range []int{0, 1, 998, 999, 1000, 1001, 25_000} {
		for _, empty := range []int{0, 2} {
			if n == 25_000 && empty == 0 {
				continue // the benchmark does that
			}
			t.Run(fmt.Sprintf("%d findings, every %dth page empty", n, empty), func(t *testing.T) {
				f, img := newFixture(t), api(t)
				f.put(t, "acme", complete(uri(img)))
				f.put(t, "acme", many(img, n)...)
				f.SetBehaviour(emulator.Behaviour{EmptyPages: empty})
				f.ResetCalls()
				got := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img})
				if got.State != attestor.ScanComplete {
					t.Fatalf("state %q, problem %+v", got.State, got.Problem)
				}
				if len(got.Findings) != n {
					t.Errorf("%d findings, want %d", len(got.Findings), n)
				}
				if n > 0 && !slices.ContainsFunc(got.Findings, func(v attestor.Vulnerability) bool {
					return v.ID == "CVE-2026-LAST" && v.Severity == attestor.Critical
				}) {
					t.Error("the last finding is missing")
				}
				if calls := len(f.Calls(list)); n < 1000 && empty == 0 && calls != 1 {
					t.Errorf("%d calls for one page, want 1", calls)
				}
			})
		}
	}
}

// TestNames: wherever the occurrences of an image may lie, they are found, and
// nobody else's are.
func TestNames(t *testing.T) {
	d := "@" + string(digest(1))
	tests := []struct {
		image, project, uri string
		override            map[string]string
		want                attestor.ScanState
	}{
		{"us-docker.pkg.dev/acme/prod/api" + d, "acme", "https://us-docker.pkg.dev/acme/prod/api" + d, nil, attestor.ScanComplete},
		{"us-docker.pkg.dev/acme/prod/api" + d, "acme", "us-docker.pkg.dev/acme/prod/api" + d, nil, attestor.ScanComplete},
		{"us-docker.pkg.dev/acme/prod/api" + d, "acme", "http://us-docker.pkg.dev/acme/prod/api" + d, nil, attestor.ScanNotFound},
		{"europe-west1-docker.pkg.dev/acme/prod/a/b" + d, "acme/locations/europe-west1",
			"https://europe-west1-docker.pkg.dev/acme/prod/a/b" + d, nil, attestor.ScanComplete},
		{"gcr.io/acme/api" + d, "acme", "https://gcr.io/acme/api" + d, nil, attestor.ScanComplete},
		{"eu.gcr.io/acme/api" + d, "acme", "https://eu.gcr.io/acme/api" + d, nil, attestor.ScanComplete},
		{"gcr.io/example.com/acme/api" + d, "example.com:acme", "https://gcr.io/example.com/acme/api" + d, nil, attestor.ScanComplete},
		{"us-docker.pkg.dev/example.com/acme/prod/api" + d, "example.com:acme",
			"https://us-docker.pkg.dev/example.com/acme/prod/api" + d, nil, attestor.ScanComplete},
		{"us-docker.pkg.dev/acme/gcr.io/api" + d, "acme", "https://gcr.io/acme/api" + d, nil, attestor.ScanComplete},
		{"us-docker.pkg.dev/acme/prod/api" + d, "mallory", "https://us-docker.pkg.dev/acme/prod/api" + d, nil, attestor.ScanNotFound},
		{"us-docker.pkg.dev/acme/prod/api" + d, "central", "https://us-docker.pkg.dev/acme/prod/api" + d,
			map[string]string{"us-docker.pkg.dev": "central"}, attestor.ScanComplete},
		{"localhost:5000/api" + d, "dev", "https://localhost:5000/api" + d, map[string]string{"localhost:5000": "dev"}, attestor.ScanComplete},
		{"localhost:5001/api" + d, "dev", "https://localhost:5001/api" + d, map[string]string{"localhost:5000": "dev"}, attestor.ScanUnavailable},
		{"ghcr.io/acme/api" + d, "acme", "https://ghcr.io/acme/api" + d, nil, attestor.ScanUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.image+" in "+tt.project+" as "+strings.TrimSuffix(tt.uri, d), func(t *testing.T) {
			f := newFixture(t)
			f.put(t, tt.project, complete(tt.uri), finding(tt.uri, "CVE-2026-1", grafeaspb.Severity_HIGH))
			s := f.scanner(t, func(c *vuln.Config) { c.ScanProjects = tt.override })
			got := s.Scan(t.Context(), attestor.ScanRequest{Image: image(t, tt.image)})
			if got.State != tt.want {
				t.Fatalf("state %q, want %q (%+v)", got.State, tt.want, got.Problem)
			}
			if found := len(got.Findings) > 0; found != (tt.want == attestor.ScanComplete) {
				t.Errorf("findings: %v", got.Findings)
			}
			if tt.want == attestor.ScanUnavailable && !strings.Contains(got.Problem.Fix, "scanProjects") {
				t.Errorf("fix %q does not say what to set", got.Problem.Fix)
			}
		})
	}
}

// TestFurtherProjects: trusted projects are asked too, at the same time, and
// all must answer.
func TestFurtherProjects(t *testing.T) {
	f, img := newFixture(t), api(t)
	f.put(t, "acme", complete(uri(img)))
	f.put(t, "scans", finding(uri(img), "CVE-2026-1", grafeaspb.Severity_HIGH))
	s := f.scanner(t, nil)
	req := attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Projects: []string{"projects/scans", "acme"}}}
	f.ResetCalls()
	got := s.Scan(t.Context(), req)
	if got.State != attestor.ScanComplete || len(got.Findings) != 1 {
		t.Errorf("state %q with %d findings, want complete with 1", got.State, len(got.Findings))
	}
	if n := len(f.Calls(list)); n != 2 {
		t.Errorf("%d calls, want one for each project", n)
	}
	f.SetBehaviour(emulator.Behaviour{Denied: []emulator.Denial{{Permission: "containeranalysis.occurrences.list", Resource: "projects/scans"}}})
	got = s.Scan(t.Context(), req)
	if got.State != attestor.ScanUnavailable || got.Problem.Code != attestor.CodeScanPermissionDenied {
		t.Errorf("one project refused: state %q, problem %+v", got.State, got.Problem)
	}
}

// TestFailures: each way of failing is told apart, tried again where that may
// help, and never reads as a scan.
func TestFailures(t *testing.T) {
	tests := []struct {
		name  string
		fault emulator.Fault
		code  attestor.Code
		calls int
		says  []string
	}{
		{"denied", emulator.Fault{Code: codes.PermissionDenied}, attestor.CodeScanPermissionDenied, 1,
			[]string{"roles/containeranalysis.occurrences.viewer", "project acme", "gcloud projects add-iam-policy-binding acme"}},
		{"no credentials", emulator.Fault{Code: codes.Unauthenticated}, attestor.CodeScanPermissionDenied, 1, []string{"credentials"}},
		{"unavailable", emulator.Fault{Code: codes.Unavailable}, attestor.CodeScanUnavailable, 4, []string{"UNAVAILABLE", "project acme"}},
		{"deadline", emulator.Fault{Code: codes.DeadlineExceeded}, attestor.CodeScanUnavailable, 4, []string{"DEADLINE_EXCEEDED"}},
		{"quota", emulator.Fault{Code: codes.ResourceExhausted}, attestor.CodeScanUnavailable, 4, []string{"quota", "RESOURCE_EXHAUSTED"}},
		{"no such project", emulator.Fault{Code: codes.NotFound}, attestor.CodeScanUnavailable, 1, []string{"no project acme", "scanProjects"}},
		// once by each form of the filter
		{"a defect", emulator.Fault{Code: codes.InvalidArgument}, attestor.CodeScanUnavailable, 2, []string{"INVALID_ARGUMENT"}},
		{"anything else", emulator.Fault{Code: codes.DataLoss}, attestor.CodeScanUnavailable, 1, []string{"DataLoss"}},
		{"locations out of reach", emulator.Fault{Mutate: unreachable}, attestor.CodeScanUnavailable, 1,
			[]string{"incomplete", "projects/acme/locations/us-east1"}},
		{"a list without end", emulator.Fault{Mutate: endless()}, attestor.CodeScanUnavailable, 2, []string{"does not end"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testFailure(t, tt.fault, tt.code, tt.calls, tt.says) })
		})
	}
}

// TestQuotaSaysHowLong: who may ask again only in a minute must know, and not come every ten seconds.
func TestQuotaSaysHowLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, img := newFixture(t), api(t)
		f.SetBehaviour(emulator.Behaviour{Quotas: []emulator.Quota{{Method: list, Limit: 1, Per: time.Minute}}})
		s := f.scanner(t, nil)
		s.Scan(t.Context(), attestor.ScanRequest{Image: img})

		got := s.Scan(t.Context(), attestor.ScanRequest{Image: img})
		if got.State != attestor.ScanUnavailable || got.Problem == nil || got.Problem.RetryAfter != 60 {
			t.Errorf("state %q, problem %+v; want to be asked again in 60 s", got.State, got.Problem)
		}
	})
}

func testFailure(t *testing.T, fault emulator.Fault, code attestor.Code, calls int, says []string) {
	f, img := newFixture(t), api(t)
	f.put(t, "acme", complete(uri(img)))
	f.put(t, "acme", many(img, 1500)...)
	fault.Method = list
	f.Inject(fault)
	f.ResetCalls()
	got := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img})
	if got.State != attestor.ScanUnavailable || got.Problem == nil {
		t.Fatalf("state %q, problem %+v", got.State, got.Problem)
	}
	if got.Problem.Code != code {
		t.Errorf("code %s, want %s", got.Problem.Code, code)
	}
	if got.Problem.Fix == "" {
		t.Error("no fix")
	}
	for _, want := range says {
		if text := got.Problem.Message + " " + got.Problem.Fix; !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
	if n := len(f.Calls(list)); n != calls {
		t.Errorf("%d calls, want %d", n, calls)
	}
}

func unreachable(_, resp proto.Message) {
	resp.(*grafeaspb.ListOccurrencesResponse).Unreachable = []string{"projects/acme/locations/us-east1"}
}

// endless makes every page name the second one as the next.
func endless() func(_, resp proto.Message) {
	token := ""
	return func(_, resp proto.Message) {
		page := resp.(*grafeaspb.ListOccurrencesResponse)
		if token == "" {
			token = page.GetNextPageToken()
		}
		page.NextPageToken = token
	}
}

// TestOneFailureIsRetried: a hiccup costs a repetition, not the answer.
func TestOneFailureIsRetried(t *testing.T) {
	for _, code := range []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted} {
		t.Run(code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, img := newFixture(t), api(t)
				f.put(t, "acme", complete(uri(img)))
				f.Inject(emulator.Fault{Method: list, Code: code, Count: 1})
				if got := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img}); got.State != attestor.ScanComplete {
					t.Errorf("state %q, problem %+v", got.State, got.Problem)
				}
			})
		})
	}
}

// TestDisabled: an API that is switched off is not a role that is missing.
func TestDisabled(t *testing.T) {
	st, err := status.New(codes.PermissionDenied, "Container Analysis API has not been used in project acme before or it is disabled").
		WithDetails(&errdetails.ErrorInfo{Reason: "SERVICE_DISABLED", Domain: "googleapis.com"})
	if err != nil {
		t.Fatal(err)
	}
	got := vuln.Explain(st.Err(), "acme")
	if got.Code != attestor.CodeScanPermissionDenied || !strings.Contains(got.Fix, "gcloud services enable containeranalysis.googleapis.com --project=acme") {
		t.Errorf("%+v", got)
	}
}

// TestNobodyThere: a service that is gone, and a request that is.
func TestNobodyThere(t *testing.T) {
	t.Run("the service", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, img := newFixture(t), api(t)
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			got := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img})
			if got.State != attestor.ScanUnavailable || got.Problem.Code != attestor.CodeScanUnavailable {
				t.Errorf("state %q, problem %+v", got.State, got.Problem)
			}
		})
	})
	t.Run("the request", func(t *testing.T) {
		f, img := newFixture(t), api(t)
		f.put(t, "acme", complete(uri(img)))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		got := f.scanner(t, nil).Scan(ctx, attestor.ScanRequest{Image: img, Wait: time.Hour})
		if got.State != attestor.ScanUnavailable || !strings.Contains(got.Problem.Message, "request ended") {
			t.Errorf("state %q, problem %+v", got.State, got.Problem)
		}
	})
}

// TestChangeWhileReading: what is rescanned while its pages are read is read
// again, and what never stands still is not believed.
func TestChangeWhileReading(t *testing.T) {
	img := api(t)
	setup := func(t *testing.T) (*fixture, *grafeaspb.Occurrence) {
		f := newFixture(t)
		d := f.put(t, "acme", complete(uri(img)))[0]
		f.put(t, "acme", many(img, 1500)...)
		return f, d
	}
	touch := func(t *testing.T, f *fixture, d *grafeaspb.Occurrence) {
		d = proto.CloneOf(d)
		f.touches++
		d.GetDiscovery().Cpe = fmt.Sprint(f.touches)
		_, err := f.client.UpdateOccurrence(context.Background(), &grafeaspb.UpdateOccurrenceRequest{
			Name: d.GetName(), Occurrence: d, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"discovery"}},
		})
		if err != nil {
			t.Error(err)
		}
	}
	t.Run("once", func(t *testing.T) {
		f, d := setup(t)
		var extra *grafeaspb.Occurrence
		f.Inject(emulator.Fault{Method: list, Count: 1, Mutate: func(_, resp proto.Message) {
			touch(t, f, d)
			// Found meanwhile, but not in any of the pages of this reading.
			page := resp.(*grafeaspb.ListOccurrencesResponse)
			extra = page.Occurrences[1]
			page.Occurrences = slices.Delete(page.Occurrences, 1, 2)
		}})
		got := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img})
		if got.State != attestor.ScanComplete || len(got.Findings) != 1500 {
			t.Errorf("state %q with %d findings, want complete with 1500, %s among them", got.State, len(got.Findings), extra.GetNoteName())
		}
	})
	t.Run("always", func(t *testing.T) {
		f, d := setup(t)
		f.Inject(emulator.Fault{Method: list, Mutate: func(_, _ proto.Message) { touch(t, f, d) }})
		got := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img})
		if got.State != attestor.ScanRunning || got.Problem == nil || got.Problem.Code != attestor.CodeScanRunning {
			t.Errorf("state %q, problem %+v", got.State, got.Problem)
		}
	})
	t.Run("the scan is deleted", func(t *testing.T) {
		f, d := setup(t)
		f.Inject(emulator.Fault{Method: list, Count: 1, Mutate: func(_, _ proto.Message) {
			if err := f.client.DeleteOccurrence(context.Background(), &grafeaspb.DeleteOccurrenceRequest{Name: d.GetName()}); err != nil {
				t.Error(err)
			}
		}})
		if got := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img}); got.State != attestor.ScanNotFound {
			t.Errorf("state %q, want not-found", got.State)
		}
	})
}

// TestListLag: lists lag behind what was just written, so that a scan that has
// only just finished is not yet believed to have no more findings.
func TestListLag(t *testing.T) {
	tests := []struct {
		ago   time.Duration
		noLag bool
		want  attestor.ScanState
	}{
		{time.Hour, false, attestor.ScanComplete},
		{resource.ListLag, false, attestor.ScanComplete},
		{resource.ListLag - time.Millisecond, false, attestor.ScanRunning},
		{0, false, attestor.ScanRunning},
		{-2 * time.Second, false, attestor.ScanRunning}, // the scanner's clock is ahead
		{0, true, attestor.ScanComplete},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s ago, no lag %t", tt.ago, tt.noLag), func(t *testing.T) {
			f, img := newFixture(t), api(t)
			f.put(t, "acme", complete(uri(img), scanned(start.Add(-tt.ago))))
			s := f.scanner(t, func(c *vuln.Config) { c.NoListLag = tt.noLag })
			if got := s.Scan(t.Context(), attestor.ScanRequest{Image: img}); got.State != tt.want {
				t.Errorf("state %q, want %q", got.State, tt.want)
			}
		})
	}
}

// TestZeroRequest: no image, no answer.
func TestZeroRequest(t *testing.T) {
	f := newFixture(t)
	got := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{})
	if got.State != attestor.ScanUnavailable || got.Problem == nil {
		t.Errorf("%+v", got)
	}
	if n := len(f.Calls(list)); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// TestConfig: what is missing or contradicts itself is refused.
func TestConfig(t *testing.T) {
	f := newFixture(t)
	now := time.Now
	tests := []struct {
		name string
		c    vuln.Config
		ok   bool
	}{
		{"zero", vuln.Config{}, false},
		{"no clock", vuln.Config{Client: f.client}, false},
		{"no client", vuln.Config{Now: now}, false},
		{"host with scheme", vuln.Config{Client: f.client, Now: now, ScanProjects: map[string]string{"https://x": "p"}}, false},
		{"host without project", vuln.Config{Client: f.client, Now: now, ScanProjects: map[string]string{"x": ""}}, false},
		{"projects/ before the project", vuln.Config{Client: f.client, Now: now, ScanProjects: map[string]string{"x": "projects/p"}}, false},
		{"least", vuln.Config{Client: f.client, Now: now}, true},
		{"domain-scoped", vuln.Config{Client: f.client, Now: now, ScanProjects: map[string]string{"x:5000": "example.com:p"}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := vuln.New(tt.c); (err == nil) != tt.ok {
				t.Error(cmp.Diff(tt.ok, err == nil), err)
			}
		})
	}
}

// TestProjectsOfOthersOnly: an image whose name says no project has the scans of the projects that its policy trusts.
func TestProjectsOfOthersOnly(t *testing.T) {
	f := newFixture(t)
	img := image(t, "ghcr.io/acme/api@"+string(digest(1)))
	f.put(t, "scans", complete(uri(img)), finding(uri(img), "CVE-2026-1", grafeaspb.Severity_HIGH))
	f.ResetCalls()
	got := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img, Needs: attestor.ScanNeeds{Projects: []string{"projects/scans"}}})
	if got.State != attestor.ScanComplete || len(got.Findings) != 1 || len(f.Calls(list)) != 1 {
		t.Errorf("state %q (%+v) with %d findings by %d calls", got.State, got.Problem, len(got.Findings), len(f.Calls(list)))
	}
}
