package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/together"
)

// Resolve implements [attestor.Inspector].
func (i *Inspector) Resolve(
	ctx context.Context, ref attestor.Reference, needs attestor.Needs,
) (attestor.Resolved, error) {
	c, img, err := i.manifest(ctx, ref)
	if err != nil {
		if e, ok := errors.AsType[*attestor.Error](err); ok && !img.IsZero() &&
			statusOf(e.Code) == attestor.StatusDeny &&
			e.Kind == attestor.Upstream {
			// The digest is known, and the image is refused: that is a decision.
			return attestor.Resolved{
				Image:    img,
				Problems: []attestor.Problem{problemOf(attestor.CheckPlatforms, err, string(img.Digest()))},
			}, nil
		}
		return attestor.Resolved{}, err
	}

	r := attestor.Resolved{Image: img}
	var upload together.Group
	var uploadProblem *attestor.Problem
	if needs.UploadTime {
		upload.Go(func() { r.Uploaded, uploadProblem = i.uploaded(ctx, img) })
	}

	d, mt, err := i.document(img, c)
	var problems []attestor.Problem
	switch {
	case err != nil:
		problems = []attestor.Problem{problemOf(attestor.CheckPlatforms, err, string(img.Digest()))}
	case isIndexType(mt):
		r.MediaType, r.Index = mt, true
		r.Children, r.Left, problems = i.children(ctx, img, d, needs)
	default:
		r.MediaType = mt
		r.Children, r.Left, problems = i.single(ctx, img, d, needs)
	}

	if len(r.Children) == 0 && err == nil {
		// Only for manifests that are refused anyway, so that an image costs no further
		// request. After an error the kind stays unknown, and the refusal stays.
		r.Artifact, _ = i.artifact(ctx, img, d, mt, ref.Tag())
	}

	upload.Wait()
	r.Problems = problems
	if uploadProblem != nil {
		r.Problems = append(r.Problems, *uploadProblem)
	}
	return r, nil
}

// Pin returns the digest that ref names, by one request at most. It does not read the
// manifest, but keeps it in memory for the next request.
func (i *Inspector) Pin(ctx context.Context, ref attestor.Reference) (attestor.Image, error) {
	if img, ok := ref.Pinned(); ok {
		return img, nil
	}
	_, img, err := i.manifest(ctx, ref)
	return img, err
}

// Index reports whether a digest is an index, by its manifest alone.
func (i *Inspector) Index(ctx context.Context, img attestor.Image) (bool, error) {
	c, err := i.fetch.byDigest(ctx, img)
	if err != nil {
		return false, err
	}
	_, mt, err := i.document(img, c)
	return isIndexType(mt), err
}

// document is what a manifest says, of which c was read. One that is refused is not kept: that may be for the media type
// that it was served under, which its pusher or the registry can mend, as they are told.
func (i *Inspector) document(img attestor.Image, c content) (document, string, error) {
	d, mt, err := i.parsed.document(c)
	if err != nil {
		i.fetch.forget(img)
	}
	return d, mt, err
}

// manifest fetches the manifest that ref names, and returns its digest. Everything that
// follows uses the digest, so that a tag that moves changes nothing.
func (i *Inspector) manifest(ctx context.Context, ref attestor.Reference) (content, attestor.Image, error) {
	if img, ok := ref.Pinned(); ok {
		c, err := i.fetch.byDigest(ctx, img)
		return c, img, imageNotFound(err, ref)
	}

	c, err := i.fetch.byTag(ctx, ref.Repository(), ref.Tag())
	if err != nil {
		return content{}, attestor.Image{}, imageNotFound(err, ref)
	}
	return c, ref.At(c.digest), nil
}

// uploaded returns the upload time by the registry's own record. The image's config has
// times too, which its author chooses.
func (i *Inspector) uploaded(ctx context.Context, img attestor.Image) (*time.Time, *attestor.Problem) {
	if i.c.Uploads == nil {
		p := problem(
			attestor.CheckScope,
			attestor.CodeUploadTimeUnknown,
			img.Repository(),
			"the gate is not configured to look up when images were uploaded",
			"configure Artifact Registry look-ups, or remove scope.maxUploadAge from the policy",
		)
		return nil, &p
	}

	ctx, cancel := context.WithTimeout(ctx, i.limits.FetchTimeout)
	defer cancel()

	t, err := i.c.Uploads.Uploaded(ctx, img)
	if err == nil && t.IsZero() {
		err = fault(attestor.CodeUploadTimeUnknown, "the registry has no upload time for "+img.String(), "", nil)
	}
	if err != nil {
		p := problemOf(attestor.CheckScope, err, img.Repository())
		if _, ok := errors.AsType[*attestor.Error](err); !ok {
			p.Code = attestor.CodeUploadTimeUnknown
		}
		return nil, &p
	}
	t = t.UTC()
	return &t, nil
}

// single reads an image without an index. Its platform is that of its config.
func (i *Inspector) single(
	ctx context.Context, img attestor.Image, d document, needs attestor.Needs,
) (judged, left []attestor.Child, problems []attestor.Problem) {
	subject := string(img.Digest())
	fail := func(err error) ([]attestor.Child, []attestor.Child, []attestor.Problem) {
		return nil, nil, []attestor.Problem{problemOf(attestor.CheckPlatforms, err, subject)}
	}
	config, err := i.config(ctx, img, d)
	if err != nil {
		return fail(err)
	}

	child := attestor.Child{Platform: config.String(), Digest: img.Digest()}
	if err := config.check("the image"); err != nil &&
		(err.Code == attestor.CodePlatformMissing || config.selected(needs.Platforms)) {
		return fail(err)
	}

	if !config.selected(needs.Platforms) {
		return nil, []attestor.Child{child}, []attestor.Problem{notAllowed(needs.Platforms, child.Platform)}
	}
	return []attestor.Child{child}, nil, nil
}

func notAllowed(wanted []string, found string) attestor.Problem {
	return problem(attestor.CheckPlatforms, attestor.CodePlatformNotAllowed, found,
		fmt.Sprintf("the image is for %s, the policy is about %s", found, strings.Join(wanted, ", ")),
		"build the image for "+strings.Join(wanted, " or "))
}

// config fetches and checks the config of an image's manifest.
func (i *Inspector) config(ctx context.Context, img attestor.Image, d document) (imageConfig, error) {
	if err := checkImage(d, i.limits); err != nil {
		return imageConfig{}, err
	}

	c, err := i.fetch.blob(ctx, img.Sibling(d.Config.Digest), d.Config.Size, i.limits.ConfigBytes)
	if err != nil {
		return imageConfig{}, partMissing(err, "its config "+string(d.Config.Digest), img)
	}

	config, fault := i.parsed.config(c, d)
	if fault != nil {
		return imageConfig{}, fault
	}
	return config, nil
}
