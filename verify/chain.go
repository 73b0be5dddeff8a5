package verify

import (
	"crypto/sha256"

	"github.com/attestor-gate/attestor"
)

// chain is a digest over an ordered list of digests: two lists have the same
// chain only if they are equal.
type chain [sha256.Size]byte

// next extends a chain by one digest.
func (c chain) next(d attestor.Digest) chain {
	// 71 bytes are sha256: and 64 hex digits, the only form of a digest here.
	var buf [sha256.Size + 1 + 71]byte
	n := copy(buf[:], c[:])
	n += copy(buf[n:], " ")
	n += copy(buf[n:], d)
	return sha256.Sum256(buf[:n])
}

// chainOf is the chain over digests, lowest layer first.
func chainOf(digests []attestor.Digest) chain {
	var c chain
	for _, d := range digests {
		c = c.next(d)
	}
	return c
}
