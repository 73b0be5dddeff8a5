package attest

import (
	"context"
	"crypto"
	"errors"
	"hash/crc32"
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
func CRC32C(b []byte) int64 { return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))) }

// SignNothing has a signer sign for no warrant.
func SignNothing(ctx context.Context, s Signer) ([]byte, error) {
	alg, _ := algorithmOf(binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256)
	return s.sign(ctx, warrant{}, plain, alg)
}

// Signed is what a warrant of parts would have signed: in the form n, the first of which is 1.
func Signed(decision string, img attestor.Image, n int) ([]byte, error) {
	w := warrant{decision: decision, image: img}
	return w.message(form(n))
}

// SeenAfter has an Attester remember n attestations and reports how many it has.
func SeenAfter(a *Attester, n int) int {
	for i := range n {
		a.remember(attestor.Attestation{Digest: attestor.Digest(strconv.Itoa(i))})
	}
	return a.seen.Len()
}

// VerifyOccurrence returns nil if an occurrence admits the digest under an
// attestor, and why it does not otherwise.
func VerifyOccurrence(att *binaryauthorizationpb.Attestor, o *grafeaspb.Occurrence, d attestor.Digest, now time.Time) error {
	t := newTrust(att, now)
	if c := t.check(o, t.note, d, now); c.why != "" {
		return errors.New(c.why)
	}
	return nil
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

// SignatureSum is what stands for a verified signature.
func SignatureSum(key int, message, signature string) [32]byte {
	return signatureSum(key, []byte(message), []byte(signature))
}

// CheckAtTimes checks one occurrence at several times by one reading of an
// attestor's keys, and returns why it does not admit at each.
func CheckAtTimes(att *binaryauthorizationpb.Attestor, d attestor.Digest, o *grafeaspb.Occurrence, times ...time.Time) []string {
	t := newTrust(att, times[0])
	var out []string

	for _, now := range times {
		out = append(out, t.check(o, t.note, d, now).why)
	}
	return out
}

// RememberedAfter checks occurrences by one reading of an attestor's keys, and
// returns how many signatures it remembers.
func RememberedAfter(att *binaryauthorizationpb.Attestor, d attestor.Digest, now time.Time, occurrences ...*grafeaspb.Occurrence) int {
	t := newTrust(att, now)
	for _, o := range occurrences {
		t.check(o, t.note, d, now)
	}
	return t.verified.Len()
}
