package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/together"
)

// Annotations with which BuildKit marks its attestation manifests.
const (
	annotationReferenceType   = "vnd.docker.reference.type"
	annotationReferenceDigest = "vnd.docker.reference.digest"
	attestationManifest       = "attestation-manifest"
)

// children sorts the entries of an index: those to judge, those of platforms that the
// policy leaves out, and problems for the rest. Only genuine BuildKit attestation
// manifests are skipped.
func (i *Inspector) children(
	ctx context.Context, img attestor.Image, d document, needs attestor.Needs,
) (judged, left []attestor.Child, problems []attestor.Problem) {
	entries := *d.Manifests
	report := func(err *attestor.Error, subject string) {
		problems = append(problems, problem(attestor.CheckPlatforms, err.Code, clip(subject), err.Msg, err.Fix))
	}
	if err := i.indexTooLarge(entries); err != nil {
		report(err, string(img.Digest()))
		return nil, nil, problems
	}

	seen := map[platform]bool{}
	var attestations []descriptor
	var sizes []int64 // of those to judge
	for n, e := range entries {
		subject := fmt.Sprintf("entry %d of the index", n+1)
		if claimsAttestation(e) {
			attestations = append(attestations, e)
			continue
		}

		if err := checkEntry(e, subject); err != nil {
			report(err, string(e.Digest))
			continue
		}

		// The platform is the index's claim; the child's own config must agree when it is read.
		child := attestor.Child{Platform: e.Platform.String(), Digest: e.Digest}
		err := e.Platform.check(subject)
		switch {
		// Without a platform it cannot be left out: some runtime may choose it.
		case err != nil && err.Code == attestor.CodePlatformMissing:
			report(err, string(e.Digest))
		case !e.Platform.selected(needs.Platforms):
			left = append(left, child)
		case err != nil:
			report(err, string(e.Digest))
		case seen[e.Platform.normal()]:
			report(
				fault(
					attestor.CodePlatformDuplicate,
					"the index has two images for "+child.Platform+", and the runtime chooses which of them runs",
					"push an index with one image for each platform",
					nil,
				),
				child.Platform,
			)
		default:
			seen[e.Platform.normal()] = true
			judged, sizes = append(judged, child), append(sizes, e.Size)
		}
	}

	if len(problems) == 0 {
		for n, c := range judged { // while attestations are looked at
			i.fetch.prefetch(ctx, img.Sibling(c.Digest), sizes[n])
		}
	}

	// An index without any image to judge would otherwise have nothing that refuses it.
	if len(judged) == 0 && len(problems) == 0 {
		if len(left) == 0 {
			const msg, fix = "the index has no image that could run", "push an index with at least one image"
			report(fault(attestor.CodeNoPlatforms, msg, fix, nil), string(img.Digest()))
		} else {
			problems = append(problems, notAllowed(needs.Platforms, platformsOf(left)))
		}
	}
	return judged, left, append(problems, i.attestations(ctx, img, entries, attestations)...)
}

// indexTooLarge refuses an index of which more would have to be read than one image may cost.
func (i *Inspector) indexTooLarge(entries []descriptor) *attestor.Error {
	if n := len(entries); n > i.limits.Descriptors {
		return fault(
			attestor.CodeTooLarge,
			fmt.Sprintf("the index has %d entries, at most %d are judged", n, i.limits.Descriptors),
			"push fewer platforms in one index",
			nil,
		)
	}

	// They are read side by side, each of its size at most.
	if most := i.limits.IndexBytes; sizeOf(entries) > most {
		return fault(
			attestor.CodeTooLarge,
			fmt.Sprintf("the manifests of the index have more than %d bytes, the most that are read", most),
			"push fewer platforms in one index, or manifests with fewer annotations",
			nil,
		)
	}
	return nil
}

// sizeOf is how many bytes entries are said to have together.
func sizeOf(entries []descriptor) (sum int64) {
	for _, e := range entries {
		// Neither a negative size nor a sum beyond all numbers makes room for others.
		if sum += max(e.Size, 0); sum < 0 {
			return math.MaxInt64
		}
	}
	return sum
}

func platformsOf(children []attestor.Child) string {
	var names []string
	for _, c := range children {
		names = append(names, c.Platform)
	}
	return clip(strings.Join(names, ", "))
}

// claimsAttestation reports whether an entry is marked as a BuildKit attestation.
func claimsAttestation(e descriptor) bool {
	_, marked := e.Annotations[annotationReferenceType]
	return marked || e.Platform != nil && e.Platform.OS == "unknown" && e.Platform.Architecture == "unknown"
}

// checkEntry refuses an entry that is not a manifest of a platform.
func checkEntry(e descriptor, subject string) *attestor.Error {
	switch _, err := attestor.ParseDigest(string(e.Digest)); {
	case isIndexType(e.MediaType):
		return fault(attestor.CodeNestedIndex, subject+" is an index itself", "push one flat index", nil)
	case isSchema1(e.MediaType):
		return fault(attestor.CodeSchema1, subject+" is a Docker schema 1 manifest", fixRebuild, nil)
	case e.MediaType == mediaOCIArtifact:
		return fault(
			attestor.CodeArtifact,
			subject+" is an artifact manifest, not an image",
			"name an index of images only",
			nil,
		)
	case !isImageType(e.MediaType):
		return fault(
			attestor.CodeManifestUnsupported,
			fmt.Sprintf("%s has media type %q, which is not an image", subject, clip(e.MediaType)),
			fixRebuild,
			nil,
		)
	case err != nil || e.Size < 0:
		return fault(attestor.CodeManifestInvalid, subject+" has no valid digest or size", fixRebuild, nil)
	case len(e.URLs) > 0:
		return fault(attestor.CodeForeignLayer, subject+" is fetched from elsewhere than its registry", fixRebuild, nil)
	case e.Platform == nil:
		return fault(
			attestor.CodePlatformMissing,
			subject+" does not say which platform it is for",
			"push an index that names each image's platform",
			nil,
		)
	}
	return nil
}

// attestations checks the entries that are marked as attestations, which are not judged
// as images. Each must be one that no runtime would run: otherwise an image could escape
// the judgement by the mark.
func (i *Inspector) attestations(
	ctx context.Context, img attestor.Image, entries, marked []descriptor,
) []attestor.Problem {
	found := make([]*attestor.Problem, len(marked))
	var wg together.Group
	for n, e := range marked {
		wg.Go(func() {
			if err := i.attestation(ctx, img, entries, e); err != nil {
				p := problemOf(attestor.CheckPlatforms, err, clip(string(e.Digest)))
				found[n] = &p
			}
		})
	}

	wg.Wait()
	var problems []attestor.Problem
	for _, p := range found {
		if p != nil {
			problems = append(problems, *p)
		}
	}
	return problems
}

func (i *Inspector) attestation(ctx context.Context, img attestor.Image, entries []descriptor, e descriptor) error {
	bad := func(why string) error {
		return fault(
			attestor.CodeAttestationManifestInvalid,
			"an entry of the index claims to be a build attestation and is not one: "+why,
			"remove it from the index, or build with BuildKit and without changing its attestations",
			nil,
		)
	}

	about := e.Annotations[annotationReferenceDigest]
	sibling := slices.ContainsFunc(
		entries, func(s descriptor) bool { return string(s.Digest) == about && !claimsAttestation(s) },
	)
	switch _, err := attestor.ParseDigest(string(e.Digest)); {
	case err != nil || e.Size < 0:
		return bad("it has no valid digest or size")
	case e.Annotations[annotationReferenceType] != attestationManifest:
		return bad(fmt.Sprintf("%s is %q", annotationReferenceType, clip(e.Annotations[annotationReferenceType])))
	case e.Platform == nil || *e.Platform != (platform{OS: "unknown", Architecture: "unknown"}):
		return bad("its platform is not unknown/unknown, so that a runtime could choose it")
	case !sibling:
		return bad("it is about no image of this index")
	case !isImageType(e.MediaType):
		return bad(fmt.Sprintf("it has media type %q", clip(e.MediaType)))
	}

	d, err := i.child(ctx, img.Sibling(e.Digest), e.Size)
	if err != nil {
		return err
	}
	if len(*d.Layers) == 0 {
		return bad("it holds no statement")
	}

	for _, l := range *d.Layers {
		if l.MediaType != mediaInToto {
			return bad(fmt.Sprintf("it has a layer of media type %q", clip(l.MediaType)))
		}
	}
	return nil
}

// child fetches an entry's manifest, which must be an image's and as large as
// the index says; size is -1 for an image by itself.
func (i *Inspector) child(ctx context.Context, img attestor.Image, size int64) (document, error) {
	// OCI image specification, descriptor: a size that differs means that the content is not to be trusted.
	differs := func(has string) error {
		return fault(
			attestor.CodeManifestInvalid,
			fmt.Sprintf("the index says that %s has %d bytes, it has %s", img.Digest(), size, has),
			fixRebuild,
			nil,
		)
	}

	c, err := i.fetch.listed(ctx, img, size)
	switch {
	case err != nil && size >= 0 && size < i.limits.ManifestBytes && errors.Is(err, errTooLarge):
		return document{}, differs("more")
	case err != nil && size >= 0:
		return document{}, childMissing(err, img)
	case err != nil:
		return document{}, err
	case size >= 0 && int64(len(c.bytes)) != size:
		return document{}, differs(fmt.Sprint(len(c.bytes)))
	}

	d, mt, err := i.document(img, c)
	if err != nil {
		return document{}, err
	}
	if !isImageType(mt) {
		return document{}, fault(
			attestor.CodeNestedIndex, string(img.Digest())+" is an index within an index", "push one flat index", nil,
		)
	}
	return d, nil
}

// childMissing says that an index lists a manifest that the registry does not
// have.
func childMissing(err error, child attestor.Image) error {
	e, ok := errors.AsType[*attestor.Error](err)
	if !ok || e.Kind != attestor.NotFound {
		return err
	}
	return missing(e, fmt.Sprintf("the index lists %s, which the registry does not have", child))
}
