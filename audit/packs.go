package audit

import "sync"

// What packs keeps: small blobs, of which the same come with every decision, or
// with the beginning and the end of one.
const (
	maxPack  = 64 << 10 // bytes of one blob, unpacked
	maxPacks = 2 << 20  // bytes of all that is kept, packed, twice
)

// packs remembers what blobs are when packed.
type packs struct {
	mu       sync.Mutex
	size     int               // of now; guarded by mu
	now, old map[string][]byte // by hash; guarded by mu
}

func newPacks() *packs { return &packs{now: map[string][]byte{}} }

// pack returns b.data packed; the result must not be changed.
func (s *Store) pack(b blob) []byte {
	if len(b.data) > maxPack {
		return s.enc.EncodeAll(b.data, nil)
	}
	if packed, ok := s.packs.find(b.hash); ok {
		return packed
	}
	packed := s.enc.EncodeAll(b.data, nil)
	s.packs.keep(b.hash, packed)
	return packed
}

func (p *packs) find(hash string) ([]byte, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, ok := p.now[hash]
	if !ok {
		b, ok = p.old[hash]
	}
	return b, ok
}

func (p *packs) keep(hash string, b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.size += len(b) + len(hash); p.size > maxPacks {
		p.size, p.now, p.old = 0, map[string][]byte{}, p.now
	}
	p.now[hash] = b
}
