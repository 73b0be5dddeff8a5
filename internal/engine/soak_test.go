package engine_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/when"
)

// TestSoak asks for five minutes from 64 sides at once, or for GATE_SOAK, such as
// 20s. Every answer is right, and when all is quiet again there are as many
// goroutines as before, and memory has not grown with what was asked.
func TestSoak(t *testing.T) {
	d := soakFor(t)
	const sides, images = 64, 500
	w := newWorld(t, worldOptions{config: func(c *config.Config) {
		c.Limits.CallerRate, c.Limits.Queue = 1e6, sides
		c.Limits.Deadline, c.Limits.Settle = when.Duration(time.Minute), when.Duration(time.Minute)
	}})

	base := baseImage(t)
	w.push("base/debian", "12", base)
	type image struct {
		ref  string
		want attestor.Outcome
	}

	var all []image
	add := func() {
		n := len(all)
		user, want := "65532:65532", attestor.Pass
		if n%5 == 4 {
			user, want = "", attestor.Deny
		}

		ref := w.push("app/soak", "v"+strconv.Itoa(n), imageOn(t, base, user, entry{"app", strconv.Itoa(n)}))
		w.scan(ref, samples.Clean)
		all = append(all, image{ref, want})
	}

	for range images {
		add()
	}

	ask := func(n int) (string, bool) {
		i := all[n%len(all)]
		a := w.post(i.ref, n%7 == 0)
		if a.decision.Verdict != i.want || a.status == 0 {
			return fmt.Sprintf("%s is %d %s, want %s", i.ref, a.status, a.body, i.want), false
		}

		return "", true
	}

	load := func(until func(n int) bool) (requests int64) {
		var next, failed atomic.Int64
		var wg sync.WaitGroup

		for range sides {
			wg.Go(func() {
				for {
					n := int(next.Add(1)) - 1
					if until(n) || failed.Load() > 10 {
						return
					}
					if why, ok := ask(n); !ok {
						failed.Add(1)
						t.Error(why)
					}
				}
			})
		}

		wg.Wait()
		return next.Load() - sides
	}

	load(func(n int) bool { return n >= images }) // caches and pools are as full as they get
	goroutines, memory := settled(w)
	t.Logf("at the start: %d goroutines, %.1f MB", goroutines, memory)
	start := time.Now()
	requests := load(func(int) bool { return time.Since(start) >= d })
	after, then := settled(w)
	t.Logf("after %d requests in %v (%.0f a second): %d goroutines, %.1f MB", requests,
		time.Since(start).Round(time.Second), float64(requests)/time.Since(start).Seconds(), after, then)
	if after > goroutines+8 {
		t.Errorf("goroutines grew from %d to %d", goroutines, after)
	}
	if then > memory+48 { // the emulator and the registry share this process, and keep nothing of a request either
		t.Errorf("memory grew from %.1f MB to %.1f MB over %d requests", memory, then, requests)
	}
	if a := w.do(http.MethodGet, "/ready", ""); a.status != http.StatusOK {
		t.Errorf("ready: %d %s", a.status, a.body)
	}
}

// settled counts when nothing is being asked, and connections that idle are
// closed.
func settled(w *world) (goroutines int, megabytes float64) {
	w.tb.Helper()
	w.outside.ResetCalls()
	w.registry.ResetCalls()
	w.google.ResetCalls()
	w.http.CloseIdleConnections()
	w.engine.Inspector.CloseIdleConnections()
	best := 1 << 30

	for same := 0; same < 20; {
		n := runtime.NumGoroutine()
		if n < best {
			best, same = n, 0
		}

		same++
		time.Sleep(50 * time.Millisecond)
	}

	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return best, float64(m.HeapAlloc) / (1 << 20)
}
