package signed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
)

// errTooLarge is what a body beyond its limit ends with.
var errTooLarge = errors.New("the registry's answer is larger than any that is expected")

// capped limits the bodies of manifests and referrers lists, which the
// registry library reads whole (up to 100 MiB) before anyone can look at them.
type capped struct {
	next     http.RoundTripper
	manifest int64
}

func (t *capped) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if strings.Contains(r.URL.Path, "/manifests/") || strings.Contains(r.URL.Path, "/referrers/") {
		resp.Body = &cappedBody{ReadCloser: resp.Body, left: t.manifest}
	}
	return resp, nil
}

// cappedBody fails rather than ends, so that what was cut off is never taken
// for the whole.
type cappedBody struct {
	io.ReadCloser
	left int64
}

func (b *cappedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errTooLarge
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// repository parses the image's repository with the caller's options.
func (c *Checker) repository(img attestor.Image) (name.Repository, error) {
	repo, err := name.NewRepository(img.Repository(), c.c.Name(img.Registry())...)
	if err != nil {
		return name.Repository{}, fmt.Errorf("parsing repository: %w", err)
	}
	return repo, nil
}

func (c *Checker) options(ctx context.Context) []remote.Option {
	return []remote.Option{remote.Reuse(c.puller), remote.WithContext(ctx)}
}

// manifest fetches one manifest; by digest its bytes were hashed. ok is false
// where there is none.
func (c *Checker) manifest(ctx context.Context, ref name.Reference) (m *v1.Manifest, ok bool, err error) {
	desc, err := remote.Get(ref, c.options(ctx)...)
	if notFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("fetching manifest %s: %w", ref.Identifier(), err)
	}
	m = &v1.Manifest{}
	if err := json.Unmarshal(desc.Manifest, m); err != nil {
		return nil, true, errNotManifest
	}
	return m, true, nil
}

// errNotManifest marks bytes that are there but are no manifest: looked at,
// and nothing.
var errNotManifest = errors.New("not a manifest")

// blob fetches the bytes that desc describes, hashed against its digest, as
// the registry stores them: nothing is decompressed. ok is false where the
// blob is absent, too large or not what the digest says.
func (c *Checker) blob(ctx context.Context, repo name.Repository, desc v1.Descriptor, limit int64) (b []byte, why string, err error) {
	if desc.Size > limit {
		return nil, fmt.Sprintf("which has %d bytes, at most %d are read", desc.Size, limit), nil
	}
	if _, err := attestor.ParseDigest(desc.Digest.String()); err != nil {
		return nil, "which has no valid digest", nil
	}
	layer, err := remote.Layer(repo.Digest(desc.Digest.String()), c.options(ctx)...)
	if err != nil {
		return nil, "", fmt.Errorf("fetching blob %s: %w", desc.Digest, err)
	}
	r, err := layer.Compressed()
	if notFound(err) {
		return nil, "whose blob is missing", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("fetching blob %s: %w", desc.Digest, err)
	}
	// Closing is what gives the connection and the puller's slot back.
	defer r.Close()
	b, err = io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, "", fmt.Errorf("reading blob %s: %w", desc.Digest, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Sprintf("which has more than %d bytes", limit), nil
	}
	return b, "", nil
}

// attached fetches the manifest that cosign keeps under a tag made of the
// digest: suffix is "sig" or "att".
func (c *Checker) attached(ctx context.Context, img attestor.Image, suffix string, found *findings) (repo name.Repository, layers []v1.Descriptor) {
	repo, err := c.repository(img)
	if err != nil {
		found.fail(err)
		return repo, nil
	}
	m, ok, err := c.manifest(ctx, repo.Tag("sha256-"+img.Digest().Hex()+"."+suffix))
	switch {
	case errors.Is(err, errNotManifest):
		found.reject("whose manifest is malformed")
		return repo, nil
	case err != nil:
		found.fail(err)
		return repo, nil
	case !ok:
		return repo, nil
	}
	return repo, limited(m.Layers, c.c.Limits.Candidates, found)
}

// limited cuts a list. What is beyond was not looked at, so that the answer
// is not known unless one of the first satisfies.
func limited(list []v1.Descriptor, limit int, found *findings) []v1.Descriptor {
	if len(list) <= limit {
		return list
	}
	found.fail(&attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeBaseSignatureUnknown,
		Msg: fmt.Sprintf("%d signatures or referrers are attached, of which %d were looked at, and none satisfies", len(list), limit),
		Fix: "remove those that do not belong there",
	})
	return list[:limit]
}

// referrers lists what refers to img, most likely bundles first. The types in
// the list are hints: some tools write wrong ones, so that all are looked at.
func (c *Checker) referrers(ctx context.Context, img attestor.Image, found *findings) (repo name.Repository, list []v1.Descriptor) {
	repo, err := c.repository(img)
	if err != nil {
		found.fail(err)
		return repo, nil
	}
	index, err := remote.Referrers(repo.Digest(string(img.Digest())), c.options(ctx)...)
	if err != nil {
		found.fail(fmt.Errorf("listing referrers: %w", err))
		return repo, nil
	}
	m, err := index.IndexManifest()
	if err != nil {
		found.reject("whose list of referrers is malformed")
		return repo, nil
	}
	list = slices.Clone(m.Manifests)
	slices.SortStableFunc(list, func(a, b v1.Descriptor) int { return likely(a) - likely(b) })
	return repo, limited(list, c.c.Limits.Candidates, found)
}

func likely(d v1.Descriptor) int {
	switch {
	case strings.HasPrefix(d.ArtifactType, bundleMediaType):
		return 0
	case d.ArtifactType == "" || d.ArtifactType == "application/vnd.oci.empty.v1+json":
		return 1
	}
	return 2
}
