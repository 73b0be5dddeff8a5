package engine_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/when"
)

// rounds holds upstream calls back and answers all that wait at once, after nothing more has come for a while: calls that
// depend on each other are never answered in one round.
type rounds struct {
	mu      sync.Mutex
	waiting []chan struct{} // guarded by mu
	last    time.Time       // a call came; guarded by mu
	calls   [][]string      // of each round; guarded by mu
	names   []string        // of those that wait; guarded by mu
	open    bool            // nothing is held back; guarded by mu
}

// count starts to count, or ends and returns the rounds.
func (r *rounds) count(on bool) [][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.open = !on
	if !on {
		for _, answer := range r.waiting {
			close(answer)
		}
	}
	r.calls, r.waiting, r.names = nil, nil, nil
	return calls
}

// roundQuiet is how long nothing comes before a round ends. A busy machine may need longer for a call: then one round
// counts as two, and never two as one.
const roundQuiet = 300 * time.Millisecond

func (r *rounds) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		if r.open {
			r.mu.Unlock()
			h.ServeHTTP(w, req)
			return
		}
		answer := make(chan struct{})
		r.waiting, r.names, r.last = append(r.waiting, answer), append(r.names, req.Method+" "+req.URL.Path), time.Now()
		r.mu.Unlock()
		select {
		case <-answer:
			h.ServeHTTP(w, req)
		case <-req.Context().Done():
		}
	})
}

// run ends rounds until done is closed.
func (r *rounds) run(done <-chan struct{}) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}

		r.mu.Lock()
		if len(r.waiting) > 0 && time.Since(r.last) >= roundQuiet {
			for _, answer := range r.waiting {
				close(answer)
			}
			r.calls, r.waiting, r.names = append(r.calls, r.names), nil, nil
		}
		r.mu.Unlock()
	}
}

// TestTheFirstDecisionTakesSixRoundTrips: from the start of a process to its first pass, with everything that is looked up
// once, at most six calls follow each other. The least of several starts counts: a slow machine only adds rounds.
func TestTheFirstDecisionTakesSixRoundTrips(t *testing.T) {
	t.Parallel()
	const most, tries = 6, 10
	r, done := &rounds{}, make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { r.run(done) })
	t.Cleanup(func() { close(done); running.Wait() })
	w := newWorld(t, worldOptions{unstarted: true, registry: r.wrap, google: r.wrap, config: func(c *config.Config) {
		c.Limits.Deadline, c.Limits.Settle = when.Duration(time.Minute), when.Duration(time.Minute)
	}})
	base := baseImage(t)
	w.push("base/debian", "12", base)

	var least [][]string
	for n := range tries {
		image := w.push("app/first", "v1", imageOn(t, base, "65532:65532", entry{"app", string(rune('a' + n))}))
		w.scan(image, samples.Clean)
		r.count(true)
		w.start()
		a := w.post(image, false)
		calls := r.count(false)
		if a.decision.Verdict != attestor.Pass {
			t.Fatalf("%d %s", a.status, a.body)
		}
		w.stop()
		if least == nil || len(calls) < len(least) {
			least = calls
		}
		if len(least) <= most {
			break
		}
	}
	if len(least) > most || len(least) < 4 {
		t.Errorf("%d rounds, want 4 to %d: %q", len(least), most, least)
	}
	if !slices.ContainsFunc(least, func(calls []string) bool { return len(calls) > 1 }) {
		t.Errorf("no calls are made at once: %q", least)
	}
}
