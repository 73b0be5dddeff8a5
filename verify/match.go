package verify

import (
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
)

// An approval is the way in which one entry of a policy approves a base, or once did.
type approval struct {
	listed     bool            // the entry lists its digest
	current    bool            // a tag names it now
	unseen     bool            // no tag was ever seen to name it; only its signature approves it
	superseded *time.Time      // the earliest time that its tags can have moved on; nil: not known
	undated    string          // why that is not known, for messages
	newest     attestor.Digest // what the entry's first tag names now
}

// counts reports whether the entry approves, or once approved, the base.
func (a approval) counts() bool {
	return a.listed || a.current || a.unseen || a.superseded != nil
}

// full reports whether the approval needs no further look-up: none could improve it.
func (a approval) full() bool { return a.listed || a.current }

// outdated reports whether a policy with that entry denies the base for its age.
func (a approval) outdated(ab attestor.ApprovedBase, now time.Time) bool {
	return !a.full() && (ab.MaxBehind <= 0 || a.superseded == nil || now.Sub(*a.superseded) > ab.MaxBehind)
}

// match is an approved base that an image is, or claims to be, built on.
type match struct {
	entry    attestor.ApprovedBase
	base     *baseImage
	approval approval
	layers   int
	exact    bool // by layers; else by what the config says of them
}

// better orders matches of equally many layers.
func (m match) better(o match) bool {
	switch {
	case o.base == nil:
		return true
	case m.exact != o.exact:
		return m.exact
	case m.approval.full() != o.approval.full():
		return m.approval.full()
	case m.approval.superseded == nil || o.approval.superseded == nil:
		return m.approval.superseded != nil && !o.approval.full()
	}
	return m.approval.superseded.After(*o.approval.superseded)
}

// find returns the approved base that has the most layers in common with the image, on
// the image's platform. With claims, bases that match only by the config's diffIDs are
// candidates too; the caller then has to unpack the layers. pointed are bases that the
// image's author named: they count only for entries that require a signature.
func (c *catalogue) find(
	bases *platformBases, s subject, needs attestor.Needs, claims bool, pointed []*baseImage,
) (match, bool) {
	now := c.i.c.Now()
	layers, diffIDs := chains(s)
	exact, claimed := bases.candidates(layers, diffIDs)
	for _, b := range pointed {
		exact = atChain(exact, layers, chainOf(b.layers), b)
		claimed = atChain(claimed, diffIDs, chainOf(b.diffIDs), b)
	}

	// From the longest prefix of the image's layers to the shortest. A chain is a hash
	// over the digests in order, so that equal chains are equal layers: an image cannot
	// match a base by having its layers in another order or above others.
	for n := len(layers) - 1; n >= 0; n-- {
		var best match
		consider := func(bases []*baseImage, exact bool) {
			for _, b := range bases {
				for _, ab := range needs.Bases {
					if ab.Repository != b.repository {
						continue
					}
					m := match{entry: ab, base: b, approval: c.approval(ab, b, now), layers: n + 1, exact: exact}

					// A digest that was never seen under a tag is approved by its
					// publisher's signature alone, and only for the image whose author
					// named it.
					m.approval.unseen = m.approval.unseen && slices.Contains(pointed, b)
					if m.approval.counts() && m.better(best) {
						best = m
					}
				}
			}
		}

		// Equal layers are proof by themselves; the config's diffIDs are a claim.
		consider(exact[n], true)
		if claims {
			consider(claimed[n], false)
		}

		if best.base != nil {
			return best, true
		}
	}
	return match{}, false
}

// atChain adds a base to the lists of candidates where one of the chains is its.
func atChain(lists [][]*baseImage, chains []chain, of chain, b *baseImage) [][]*baseImage {
	if n := slices.Index(chains, of); n >= 0 && !slices.Contains(lists[n], b) {
		lists[n] = append(slices.Clone(lists[n]), b)
	}
	return lists
}

// chains returns the chain of every prefix, by layers and by diffIDs.
func chains(s subject) (layers, diffIDs []chain) {
	var l, d chain
	layers, diffIDs = make([]chain, len(*s.doc.Layers)), make([]chain, len(*s.doc.Layers))
	for n, layer := range *s.doc.Layers {
		l, d = l.next(layer.Digest), d.next(s.config.RootFS.DiffIDs[n])
		layers[n], diffIDs[n] = l, d
	}
	return layers, diffIDs
}

// approval returns the way in which an entry approves a base, by what is known of its
// tags.
func (c *catalogue) approval(ab attestor.ApprovedBase, b *baseImage, now time.Time) approval {
	a := approval{listed: slices.ContainsFunc(ab.Digests, b.is)}
	named, stale, looked := false, false, false
	for n, tag := range ab.Tags {
		t := c.tag(tagKey{ab.Repository, tag})
		if n == 0 {
			a.newest = t.current()
		}
		looked = looked || len(t.points) > 0

		for _, p := range t.points {
			if !b.is(p.Digest) {
				continue
			}
			named = true
			switch {
			case p.Until == nil && now.Sub(t.seen) <= c.validFor(ab):
				a.current = true
			case p.Until == nil: // named when last seen, which is too long ago
				stale = true
			case a.superseded == nil || lastNamed(p).After(*a.superseded):
				a.superseded = new(lastNamed(p))
			}
		}
	}

	// A tag that still names the base outweighs one that has moved on. Where it is not
	// known whether it does, the age is not known either: that is no approval.
	if a.current || stale {
		a.superseded = nil
	}
	a.unseen = !named && looked && ab.SignedBy != nil
	return a
}

// lastNamed is the last time at which a stretch that is over is known to have
// lasted. The tag may have moved on at any time between it and the end, which
// was seen when somebody looked again: the base is as old as it can be.
func lastNamed(p attestor.TagPoint) time.Time {
	if p.Seen.IsZero() || p.Seen.After(*p.Until) {
		return *p.Until
	}
	return p.Seen
}

// validFor is how long what a tag named counts without the registry being
// asked again: had it moved on at once, its base would still be good so long.
func (c *catalogue) validFor(ab attestor.ApprovedBase) time.Duration {
	return max(ab.MaxBehind, c.i.limits.BaseGrace)
}
