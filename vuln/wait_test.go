package vuln_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/vuln"
)

// becomes changes the status of a scan after some time.
func (f *fixture) becomes(t *testing.T, d *grafeaspb.Occurrence, status grafeaspb.DiscoveryOccurrence_AnalysisStatus, after time.Duration) {
	time.AfterFunc(after, func() {
		d.GetDiscovery().AnalysisStatus = status
		_, err := f.client.UpdateOccurrence(context.Background(), &grafeaspb.UpdateOccurrenceRequest{
			Name: d.GetName(), Occurrence: d, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"discovery"}},
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestWait: a scan that finishes in time is waited for, no longer than asked,
// than the context allows, and than it takes.
func TestWait(t *testing.T) {
	const pending, failed, success, unsupported = grafeaspb.DiscoveryOccurrence_PENDING, grafeaspb.DiscoveryOccurrence_FINISHED_FAILED,
		grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS, grafeaspb.DiscoveryOccurrence_FINISHED_UNSUPPORTED
	tests := []struct {
		name     string
		wait     time.Duration
		deadline time.Duration // of the caller's context
		status   grafeaspb.DiscoveryOccurrence_AnalysisStatus
		after    time.Duration
		want     attestor.ScanState
		least    time.Duration // of time that passes
		most     time.Duration
	}{
		{"finishes", time.Minute, time.Hour, success, 20 * time.Second, attestor.ScanComplete, 20 * time.Second, 35 * time.Second},
		{"fails", time.Minute, time.Hour, failed, 20 * time.Second, attestor.ScanFailed, 20 * time.Second, 35 * time.Second},
		{"cannot be scanned", time.Minute, time.Hour, unsupported, 20 * time.Second, attestor.ScanUnsupported, 20 * time.Second, 35 * time.Second},
		{"is not waited for", 0, time.Hour, success, 20 * time.Second, attestor.ScanPending, 0, 0},
		{"takes too long", time.Minute, time.Hour, success, time.Hour, attestor.ScanPending, time.Minute, time.Minute},
		{"outlasts the context", time.Minute, 10 * time.Second, success, time.Hour, attestor.ScanPending, 10 * time.Second, 10 * time.Second},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, img := newFixture(t), api(t)
				f.becomes(t, f.put(t, "acme", discovery(uri(img), pending))[0], tt.status, tt.after)
				s := f.scanner(t, nil)
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				began := time.Now()
				got := s.Scan(ctx, attestor.ScanRequest{Image: img, Wait: tt.wait})
				took := time.Since(began)
				if got.State != tt.want {
					t.Errorf("state %q, want %q (%+v)", got.State, tt.want, got.Problem)
				}
				if took < tt.least || took > tt.most {
					t.Errorf("took %s, want %s to %s", took, tt.least, tt.most)
				}
				if n := s.Polls(); n != 0 {
					t.Errorf("%d polls left behind", n)
				}
			})
		})
	}
}

// TestWaitOutlastsOutages: while waiting, a service that fails for a while is
// asked again; one that refuses is not.
func TestWaitOutlastsOutages(t *testing.T) {
	tests := []struct {
		code codes.Code
		want attestor.ScanState
	}{
		{codes.Unavailable, attestor.ScanComplete},
		{codes.ResourceExhausted, attestor.ScanComplete},
		{codes.DeadlineExceeded, attestor.ScanComplete},
		{codes.Internal, attestor.ScanComplete},
		{codes.Aborted, attestor.ScanComplete},
		{codes.PermissionDenied, attestor.ScanUnavailable},
		{codes.DataLoss, attestor.ScanUnavailable},
		{codes.NotFound, attestor.ScanUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, img := newFixture(t), api(t)
				f.put(t, "acme", complete(uri(img)))
				f.Inject(emulator.Fault{Method: list, Code: tt.code, Count: 6}) // more than one call's tries
				got := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img, Wait: time.Minute})
				if got.State != tt.want {
					t.Errorf("state %q, want %q (%+v)", got.State, tt.want, got.Problem)
				}
			})
		})
	}
}

// TestPollThatPanics: nobody who waits is on the poll's goroutine, where a panic would end the process. It is no scan.
func TestPollThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, img := newFixture(t), api(t)
		pending := f.put(t, "acme", discovery(uri(img), grafeaspb.DiscoveryOccurrence_PENDING))[0]
		f.becomes(t, pending, grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS, 3*time.Second)
		s := f.scanner(t, func(c *vuln.Config) {
			began := time.Now()
			c.Now = func() time.Time {
				if time.Since(began) > 2*time.Second { // after the first read, which is on the caller's goroutine
					panic("a bug")
				}
				return start
			}
		})
		got := s.Scan(t.Context(), attestor.ScanRequest{Image: img, Wait: time.Minute})
		if got.State != attestor.ScanUnavailable || got.Problem == nil || !strings.Contains(got.Problem.Message, "internal error") {
			t.Errorf("state %q (%+v), want an unavailable scan", got.State, got.Problem)
		}
		if n := s.Polls(); n != 0 {
			t.Errorf("%d polls left behind", n)
		}
	})
}

// TestPauses: polls come further and further apart, up to a limit.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, img := newFixture(t), api(t)
		f.put(t, "acme", discovery(uri(img), grafeaspb.DiscoveryOccurrence_PENDING))
		s := f.scanner(t, nil)
		s.SetJitter(func() float64 { return 0.5 })
		f.ResetCalls()
		s.Scan(t.Context(), attestor.ScanRequest{Image: img, Wait: 80 * time.Second})

		// From 1 s by half as much again up to 15 s, each with a tenth more: 1.1, 1.65,
		// 2.475, 3.7125, 5.56875, 8.353125, 12.5296875 and then 16.5 seconds apart.
		want := []time.Duration{0, 1100, 2750, 5225, 8937, 14506, 22859, 35389, 51889, 68389}
		calls := f.Calls(list)
		if len(calls) != len(want) {
			t.Fatalf("%d calls, want %d", len(calls), len(want))
		}

		for i, c := range calls {
			if got := c.Start.Sub(calls[0].Start).Truncate(time.Millisecond); got != want[i]*time.Millisecond {
				t.Errorf("call %d after %s, want %dms", i, got, want[i])
			}
		}
	})
}

// TestSharedPoll: many who wait for one digest make one poll, each with his
// own patience, and nobody's leaving fails the others.
func TestSharedPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const waiters = 50
		f, img := newFixture(t), api(t)
		f.becomes(t, f.put(t, "acme", discovery(uri(img), grafeaspb.DiscoveryOccurrence_SCANNING))[0],
			grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS, 30*time.Second)
		s := f.scanner(t, nil)
		f.ResetCalls()
		got := make([]attestor.Scan, waiters)
		first, leave := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, leave) // who started the poll goes
		var wg sync.WaitGroup

		for i := range waiters {
			wg.Go(func() {
				ctx, wait := t.Context(), 5*time.Minute
				time.Sleep(time.Duration(i) * 10 * time.Millisecond)

				switch i {
				case 0:
					ctx = first
				case 1:
					wait = 10 * time.Second
				}

				got[i] = s.Scan(ctx, attestor.ScanRequest{Image: img, Wait: wait})
			})
		}

		synctest.Wait()
		time.Sleep(8 * time.Second)
		if n := s.Polls(); n != 1 {
			t.Errorf("%d polls for one digest, want 1", n)
		}

		wg.Wait()
		for i, scan := range got {
			want := attestor.ScanComplete
			if i < 2 {
				want = attestor.ScanRunning
			}
			if scan.State != want {
				t.Errorf("waiter %d: state %q, want %q (%+v)", i, scan.State, want, scan.Problem)
			}
		}

		// One each to begin with, and then one for all.
		if n := len(f.Calls(list)); n > waiters+8 {
			t.Errorf("%d calls for %d waiters", n, waiters)
		}
		if n := s.Polls(); n != 0 {
			t.Errorf("%d polls left behind", n)
		}
	})
}

// TestPollsApart: other digests, and other questions about one, are not mixed.
func TestPollsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, img := newFixture(t), api(t)
		other := img.Sibling(digest(2))
		f.put(t, "acme", discovery(uri(img), grafeaspb.DiscoveryOccurrence_SCANNING), discovery(uri(other), grafeaspb.DiscoveryOccurrence_SCANNING))
		f.put(t, "acme", complete(uri(other.Sibling(digest(3))), under(houseNote)))
		s := f.scanner(t, nil)
		var wg sync.WaitGroup

		for _, r := range []attestor.ScanRequest{
			{Image: img}, {Image: other}, {Image: img, Index: other}, {Image: img, Needs: attestor.ScanNeeds{Trusted: []string{houseNote}}},
			{Image: img, Parent: other}, {Image: img, Needs: attestor.ScanNeeds{Projects: []string{"scans"}}},
			{Image: img, Needs: attestor.ScanNeeds{Advisories: true}},
		} {
			r.Wait = time.Minute
			wg.Go(func() {
				if got := s.Scan(t.Context(), r); got.State != attestor.ScanRunning {
					t.Errorf("state %q", got.State)
				}
			})
		}

		time.Sleep(10 * time.Second)
		if n := s.Polls(); n != 7 {
			t.Errorf("%d polls, want 7", n)
		}

		wg.Wait()
	})
}

// TestDeadline: a service that does not answer at all costs the call's limit
// and no more, and the caller's deadline is kept.
func TestDeadline(t *testing.T) {
	tests := []struct {
		name     string
		deadline time.Duration
		wait     time.Duration
		want     time.Duration
		says     string
	}{
		{"the call's", time.Hour, 0, limit.Default, "within 10s"},
		{"the caller's", 3 * time.Second, 0, 3 * time.Second, "within the time that the request had"},
		{"the wait's", time.Hour, 20 * time.Second, 20 * time.Second, "DEADLINE_EXCEEDED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, img := newFixture(t), api(t)
				f.Inject(emulator.Fault{Method: list, Hang: true})
				s := f.scanner(t, func(c *vuln.Config) { c.Limit = 0 })
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				began := time.Now()
				got := s.Scan(ctx, attestor.ScanRequest{Image: img, Wait: tt.wait})
				if took := time.Since(began); took != tt.want {
					t.Errorf("took %s, want %s", took, tt.want)
				}
				if got.State != attestor.ScanUnavailable || got.Problem == nil || got.Problem.Code != attestor.CodeScanUnavailable {
					t.Fatalf("state %q, problem %+v", got.State, got.Problem)
				}
				if !strings.Contains(got.Problem.Message, tt.says) {
					t.Errorf("%q does not say %q", got.Problem.Message, tt.says)
				}
			})
		})
	}
}

// TestListLagWhileWaiting: who waits reads the list again when it no longer lags.
func TestListLagWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, img := newFixture(t), api(t)
		f.put(t, "acme", complete(uri(img), scanned(time.Now())))
		s := f.scanner(t, func(c *vuln.Config) { c.Now = time.Now })
		time.AfterFunc(2*time.Second, func() { f.put(t, "acme", finding(uri(img), "CVE-2026-LATE", grafeaspb.Severity_CRITICAL)) })
		got := s.Scan(t.Context(), attestor.ScanRequest{Image: img, Wait: time.Minute})
		if got.State != attestor.ScanComplete || len(got.Findings) != 1 {
			t.Errorf("state %q with %d findings, want complete with the late one", got.State, len(got.Findings))
		}
	})
}
