package audit

import (
	"context"
	"slices"

	"github.com/attestor-gate/attestor"
)

// maxAttested bounds the decisions that one look-up of [Store.AttestedTo] reads.
const maxAttested = 500

// Attested is what was signed for an image.
type Attested struct {
	Images       []attestor.Image // the image itself first
	Attestations []attestor.Attestation
	Summaries    []attestor.Summary // verification summaries
}

// AttestedTo is what the record knows to have been signed for an image: the image
// itself and, where it was judged as an index, its children, with what the newest
// decisions name. A Store that keeps nothing knows the image alone.
func (s *Store) AttestedTo(ctx context.Context, img attestor.Image) (Attested, error) {
	out := Attested{Images: []attestor.Image{img}}
	if s.none {
		return out, nil
	}

	seen, named := map[attestor.Digest]bool{img.Digest(): true}, map[string]bool{}

	// What was signed was signed for a pass or an override, or for a pass that is an error since not all of it could be
	// stored. The note's own list has the rest; the record adds what that list does not show yet, so that the newest
	// decisions are enough, however often somebody asked.
	for _, f := range []Filter{
		{Image: img.String(), Verdict: attestor.Pass}, {Image: img.String(), BreakGlass: true},
		{Image: img.String(), Verdict: attestor.Undecided},
	} {
		n := 0
		for d, err := range s.Decisions(ctx, f) {
			if err != nil {
				return Attested{}, err
			}

			// Decisions are counted, not attestations: this bounds what is read from the database.
			if n++; n > maxAttested {
				break
			}
			if f.Verdict == attestor.Undecided && !attestedInPart(d) {
				continue
			}
			for _, a := range d.Attestations {
				if !named[a.Occurrence] {
					named[a.Occurrence] = true
					out.Attestations = append(out.Attestations, a)
				}
			}
			for _, v := range d.Summaries {
				if !named[v.Reference] {
					named[v.Reference] = true
					out.Summaries = append(out.Summaries, v)
				}
			}

			// Where img was a child of another index, that index and its other children
			// keep their own attestations.
			if d.Image.Digest == img.Digest() {
				for _, p := range d.Platforms {
					if !seen[p.Digest] {
						seen[p.Digest] = true
						out.Images = append(out.Images, img.Sibling(p.Digest))
					}
				}
			}
		}
	}
	return out, nil
}

// attestedInPart reports whether a decision was to attest and could not store all: its attestations may admit a child
// though the index was never admitted. One that attested nothing names what others had attested.
func attestedInPart(d attestor.Decision) bool {
	return !d.DryRun && len(d.Attestations) > 0 && slices.ContainsFunc(d.Checks, func(c attestor.Check) bool {
		return c.Name == attestor.CheckAttest && c.Status == attestor.StatusError
	})
}
