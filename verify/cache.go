package verify

import (
	"container/list"
	"sync"
)

// lru keeps values until the sum of their sizes exceeds max; the ones not used
// for longest go first. It is safe for concurrent use.
type lru[K comparable, V any] struct {
	max int64

	mu    sync.Mutex
	size  int64
	order *list.List // of *item[K, V], most recent first
	items map[K]*list.Element
}

type item[K comparable, V any] struct {
	key   K
	value V
	size  int64
}

func newLRU[K comparable, V any](max int64) *lru[K, V] {
	return &lru[K, V]{max: max, order: list.New(), items: map[K]*list.Element{}}
}

func (c *lru[K, V]) get(k K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.items[k]
	if !ok {
		var zero V
		return zero, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*item[K, V]).value, true
}

// bookkeeping is about what an item takes beside the bytes that it is counted
// by: key, list and map.
const bookkeeping = 512

// put keeps v, which counts as size. What is larger than a quarter of the
// whole is not kept, so that one image cannot empty the cache.
func (c *lru[K, V]) put(k K, v V, size int64) {
	if size > c.max/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.items[k]; ok {
		c.drop(e)
	}
	c.items[k] = c.order.PushFront(&item[K, V]{key: k, value: v, size: size})
	c.size += size
	for c.size > c.max {
		c.drop(c.order.Back())
	}
}

func (c *lru[K, V]) drop(e *list.Element) {
	it := c.order.Remove(e).(*item[K, V])
	delete(c.items, it.key)
	c.size -= it.size
}
