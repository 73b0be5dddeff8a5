package attestor

import "slices"

// Inherited is the set of layers that an image has from its base and from
// nowhere else, by diffID. The zero value is empty: every finding is then the
// image's own.
type Inherited struct{ layers map[Digest]bool }

// Inherited decides which layers of a platform are its base's. It is the only
// place that decides it: a policy may be more lenient with inherited findings,
// and a report promises that a rebuild on a newer base may clear them.
//
// A layer counts as inherited only if it is among the lowest Base.Layers of the
// image and does not stand above them again. The scanner names a layer by its
// diffID alone, so that of a layer that stands in both places nobody can tell
// which one holds the package. Its upper copy was put there by the image's
// author, survives a rebuild on another base, and must not be judged by the
// base's laxer limits; the most common such layer is the empty one.
func (p *PlatformEvidence) Inherited() Inherited {
	// An unproven base owns nothing, and a number of layers that the image does
	// not have is a contradiction in the evidence: both leave all to the image.
	n := p.Base.Layers
	if p.Base.Evidence.rank() == 0 || n <= 0 || n > len(p.Layers) {
		return Inherited{}
	}

	layers := make(map[Digest]bool, n)
	for _, l := range p.Layers[:n] {
		layers[l.DiffID] = true
	}

	for _, l := range p.Layers[n:] {
		delete(layers, l.DiffID)
	}

	// A layer without a diffID is the same as any other without one.
	delete(layers, "")

	return Inherited{layers: layers}
}

// Empty reports whether no layer is inherited.
func (in Inherited) Empty() bool { return len(in.layers) == 0 }

// Holds reports whether a finding lies in inherited layers only. A finding
// whose layers were not reported may lie anywhere, and is the image's own.
func (in Inherited) Holds(v *Vulnerability) bool {
	// One layer of the image's own is enough: the package is then there too, and survives a rebuild.
	own := func(layer Digest) bool { return !in.layers[layer] }

	return len(v.DiffIDs) > 0 && !slices.ContainsFunc(v.DiffIDs, own)
}
