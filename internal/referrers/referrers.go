// Package referrers reads what is attached to an image in its registry: the
// manifests that refer to it (by the referrers API of the OCI distribution
// specification, or the fallback tag where a registry has no such API), those under
// tags made of its digest, and their blobs.
//
// Anyone who may push to the repository writes what this package reads. Numbers and
// sizes are bounded before anything is decoded, a list only says where to look, and
// nothing that is returned proves anything by itself: a caller believes signatures, or
// uses it against the image only.
package referrers

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
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/attestor-gate/attestor"
)

// The bounds of one image.
const (
	// Max is how many referrers of an image are looked at.
	Max = 64
	// MaxManifest is the most bytes of one manifest, and of a list of referrers with all its pages.
	MaxManifest = 4 << 20
)

// Config is what a Client needs. The zero value reads any registry that needs no
// credentials.
type Config struct {
	// Transport carries every request; it is where the caller refuses
	// registries and addresses. nil: [remote.DefaultTransport].
	Transport http.RoundTripper
	// Remote holds further options (credentials, user agent, retries). A Client
	// has a puller of its own, so that hostile referrers can exhaust the
	// connections for referrers only: do not pass [remote.Reuse].
	Remote []remote.Option
	// Name holds options for parsing references, such as [name.Insecure].
	// It is asked per registry, since plain HTTP is right for loopback only.
	Name func(registry string) []name.Option
}

// A Client reads referrers. It is safe for concurrent use.
type Client struct {
	name   func(registry string) []name.Option
	puller *remote.Puller
}

// New prepares the connection to registries; it sends nothing.
func New(c Config) (*Client, error) {
	if c.Transport == nil {
		c.Transport = remote.DefaultTransport
	}
	if c.Name == nil {
		c.Name = func(string) []name.Option { return nil }
	}

	// The bounds are set on the transport, beneath the registry library: it would read
	// 100 MiB before anyone could look at the size.
	options := append([]remote.Option{remote.WithJobs(8)}, c.Remote...)
	options = append(options, remote.WithTransport(&paged{next: &capped{next: c.Transport}}))
	puller, err := remote.NewPuller(options...)
	if err != nil {
		return nil, fmt.Errorf("preparing registry access: %w", err)
	}
	return &Client{name: c.Name, puller: puller}, nil
}

// A Flaw is the reason why something that was read cannot be used, for people. Any
// other error says that it could not be read, and nothing about it.
type Flaw string

func (f Flaw) Error() string { return string(f) }

// tooLarge is the Flaw of what has more bytes than are read: it may be what is looked for all the same.
type tooLarge struct{ Flaw }

func (t tooLarge) Unwrap() error { return t.Flaw }

// IsTooLarge reports whether something was not read for its size. That is a [Flaw] too: what follows is the caller's to say.
func IsTooLarge(err error) bool {
	_, is := errors.AsType[tooLarge](err)
	return is
}

// A List is what a registry says refers to an image.
type List struct {
	Referrers []v1.Descriptor // at most Max
	Listed    int             // how many were listed; if more than Max, at least so many
}

// Whole reports whether the list has every referrer. What is not in a list that is
// not whole may exist all the same.
func (l List) Whole() bool { return l.Listed <= len(l.Referrers) }

// List returns the referrers of img, with those first whose artifact type has one of
// the prefixes, and then those that have no type. Some tools write wrong types, and
// anyone may: they only give the order. The error is a [Flaw] if the list is malformed.
func (c *Client) List(ctx context.Context, img attestor.Image, prefixes ...string) (List, error) {
	all, err := once(ctx, img, func() ([]v1.Descriptor, error) { return c.all(ctx, img) })
	if err != nil {
		return List{}, err
	}

	// The order comes before the cut, so that referrers of other types do not crowd out
	// those that are asked for.
	list := slices.Clone(all)
	slices.SortStableFunc(list, func(a, b v1.Descriptor) int { return rank(a, prefixes) - rank(b, prefixes) })
	return List{Referrers: list[:min(len(list), Max)], Listed: len(list)}, nil
}

// all asks the registry for every referrer of img.
func (c *Client) all(ctx context.Context, img attestor.Image) ([]v1.Descriptor, error) {
	repo, err := c.repository(img)
	if err != nil {
		return nil, err
	}

	// The library falls back to the tag that the distribution specification prescribes
	// for registries without the API ("Referrers Tag Schema").
	index, err := remote.Referrers(repo.Digest(string(img.Digest())), c.options(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("listing referrers: %w", err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, Flaw("its list of referrers is malformed")
	}
	return m.Manifests, nil
}

// rank orders referrers: those of the types that are asked for, those without a type,
// others.
func rank(d v1.Descriptor, prefixes []string) int {
	switch {
	case slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(d.ArtifactType, p) }):
		return 0
	case d.ArtifactType == "" || d.ArtifactType == "application/vnd.oci.empty.v1+json":
		return 1
	}
	return 2
}

// Manifest returns the manifest that a list of referrers of img names. The error is
// [ErrNone] if it cannot be a referrer's or is not there, and a [Flaw] if it refers to
// another digest.
func (c *Client) Manifest(ctx context.Context, img attestor.Image, desc v1.Descriptor) (*v1.Manifest, error) {
	if desc.Digest.Algorithm != "sha256" || desc.Size > MaxManifest {
		return nil, ErrNone
	}
	repo, err := c.repository(img)
	if err != nil {
		return nil, err
	}

	m, err := c.manifest(ctx, repo.Digest(desc.Digest.String()))
	if errors.Is(err, errMalformed) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}

	// OCI distribution specification: a referrer is a manifest whose subject is the
	// digest. A list that claims it of another manifest is not believed.
	if m.Subject == nil || m.Subject.Digest.String() != string(img.Digest()) {
		return m, Flaw("it refers to another digest")
	}
	return m, nil
}

// Tagged returns the manifest under the tag sha256-HEX.SUFFIX, where cosign and ko
// attach signatures (sig), attestations (att) and SBOMs (sbom). The error is [ErrNone]
// if there is none, and a [Flaw] if it is malformed. The tag proves nothing about the
// digest in its name: anyone who may push can move it.
func (c *Client) Tagged(ctx context.Context, img attestor.Image, suffix string) (*v1.Manifest, error) {
	repo, err := c.repository(img)
	if err != nil {
		return nil, err
	}

	// cosign's signature specification, "Tag-based Discovery": "Replace the : character
	// with a -", "Append the .sig suffix".
	m, err := c.manifest(ctx, repo.Tag("sha256-"+img.Digest().Hex()+"."+suffix))
	if errors.Is(err, errMalformed) {
		return nil, Flaw("its manifest is malformed")
	}
	return m, err
}

// ErrNone means that the registry was asked and has no such manifest.
var ErrNone = errors.New("no such manifest")

// errMalformed marks bytes that were read and are not a manifest.
var errMalformed = errors.New("not a manifest")

// manifest fetches one manifest. For a reference by digest, the library has compared
// the bytes with it.
func (c *Client) manifest(ctx context.Context, ref name.Reference) (*v1.Manifest, error) {
	desc, err := remote.Get(ref, c.options(ctx)...)
	if notFound(err) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("fetching manifest %s: %w", ref.Identifier(), err)
	}

	// The lenient decoder of encoding/json suffices: a manifest here only leads to
	// candidates, each of which is verified by itself.
	m := &v1.Manifest{}
	if err := json.Unmarshal(desc.Manifest, m); err != nil {
		return nil, errMalformed
	}
	return m, nil
}

// Blob reads the blob that desc describes, of at most limit bytes, as the registry
// stores it: nothing is decompressed. The error is a [Flaw] if the blob cannot be used.
func (c *Client) Blob(ctx context.Context, img attestor.Image, desc v1.Descriptor, limit int64) ([]byte, error) {
	r, err := c.Open(ctx, img, desc, limit)
	if err != nil {
		return nil, err
	}
	defer r.Close() // gives the connection and the puller's slot back

	b, err := io.ReadAll(r)
	if _, flawed := errors.AsType[Flaw](err); err != nil && !flawed {
		return nil, fmt.Errorf("reading blob %s: %w", desc.Digest, err)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Open is Blob for a reader. Only what was read to io.EOF has the digest of desc: until
// then the bytes may be anybody's. Beyond the limit the reader returns a [Flaw]. Close
// it, since it holds a connection.
func (c *Client) Open(
	ctx context.Context, img attestor.Image, desc v1.Descriptor, limit int64,
) (io.ReadCloser, error) {
	if desc.Size > limit {
		return nil, tooLarge{Flaw(fmt.Sprintf("it has %d bytes, at most %d are read", desc.Size, limit))}
	}
	if _, err := attestor.ParseDigest(desc.Digest.String()); err != nil {
		return nil, Flaw("it has no valid digest")
	}
	repo, err := c.repository(img)
	if err != nil {
		return nil, err
	}

	layer, err := remote.Layer(repo.Digest(desc.Digest.String()), c.options(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("fetching blob %s: %w", desc.Digest, err)
	}
	body, err := layer.Compressed()
	if notFound(err) {
		return nil, Flaw("its blob is missing")
	}
	if err != nil {
		return nil, fmt.Errorf("fetching blob %s: %w", desc.Digest, err)
	}

	// OCI image specification, descriptor: "the content SHOULD be verified against the
	// provided digest". The library does so at the end of the body, which is reached
	// unless there is more than the limit.
	return &bounded{body, limit, tooLarge{Flaw(fmt.Sprintf("it has more than %d bytes", limit))}}, nil
}

// repository parses the image's repository with the caller's options.
func (c *Client) repository(img attestor.Image) (name.Repository, error) {
	repo, err := name.NewRepository(img.Repository(), c.name(img.Registry())...)
	if err != nil {
		return name.Repository{}, fmt.Errorf("parsing repository: %w", err)
	}
	return repo, nil
}

func (c *Client) options(ctx context.Context) []remote.Option {
	return []remote.Option{remote.Reuse(c.puller), remote.WithContext(ctx)}
}

// notFound reports whether a registry answered 404. Any other answer leaves open
// whether it has what was asked for.
func notFound(err error) bool {
	te, ok := errors.AsType[*transport.Error](err)
	return ok && te.StatusCode == http.StatusNotFound
}
