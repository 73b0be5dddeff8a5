package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// overheard is what was asked of Google's services: the record of calls has
// methods only, and whether a call was made twice is a matter of its request.
type overheard struct {
	mu       sync.Mutex
	messages []proto.Message
}

// overhear listens in by a fault that never hits.
func overhear(e *emulator.Emulator) *overheard {
	o := &overheard{}
	e.Inject(emulator.Fault{Match: func(m proto.Message) bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.messages = append(o.messages, proto.Clone(m))
		return false
	}})
	return o
}

// take returns what was heard since the last time.
func (o *overheard) take() []proto.Message {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.messages
	o.messages = nil
	return out
}

// sequence is what one decision after the other took.
type sequence struct {
	what      string
	times     []time.Duration
	calls     float64 // per decision
	rows      []int   // calls that had to wait for each other, of each decision
	bytes     float64 // on the wire, both ways, per decision
	breakdown string
	heard     [][]proto.Message // of Google's services, by decision
	target    float64           // round trips at p50; 0: none
	budget    budget            // of calls; zero: none
	bare      []time.Duration   // of bare clients that make the same calls; nil: not measured
	more      time.Duration     // than bare clients, that are allowed
}

// sequential asks about one image after the other, and checks that no decision
// makes a call twice.
func (b *harness) sequential(ctx context.Context, s *subject, what string, images []string, want expectation,
	target float64) error {
	out := sequence{what: what, target: target}
	c := client(1)
	defer c.CloseIdleConnections()

	counts, repeated, twice := map[string]int{}, 0, ""
	bytesBefore := b.wire()
	for _, image := range images {
		// The records of calls are emptied for each image, so that what is found is of this decision.
		b.world.ResetCalls()
		b.heard.take()

		// The time is the caller's: connection, queue and answer are part of it.
		start := time.Now()
		if err := s.ask(ctx, c, image, want); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}

		out.times = append(out.times, time.Since(start))
		out.rows = append(out.rows, b.inARow())
		messages := b.heard.take()
		out.heard = append(out.heard, messages)
		if t := b.tally(counts, messages); t != "" {
			repeated++
			twice = t
		}
	}

	// A peer may ask as often as it likes; the gate promises not to.
	if repeated > 0 && s.name == "attestor" {
		b.broken = append(b.broken, fmt.Sprintf("%s: %d of %d decisions made a call twice, such as %s", what, repeated,
			len(images), twice))
	}
	n := float64(len(images))
	for _, k := range counts {
		out.calls += float64(k) / n
	}

	out.bytes, out.breakdown = (b.wire()-bytesBefore)/n, spell(counts, n)
	b.sequences[s.name] = append(b.sequences[s.name], out)
	return nil
}

// tally counts the calls of one decision by kind, and names one that was made
// twice. What the gate does by the clock, for its approved bases and for the keys of attestors, is no part of a decision.
func (b *harness) tally(counts map[string]int, messages []proto.Message) (twice string) {
	seen := map[string]bool{}
	note := func(kind, key string) {
		counts[kind]++
		if seen[key] {
			twice = key
		}
		seen[key] = true
	}

	for _, c := range b.world.Registry.Calls() {
		if !strings.Contains(c.What, " /v2/base/") {
			note(kindOf(c), c.What)
		}
	}

	for _, c := range b.world.Google.Calls() {
		if kind := kindOf(c); kind != "GetAttestor" {
			counts[kind]++
		}
	}

	// Methods are counted above; that a call was made twice shows in its message.
	for _, m := range messages {
		key := string(m.ProtoReflect().Descriptor().Name()) + " " + fmt.Sprint(m)
		if seen[key] {
			twice = key
		}
		seen[key] = true
	}
	return twice
}

// inARow is the longest chain of calls of which each began when the one before
// had been answered: what a decision would take, in round trips, if the gate
// itself took no time. Unlike the time, it does not depend on the machine.
func (b *harness) inARow() int {
	calls := slices.DeleteFunc(b.world.Registry.Calls(),
		func(c standin.Call) bool { return strings.Contains(c.What, " /v2/base/") })
	calls = append(calls, b.world.Google.Calls()...)

	// A call's depth is one more than that of the deepest call that had ended when it began.
	slices.SortFunc(calls, func(x, y standin.Call) int { return x.Start.Compare(y.Start) })
	longest, depth := 0, make([]int, len(calls))
	for i, c := range calls {
		depth[i] = 1
		for j, before := range calls[:i] {
			if !before.End.After(c.Start) {
				depth[i] = max(depth[i], depth[j]+1)
			}
		}
		longest = max(longest, depth[i])
	}
	return longest
}

// kindOf is the rpc's name, or what of the registry was asked for.
func kindOf(c standin.Call) string {
	method, path, _ := strings.Cut(c.What, " ")
	switch {
	case strings.Contains(path, "/manifests/"):
		return strings.TrimPrefix(method+" manifest", "GET ")
	case strings.Contains(path, "/blobs/"):
		return strings.TrimPrefix(method+" blob", "GET ")
	case strings.HasPrefix(path, "/v2/"):
		return method + " " + path
	}
	return path[strings.LastIndexByte(path, '/')+1:]
}

func spell(counts map[string]int, n float64) string {
	var out []string
	for kind, k := range counts {
		if avg := float64(k) / n; avg >= 0.995 {
			out = append(out, fmt.Sprintf("%.3g %s", avg, kind))
		} else {
			out = append(out, fmt.Sprintf("%.2f %s", avg, kind))
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// wire is how many bytes went over connections to the stand-ins so far.
func (b *harness) wire() float64 {
	var n int64
	for _, s := range []*standin.Server{b.world.Registry, b.world.Google} {
		in, out := s.Wire()
		n += in + out
	}
	return float64(n)
}

func percentile[T cmp.Ordered](values []T, p float64) T {
	if len(values) == 0 {
		var none T
		return none
	}

	// The values stay in their order, which is that of the decisions.
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// loaded is what many decisions at once took.
type loaded struct {
	what              string
	atOnce, decisions int
	rate              float64 // a second
	times             []time.Duration
	cpu               time.Duration // of the subject, per decision
	around            time.Duration // CPU of stand-ins and load, per decision
	allocated         float64       // bytes per decision; 0: not known
	mallocs           float64
	failed            int
}

// load asks about images, so many at once.
func (b *harness) load(ctx context.Context, s *subject, what string, images []string, atOnce int,
	want expectation) error {
	out := loaded{what: what, atOnce: atOnce, decisions: len(images), times: make([]time.Duration, len(images))}
	c := client(atOnce)
	defer c.CloseIdleConnections()

	before, err := s.used(ctx)
	if err != nil {
		return err
	}
	around, err := ownCPU()
	if err != nil {
		return err
	}

	// CPU and allocations are differences: what the process used before this load is no part of it.
	var first error
	start := time.Now()
	failed := each(atOnce, len(images), func(i int) error {
		begun := time.Now()
		err := s.ask(ctx, c, images[i], want)
		out.times[i] = time.Since(begun)
		return err
	}, &first)

	took := time.Since(start)
	after, err := s.used(ctx)
	if err != nil {
		return err
	}

	aroundAfter, err := ownCPU()
	if err != nil {
		return err
	}
	n := float64(len(images))
	out.around = time.Duration(float64(aroundAfter-around) / n)
	out.rate, out.cpu = n/took.Seconds(), time.Duration(float64(after.cpu-before.cpu)/n)
	out.allocated, out.mallocs = (after.allocated-before.allocated)/n, (after.mallocs-before.mallocs)/n
	if out.failed = failed; failed > 0 {
		b.broken = append(b.broken, fmt.Sprintf("%s, %s, %d at once: %d of %d failed; the first: %v", s.name, what,
			atOnce, failed, len(images), first))
	}
	b.loads[s.name] = append(b.loads[s.name], out)
	return nil
}

// each calls f for 0 to n-1, so many at once, and counts the errors.
func each(atOnce, n int, f func(int) error, first *error) (failed int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan int)
	for range atOnce {
		wg.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					mu.Lock()
					if failed++; *first == nil {
						*first = err
					}
					mu.Unlock()
				}
			}
		})
	}

	// Whoever is free takes the next one.
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return failed
}
