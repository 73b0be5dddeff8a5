package attest

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
)

// maxVerified bounds what is remembered, twice.
const maxVerified = 4096

// verified remembers which signatures one reading of an attestor's keys has
// verified: the same bytes by the same key verify again. A signature is checked
// when it is made, when it is read back, and when it is found to stand. Nothing
// is remembered of what does not verify, nor beyond that reading.
type verified struct {
	mu       sync.Mutex
	now, old map[[sha256.Size]byte]struct{} // guarded by mu
}

// signatureSum stands for a key, by its place among the attestor's, and for
// what it is said to have signed; no two lists of fields have the same bytes.
func signatureSum(key int, message, signature []byte) [sha256.Size]byte {
	h := sha256.New()
	var n [16]byte
	binary.BigEndian.PutUint64(n[:8], uint64(key)) //nolint:gosec // an index
	binary.BigEndian.PutUint64(n[8:], uint64(len(message)))
	h.Write(n[:])
	h.Write(message)
	h.Write(signature)
	return [sha256.Size]byte(h.Sum(nil))
}

func (v *verified) has(sum [sha256.Size]byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.now[sum]
	if !ok {
		_, ok = v.old[sum]
	}
	return ok
}

func (v *verified) note(sum [sha256.Size]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.now == nil || len(v.now) >= maxVerified {
		v.now, v.old = map[[sha256.Size]byte]struct{}{}, v.now
	}
	v.now[sum] = struct{}{}
}
