package attest

import (
	"sync"

	"github.com/attestor-gate/attestor"
)

// maxRemembered bounds what is remembered, twice.
const maxRemembered = 8192

// memory holds the names of occurrences that this process verified or made.
// It is a hint where to look while lists lag, and never an answer.
type memory struct {
	mu       sync.Mutex
	now, old map[memoryKey]remembered // guarded by mu
}

type memoryKey struct {
	attestor, note string
	digest         attestor.Digest
}

type remembered struct{ occurrence, keyID string }

func newMemory() *memory { return &memory{now: map[memoryKey]remembered{}} }

func (m *memory) note(attestorName, note string, d attestor.Digest, occurrence, keyID string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.now) >= maxRemembered {
		m.now, m.old = map[memoryKey]remembered{}, m.now
	}
	m.now[memoryKey{attestorName, note, d}] = remembered{occurrence, keyID}
}

func (m *memory) find(attestorName, note string, d attestor.Digest) (remembered, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := memoryKey{attestorName, note, d}
	r, ok := m.now[k]
	if !ok {
		r, ok = m.old[k]
	}
	return r, ok
}

func (m *memory) forget(attestorName, note string, d attestor.Digest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := memoryKey{attestorName, note, d}
	delete(m.now, k)
	delete(m.old, k)
}
