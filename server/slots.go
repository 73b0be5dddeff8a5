package server

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/attestor-gate/attestor"
)

// A class of routes has slots of its own, so that who reads the record takes nothing
// from those who wait for a decision.
type class int

// The classes. The zero value is for decisions.
const (
	decides   class = iota
	reads           // answers with many decisions
	weighs          // reads a long period: one request may take minutes
	documents       // reads a long text: memory, and at most some seconds
	classes
)

// slots bound how many requests run at the same time, and how many wait for that: of
// all callers together, of each team and of each caller. What becomes free goes to the
// team that holds least.
type slots struct {
	most  int           // requests that run
	queue int           // requests that wait
	wait  time.Duration // how long one waits
	names string        // of the limits, for messages

	mu      sync.Mutex
	running int                // guarded by mu
	waiting int                // guarded by mu
	turn    uint64             // counts who comes and who is served; guarded by mu
	tenants map[string]*tenant // by key, of those who have a request; guarded by mu
}

// A tenant is a team, or a caller without one. Its fields are guarded by slots.mu.
type tenant struct {
	key     string
	team    bool
	running int
	served  uint64           // when it was served last
	line    []*waiter        // who waits, the longest first
	callers map[string]*held // of those who have a request
}

// held is what one caller has.
type held struct{ running, waiting int }

// A waiter is a request that waits.
type waiter struct {
	tenant *tenant
	caller string
	since  uint64     // when it came
	answer chan error // nil: it runs; the error: it was sent away. One message
}

// newSlots returns the slots of each class.
func newSlots(l Limits) [classes]*slots {
	return [classes]*slots{
		decides: makeSlots(l.Concurrent, l.Queue, queueWait, "limits.concurrency, limits.queue"),
		reads: makeSlots(max(2, l.Concurrent/8), max(4, l.Queue/8), queueWait,
			"an eighth of limits.concurrency and limits.queue"),

		// One identity has one slot of these: its second request waits for its first,
		// which may rightly read for long.
		weighs:    makeSlots(2, 16, longWait, "a fixed number"),
		documents: makeSlots(2, 16, longWait, "a fixed number"),
	}
}

func makeSlots(running, waiting int, wait time.Duration, names string) *slots {
	return &slots{most: running, queue: waiting, wait: wait, names: names, tenants: map[string]*tenant{}}
}

// portion is how many of n places one caller, or one team, may hold: three of four, and
// not the last one. Others always find a place soon, and a single caller most of all
// places.
func portion(n int) int { return max(1, n*3/4) }

// own is how many of n places one caller of a tenant may hold: of a team's, again a portion.
func (t *tenant) own(n int) int {
	if t.team {
		return portion(portion(n))
	}
	return portion(n)
}

// inUse is how many requests run.
func (s *slots) inUse() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running
}

// take waits for a slot. The function that it returns gives the slot back, and
// must be called once.
func (s *slots) take(ctx context.Context, c attestor.Caller) (release func(), err error) {
	s.mu.Lock()
	t, caller := s.tenant(c), callerKey(c)
	if s.mayRun(t, caller) {
		s.run(t, caller)
		s.mu.Unlock()
		return func() { s.giveBack(t, caller) }, nil
	}

	// The queue is bounded, so that the memory of waiting requests is too.
	w, err := s.enqueue(t, caller)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}

	timer := time.NewTimer(s.wait)
	defer timer.Stop()
	select {
	case err = <-w.answer:
	case <-timer.C:
		err = s.leave(w,
			busy(fmt.Sprintf("no running request (of %d, and of one identity or team %d) ended within %v (%s)",
				s.most, portion(s.most), s.wait, s.names)))
	case <-ctx.Done():
		err = s.leave(w, &attestor.Error{
			Kind: attestor.Unavailable,
			Msg:  "the request ended while it waited in the queue; nothing was decided",
			Fix:  "send it again",
			Err:  ctx.Err(),
		})
	}
	if err != nil {
		return nil, err
	}
	return func() { s.giveBack(t, caller) }, nil
}

// tenant finds who a caller's requests count for. s.mu is held.
func (s *slots) tenant(c attestor.Caller) *tenant {
	key := tenantKey(c)
	t := s.tenants[key]
	if t == nil {
		t = &tenant{key: key, team: c.Team != "", callers: map[string]*held{}}
		s.tenants[key] = t
	}
	if caller := callerKey(c); t.callers[caller] == nil {
		t.callers[caller] = &held{}
	}
	return t
}

// tenantKey says for whom a caller's requests count: for its team or, without one, for itself.
func tenantKey(c attestor.Caller) string {
	if c.Team != "" {
		return "team\n\n" + c.Team // no caller's key has an empty line
	}
	return callerKey(c)
}

// mayRun reports whether a caller's request may run now. s.mu is held.
func (s *slots) mayRun(t *tenant, caller string) bool {
	return s.running < s.most && t.running < portion(s.most) && t.callers[caller].running < t.own(s.most)
}

// run counts a request that begins. s.mu is held.
func (s *slots) run(t *tenant, caller string) {
	s.running++
	t.running++
	t.callers[caller].running++
	s.turn++
	t.served = s.turn
}

// giveBack counts a request that ended, and begins one that waited.
func (s *slots) giveBack(t *tenant, caller string) {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.running--
	t.running--
	t.callers[caller].running--
	s.forget(t, caller)

	// Several may begin: the portions of this tenant and caller have become free, too.
	for next := s.next(); next != nil; next = s.next() {
		s.remove(next)
		s.run(next.tenant, next.caller)
		next.answer <- nil
	}
}

// next is who runs next: of the tenants whose request may run, the one that holds least, and of equals the one that was
// served longest ago; within it the caller who holds least. nil: nobody may. s.mu is held.
func (s *slots) next() *waiter {
	var best *waiter
	for _, t := range s.tenants {
		var first *waiter
		for _, w := range t.line {
			if s.mayRun(t, w.caller) &&
				(first == nil || t.callers[w.caller].running < t.callers[first.caller].running) {
				first = w
			}
		}
		if first == nil {
			continue
		}
		if best == nil || cmp.Or(
			cmp.Compare(t.running, best.tenant.running), cmp.Compare(t.served, best.tenant.served),
			cmp.Compare(first.since, best.since),
		) < 0 {
			best = first
		}
	}

	return best
}

// enqueue takes a place among those who wait. s.mu is held.
func (s *slots) enqueue(t *tenant, caller string) (_ *waiter, err error) {
	defer func() {
		if err != nil {
			s.forget(t, caller)
		}
	}()

	// The places are shared alike: whoever has two more than the newcomer gives up the newest.
	longest := t
	for _, o := range s.tenants {
		if len(o.line) > len(longest.line) {
			longest = o
		}
	}
	full := s.waiting == s.queue
	busyAll := busy(fmt.Sprintf("as many requests run (%d) and wait (%d) as are allowed (%s)", s.most,
		s.queue, s.names))
	if full && len(longest.line) < len(t.line)+2 {
		return nil, busyAll
	}

	// An identity and a team have their portions, whoever else waits.
	if most := t.own(s.queue); t.callers[caller].waiting >= most {
		return nil, busy(fmt.Sprintf("of this identity, as many requests wait (%d) as one may have of %d (%s)", most,
			s.queue, s.names))
	}
	if most := portion(s.queue); len(t.line) >= most {
		return nil, busy(fmt.Sprintf("of this team, as many requests wait (%d) as one may have of %d (%s)", most,
			s.queue, s.names))
	}
	if full {
		newest := longest.line[len(longest.line)-1]
		s.remove(newest)
		s.forget(newest.tenant, newest.caller)
		newest.answer <- busyAll
	}

	s.turn++
	w := &waiter{tenant: t, caller: caller, since: s.turn, answer: make(chan error, 1)}
	t.line = append(t.line, w)
	t.callers[caller].waiting++
	s.waiting++
	return w, nil
}

// remove takes a request out of the queue. s.mu is held.
func (s *slots) remove(w *waiter) {
	w.tenant.line = slices.DeleteFunc(w.tenant.line, func(o *waiter) bool { return o == w })
	w.tenant.callers[w.caller].waiting--
	s.waiting--
}

// leave ends the wait of a request for a reason of its own, unless it got an answer meanwhile: that counts, since
// a slot that it was given would otherwise be lost.
func (s *slots) leave(w *waiter, why error) error {
	s.mu.Lock()
	defer s.mu.Unlock()

	select {
	case err := <-w.answer:
		return err
	default:
	}
	s.remove(w)
	s.forget(w.tenant, w.caller)
	return why
}

// forget drops what is known of a caller and a tenant without requests. s.mu is held.
func (s *slots) forget(t *tenant, caller string) {
	if h := t.callers[caller]; h != nil && h.running == 0 && h.waiting == 0 {
		delete(t.callers, caller)
	}
	if len(t.callers) == 0 {
		delete(s.tenants, t.key)
	}
}

func busy(why string) error {
	return &limited{
		after: 2 * time.Second,
		err: &attestor.Error{
			Kind: attestor.TooMany,
			Msg:  "the gate is busy: " + why,
			Fix:  "send the request again after the time in Retry-After; nothing was decided",
		},
	}
}

// Limits of the bodies that are in memory at the same time. Small ones are not
// counted: what a build sends has some hundred bytes.
const (
	smallBody    = 64 << 10
	bodyBytes    = 32 << 20 // of all callers
	ownBodyBytes = 8 << 20  // of one, or of one team
)

// bodies count the bytes of the large bodies that are held.
type bodies struct {
	mu   sync.Mutex
	all  int64            // guarded by mu
	held map[string]int64 // by tenant; guarded by mu
}

// hold counts n bytes of a tenant. The function that it returns gives them back.
func (b *bodies) hold(tenant string, n int64) (release func(), err error) {
	if n <= smallBody {
		return func() {}, nil
	}

	b.mu.Lock()
	defer b.mu.Unlock()

	if b.all+n > bodyBytes || b.held[tenant]+n > ownBodyBytes {
		return nil,
			busy(fmt.Sprintf("it holds as many large bodies as it allows: %d MiB, %d MiB of one identity or team",
				bodyBytes>>20, ownBodyBytes>>20))
	}
	b.all += n
	b.held[tenant] += n
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.all -= n
		if b.held[tenant] -= n; b.held[tenant] == 0 {
			delete(b.held, tenant)
		}
	}, nil
}
