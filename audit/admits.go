package audit

import (
	"context"
	"slices"

	"github.com/attestor-gate/attestor"
)

// A Ground is what the record says of an attestation that stands.
type Ground string

// What the record can say.
const (
	// Recorded: a pass or an override names the attestation.
	Recorded Ground = "recorded"
	// Underway: a decision on its digest was begun and has not ended. A crash leaves it so until it is recovered.
	Underway Ground = "underway"
	// Unrecorded: nothing in the record admits by it. The decision was lost, or the gate did not make the attestation.
	Unrecorded Ground = "unrecorded"
)

// GroundOf says on what ground an attestation stands. An attestation that was seen to stand before this call is never
// Unrecorded because its decision is just being made: that was begun before the attestation was stored.
func (s *Store) GroundOf(ctx context.Context, a attestor.Attestation) (Ground, error) {
	if s.none {
		return "", unsupported()
	}

	// What was begun is asked first: a decision that ends between the two questions is found by the second.
	var begun bool
	err := s.begunOf(ctx, a.Digest, &begun)
	if err != nil {
		return "", s.fail("looking for decisions that were begun", err)
	}

	// A denial and a dry run name what stands as well, and admit nothing.
	for _, f := range []Filter{{Digest: string(a.Digest), Verdict: attestor.Pass}, {Digest: string(a.Digest), BreakGlass: true}} {
		for d, err := range s.Decisions(ctx, f) {
			if err != nil {
				return "", err
			}
			named := func(n attestor.Attestation) bool { return n.Occurrence == a.Occurrence && n.Digest == a.Digest }
			if groundOf(d).admits() && slices.ContainsFunc(d.Attestations, named) {
				return Recorded, nil
			}
		}
	}
	if begun {
		return Underway, nil
	}
	return Unrecorded, nil
}

func (s *Store) begunOf(ctx context.Context, d attestor.Digest, begun *bool) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM decisions d WHERE d.state = 'begun' AND NOT d.moved
		AND EXISTS (SELECT 1 FROM decision_digests g WHERE g.decision = d.id AND g.digest = $1))`, string(d)).Scan(begun)
}
