package signed

import (
	"sync"
	"time"
)

// maxCached bounds the memory of results; a gate has some hundred bases.
const maxCached = 4096

// cache remembers who signed what, for a lifetime. Only signatures that were
// found are remembered: that a base is unsigned may be mended at any moment,
// and a failure to find out says nothing.
type cache struct {
	lifetime time.Duration
	now      func() time.Time

	mu      sync.Mutex
	entries map[string]cached // guarded by mu
}

type cached struct {
	value string
	until time.Time
}

func newCache(lifetime time.Duration, now func() time.Time) *cache {
	return &cache{lifetime: lifetime, now: now, entries: map[string]cached{}}
}

func (c *cache) get(key string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok || !c.now().Before(e.until) {
		delete(c.entries, key)
		return "", false
	}
	return e.value, true
}

func (c *cache) put(key, value string) {
	if c.lifetime < 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= maxCached {
		c.evict()
	}
	c.entries[key] = cached{value: value, until: c.now().Add(c.lifetime)}
}

// evict drops what has expired, or, if nothing has, everything: the cost is a
// second look, and no order needs keeping.
func (c *cache) evict() {
	now := c.now()
	for k, e := range c.entries {
		if !now.Before(e.until) {
			delete(c.entries, k)
		}
	}
	if len(c.entries) >= maxCached {
		clear(c.entries)
	}
}
