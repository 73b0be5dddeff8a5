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

// content is the bytes of a digest, which were hashed, with the media type that the
// registry served them as.
type content struct {
	digest    attestor.Digest
	mediaType string // the Content-Type header, "" for a blob
	bytes     []byte
}

// contentKey has the repository, so that bytes read from one repository are never used
// for an image of another, which the gate may have no permission to read.
type contentKey struct {
	repository string
	digest     attestor.Digest
	blob       bool // a blob's bytes are no manifest: they have no Content-Type
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
	lookups singleflight.Group
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

// byTag resolves a tag, without the memory since it can move: one request fetches the
// manifest, whose digest is computed here.
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

	// Kept by its digest alone: the tag may name another one a moment later.
	f.cache.Put(contentKey{repository: repository, digest: c.digest}, c, int64(len(c.bytes))+lru.Entry)
	return c, nil
}

// wanted is content that is looked up. Its size is what a manifest or an index says of it, -1 where nothing does; no
// more bytes are read. It is part of the key of shared look-ups, so that a document that lies about it fails nobody
// else.
type wanted struct {
	img  attestor.Image
	blob bool
	size int64
}

func (w wanted) key() contentKey { return contentKey{w.img.Repository(), w.img.Digest(), w.blob} }

// String names it in messages.
func (w wanted) String() string {
	if w.blob {
		return "blob " + string(w.img.Digest()) + " of " + w.img.Repository()
	}
	return w.img.String()
}

// byDigest returns a manifest, from memory if it was read from the same repository
// before.
func (f *fetcher) byDigest(ctx context.Context, img attestor.Image) (content, error) {
	return f.listed(ctx, img, -1)
}

// listed is byDigest of a manifest that an index says has size bytes. Of one that is longer no more is read, and the error
// is an errTooLarge; whether it is shorter is left to the caller.
func (f *fetcher) listed(ctx context.Context, img attestor.Image, size int64) (content, error) {
	return f.cached(ctx, wanted{img: img, size: size}, f.reader(img, size))
}

// prefetch starts reading a manifest that will be needed next.
func (f *fetcher) prefetch(ctx context.Context, img attestor.Image, size int64) {
	w := wanted{img: img, size: size}
	if _, ok := f.cache.Get(w.key()); !ok {
		f.start(ctx, w, f.reader(img, size))
	}
}

// forget has a manifest read again when it is asked for next.
func (f *fetcher) forget(img attestor.Image) { f.cache.Remove(wanted{img: img}.key()) }

func (f *fetcher) reader(img attestor.Image, size int64) func(context.Context) (content, error) {
	return func(ctx context.Context) (content, error) {
		opts, err := f.allowed(img.Repository())
		if err != nil {
			return content{}, err
		}
		ref, err := name.NewDigest(img.String(), opts...)
		if err != nil {
			return content{}, err
		}
		return f.manifest(atMost(ctx, size), ref, img.Digest())
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

	// What is in memory is compared all the same.
	c, err := f.cached(ctx, wanted{img, true, size}, func(ctx context.Context) (content, error) {
		rc, err := f.open(ctx, img)
		if err != nil {
			return content{}, err
		}
		defer rc.Close()

		// One byte more than is said shows a blob that is longer.
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

// open streams a blob. At the end the reader returns an error if the bytes do not have
// the digest. It must be closed.
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

// cached runs read unless its result is in memory, and retries when the registry asks
// for it.
func (f *fetcher) cached(
	ctx context.Context, w wanted, read func(context.Context) (content, error),
) (content, error) {
	return patiently(ctx, func() (content, error) { return f.cachedOnce(ctx, w, read) })
}

func (f *fetcher) cachedOnce(
	ctx context.Context, w wanted, read func(context.Context) (content, error),
) (content, error) {
	if c, ok := f.cache.Get(w.key()); ok {
		f.hits.Add(1)
		return c, nil
	}

	f.misses.Add(1)
	if ctx.Err() != nil { // nothing is fetched for a caller who has left
		return content{}, timedOut(w.img.String(), ctx.Err())
	}
	select {
	case <-ctx.Done():
		return content{}, timedOut(w.img.String(), ctx.Err())
	case r := <-f.start(ctx, w, read):
		return r.Val.(content), r.Err
	}
}

// start runs read once for all callers at the same time. The work is detached from the
// one who came first and has its own deadline, so that a caller who leaves fails
// nobody else.
func (f *fetcher) start(
	ctx context.Context, w wanted, read func(context.Context) (content, error),
) <-chan singleflight.Result {
	return f.lookups.DoChan(fmt.Sprint(w, "#", w.size), func() (any, error) {
		if c, ok := f.cache.Get(w.key()); ok { // read since the caller looked
			return c, nil
		}
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.limits.FetchTimeout)
		defer cancel()

		// Only a success is kept: a failure may be the registry's for a moment.
		c, err := guarded(func() (content, error) { return read(work) })
		if err != nil {
			return content{}, classify(err, w.String(), w.img.Repository())
		}
		f.cache.Put(w.key(), c, int64(len(c.bytes))+lru.Entry)
		return c, nil
	})
}

// guarded turns a panic of a library on hostile input into an error. On a goroutine of
// our own, it would end the process.
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

// allowed returns the options for references to repository, if its registry may be
// contacted.
func (f *fetcher) allowed(repository string) ([]name.Option, error) {
	host, _, _ := strings.Cut(repository, "/")
	scheme, ok := f.hosts.scheme(host)
	if !ok {
		return nil, fault(
			attestor.CodeRegistryNotAllowed,
			"registry "+host+" is not among those that the gate may contact",
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

// manifest fetches a manifest and hashes it. The puller compares digests too, but takes
// the registry's header for the digest of a signed schema 1 manifest.
func (f *fetcher) manifest(ctx context.Context, ref name.Reference, want attestor.Digest) (content, error) {
	d, err := f.puller.Get(ctx, ref)
	if err != nil {
		return content{}, err
	}

	// A digest names bytes: bytes with another digest are of another manifest, whatever
	// the registry's headers say. Nothing is judged before this comparison.
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
