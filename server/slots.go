package server

import (
	"context"
	"fmt"
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
// all callers together, and of each one.
type slots struct {
	running chan struct{}
	waiting chan struct{}
	wait    time.Duration // how long a request waits
	limits  string        // names for messages

	mu     sync.Mutex
	shares map[string]*share // by caller, of those who have a request; guarded by mu
}

// A share is what one caller holds.
type share struct {
	running chan struct{}
	waiting int // guarded by slots.mu
	users   int // requests that run, wait or begin to; guarded by slots.mu
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

func makeSlots(running, waiting int, wait time.Duration, limits string) *slots {
	return &slots{
		running: make(chan struct{}, running), waiting: make(chan struct{}, waiting), wait: wait, limits: limits,
		shares: map[string]*share{},
	}
}

// portion is how many of n places one caller may hold: three of four, and not the
// last one. Others always find a place soon, and a single caller most of all places.
func portion(n int) int { return max(1, n*3/4) }

// enter counts a request of a caller.
func (s *slots) enter(caller string) *share {
	s.mu.Lock()
	defer s.mu.Unlock()

	own := s.shares[caller]
	if own == nil {
		own = &share{running: make(chan struct{}, portion(cap(s.running)))}
		s.shares[caller] = own
	}
	own.users++
	return own
}

func (s *slots) leave(caller string, own *share) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if own.users--; own.users == 0 {
		delete(s.shares, caller)
	}
}

// take waits for a slot. The function that it returns gives the slot back, and
// must be called.
func (s *slots) take(ctx context.Context, caller string) (release func(), err error) {
	own := s.enter(caller)
	defer func() {
		if err != nil {
			s.leave(caller, own)
		}
	}()
	release = func() {
		<-s.running
		<-own.running
		s.leave(caller, own)
	}

	if own.tryBoth(s) {
		return release, nil
	}

	// The queue is bounded, so that the memory of waiting requests is too.
	done, err := s.queue(own)
	if err != nil {
		return nil, err
	}
	defer done()

	timer := time.NewTimer(s.wait)
	defer timer.Stop()

	// The caller's own place comes first: waiting for it, a request holds none that
	// others could have.
	for _, place := range []chan struct{}{own.running, s.running} {
		select {
		case place <- struct{}{}:
			continue
		case <-timer.C:
			err = busy(fmt.Sprintf("no running request (of %d) ended within %v (%s)", cap(place), s.wait, s.limits))
		case <-ctx.Done():
			err = &attestor.Error{
				Kind: attestor.Unavailable,
				Msg:  "the request ended while it waited in the queue; nothing was decided",
				Fix:  "send it again",
				Err:  ctx.Err(),
			}
		}
		if place == s.running {
			<-own.running
		}
		return nil, err
	}
	return release, nil
}

// tryBoth takes a slot if the caller and the class have one at once.
func (own *share) tryBoth(s *slots) bool {
	select {
	case own.running <- struct{}{}:
	default:
		return false
	}

	select {
	case s.running <- struct{}{}:
		return true
	default:
		<-own.running
		return false
	}
}

// queue takes a place among those who wait. done gives it back.
func (s *slots) queue(own *share) (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if len(s.waiting) == cap(s.waiting) {
		return nil, busy(fmt.Sprintf("as many requests run (%d) and wait (%d) as are allowed (%s)",
			cap(s.running), cap(s.waiting), s.limits))
	}
	if most := portion(cap(s.waiting)); own.waiting >= most {
		return nil, busy(fmt.Sprintf("of this identity, as many requests wait (%d) as one may have of %d (%s)",
			most, cap(s.waiting), s.limits))
	}

	// There is room: only under the lock does anyone send.
	s.waiting <- struct{}{}
	own.waiting++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		<-s.waiting
		own.waiting--
	}, nil
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
	ownBodyBytes = 8 << 20  // of one
)

// bodies count the bytes of the large bodies that are held.
type bodies struct {
	mu   sync.Mutex
	all  int64            // guarded by mu
	held map[string]int64 // by caller; guarded by mu
}

// hold counts n bytes of a caller. The function that it returns gives them back.
func (b *bodies) hold(caller string, n int64) (release func(), err error) {
	if n <= smallBody {
		return func() {}, nil
	}

	b.mu.Lock()
	defer b.mu.Unlock()

	if b.all+n > bodyBytes || b.held[caller]+n > ownBodyBytes {
		return nil, busy(fmt.Sprintf("it holds as many large bodies as it allows: %d MiB, %d MiB of one identity",
			bodyBytes>>20, ownBodyBytes>>20))
	}
	b.all += n
	b.held[caller] += n
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.all -= n
		if b.held[caller] -= n; b.held[caller] == 0 {
			delete(b.held, caller)
		}
	}, nil
}
