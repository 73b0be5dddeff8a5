package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/attestor-gate/attestor"
)

// base finds the approved base that s is built on. What decides is layers: by
// digest, or by their unpacked content, hashed here. The author's hints decide
// only what is fetched, from an approved repository.
func (i *Inspector) base(ctx context.Context, s subject, needs attestor.Needs) (attestor.Base, []attestor.Problem) {
	hints := hintsOf(s)
	claims := wants(needs, attestor.DiffIDsVerified)
	m, ok := i.bases.find(s, needs, claims, false)
	var unresolved []attestor.Problem
	if !ok || !m.standing.settled() {
		unresolved = i.bases.ensure(ctx, needs.Bases, s.platform)
		m, ok = i.bases.find(s, needs, claims, false)
	}
	if !ok {
		hints = append(hints, i.provenanceHints(ctx, s)...)
		if i.bases.follow(ctx, hints, needs, s.platform) {
			m, ok = i.bases.find(s, needs, claims, true)
		}
	}
	if !ok {
		return attestor.Base{Hints: i.texts(s, needs, hints)}, unresolved
	}
	b := m.base()
	b.Hints = textsOf(hints)
	for _, h := range hints {
		if h.digest != "" && !m.record.is(h.digest) && h.source == annotationBaseDigest {
			b.Hints = append(b.Hints, annotationBaseDigest+" is not that of the base that was found")
		}
	}

	// The config's diffIDs must be the base's; where its layers are not, by
	// digest, each is unpacked and compared with them.
	p := m.contradicted(s)
	if p == nil && !m.exact {
		p, b.Evidence = i.hashed(ctx, s, m), attestor.DiffIDsVerified
	}
	if p != nil {
		return attestor.Base{Hints: b.Hints}, []attestor.Problem{*p}
	}
	return i.signed(ctx, m, b)
}

// contradicted compares what the config says of layers that are the base's by
// digest: its diffIDs tell whose a finding is, and who lies about the base's
// could pass off the image's own findings as inherited.
func (m match) contradicted(s subject) *attestor.Problem {
	for n, want := range m.record.diffIDs {
		if got := s.config.RootFS.DiffIDs[n]; got != want {
			p := problem(attestor.CheckBase, attestor.CodeLayersMismatch, string(m.record.layers[n]),
				fmt.Sprintf("layer %d is the layer of base %s that unpacks to %s, but the image's config says %s", n+1, m.entry.Name, want, got),
				"build the image again FROM "+m.record.image(m.record.root()).String())
			return &p
		}
	}
	return nil
}

// wants reports whether evidence of level l would satisfy the policy. What it
// does not say is the default, diffids-verified.
func wants(needs attestor.Needs, l attestor.Level) bool {
	least := needs.BaseEvidence
	if least == "" {
		least = attestor.DiffIDsVerified
	}
	return l.Satisfies(least)
}

func (m match) base() attestor.Base {
	return attestor.Base{
		Name: m.entry.Name, Reference: m.record.image(m.record.root()).String(), Digest: m.record.manifest,
		Evidence: attestor.LayersExact, Layers: m.layers,
		Listed: m.standing.listed, Current: m.standing.current, Superseded: m.standing.superseded, Newest: m.standing.newest,
	}
}

// hashed proves the config's claim: each of the base's layers, in the image's
// own repository, unpacks to the base's diffID. Layers that are the base's by
// digest need no proof.
func (i *Inspector) hashed(ctx context.Context, s subject, m match) *attestor.Problem {
	found := make([]*attestor.Problem, m.layers)
	var wg sync.WaitGroup
	for n, l := range (*s.doc.Layers)[:m.layers] {
		if l.Digest != m.record.layers[n] {
			wg.Go(func() { found[n] = i.unpacksTo(ctx, s, m, n) })
		}
	}
	wg.Wait()
	var unknown *attestor.Problem
	for _, p := range found {
		if p != nil && p.Status == attestor.StatusDeny {
			return p
		}
		if unknown == nil {
			unknown = p
		}
	}
	return unknown
}

// unpacksTo proves that layer n unpacks to the diffID that the config lists,
// which is the base's: else m would not have been found by it, or contradicted.
func (i *Inspector) unpacksTo(ctx context.Context, s subject, m match, n int) *attestor.Problem {
	l := (*s.doc.Layers)[n]
	err := i.layers.prove(ctx, s, n)
	if err == nil {
		return nil
	}

	p := problemOf(attestor.CheckBase, err, string(l.Digest))
	if p.Status == attestor.StatusDeny {
		p.Message = fmt.Sprintf("the config claims the layers of base %s, but %s", m.entry.Name, p.Message)
		p.Fix = "build the image again FROM " + m.record.image(m.record.root()).String()
	}
	return &p
}

// signed adds who signed the base: its index, whose bytes list the manifest,
// or the manifest.
func (i *Inspector) signed(ctx context.Context, m match, b attestor.Base) (attestor.Base, []attestor.Problem) {
	rule := m.entry.SignedBy
	if rule == nil {
		return b, nil
	}
	if i.c.Signatures == nil {
		return b, []attestor.Problem{problem(attestor.CheckBase, attestor.CodeBaseSignatureUnknown, b.Reference,
			"the gate is not configured to verify signatures", "configure trusted roots and keys, or remove signedBy from the policy")}
	}
	candidates := []attestor.Digest{m.record.root()}
	if m.record.manifest != m.record.root() {
		candidates = append(candidates, m.record.manifest)
	}
	var unsigned, unknown *attestor.Error
	for _, d := range candidates {
		signer, err := i.c.Signatures.Check(ctx, m.record.image(d), *rule)
		if err == nil {
			b.SignedBy, b.Signer = rule.Text(), signer
			return b, nil
		}
		e, ok := errors.AsType[*attestor.Error](err)
		switch {
		case ok && e.Code == attestor.CodeBaseUnsigned:
			unsigned = e
		case ok && e.Code != "":
			unknown = e
		default:
			unknown = fault(attestor.CodeBaseSignatureUnknown, "the signature of "+m.record.image(d).String()+" could not be checked", "try again", err)
		}
	}
	if unknown == nil {
		unknown = unsigned
	}
	p := problemOf(attestor.CheckBase, unknown, b.Reference)
	if p.Code != attestor.CodeBaseUnsigned {
		p.Code, p.Status = attestor.CodeBaseSignatureUnknown, attestor.StatusError
	}
	return b, []attestor.Problem{p}
}

// attested looks for an approved base among what a pinned builder says it
// used. It says no more than that; it serves images whose layers say nothing.
func (i *Inspector) attested(ctx context.Context, s subject, needs attestor.Needs, statements []attestor.Provenance) (attestor.Base, []attestor.Problem) {
	if !wants(needs, attestor.Attested) || needs.Provenance == nil {
		return attestor.Base{}, nil
	}
	var best match
	for _, p := range statements {
		if !slices.Contains(needs.Provenance.Builders, p.Builder) {
			continue
		}
		for _, ab := range needs.Bases {
			d, ok := p.Materials[ab.Repository]
			if !ok {
				continue
			}
			if m, ok := i.bases.named(ctx, ab, d, s.platform); ok && m.better(best) {
				best = m
			}
		}
	}
	if best.record == nil {
		return attestor.Base{}, nil
	}
	b := best.base()
	b.Evidence, b.Layers = attestor.Attested, 0
	return i.signed(ctx, best, b)
}

// named returns how a base that is known by digest stands with an entry.
func (c *catalogue) named(ctx context.Context, ab attestor.ApprovedBase, d attestor.Digest, p platform) (match, bool) {
	ctx, cancel := context.WithTimeout(ctx, c.i.limits.BaseTimeout)
	defer cancel()
	if err := c.load(ctx, ab.Repository, d, p); err != nil {
		return match{}, false
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	r := c.records[recordKey{ab.Repository, d, p.normal()}]
	if r == nil {
		return match{}, false
	}
	st := c.standing(ab, r, c.i.c.Now())
	if st.unseen && ab.SignedBy != nil {
		st.superseded = c.firstSeen(ab)
	}
	return match{entry: ab, record: r, standing: st, exact: true}, st.counts()
}
