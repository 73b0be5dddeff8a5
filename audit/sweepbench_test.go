package audit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// sweepStandIn is a service that judges: it decodes a request, and answers
// with a decision. It costs next to nothing, so that what a sweep itself costs
// is seen against it.
type sweepStandIn struct {
	*httptest.Server
	client *http.Client
}

func newSweepStandIn(tb testing.TB, atOnce int) sweepStandIn {
	tb.Helper()
	s := sweepStandIn{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ref, err := attestor.ParseReference(r.URL.Query().Get("image"))
		var d attestor.Decision
		if err == nil {
			d, err = judge(r.Context(), ref)
		}

		if err == nil {
			err = json.NewEncoder(w).Encode(d)
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	tb.Cleanup(func() { s.client.CloseIdleConnections(); s.Close() })
	return s
}

func (s sweepStandIn) judge(ctx context.Context, ref attestor.Reference) (d attestor.Decision, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/?image="+ref.String(), nil)
	if err != nil {
		return d, err
	}

	resp, err := s.client.Do(req)
	if err != nil {
		return d, err
	}
	defer resp.Body.Close()

	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
		return d, err
	}

	_, err = io.Copy(io.Discard, resp.Body) // or the connection is not used again
	return d, err
}

// limit is how many images a second the stand-in answers to as many callers,
// with no sweep around them.
func (s sweepStandIn) limit(tb testing.TB, n, atOnce int) float64 {
	tb.Helper()
	refs := make(chan string)
	var failed atomic.Int64
	var wg sync.WaitGroup
	begun := time.Now()

	for range atOnce {
		wg.Go(func() {
			for text := range refs {
				ref, err := attestor.ParseReference(text)
				if err == nil {
					_, err = s.judge(tb.Context(), ref)
				}
				if err != nil {
					failed.Add(1)
				}
			}
		})
	}

	for ref := range references(n) {
		refs <- ref
	}

	close(refs)
	wg.Wait()
	if failed.Load() > 0 {
		tb.Fatalf("the stand-in failed %d times", failed.Load())
	}

	return float64(n) / time.Since(begun).Seconds()
}

// live is how many bytes are in use; it collects first.
func live() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkSweep is a sweep with its state file against a judge over HTTP: its
// rate, the judge's own at that concurrency, and memory while it lasts.
func BenchmarkSweep(b *testing.B) {
	const atOnce = 16
	for _, n := range []int{1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := newSweepStandIn(b, atOnce)
			s.limit(b, 1000, atOnce) // connections are made
			b.ResetTimer()
			var limit, rate float64
			var peak uint64

			for range b.N {
				limit += s.limit(b, n, atOnce)
				stop := watchHeap(&peak)
				begun := time.Now()
				totals, err := audit.Sweep{
					Now: time.Now, Most: atOnce, Judge: s.judge, State: filepath.Join(b.TempDir(), "s"),
					Result: func(audit.Result) error { return nil }, Progress: func(audit.Progress) {},
				}.Run(b.Context(), references(n))

				if err != nil || totals.Images() != n {
					b.Fatal(totals, err)
				}

				rate += float64(n) / time.Since(begun).Seconds()
				stop()
			}

			runs := float64(b.N)
			b.ReportMetric(rate/runs, "images/s")
			b.ReportMetric(limit/runs, "limit-images/s")
			b.ReportMetric(100*rate/limit, "%-of-limit")
			b.ReportMetric(float64(peak)/(1<<20), "peak-heap-MB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// watchHeap keeps the largest heap that was seen until it is stopped, garbage
// included.
func watchHeap(peak *uint64) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()

		for {
			select {
			case <-end:
				return
			case <-tick.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				*peak = max(*peak, m.HeapAlloc)
			}
		}
	}()

	return func() { close(end); <-ended }
}

// Memory does not grow with what was judged: ten times the images need a line
// for each in memory, and nothing else.
func TestSweepMemoryIsFlat(t *testing.T) {
	used := func(n int) uint64 {
		var peak uint64
		before, reported := live(), 0
		_, err := audit.Sweep{Now: time.Now, Judge: judge, State: filepath.Join(t.TempDir(), "s"), Result: func(audit.Result) error {
			if reported++; reported%(n/10) == 0 {
				peak = max(peak, live()-min(before, live()))
			}
			return nil
		}}.Run(t.Context(), references(n))

		if err != nil {
			t.Fatal(err)
		}
		return peak
	}

	small, large := used(1_000), used(10_000)
	info := "1,000 images: %d KB; 10,000: %d KB"
	t.Logf(info, small>>10, large>>10)
	if grown := int64(large) - int64(small); grown > 9_000*700 {
		t.Errorf(info+": that is %d bytes an image, want at most 700", small>>10, large>>10, grown/9_000)
	}
}
