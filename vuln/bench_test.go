package vuln_test

import (
	"runtime"
	"testing"

	"google.golang.org/protobuf/proto"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
)

// BenchmarkScan is one look-up in an emulator in the same process, over gRPC:
// what it takes, what it leaves, and the most that was in use at once, which
// is that of one page and of the findings, and not of the occurrences.
func BenchmarkScan(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"10_findings", 10}, {"25000_findings", 25_000}} {
		b.Run(size.name, func(b *testing.B) {
			f, img := newFixture(b), api(b)
			f.put(b, "acme", complete(uri(img)))
			f.put(b, "acme", many(img, size.n)...)
			s := f.scanner(b, nil)
			before := inUse()
			peak := before
			f.Inject(emulator.Fault{Method: list, Mutate: func(_, resp proto.Message) {
				// After each page, when the one before is done with.
				if len(resp.(*grafeaspb.ListOccurrencesResponse).GetOccurrences()) > 0 {
					b.StopTimer()
					peak = max(peak, inUse())
					b.StartTimer()
				}
			}})

			f.ResetCalls()
			var scan attestor.Scan

			for b.Loop() {
				if scan = s.Scan(b.Context(), attestor.ScanRequest{Image: img}); len(scan.Findings) != size.n {
					b.Fatalf("%d findings (%+v)", len(scan.Findings), scan.Problem)
				}
			}

			left := inUse() - before
			b.ReportMetric(float64(len(f.Calls(list)))/float64(b.N), "calls/op")
			b.ReportMetric(float64(peak-before)/(1<<20), "MB-peak")
			b.ReportMetric(float64(left)/(1<<20), "MB-result")
			runtime.KeepAlive(scan)
		})
	}
}

// inUse is what is reachable.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
