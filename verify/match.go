package verify

import (
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
)

// A standing is how an approved base stands with one entry of a policy.
type standing struct {
	listed     bool
	current    bool
	superseded *time.Time
	newest     attestor.Digest
	stale      bool // a tag names it as far as is known, which is too long ago
	unseen     bool // no tag was ever seen to name it
}

// counts reports whether the entry approves, or once approved, the base.
func (s standing) counts() bool { return s.listed || s.current || s.superseded != nil }

// settled reports whether looking again could not improve the standing.
func (s standing) settled() bool { return s.listed || s.current }

// match is an approved base that an image is, or claims to be, built on.
type match struct {
	entry    attestor.ApprovedBase
	record   *record
	standing standing
	layers   int
	exact    bool // by layers; else by what the config says of them
}

// better orders matches of equally many layers.
func (m match) better(o match) bool {
	switch {
	case o.record == nil:
		return true
	case m.exact != o.exact:
		return m.exact
	case m.standing.settled() != o.standing.settled():
		return m.standing.settled()
	case m.standing.superseded == nil || o.standing.superseded == nil:
		return o.standing.superseded == nil && m.standing.superseded != nil && !o.standing.settled()
	}
	return m.standing.superseded.After(*o.standing.superseded)
}

// find returns the base with the most layers that an entry of the policy
// approves, on the image's platform. Bases that only the config's diffIDs
// point to are looked at where claims says so; unseen ones, which the author
// pointed to, where unseen does.
func (c *catalogue) find(s subject, needs attestor.Needs, claims, unseen bool) (match, bool) {
	now := c.i.c.Now()
	layers, diffIDs := chains(s)
	c.mu.RLock()
	defer c.mu.RUnlock()
	for n := len(layers) - 1; n >= 0; n-- {
		var best match
		consider := func(records []*record, exact bool) {
			for _, r := range records {
				if r.platform != s.platform.normal() {
					continue
				}
				for _, ab := range needs.Bases {
					if ab.Repository != r.repository {
						continue
					}
					st := c.standing(ab, r, now)
					if unseen && st.unseen && ab.SignedBy != nil {
						st.superseded = c.firstSeen(ab)
					}
					m := match{entry: ab, record: r, standing: st, layers: n + 1, exact: exact}
					if st.counts() && m.better(best) {
						best = m
					}
				}
			}
		}
		consider(c.byLayers[layers[n]], true)
		if claims {
			consider(c.byDiffIDs[diffIDs[n]], false)
		}
		if best.record != nil {
			return best, true
		}
	}
	return match{}, false
}

// chains are those of every prefix, by layers and by diffIDs.
func chains(s subject) (layers, diffIDs []chain) {
	var l, d chain
	layers, diffIDs = make([]chain, len(*s.doc.Layers)), make([]chain, len(*s.doc.Layers))
	for n, layer := range *s.doc.Layers {
		l, d = l.next(layer.Digest), d.next(s.config.RootFS.DiffIDs[n])
		layers[n], diffIDs[n] = l, d
	}
	return layers, diffIDs
}

// standing must be called with c.mu held.
func (c *catalogue) standing(ab attestor.ApprovedBase, r *record, now time.Time) standing {
	s := standing{listed: slices.ContainsFunc(ab.Digests, r.is), unseen: true}
	for n, tag := range ab.Tags {
		t := c.tags[tagKey{ab.Repository, tag}]
		if t == nil {
			continue
		}
		if n == 0 {
			s.newest = t.current()
		}
		for _, p := range t.points {
			if !r.is(p.Digest) {
				continue
			}
			s.unseen = false
			switch {
			case p.Until == nil && now.Sub(t.seen) <= c.validFor(ab):
				s.current = true
			case p.Until == nil:
				s.stale = true
			case s.superseded == nil || p.Until.After(*s.superseded):
				s.superseded = p.Until
			}
		}
	}
	if s.current || s.stale {
		s.superseded = nil
	}
	return s
}

// validFor is how long what a tag named counts without the registry being
// asked again: had it moved on at once, its base would still be good so long.
func (c *catalogue) validFor(ab attestor.ApprovedBase) time.Duration {
	return max(ab.MaxBehind, c.i.limits.BaseGrace)
}

// firstSeen is when the entry's tags were first seen, to name something else
// than a base that was never seen under them: it was superseded by then. Must
// be called with c.mu held.
func (c *catalogue) firstSeen(ab attestor.ApprovedBase) *time.Time {
	var first *time.Time
	for _, tag := range ab.Tags {
		if t := c.tags[tagKey{ab.Repository, tag}]; t != nil && len(t.points) > 0 {
			if from := t.points[0].From; first == nil || from.Before(*first) {
				first = &from
			}
		}
	}
	return first
}
