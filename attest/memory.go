package attest

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/lru"
)

// maxSeen bounds the occurrences that an Attester remembers.
const maxSeen = 8192

// A seenKey names the occurrence that admits a digest.
type seenKey struct {
	attestor, note string
	digest         attestor.Digest
}

// seen is an occurrence that this process verified or made. It is a hint where
// to look while lists lag, and never an answer: what it names is read again.
type seen struct{ occurrence, keyID string }

func (a *Attester) remember(m attestor.Attestation) {
	a.seen.Put(seenKey{m.Attestor, m.Note, m.Digest}, seen{m.Occurrence, m.PublicKeyID}, 1)
}

// maxVerified bounds the signatures that one reading of an attestor's keys
// remembers.
const maxVerified = 4096

// verifiedSignatures are those that one reading of an attestor's keys has
// verified, by [signatureSum]: the same bytes by the same key verify again. A
// signature is checked when it is made, when it is read back and when it is
// listed. Nothing is remembered of signatures that do not verify, and nothing
// outlives the reading, so that a key that was removed vouches for nothing.
type verifiedSignatures = lru.Cache[[sha256.Size]byte, struct{}]

// signatureSum identifies a signature over a message by a key, which is given
// by its place among the attestor's. Numbers have a fixed width and the length
// of the message comes first, so that no two triples have the same bytes.
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
