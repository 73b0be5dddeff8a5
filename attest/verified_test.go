package attest_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor/attest"
)

// What was verified once verifies again, and nothing else does for it: not the
// same signature over another payload, for another digest, by another key of
// the attestor or under another id, nor one that differs by a bit.
func TestWhatWasVerifiedVouchesForItselfOnly(t *testing.T) {
	key, other := newKey(t), newKey(t)
	d := digest(1)
	resource := repository + "@" + string(d)
	good := signed(t, key, "a", resource, compact(repository, d))
	signature := good.GetAttestation().GetSignatures()[0].GetSignature()
	flipped := bytes.Clone(signature)
	flipped[len(flipped)-1] ^= 1
	with := func(f func(*grafeaspb.AttestationOccurrence)) *grafeaspb.Occurrence {
		return change(copied(t, good), func(o *grafeaspb.Occurrence) { f(o.GetAttestation()) })
	}

	tests := map[string]*grafeaspb.Occurrence{
		"another payload":     with(func(a *grafeaspb.AttestationOccurrence) { a.SerializedPayload = compact("gcr.io/x/y", d) }),
		"a longer payload":    with(func(a *grafeaspb.AttestationOccurrence) { a.SerializedPayload = append(compact(repository, d), ' ') }),
		"a flipped signature": with(func(a *grafeaspb.AttestationOccurrence) { a.GetSignatures()[0].Signature = flipped }),
		"a longer signature": with(func(a *grafeaspb.AttestationOccurrence) {
			a.GetSignatures()[0].Signature = append(bytes.Clone(signature), 0)
		}),
		"another key":      with(func(a *grafeaspb.AttestationOccurrence) { a.GetSignatures()[0].PublicKeyId = "b" }),
		"an unknown key":   with(func(a *grafeaspb.AttestationOccurrence) { a.GetSignatures()[0].PublicKeyId = "c" }),
		"another digest's": change(copied(t, good), func(o *grafeaspb.Occurrence) { o.ResourceUri = repository + "@" + string(digest(2)) }),
	}

	att := newProtoAttestor(pkix(t, "a", key.Public(), p256), pkix(t, "b", other.Public(), p256))
	for name, bad := range tests {
		t.Run(name, func(t *testing.T) {
			got := attest.CheckInTurn(att, d, time.Unix(1_800_000_000, 0), good, good, bad, good, bad)
			for i, admits := range []bool{true, true, false, true, false} {
				if (got[i] == "") != admits {
					t.Errorf("check %d: %q", i, got[i])
				}
			}
		})
	}

	if got := attest.CheckInTurn(newProtoAttestor(pkix(t, "a", other.Public(), p256)), d, time.Unix(1_800_000_000, 0), good); got[0] == "" {
		t.Error("what one reading of the keys verified vouches for it by another")
	}
}

// Two pairs of payload and signature have two sums, though their bytes in a row
// be the same.
func TestSignatureSumsDiffer(t *testing.T) {
	if a, b := attest.SignatureSum(1, "ab", "c"), attest.SignatureSum(1, "a", "bc"); a == b {
		t.Error("two pairs of payload and signature have one sum: " + fmt.Sprint(a))
	}
}

func copied(t *testing.T, o *grafeaspb.Occurrence) *grafeaspb.Occurrence {
	t.Helper()
	c, ok := proto.Clone(o).(*grafeaspb.Occurrence)
	if !ok {
		t.Fatal("a clone of another type")
	}

	return c
}
