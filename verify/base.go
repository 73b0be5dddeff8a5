package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/together"
)

// base finds the approved base that s is built on. Only layers decide: by digest, or
// by their unpacked content, which is hashed here. The author's hints only select what
// is fetched, from an approved repository.
func (i *Inspector) base(ctx context.Context, s subject, needs attestor.Needs) (attestor.Base, []attestor.Problem) {
	m, hints, unresolved := i.matched(ctx, s, needs)
	if m.base == nil {
		return attestor.Base{Hints: i.texts(s, needs, hints)}, unresolved
	}

	b := m.evidence()
	b.Hints = textsOf(hints)
	for _, h := range hints {
		if h.digest != "" && !m.base.is(h.digest) && h.source == annotationBaseDigest {
			b.Hints = append(b.Hints, annotationBaseDigest+" is not that of the base that was found")
		}
	}

	// The config's diffIDs must be the base's; where its layers are not, by
	// digest, each is unpacked and compared with them.
	p := m.contradicted(s)
	if p == nil && !m.exact {
		p, b.Evidence = i.hashed(ctx, s, m), attestor.DiffIDsVerified
	}

	// A base that is contradicted or not proven is none: only the hints stay, for the message.
	if p != nil {
		return attestor.Base{Hints: b.Hints}, []attestor.Problem{*p}
	}
	return i.signed(ctx, m, b)
}

// matched finds the base by what is known, and by more and more that is asked
// for until the image is not denied for its base. A match without a base is
// none; the problems then say what could not be found out.
func (i *Inspector) matched(ctx context.Context, s subject, needs attestor.Needs) (match, []hint, []attestor.Problem) {
	c, bases := i.bases, i.bases.basesOf(s.platform)
	since := c.ticks.Add(1)
	hints := hintsOf(s)
	claims := wants(needs, attestor.DiffIDsVerified)

	m, ok := c.find(bases, s, needs, claims, nil)
	// First by what is known, without a request: the usual case.
	var unresolved []attestor.Problem
	if !ok || !m.approval.full() {
		unresolved = c.ensure(ctx, bases, needs.Bases)
		m, ok = c.find(bases, s, needs, claims, nil)
	}

	// Then by the digests that the image's author names.
	var pointed []*baseImage
	if !ok {
		hints = append(hints, i.provenanceHints(ctx, s)...)
		pointed = c.follow(ctx, bases, hints, needs)
		m, ok = c.find(bases, s, needs, claims, pointed)
		m = i.dated(ctx, m)
	}

	// An image is denied for its base only by answers that registries gave after the
	// image was asked about: a tag may have moved a moment ago.
	if !ok || m.approval.outdated(m.entry, i.c.Now()) {
		unresolved = c.renew(ctx, bases, needs.Bases, since)
		before := m
		if m, ok = c.find(bases, s, needs, claims, pointed); m.base == before.base {
			m.approval.undated = before.approval.undated
		}
		m = i.dated(ctx, m)
	}

	// What the tags named before explains a denial: the image is on a base that was approved once. It is read in the
	// background, but may not have been yet, as after a start.
	if !ok && c.recall(ctx, bases, needs.Bases) {
		m, ok = c.find(bases, s, needs, claims, pointed)
		m = i.dated(ctx, m)
	}

	if !ok {
		return match{}, hints, unresolved
	}
	return m, hints, nil
}

// contradicted compares what the config says of layers that are the base's by
// digest: its diffIDs tell whose a finding is, and who lies about the base's
// could pass off the image's own findings as inherited.
func (m match) contradicted(s subject) *attestor.Problem {
	for n, want := range m.base.diffIDs {
		if got := s.config.RootFS.DiffIDs[n]; got != want {
			p := problem(
				attestor.CheckBase,
				attestor.CodeLayersMismatch,
				string(m.base.layers[n]),
				fmt.Sprintf(
					"layer %d is the layer of base %s that unpacks to %s, but the image's config says %s",
					n+1,
					m.entry.Name,
					want,
					got,
				),
				"build the image again FROM "+m.base.image(m.base.root()).String(),
			)
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

func (m match) evidence() attestor.Base {
	return attestor.Base{
		Name: m.entry.Name, Reference: m.base.image(m.base.root()).String(), Digest: m.base.manifest,
		Evidence: attestor.LayersExact, Layers: m.layers,
		Listed: m.approval.listed, Current: m.approval.current,
		Superseded: m.approval.superseded, Newest: m.approval.newest,
		AgeUnknown: m.approval.undated,
	}
}

// hashed proves the config's claim: each of the base's layers, in the image's
// own repository, unpacks to the base's diffID. Layers that are the base's by
// digest need no proof.
func (i *Inspector) hashed(ctx context.Context, s subject, m match) *attestor.Problem {
	found := make([]*attestor.Problem, m.layers)
	var wg together.Group
	for n, l := range (*s.doc.Layers)[:m.layers] {
		if l.Digest != m.base.layers[n] {
			wg.Go(func() { found[n] = i.unpacksTo(ctx, s, m, n) })
		}
	}

	wg.Wait()

	// One layer with other content disproves the claim, whatever is unknown of others.
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
		p.Fix = "build the image again FROM " + m.base.image(m.base.root()).String()
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
		return b, []attestor.Problem{problem(
			attestor.CheckBase,
			attestor.CodeBaseSignatureUnknown,
			b.Reference,
			"the gate is not configured to verify signatures",
			"configure trusted roots and keys, or remove signedBy from the policy",
		)}
	}

	// A signature of the index covers the manifest: the index's bytes list its digest.
	candidates := []attestor.Digest{m.base.root()}
	if m.base.manifest != m.base.root() {
		candidates = append(candidates, m.base.manifest)
	}

	var unsigned, unknown *attestor.Error
	for _, d := range candidates {
		signer, err := i.c.Signatures.Check(ctx, m.base.image(d), *rule)
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
			unknown = fault(
				attestor.CodeBaseSignatureUnknown,
				"the signature of "+m.base.image(d).String()+" could not be checked",
				"try again",
				err,
			)
		}
	}

	// If one of the two could not be checked, its signature may be the one that counts.
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
func (i *Inspector) attested(
	ctx context.Context, s subject, needs attestor.Needs, statements []attestor.Provenance,
) (attestor.Base, []attestor.Problem) {
	if !wants(needs, attestor.Attested) || needs.Provenance == nil {
		return attestor.Base{}, nil
	}
	var best match
	for _, p := range statements {
		if !slices.Contains(needs.Provenance.Builders, p.Builder) {
			continue
		}
		for _, ab := range needs.Bases {
			// The builder is one that the policy names, and the statement was verified: it may say which base it used.
			d, ok := p.Materials[ab.Repository]
			if !ok {
				continue
			}
			if m, ok := i.named(ctx, ab, d, s.platform); ok && m.better(best) {
				best = m
			}
		}
	}

	if best.base == nil {
		return attestor.Base{}, nil
	}
	b := best.evidence()

	// No layer is known to be the base's, so that no finding is inherited.
	b.Evidence, b.Layers = attestor.Attested, 0
	return i.signed(ctx, best, b)
}

// named returns how an entry approves a base that is known by digest.
func (i *Inspector) named(ctx context.Context, ab attestor.ApprovedBase, d attestor.Digest, p platform) (match, bool) {
	ctx, cancel := context.WithTimeout(ctx, i.limits.BaseTimeout)
	defer cancel()

	b, err := i.bases.read(ctx, i.bases.basesOf(p), baseKey{ab.Repository, d})
	if err != nil || b == nil {
		return match{}, false
	}
	m := match{entry: ab, base: b, approval: i.bases.approval(ab, b, i.c.Now()), exact: true}
	return i.dated(ctx, m), m.approval.counts()
}
