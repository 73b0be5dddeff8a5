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
}

// Attested reports whether a valid attestation by each attestor stands. An error
// means that it is not known.
func (a AttestedBy) Attested(ctx context.Context, img attestor.Image) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, attestedTimeout)
	defer cancel()

	standing, err := a.Of.Standing(ctx, a.Attestors, []attestor.Image{img})
	if err != nil {
		return false, err
	}

	// An error of Missing is no "yes": nothing missing of nothing looked up.
	missing, err := standing.Missing(a.Attestors, []attestor.Image{img})
	return err == nil && len(missing) == 0, err
}
