package attest

import (
	"context"
	"crypto"
	"strconv"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"

	"github.com/attestor-gate/attestor"
)

// SetPause replaces waiting, so that tests take no time.
func (a *Attester) SetPause(f func(ctx context.Context, d time.Duration) error) { a.pause = f }

// KeyID is the signer's id.
func KeyID(s Signer) string { return s.id() }

// KeyIDOf is the id of a PKIX key.
func KeyIDOf(pub crypto.PublicKey) (string, error) { return keyIDOf(pub) }

// CRC32C is the checksum of Cloud KMS.
func CRC32C(b []byte) int64 { return crc32c(b) }

// SignNothing has a signer sign for no warrant.
func SignNothing(ctx context.Context, s Signer) ([]byte, error) {
	alg, _ := algorithmOf(binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256)
	return s.sign(ctx, warrant{}, plain, alg)
}

// Pause is the real waiting.
func Pause(ctx context.Context, d time.Duration) error { return pause(ctx, d) }

// Remember fills a memory and reports how much of it is left.
func Remember(n int) (left int, last bool) {
	m := newMemory()
	for i := range n {
		m.note("a", "n", attestor.Digest(strconv.Itoa(i)), "o", "k")
	}
	_, last = m.find("a", "n", attestor.Digest(strconv.Itoa(n-1)))
	return len(m.now) + len(m.old), last
}

// CheckStatement is the parser of other people's payloads.
func CheckStatement(payload []byte, d attestor.Digest) error { return checkStatement(payload, d) }
