package verify

import (
	"context"
	"fmt"
	"slices"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/referrers"
	"github.com/attestor-gate/attestor/internal/together"
	"github.com/attestor-gate/attestor/verify/sbom"
)

// subject is one runnable manifest while it is inspected.
type subject struct {
	image    attestor.Image
	index    attestor.Image // zero for an image by itself
	platform platform
	doc      document
	config   imageConfig
	entries  []descriptor // of the index
}

// Inspect implements [attestor.Inspector].
func (i *Inspector) Inspect(
	ctx context.Context, r attestor.Resolved, child attestor.Child, needs attestor.Needs,
) attestor.PlatformEvidence {
	ev := attestor.PlatformEvidence{Child: child}

	// Signatures, provenance, SBOMs and VEX documents are found in the same lists of referrers.
	ctx = referrers.Remember(ctx)
	s, err := i.subject(ctx, r, child)
	if err != nil {
		ev.Problems = []attestor.Problem{problemOf(attestor.CheckPlatforms, err, child.Platform)}
		return ev
	}

	ev.Config = claims(s.config, s.doc)
	for n, l := range *s.doc.Layers {
		ev.Layers = append(
			ev.Layers, attestor.Layer{Digest: l.Digest, DiffID: s.config.RootFS.DiffIDs[n], Size: l.Size},
		)
	}

	var userProblems, provenanceProblems, baseProblems, sbomProblems, vexProblems []attestor.Problem
	var wg together.Group
	wg.Go(func() { ev.User, userProblems = i.user(ctx, s, needs) })
	wg.Go(func() { ev.Provenance, provenanceProblems = i.provenance(ctx, s, needs) })
	wg.Go(func() { ev.VEX, vexProblems = i.vex(ctx, s, needs) })
	if needs.SBOM != nil {
		wg.Go(func() { ev.SBOMs, ev.NotRead, sbomProblems = i.sboms(ctx, s, len(r.Children), *needs.SBOM) })
	}
	if len(needs.Bases) > 0 {
		wg.Go(func() { ev.Base, baseProblems = i.base(ctx, s, needs) })
	}

	wg.Wait()

	// After all others, so that a layer that one of them read is not read again, and one that none of them needed only
	// if the policy asks for the system.
	var systemProblems []attestor.Problem
	if needs.System || ev.User.Source == attestor.UserFromPasswd {
		ev.System, systemProblems = i.system(ctx, s, needs.System)
	}

	// Provenance proves less than layers, and counts only where those prove nothing. Where they contradict the image's
	// own config, that stays a denial: no statement of a builder's makes such an image one that runs as it was judged.
	if len(needs.Bases) > 0 && ev.Base.Evidence == "" {
		if b, problems := i.attested(ctx, s, needs, ev.Provenance); b.Evidence != "" {
			b.Hints = ev.Base.Hints
			denied := slices.DeleteFunc(baseProblems, func(p attestor.Problem) bool { return !contradicts(p.Code) })
			ev.Base, baseProblems = b, append(denied, problems...)
		}
	}
	ev.Problems = slices.Concat(userProblems, baseProblems, provenanceProblems, sbomProblems,
		vexProblems, systemProblems)
	return ev
}

// subject reads the manifest and config of a child. That it is a child of the index, and
// for which platform, follows from the index's bytes.
func (i *Inspector) subject(ctx context.Context, r attestor.Resolved, child attestor.Child) (subject, error) {
	s := subject{image: r.Image.Sibling(child.Digest)}
	size := int64(-1)
	if r.Index {
		s.index = r.Image
		entry, entries, err := i.entry(ctx, r.Image, child)
		if err != nil {
			return subject{}, err
		}
		s.entries, s.platform, size = entries, *entry.Platform, entry.Size
	}

	var err error
	if s.doc, err = i.child(ctx, s.image, size); err != nil {
		return subject{}, err
	}
	if s.config, err = i.config(ctx, s.image, s.doc); err != nil {
		return subject{}, err
	}

	// OCI image specification, config: architecture is the one "which the binaries in this
	// image are built to run on". A runtime selects by the index: if the two differ, the
	// policy would judge another platform than the one that runs.
	stated := s.config.platform
	if !r.Index {
		s.platform = stated
	}

	if !s.platform.agrees(stated) {
		return subject{}, fault(
			attestor.CodePlatformMismatch,
			fmt.Sprintf("the index says %s, the image's config %s", s.platform, clip(stated.String())),
			"build the image for the platform it is listed under",
			nil,
		)
	}

	if err := s.platform.check("the image"); err != nil {
		return subject{}, err
	}
	return s, nil
}

// entry finds child in its index.
func (i *Inspector) entry(
	ctx context.Context, index attestor.Image, child attestor.Child,
) (descriptor, []descriptor, error) {
	c, err := i.fetch.byDigest(ctx, index)
	if err != nil {
		return descriptor{}, nil, err
	}
	d, mt, err := i.document(index, c)
	if err != nil {
		return descriptor{}, nil, err
	}

	if isIndexType(mt) {
		for _, e := range *d.Manifests {
			// Digest and platform together: an index may list one manifest under two platforms.
			if e.Digest == child.Digest && e.Platform != nil && e.Platform.String() == child.Platform &&
				!claimsAttestation(e) {
				return e, *d.Manifests, nil
			}
		}
	}

	return descriptor{}, nil, fault(
		attestor.CodeManifestInvalid,
		fmt.Sprintf("%s is not in the index for %s", child.Digest, child.Platform),
		"",
		nil,
	)
}

// provenance reads statements if the policy needs them.
func (i *Inspector) provenance(
	ctx context.Context, s subject, needs attestor.Needs,
) ([]attestor.Provenance, []attestor.Problem) {
	if needs.Provenance == nil {
		return nil, nil
	}

	// What the policy asks for and nobody can read is an error, never an empty list.
	if i.c.Provenance == nil {
		return nil, []attestor.Problem{
			problem(
				attestor.CheckProvenance,
				attestor.CodeProvenanceUnavailable,
				s.image.String(),
				"the gate is not configured to read provenance",
				"configure a source of provenance, or remove provenance from the policy",
			),
		}
	}

	return i.c.Provenance.Provenance(ctx, s.about(), *needs.Provenance)
}

// vex reads the VEX documents that the policy names.
func (i *Inspector) vex(
	ctx context.Context, s subject, needs attestor.Needs,
) ([]attestor.VEXStatement, []attestor.Problem) {
	if needs.VEX == nil {
		return nil, nil
	}
	if i.c.VEX == nil {
		return nil, []attestor.Problem{
			problem(
				attestor.CheckVulnerabilities,
				attestor.CodeVEXUnavailable,
				s.image.String(),
				"the gate is not configured to read VEX documents",
				"configure the gate to read them, or remove vex.sources from the policy",
			),
		}
	}

	// What was not read is an error: it may take back what excuses a finding.
	list, unread := i.c.VEX.Statements(ctx, s.about(), *needs.VEX)
	var problems []attestor.Problem
	for _, r := range unread {
		problems = append(problems, attestor.Problem{
			Check: attestor.CheckVulnerabilities, Status: attestor.StatusError, Reason: r,
		})
	}
	return list, problems
}

// about lists the digests that a statement about the image may name.
func (s subject) about() []attestor.Image {
	images := []attestor.Image{s.image}
	if !s.index.IsZero() {
		images = append(images, s.index)
	}
	return images
}

// sboms reads the bills of materials that are attached to the image, and those among the
// build attestations of its index.
func (i *Inspector) sboms(
	ctx context.Context, s subject, siblings int, needs attestor.SBOMNeeds,
) ([]attestor.SBOM, []attestor.Reason, []attestor.Problem) {
	if i.c.SBOMs == nil {
		return nil, nil, []attestor.Problem{
			problem(
				attestor.CheckPackages,
				attestor.CodeSBOMUnavailable,
				s.image.String(),
				"the gate is not configured to read SBOMs",
				"configure the gate to read SBOMs, or remove sbom from the policy",
			),
		}
	}

	// Which image an entry is about is said by the index, whose digest was asked for.
	of := sbom.Subject{Image: s.image, Index: s.index, Siblings: siblings}
	for _, e := range s.entries {
		if claimsAttestation(e) && e.Annotations[annotationReferenceDigest] == string(s.image.Digest()) {
			of.InIndex = append(of.InIndex, e.Digest)
		}
	}
	return i.c.SBOMs.SBOMs(ctx, of, needs)
}
