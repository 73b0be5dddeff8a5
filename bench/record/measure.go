package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/metrics"
	"slices"
	"syscall"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/filter"
	"github.com/attestor-gate/attestor/report"
)

// A timing is how long one question took.
type timing struct {
	name  string
	took  time.Duration
	cpu   time.Duration // of this process, SQLite included
	found int
	more  bool          // the page ended early
	asked filter.Filter // what was asked
	cold  time.Duration // CPU of the first time by a store that was just opened; 0: not measured
}

// questions are filters alone, of common and of rare values, and one that nothing
// meets.
func questions(end time.Time) map[string]filter.Filter {
	repository := repositoryOf(1234)
	return map[string]filter.Filter{
		"id": {ID: "019900000010-0000"}, "image": {Image: repository + ":v34"},
		"digest": {Digest: string(digestOf(40))[:19]},
		"tag":    {Tag: "v34"}, "repository": {Repository: repository}, "end of a name": {Repository: "service-1234"},
		"pattern": {Repository: "us-docker.pkg.dev/acme/team-3/**"}, "common package": {Package: "package-7"},
		"common CVE": {CVE: "CVE-2026-00007"}, "rare CVE": {CVE: "CVE-2026-99999"},
		"reason":            {Reason: attestor.CodeFixableSeverityExceeded},
		"reason of nothing": {Reason: attestor.CodeNoPolicy},
		"caller":            {Caller: "build-7@acme.iam.gserviceaccount.com"},
		"override":          {BreakGlass: true}, "revoked": {Revoked: true}, "policy": {Policy: "policy-3"},
		"policy of nothing": {Policy: "none"},
		"pass":              {Verdict: attestor.Pass}, "error": {Verdict: attestor.Undecided},
		"since 1d":  {Since: end.AddDate(0, 0, -1)},
		"until 60d": {Until: end.AddDate(0, 0, -60)}, "search": {Search: "service-1234"},
	}
}

// both joins two filters; false where both set the same field.
func both(a, b filter.Filter) (filter.Filter, bool) {
	values := a.Values()
	for name, v := range b.Values() {
		if values[name] != "" {
			return filter.Filter{}, false
		}
		values[name] = v
	}
	out, err := filter.Parse(values, time.Now())
	return out, err == nil
}

// measure asks everything once to warm up and once to measure, and prints it. again opens the record once more.
func measure(ctx context.Context, s *audit.Store, again func() (*audit.Store, error), end time.Time, w io.Writer) error {
	asked := questions(end)
	names := make([]string, 0, len(asked))
	for name := range asked {
		names = append(names, name)
	}
	slices.Sort(names)

	var alone, pairs []timing
	for i, name := range names {
		t, err := first(ctx, s, name, asked[name])
		if err != nil {
			return err
		}
		alone = append(alone, t)

		// Pairs show where two filters have no index together.
		for _, other := range names[:i] {
			f, ok := both(asked[name], asked[other])
			if !ok {
				continue
			}
			t, err := first(ctx, s, name+" and "+other, f)
			if err != nil {
				return err
			}
			pairs = append(pairs, t)
		}
	}

	fmt.Fprintf(w, "| first page of 50 | found | time | CPU |\n| --- | --- | --- | --- |\n")
	for _, t := range alone {
		fmt.Fprintln(w, t)
	}
	slices.SortFunc(pairs, func(a, b timing) int { return cmp.Compare(b.cpu, a.cpu) })
	fmt.Fprintf(w, "\n%d pairs; half of them within %v of CPU; those that take most:\n\n| pair | found | time | CPU "+
		"| CPU after a start |\n| --- | --- | --- | --- | --- |\n",
		len(pairs), pairs[len(pairs)/2].cpu.Round(10*time.Microsecond))
	for _, t := range pairs[:min(10, len(pairs))] {
		if err := t.afterStart(ctx, again); err != nil {
			return err
		}
		fmt.Fprintf(w, "%v %v |\n", t, t.cold.Round(10*time.Microsecond))
	}
	if err := overview(ctx, s, end, w); err != nil {
		return err
	}

	fmt.Fprintf(w, "\n| report of | decisions | images | time | CPU | heap, MB | HTML, MB |\n| --- | ---: | ---: | "+
		"---: | ---: | ---: | ---: |\n")
	for _, days := range []int{7, 30, 90} {
		if err := sums(ctx, s, end, days, w); err != nil {
			return err
		}
	}
	return nil
}

// String is a row of the table.
func (t timing) String() string {
	found := fmt.Sprint(t.found)
	if t.more && t.found < 50 {
		found += ", and the search goes on"
	}
	return fmt.Sprintf("| %s | %s | %v | %v |", t.name, found, t.took.Round(10*time.Microsecond),
		t.cpu.Round(10*time.Microsecond))
}

// first times the first page of a list, the better of two.
func first(ctx context.Context, s *audit.Store, name string, f filter.Filter) (timing, error) {
	best := timing{name: name, asked: f, took: time.Hour, cpu: time.Hour}
	for range 2 {
		start, cpu := time.Now(), ownCPU()
		page, err := s.List(ctx, f, 50, "")
		if err != nil {
			return timing{}, fmt.Errorf("%s: %w", name, err)
		}
		best.took, best.cpu = min(best.took, time.Since(start)), min(best.cpu, ownCPU()-cpu)
		best.found, best.more = len(page.Decisions), page.Next != ""
	}
	return best, nil
}

// afterStart measures the same by a store that remembers nothing.
func (t *timing) afterStart(ctx context.Context, again func() (*audit.Store, error)) error {
	s, err := again()
	if err != nil {
		return err
	}
	cpu := ownCPU()
	_, err = s.List(ctx, t.asked, 50, "")
	t.cold = ownCPU() - cpu
	return errors.Join(err, s.Close())
}

// overview times what the first page asks: the sums of seven days, and the newest decisions.
func overview(ctx context.Context, s *audit.Store, end time.Time, w io.Writer) error {
	start, cpu := time.Now(), ownCPU()
	if _, err := aggregate(ctx, s, end, 7); err != nil {
		return err
	}
	if _, err := s.List(ctx, filter.Filter{}, 10, ""); err != nil {
		return err
	}
	fmt.Fprintf(w, "\noverview of 7 days: %v, %v of CPU\n", time.Since(start).Round(time.Millisecond),
		(ownCPU() - cpu).Round(time.Millisecond))
	return nil
}

// aggregate makes the report of the last days from sums, as the page has it.
func aggregate(ctx context.Context, s *audit.Store, end time.Time, days int) (report.Summary, error) {
	f := filter.Filter{Since: end.AddDate(0, 0, -days)}
	overridden, revoked := f, f
	overridden.BreakGlass, revoked.Revoked = true, true
	const rows = 1000 // as the page has them
	oldest, err := s.Oldest(ctx, f.Since)
	if err != nil {
		return report.Summary{}, err
	}
	latest, err := s.Latest(ctx, f.Since)
	if err != nil {
		return report.Summary{}, err
	}
	return report.Aggregate(report.Kept{
		Facts: s.Facts(ctx, f), First: s.First(ctx, f, rows), Warned: s.Warned(ctx, f), Since: oldest, Until: latest,
		Days: s.Days(ctx, f), Overrides: s.Decisions(ctx, overridden), Revoked: s.Decisions(ctx, revoked),
	}, report.SummaryOptions{Now: end, MaxRows: rows})
}

// sums times the report of the last days and its page, and measures the memory that it takes.
func sums(ctx context.Context, s *audit.Store, end time.Time, days int, w io.Writer) error {
	peak := watchHeap()
	start, cpu := time.Now(), ownCPU()
	out, err := aggregate(ctx, s, end, days)
	if err != nil {
		return err
	}

	// The page is written too: people wait for it as a whole.
	var page counter
	if err := report.Write(&page, report.HTML, report.Record(out), report.Options{Page: true}); err != nil {
		return err
	}
	took, used := time.Since(start), ownCPU()-cpu
	fmt.Fprintf(w, "| %d days | %d | %d | %v | %v | %.1f | %.2f |\n", days, out.Decisions, out.Images,
		took.Round(time.Millisecond), used.Round(time.Millisecond),
		float64(peak())/(1<<20), float64(page)/(1<<20))
	return nil
}

// ownCPU is what this process has used. On a busy machine it says more than the elapsed time.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// counter counts what is written.
type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// watchHeap samples the heap until the function that it returns is called, which returns
// by how much it has grown at most.
func watchHeap() func() uint64 {
	heap := func() uint64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}

	// What the heap holds before is no part of the report.
	runtime.GC()
	before := heap()

	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		most := before
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, heap())
			select {
			case <-stop:
				peak <- most - before
				return
			case <-tick.C:
			}
		}
	}()
	return func() uint64 {
		close(stop)
		return <-peak
	}
}
