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

// errTooLarge ends a body that exceeds its limit.
var errTooLarge = fmt.Errorf("the registry's manifest or list of referrers has more than %d bytes", maxManifest)

// capped limits the bodies of manifests and lists of referrers to maxManifest. The
// registry library reads them whole (up to 100 MiB) before anyone can look at them.
type capped struct {
	next http.RoundTripper
}

func (t *capped) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}

	// Blobs have limits of their own where they are read.
	if strings.Contains(r.URL.Path, "/manifests/") || strings.Contains(r.URL.Path, "/referrers/") {
		resp.Body = &cappedBody{ReadCloser: resp.Body, left: maxManifest}
	}
	return resp, nil
}

// cappedBody returns an error where it stops, so that a truncated document is
// never taken for the whole.
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

// manifest fetches one manifest. For a reference by digest, the library has
// compared the bytes with it. ok is false if the registry has no such manifest.
func (c *Checker) manifest(ctx context.Context, ref name.Reference) (m *v1.Manifest, ok bool, err error) {
	desc, err := remote.Get(ref, c.options(ctx)...)
	if notFound(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("fetching manifest %s: %w", ref.Identifier(), err)
	}

	// The lenient decoder of encoding/json suffices: a manifest here only leads to
	// candidates, each of which is verified by itself.
	m = &v1.Manifest{}
	if err := json.Unmarshal(desc.Manifest, m); err != nil {
		return nil, true, errNotManifest
	}
	return m, true, nil
}

// errNotManifest marks bytes that were read and are not a manifest.
var errNotManifest = errors.New("not a manifest")

// blob fetches the bytes that desc describes, as the registry stores them: nothing
// is decompressed. flaw is the reason why the blob cannot be used, if there is one;
// an error says nothing about the blob.
func (c *Checker) blob(
	ctx context.Context, repo name.Repository, desc v1.Descriptor, limit int64,
) (b []byte, flaw string, err error) {
	if desc.Size > limit {
		return nil, fmt.Sprintf("it has %d bytes, at most %d are read", desc.Size, limit), nil
	}
	if _, err := attestor.ParseDigest(desc.Digest.String()); err != nil {
		return nil, "it has no valid digest", nil
	}

	layer, err := remote.Layer(repo.Digest(desc.Digest.String()), c.options(ctx)...)
	if err != nil {
		return nil, "", fmt.Errorf("fetching blob %s: %w", desc.Digest, err)
	}
	r, err := layer.Compressed()
	if notFound(err) {
		return nil, "its blob is missing", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("fetching blob %s: %w", desc.Digest, err)
	}
	defer r.Close() // gives the connection and the puller's slot back

	// OCI image specification, descriptor: "the content SHOULD be verified against the
	// provided digest". The library does so at the end of the body, which is reached
	// unless there is more than the limit.
	b, err = io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, "", fmt.Errorf("reading blob %s: %w", desc.Digest, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Sprintf("it has more than %d bytes", limit), nil
	}
	return b, "", nil
}

// attached fetches the manifest that cosign keeps under a tag made of the
// digest: suffix is "sig" or "att".
func (c *Checker) attached(
	ctx context.Context, img attestor.Image, suffix string, found *findings,
) (repo name.Repository, layers []v1.Descriptor) {
	repo, err := c.repository(img)
	if err != nil {
		found.fail(err)
		return repo, nil
	}

	// cosign's signature specification, "Tag-based Discovery": "Replace the : character
	// with a -", "Append the .sig suffix". The tag proves nothing about the digest in its
	// name: anyone who may push can move it.
	m, ok, err := c.manifest(ctx, repo.Tag("sha256-"+img.Digest().Hex()+"."+suffix))
	switch {
	case errors.Is(err, errNotManifest):
		found.reject("its manifest is malformed")
		return repo, nil
	case err != nil:
		found.fail(err)
		return repo, nil
	case !ok:
		return repo, nil
	}
	return repo, limited(m.Layers, found)
}

// limited cuts a list to maxCandidates. One of the rest may satisfy the rule, so that
// the answer is unknown unless one of the first does.
func limited(list []v1.Descriptor, found *findings) []v1.Descriptor {
	if len(list) <= maxCandidates {
		return list
	}
	found.fail(&attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeBaseSignatureUnknown,
		Msg: fmt.Sprintf(
			"%d signatures or referrers are attached, of which %d were checked, and none satisfies the rule",
			len(list), maxCandidates,
		),
		Fix: "delete the signatures and referrers that are not needed",
	})
	return list[:maxCandidates]
}

// referrers lists the referrers of img, most likely bundles first. The list is written
// by anyone who may push, and some tools write wrong types into it: it only gives the
// order, and all entries are fetched.
func (c *Checker) referrers(
	ctx context.Context, img attestor.Image, found *findings,
) (repo name.Repository, list []v1.Descriptor) {
	repo, err := c.repository(img)
	if err != nil {
		found.fail(err)
		return repo, nil
	}

	// The library falls back to the tag that the distribution specification prescribes
	// for registries without the API ("Referrers Tag Schema").
	index, err := remote.Referrers(repo.Digest(string(img.Digest())), c.options(ctx)...)
	if err != nil {
		found.fail(fmt.Errorf("listing referrers: %w", err))
		return repo, nil
	}
	m, err := index.IndexManifest()
	if err != nil {
		found.reject("its list of referrers is malformed")
		return repo, nil
	}

	list = slices.Clone(m.Manifests)
	slices.SortStableFunc(list, func(a, b v1.Descriptor) int { return rank(a) - rank(b) })
	return repo, limited(list, found)
}

// rank orders referrers: bundles by their type, those without a type, others.
func rank(d v1.Descriptor) int {
	switch {
	case strings.HasPrefix(d.ArtifactType, bundleMediaType):
		return 0
	case d.ArtifactType == "" || d.ArtifactType == "application/vnd.oci.empty.v1+json":
		return 1
	}
	return 2
}
