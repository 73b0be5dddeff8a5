package attest

import (
	"context"
	"crypto"
	"strconv"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

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

// CheckInTurn checks occurrences by one reading of an attestor's keys, and
// returns why each does not admit.
func CheckInTurn(att *binaryauthorizationpb.Attestor, d attestor.Digest, now time.Time, occurrences ...*grafeaspb.Occurrence) []string {
	t := newTrust(att, now)
	var out []string
	for _, o := range occurrences {
		out = append(out, t.check(o, t.note, d, now).why)
	}
	return out
}

// RememberVerified notes n signatures and reports how many are remembered.
func RememberVerified(n int) int {
	v := &verified{}
	for i := range n {
		v.note(signatureSum(i, nil, nil))
	}
	return len(v.now) + len(v.old)
}

// SignatureSum is what stands for a verified signature.
func SignatureSum(key int, message, signature string) [32]byte {
	return signatureSum(key, []byte(message), []byte(signature))
}
