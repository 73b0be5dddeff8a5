package attest

import (
	"context"
	"time"

	"github.com/attestor-gate/attestor"
)

// attestedTimeout bounds one answer of an [AttestedBy].
const attestedTimeout = time.Minute

// Standings lists attestations. [Attester] and [Verifier] are two.
type Standings interface {
	// Standing lists the attestations of images under attestors, each verified or
	// with why it is not.
	Standing(ctx context.Context, attestors []string, images []attestor.Image) (attestor.Standing, error)
}

// AttestedBy answers whether every one of some attestors has attested to an
// image.
type AttestedBy struct {
	Of        Standings
	Attestors []string // projects/P/attestors/A; none: it is an error to ask

	// Needs returns who must attest to an image, if a policy governs it: all attestors of a pass, or all of an
	// override. Attestors are asked for where it returns false. nil: always.
	Needs func(attestor.Image) (attestor.AttestNeeds, bool)
}

// Attested reports whether a valid attestation by each attestor stands. An error
// means that it is not known.
func (a AttestedBy) Attested(ctx context.Context, img attestor.Image) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, attestedTimeout)
	defer cancel()

	asked, sets := a.Attestors, [][]string{a.Attestors}
	if a.Needs != nil {
		if needs, governed := a.Needs(img); governed {
			asked, sets = needs.All(), [][]string{needs.For(false), needs.For(true)}
		}
	}
	standing, err := a.Of.Standing(ctx, asked, []attestor.Image{img})
	if err != nil {
		return false, err
	}

	// All attestors of one set: some of each are neither a pass nor an override. An error of Missing is no "yes":
	// nothing is missing of nothing that was looked up.
	for _, set := range sets {
		missing, err := standing.Missing(set, []attestor.Image{img})
		if err != nil {
			return false, err
		}
		if len(missing) == 0 {
			return true, nil
		}
	}
	return false, nil
}
