// Package lru has the one bounded memory of this module: what was used least
// recently is forgotten first.
package lru

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Entry is about what one entry takes beside the bytes that it is counted by:
// key, list and map.
const Entry = 512

// A Cache keeps values until the sum of their sizes exceeds its limit. Size is
// whatever its user counts: entries or bytes. It is safe for concurrent use.
type Cache[K comparable, V any] struct {
	limit int64

	mu   sync.Mutex
	size int64                       // of all entries; guarded by mu
	lru  *simplelru.LRU[K, sized[V]] // guarded by mu
}

type sized[V any] struct {
	value V
	size  int64
}

// New returns a cache whose entries have sizes of limit at most in sum.
func New[K comparable, V any](limit int64) *Cache[K, V] {
	c := &Cache[K, V]{limit: limit}

	// The library counts entries, this package sizes: its own limit is out of reach.
	c.lru, _ = simplelru.NewLRU(math.MaxInt, func(_ K, v sized[V]) { c.size -= v.size })
	return c
}

// Get returns the value of k and marks it as used.
func (c *Cache[K, V]) Get(k K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.lru.Get(k)
	return v.value, ok
}

// Put keeps v, which counts as size. A value larger than a quarter of the limit
// is not kept, so that one image cannot empty the cache; what k had is forgotten
// all the same.
func (c *Cache[K, V]) Put(k K, v V, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lru.Remove(k)
	if size > max(c.limit/4, 1) {
		return
	}

	c.lru.Add(k, sized[V]{v, size})
	c.size += size
	for c.size > c.limit {
		c.lru.RemoveOldest()
	}
}

// Remove forgets k.
func (c *Cache[K, V]) Remove(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lru.Remove(k)
}

// Len is the number of entries.
func (c *Cache[K, V]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lru.Len()
}
