package pages

import (
	"errors"
	"sync"
	"time"

	"github.com/attestor-gate/attestor/internal/lru"
)

const (
	keptFor    = time.Minute      // at most, where something changed
	keptAtRest = 10 * time.Minute // at most, where nothing did
	maxKept    = 64
	keptPart   = 20  // what took t to compute is kept for keptPart × t
	keptRest   = 600 // and for keptRest × t where nothing changed
)

// Kept keeps values that take seconds to compute and are looked at often. Whoever asks
// for a value while it is computed waits for the same computation. What is quick is
// computed again as soon as something changed, so that a small record is never stale.
// It is safe for concurrent use.
type Kept[K comparable, V any] struct {
	now   func() time.Time
	cache *lru.Cache[K, kept[V]]

	mu      sync.Mutex
	running map[K]*computation[V] // guarded by mu
}

type kept[V any] struct {
	value         V
	until, atRest time.Time
	of            string // state of the record
}

// A computation is one that somebody waits for. value and err are set before done is
// closed.
type computation[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// NewKept returns an empty Kept. now is its clock.
func NewKept[K comparable, V any](now func() time.Time) *Kept[K, V] {
	return &Kept[K, V]{now: now, cache: lru.New[K, kept[V]](maxKept), running: map[K]*computation[V]{}}
}

// Get returns the value of a key, computed a minute ago at most, or ten where the
// state is still the same. An error is not kept. The key must name whoever may see
// the value: what one caller may read is never another's.
func (k *Kept[K, V]) Get(key K, state func() (string, error), compute func() (V, error)) (V, error) {
	start := k.now()
	found, ok := k.cache.Get(key)
	if ok && start.Before(found.until) {
		return found.value, nil
	}

	// The state is read before the value is computed: what changes meanwhile makes the
	// value look older than it is, never newer.
	now, err := state()
	if err != nil {
		var none V
		return none, err
	}
	if ok && found.of == now && start.Before(found.atRest) {
		return found.value, nil
	}

	c, mine := k.join(key)
	if !mine {
		<-c.done
		return c.value, c.err
	}
	defer k.leave(key, c)

	// Who waits gets an error and not nothing, should compute panic.
	c.err = errors.New("computing a page failed")
	c.value, c.err = compute()
	if c.err == nil {
		took := k.now().Sub(start)
		k.cache.Put(key, kept[V]{
			c.value, start.Add(min(keptFor, keptPart*took)), start.Add(min(keptAtRest, keptRest*took)), now,
		}, 1)
	}
	return c.value, c.err
}

// join returns the computation of a key, and whether it is the caller's to do.
func (k *Kept[K, V]) join(key K) (c *computation[V], mine bool) {
	k.mu.Lock()
	defer k.mu.Unlock()

	if c := k.running[key]; c != nil {
		return c, false
	}
	c = &computation[V]{done: make(chan struct{})}
	k.running[key] = c
	return c, true
}

func (k *Kept[K, V]) leave(key K, c *computation[V]) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.running, key)
	close(c.done)
}
