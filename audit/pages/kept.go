package pages

import (
	"time"

	"github.com/attestor-gate/attestor/internal/lru"
)

const (
	keptFor  = time.Minute // at most
	maxKept  = 64
	keptPart = 20 // what took t to compute is kept for keptPart × t
)

// Kept keeps values that take seconds to compute and are looked at often. What is
// quick is computed again, so that a small record is never stale. It is safe for
// concurrent use.
type Kept[K comparable, V any] struct {
	now   func() time.Time
	cache *lru.Cache[K, kept[V]]
}

type kept[V any] struct {
	value V
	until time.Time
}

// NewKept returns an empty Kept. now is its clock.
func NewKept[K comparable, V any](now func() time.Time) *Kept[K, V] {
	return &Kept[K, V]{now: now, cache: lru.New[K, kept[V]](maxKept)}
}

// Get returns the value of a key, computed a minute ago at most. An error is not
// kept. The key must name whoever may see the value: what one caller may read is
// never another's.
func (k *Kept[K, V]) Get(key K, compute func() (V, error)) (V, error) {
	start := k.now()
	if found, ok := k.cache.Get(key); ok && start.Before(found.until) {
		return found.value, nil
	}

	value, err := compute()
	if err != nil {
		return value, err
	}

	took := k.now().Sub(start)
	k.cache.Put(key, kept[V]{value, start.Add(min(keptFor, keptPart*took))}, 1)
	return value, nil
}
