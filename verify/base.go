package verify

import (
	"context"

	"github.com/attestor-gate/attestor"
)

func (i *Inspector) base(ctx context.Context, s subject, needs attestor.Needs) (attestor.Base, []attestor.Problem) {
	unresolved := i.bases.ensure(ctx, needs.Bases, s.platform)
	if m, ok := i.bases.match(s, needs); ok {
		return m.base, nil
	}
	return attestor.Base{}, unresolved
}

func (i *Inspector) attested(ctx context.Context, s subject, needs attestor.Needs, statements []attestor.Provenance) (attestor.Base, []attestor.Problem) {
	return attestor.Base{}, nil
}

type match struct {
	entry  attestor.ApprovedBase
	record *record
	base   attestor.Base
}

func (c *catalogue) ensure(ctx context.Context, bases []attestor.ApprovedBase, p platform) []attestor.Problem {
	var problems []attestor.Problem
	for _, ab := range bases {
		if err := c.refresh(ctx, ab, p.normal()); err != nil {
			problems = append(problems, problem(attestor.CheckBase, attestor.CodeBaseUnresolved, ab.Name, "approved base "+ab.Name+" could not be looked up", "try again"))
		}
	}
	return problems
}

func (c *catalogue) match(s subject, needs attestor.Needs) (match, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var ch chain
	var best match
	for n, l := range *s.doc.Layers {
		ch = ch.next(l.Digest)
		for _, r := range c.byLayers[ch] {
			for _, ab := range needs.Bases {
				if ab.Repository != r.repository || r.platform != s.platform.normal() {
					continue
				}
				best = match{entry: ab, record: r, base: attestor.Base{Name: ab.Name, Reference: r.image(r.root()).String(), Digest: r.manifest, Evidence: attestor.LayersExact, Layers: n + 1}}
				for k, tag := range ab.Tags {
					d := c.tags[tagKey{ab.Repository, tag}].current()
					best.base.Current = best.base.Current || r.is(d)
					if k == 0 {
						best.base.Newest = d
					}
				}
				for _, d := range ab.Digests {
					best.base.Listed = best.base.Listed || r.is(d)
				}
			}
		}
	}
	return best, best.record != nil && (best.base.Listed || best.base.Current)
}
