package verify

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/singleflight"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/lru"
)

// content is bytes that hash to the digest they are kept under, with the media
// type that the registry gave them.
type content struct {
	digest    attestor.Digest
	mediaType string // the Content-Type header, "" for a blob
	bytes     []byte
}

// contentKey has the repository, so that what was read from one is never
// served to somebody who was asked about another and might not read the first.
type contentKey struct {
	repository string
	digest     attestor.Digest
	blob       bool // what was read as a blob is no manifest: nothing says how it is served as one
}

// fetcher reads manifests and blobs through one shared puller, which keeps
// connections and tokens.
type fetcher struct {
	hosts   *hosts
	limits  limits
	guard   *guard
	puller  *remote.Puller
	closer  *http.Transport
	cache   *lru.Cache[contentKey, content]
	flights singleflight.Group
	log     *slog.Logger

	hits, misses atomic.Uint64 // of cache
}

const pullJobs = 64 // blobs at once; the puller's own default of 4 would let slow ones block the rest

func newFetcher(r Registries, h *hosts, limits limits, log *slog.Logger) (*fetcher, error) {
	keychain := r.Keychain
	if keychain == nil {
		keychain = authn.NewMultiKeychain()
	}
	g, base := newGuard(r, h, limits)
	opts := []remote.Option{
		remote.WithTransport(g),
		remote.WithAuthFromKeychain(keychain),
		remote.WithUserAgent("attestor"),
		remote.WithJobs(pullJobs),
		remote.WithRetryBackoff(remote.Backoff{Duration: limits.RetryDelay, Factor: 3, Jitter: 0.1, Steps: 3}),
		remote.WithRetryStatusCodes(http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout),
	}

	puller, err := remote.NewPuller(opts...)
	if err != nil {
		return nil, fmt.Errorf("making a registry client: %w", err)
	}
	return &fetcher{
		hosts: h, limits: limits, guard: g, puller: puller, closer: base, log: log,
		cache: lru.New[contentKey, content](limits.CacheBytes),
	}, nil
}

func (f *fetcher) closeIdle() { f.closer.CloseIdleConnections() }

// byTag resolves a tag, afresh each time: the manifest is fetched once, and
// its digest computed.
func (f *fetcher) byTag(ctx context.Context, repository, tag string) (content, error) {
	return patiently(ctx, func() (content, error) { return f.byTagOnce(ctx, repository, tag) })
}

func (f *fetcher) byTagOnce(ctx context.Context, repository, tag string) (content, error) {
	opts, err := f.allowed(repository)
	if err != nil {
		return content{}, err
	}
	ref, err := name.NewTag(repository+":"+tag, opts...)
	if err != nil {
		return content{}, &attestor.Error{Kind: attestor.Invalid, Msg: "not a reference: " + repository + ":" + tag}
	}

	ctx, cancel := context.WithTimeout(ctx, f.limits.FetchTimeout)
	defer cancel()

	ctx, said := announced(ctx)
	c, err := guarded(func() (content, error) { return f.manifest(ctx, ref, "") })
	if err == nil {
		err = said.check(ref.String(), c.digest)
	}

	if err != nil {
		return content{}, classify(err, ref.String(), repository)
	}

	f.cache.Put(contentKey{repository: repository, digest: c.digest}, c, int64(len(c.bytes))+lru.Entry)
	return c, nil
}

// byDigest returns a manifest, from memory where it was read from the same
// repository before.
func (f *fetcher) byDigest(ctx context.Context, img attestor.Image) (content, error) {
	return f.cached(ctx, img, "", f.reader(img))
}

// prefetch starts reading a manifest that will be asked for next.
func (f *fetcher) prefetch(ctx context.Context, img attestor.Image) {
	if _, ok := f.cache.Get(contentKey{repository: img.Repository(), digest: img.Digest()}); !ok {
		f.start(ctx, img, "", f.reader(img))
	}
}

func (f *fetcher) reader(img attestor.Image) func(context.Context) (content, error) {
	return func(ctx context.Context) (content, error) {
		opts, err := f.allowed(img.Repository())
		if err != nil {
			return content{}, err
		}
		ref, err := name.NewDigest(img.String(), opts...)
		if err != nil {
			return content{}, err
		}
		return f.manifest(ctx, ref, img.Digest())
	}
}

// blob returns a blob of at most limit bytes, and of exactly size bytes.
func (f *fetcher) blob(ctx context.Context, img attestor.Image, size, limit int64) (content, error) {
	if size < 0 || size > limit {
		return content{}, fault(
			attestor.CodeTooLarge,
			fmt.Sprintf("%s is said to have %d bytes, at most %d are read", img.Digest(), size, limit),
			"make it smaller",
			nil,
		)
	}

	wrong := fault(
		attestor.CodeContentMismatch,
		fmt.Sprintf("%s has not the %d bytes that its manifest says, or other ones", img.Digest(), size),
		"push the image again",
		nil,
	)

	// The size is part of the flight, so that a manifest that lies about it
	// fails nobody else; what is in memory is compared all the same.
	c, err := f.cached(ctx, img, fmt.Sprint("#", size), func(ctx context.Context) (content, error) {
		rc, err := f.open(ctx, img)
		if err != nil {
			return content{}, err
		}
		defer rc.Close()
		b, err := io.ReadAll(io.LimitReader(rc, size+1))
		if err != nil {
			return content{}, err
		}

		if int64(len(b)) != size || attestor.DigestOf(b) != img.Digest() {
			return content{}, wrong
		}
		return content{digest: img.Digest(), bytes: b}, nil
	})
	if err == nil && int64(len(c.bytes)) != size {
		return content{}, wrong
	}
	return c, err
}

// open streams a blob; the reader fails at its end where the bytes are not the
// digest's. It must be closed.
func (f *fetcher) open(ctx context.Context, img attestor.Image) (io.ReadCloser, error) {
	opts, err := f.allowed(img.Repository())
	if err != nil {
		return nil, err
	}
	ref, err := name.NewDigest(img.String(), opts...)
	if err != nil {
		return nil, err
	}

	layer, err := f.puller.Layer(ctx, ref)
	if err != nil {
		return nil, err
	}
	return layer.Compressed()
}

// cached runs read unless its result is in memory, and waits where the registry
// asks for it.
func (f *fetcher) cached(
	ctx context.Context, img attestor.Image, flight string, read func(context.Context) (content, error),
) (content, error) {
	return patiently(ctx, func() (content, error) { return f.cachedOnce(ctx, img, flight, read) })
}

func (f *fetcher) cachedOnce(
	ctx context.Context, img attestor.Image, flight string, read func(context.Context) (content, error),
) (content, error) {
	key := contentKey{img.Repository(), img.Digest(), flight != ""}
	if c, ok := f.cache.Get(key); ok {
		f.hits.Add(1)
		return c, nil
	}

	f.misses.Add(1)
	select {
	case <-ctx.Done():
		return content{}, timedOut(img.String(), ctx.Err())
	case r := <-f.start(ctx, img, flight, read):
		return r.Val.(content), r.Err
	}
}

// start runs read once for all who ask at the same time. The work is detached
// from whoever asked first, with a deadline of its own: a caller who hangs up
// fails nobody else.
func (f *fetcher) start(
	ctx context.Context, img attestor.Image, flight string, read func(context.Context) (content, error),
) <-chan singleflight.Result {
	key := contentKey{img.Repository(), img.Digest(), flight != ""}
	return f.flights.DoChan(img.String()+flight, func() (any, error) {
		if c, ok := f.cache.Get(key); ok { // read since the caller looked
			return c, nil
		}
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.limits.FetchTimeout)
		defer cancel()
		c, err := guarded(func() (content, error) { return read(work) })
		if err != nil {
			what := img.String()
			if key.blob {
				what = "blob " + string(img.Digest()) + " of " + img.Repository()
			}
			return content{}, classify(err, what, img.Repository())
		}
		f.cache.Put(key, c, int64(len(c.bytes))+lru.Entry)
		return c, nil
	})
}

// guarded turns a panic of a library that met hostile input into an error:
// nobody could recover it in a goroutine of our own.
func guarded[T any](f func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault(
				attestor.CodeRegistryMisbehaves,
				"what the registry sent could not be processed",
				"push the image again",
				fmt.Errorf("panic: %v", p),
			)
		}
	}()
	return f()
}

// allowed returns how to name things in repository, if its registry is one of
// ours.
func (f *fetcher) allowed(repository string) ([]name.Option, error) {
	host, _, _ := strings.Cut(repository, "/")
	scheme, ok := f.hosts.scheme(host)
	if !ok {
		return nil, fault(
			attestor.CodeRegistryNotAllowed,
			"registry "+host+" is not one that the gate may contact",
			"add "+host+" to the registries in the gate's configuration",
			nil,
		)
	}

	opts := []name.Option{name.StrictValidation}
	if scheme == "http" {
		opts = append(opts, name.Insecure)
	}
	return opts, nil
}

// manifest fetches and hashes. The puller compares digests too, but believes
// the registry's header for what says that it is a signed schema 1 manifest.
func (f *fetcher) manifest(ctx context.Context, ref name.Reference, want attestor.Digest) (content, error) {
	d, err := f.puller.Get(ctx, ref)
	if err != nil {
		return content{}, err
	}
	got := attestor.DigestOf(d.Manifest)
	if want != "" && got != want {
		return content{}, fault(
			attestor.CodeContentMismatch,
			fmt.Sprintf("the registry answered %s with bytes of %s", want, got),
			"",
			nil,
		)
	}
	return content{digest: got, mediaType: string(d.MediaType), bytes: d.Manifest}, nil
}
