package signed

import (
	"time"

	"github.com/attestor-gate/attestor/internal/lru"
)

// maxCached bounds the memory of results; a gate has some hundred bases.
const maxCached = 4096

// cache remembers the signer of a digest, and the keys that were fetched, for a
// lifetime. A signature that was valid stays valid: Sigstore has no revocation.
// Only successes are remembered: a base that is unsigned may be signed at any
// moment, and a failure says nothing about it.
type cache struct {
	lifetime time.Duration
	now      func() time.Time
	entries  *lru.Cache[string, cached]
}

type cached struct {
	value string
	until time.Time
}

func newCache(lifetime time.Duration, now func() time.Time) *cache {
	return &cache{lifetime: lifetime, now: now, entries: lru.New[string, cached](maxCached)}
}

func (c *cache) get(key string) (string, bool) {
	e, ok := c.entries.Get(key)
	if !ok || !c.now().Before(e.until) {
		return "", false
	}
	return e.value, true
}

func (c *cache) put(key, value string) {
	if c.lifetime < 0 {
		return
	}

	c.entries.Put(key, cached{value: value, until: c.now().Add(c.lifetime)}, 1)
}
