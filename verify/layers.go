package verify

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/singleflight"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/lru"
)

// layerFacts follow from the bytes of a blob. They are facts about its digest, and so
// hold for every image that has it.
type layerFacts struct {
	size        int64 // of the blob
	compression compression
	diffID      attestor.Digest
}

// layerReader reads layers whole, once each: it hashes them packed and unpacked, and
// records their effect on the files of accounts.
//
// Only its methods prove and effect give access to a layer's content. Neither returns
// before the whole layer was read and agrees with the image's manifest and config: a
// part of a layer has no digest, and so proves nothing.
type layerReader struct {
	fetch   *fetcher
	limits  limits
	lookups singleflight.Group
	slots   *layerSlots
	wide    *layerSlots // of layers with a zstd window that is larger than usual
	facts   *lru.Cache[attestor.Digest, layerFacts]
	effects *lru.Cache[attestor.Digest, layerEffect]
}

const (
	effectCacheBytes = 16 << 20
	wideReads        = 2 // at once: each may take 128 MiB
)

func newLayerReader(f *fetcher, l limits) *layerReader {
	return &layerReader{
		fetch: f, limits: l, slots: newLayerSlots(l.LayerReads), wide: newLayerSlots(wideReads),
		facts:   lru.New[attestor.Digest, layerFacts](int64(l.LayerFacts)),
		effects: lru.New[attestor.Digest, layerEffect](effectCacheBytes),
	}
}

// prove reports whether layer n of an image, counted from 0 at the lowest,
// unpacks to the diffID that the config lists for it. An error is a fault that
// names the layer.
func (r *layerReader) prove(ctx context.Context, s subject, n int) error {
	l := (*s.doc.Layers)[n]

	facts, known := r.facts.Get(l.Digest)
	if !known {
		read, err := r.read(ctx, s.image.Sibling(l.Digest), l.Size)

		// A contradiction is a denial that no retry lifts, so that it comes before the failure to read.
		if err != nil {
			return firstOf(contradiction(s, n, read.facts.compression), err)
		}
		facts = read.facts
	}
	return agrees(s, n, facts)
}

// effect is what layer n of an image does to the files of accounts. Like prove,
// it fails for a layer that is not what the config says: bytes that no runtime
// would unpack prove nothing.
func (r *layerReader) effect(ctx context.Context, s subject, n int) (layerEffect, error) {
	l := (*s.doc.Layers)[n]

	facts, known := r.facts.Get(l.Digest)
	effect, walked := r.effects.Get(l.Digest)
	if !known || !walked {
		read, err := r.read(ctx, s.image.Sibling(l.Digest), l.Size)
		if err != nil {
			return layerEffect{}, firstOf(contradiction(s, n, read.facts.compression), err)
		}
		facts, effect = read.facts, read.effect
	}

	// What is known of the blob may have been read for another image, whose
	// manifest and config said something else of it.
	if err := agrees(s, n, facts); err != nil {
		return layerEffect{}, err
	}
	return effect, nil
}

// known is the effect of layer n if the layer was read already, for whatever else.
func (r *layerReader) known(s subject, n int) (layerEffect, bool) {
	l := (*s.doc.Layers)[n]

	facts, read := r.facts.Get(l.Digest)
	effect, walked := r.effects.Get(l.Digest)
	if !read || !walked || agrees(s, n, facts) != nil {
		return layerEffect{}, false
	}
	return effect, true
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// agrees compares the facts of layer n with its image: the size and media type in the
// manifest, and the diffID in the config.
func agrees(s subject, n int, facts layerFacts) error {
	l := (*s.doc.Layers)[n]

	// Image specification, descriptor.md: "If the length of the retrieved
	// content does not match the specified length, the content SHOULD NOT be
	// trusted."
	if facts.size != l.Size {
		return fault(attestor.CodeContentMismatch,
			fmt.Sprintf("%s has %d bytes, but the manifest says %d", layerName(n, l), facts.size, l.Size),
			"push the image again", nil)
	}

	if err := contradiction(s, n, facts.compression); err != nil {
		return err
	}

	// containerd unpacks a layer and compares: "wrong diff id calculated on
	// extraction". A layer that it refuses must not be judged in place of one that runs.
	if want := s.config.RootFS.DiffIDs[n]; facts.diffID != want {
		return fault(attestor.CodeLayersMismatch,
			fmt.Sprintf("%s %s and unpacks to %s, but the image's config lists diffID %s",
				layerName(n, l), facts.compression.observed(), facts.diffID, want), fixRebuild, nil)
	}
	return nil
}

// contradiction compares the compression that the first bytes of layer n show
// with the one that its media type names. Runtimes differ in which they follow,
// so that a layer with two answers could have two contents.
func contradiction(s subject, n int, found compression) error {
	l := (*s.doc.Layers)[n]
	refuse := func(format string, args ...any) error {
		return fault(attestor.CodeLayerContradictory, layerName(n, l)+" "+fmt.Sprintf(format, args...), fixRebuild, nil)
	}

	says := stated(l.MediaType)
	switch {
	case found == bzip2 || found == xz:
		return refuse("is compressed with %s, which containerd does not unpack; gzip and zstd are allowed", found)
	case found == unstated || says == unstated || found == says:
		return nil
	}
	return refuse("%s, but its media type %s says %s; the config lists diffID %s",
		found.observed(), l.MediaType, says, s.config.RootFS.DiffIDs[n])
}

// observed describes the compression that the first bytes show, for messages.
func (c compression) observed() string {
	switch c {
	case unstated:
		return "is empty"
	case uncompressed:
		return "is uncompressed by its first bytes"
	}
	return "is " + string(c) + " by its first bytes"
}

// layerName names layer n in messages, counted from 1 at the lowest.
func layerName(n int, l descriptor) string { return fmt.Sprintf("layer %d (%s)", n+1, l.Digest) }

// readLayer is a layer that was read.
type readLayer struct {
	facts  layerFacts
	effect layerEffect
}

// readOnce reads a blob of size bytes. Callers at the same time share the work, which
// outlives a caller who leaves: the next one finds it done. With an error about the
// blob's content, the compression is known.
func (r *layerReader) readOnce(ctx context.Context, layer attestor.Image, size int64) (readLayer, error) {
	if size > r.limits.LayerBytes {
		return readLayer{}, tooLarge(layer, "has %d bytes, and at most %d are read", size, r.limits.LayerBytes)
	}

	if ctx.Err() != nil { // nothing is read for a caller who has left
		return readLayer{}, timedOut("layer "+string(layer.Digest()), ctx.Err())
	}

	// The size is part of the key of the shared look-up, so that a manifest that lies about it
	// fails nobody else.
	ch := r.lookups.DoChan(fmt.Sprint(layer, "#", size), func() (any, error) {
		facts, known := r.facts.Get(layer.Digest())
		effect, walked := r.effects.Get(layer.Digest())
		if known && walked { // read since the caller looked
			return readLayer{facts, effect}, nil
		}

		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.limits.LayerTimeout)
		defer cancel()
		read, err := guarded(func() (readLayer, error) { return r.unpack(work, layer, size) })
		if err != nil {
			return read, classify(err, "layer "+string(layer.Digest()), layer.Repository())
		}

		r.facts.Put(layer.Digest(), read.facts, 1)
		r.effects.Put(layer.Digest(), read.effect, read.effect.bytes()+lru.Entry)
		return read, nil
	})

	select {
	case <-ctx.Done():
		return readLayer{}, timedOut("layer "+string(layer.Digest()), ctx.Err())
	case res := <-ch:
		return res.Val.(readLayer), res.Err
	}
}

// tooLarge names a layer and the limit that it exceeds.
func tooLarge(layer attestor.Image, format string, args ...any) *attestor.Error {
	msg := fmt.Sprintf("layer %s ", layer.Digest()) + fmt.Sprintf(format, args...)
	return fault(attestor.CodeLayerTooLarge, msg, "make the layer smaller", nil)
}

// unpack reads a layer to its end, packed and unpacked.
func (r *layerReader) unpack(ctx context.Context, layer attestor.Image, size int64) (readLayer, error) {
	give, err := r.slots.take(ctx, layer.Registry())
	if err != nil {
		return readLayer{}, err
	}
	defer give()

	packed, err := r.fetch.open(ctx, layer)
	if err != nil {
		return readLayer{}, err
	}
	defer packed.Close()

	source := &faithful{r: &declared{r: packed, left: size, layer: layer}}
	buffered := bufio.NewReaderSize(source, 64<<10)

	// An error of reading is met again below.
	head, _ := buffered.Peek(zstd.HeaderMaxSize)
	window := windowOf(head)
	if window > usualZstdWindow {
		give, err := r.wide.take(ctx, layer.Registry())
		if err != nil {
			return readLayer{}, err
		}
		defer give()
	}

	read, failed := r.walk(buffered, window)
	switch {
	case source.err != nil: // a failure to read, which is returned below
	case errors.Is(failed, errTooLarge):
		return readLayer{}, tooLarge(layer, "unpacks to more than %d bytes, the most that are read",
			r.limits.UncompressedBytes)
	case errors.Is(failed, zstd.ErrWindowSizeExceeded), errors.Is(failed, zstd.ErrDecoderSizeExceeded):
		where := ""
		if window < maxZstdWindow {
			where = " behind a frame with a smaller one"
		}
		return readLayer{}, tooLarge(layer, "has a zstd window of more than %d bytes, the largest that is read%s",
			window, where)
	}

	// At the end of the packed bytes, the client compares their digest. Before that, an
	// error of unpacking may be the registry's fault, which must not deny the image.
	if _, err := io.Copy(io.Discard, buffered); err != nil {
		return readLayer{}, err
	}

	read.facts.size = source.n
	if failed != nil {
		return read, fault(attestor.CodeLayersMismatch, fmt.Sprintf("layer %s %s, and cannot be unpacked: %s",
			layer.Digest(), read.facts.compression.observed(), clip(failed.Error())), fixRebuild, failed)
	}
	return read, nil
}

// walk decompresses a blob, hashes what comes out, and notes what it does to the
// files of accounts.
func (r *layerReader) walk(packed *bufio.Reader, window uint64) (readLayer, error) {
	head, err := packed.Peek(headBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return readLayer{}, err
	}

	read := readLayer{facts: layerFacts{compression: detect(head)}}
	unpacked, done, err := decompress(packed, read.facts.compression, window)
	if err != nil {
		return read, err
	}
	defer done()

	hash := sha256.New()

	// The bound is on what comes out: a small blob can unpack to terabytes.
	stream := io.TeeReader(&boundedBody{ReadCloser: io.NopCloser(unpacked), left: r.limits.UncompressedBytes}, hash)
	read.effect = readEffect(stream, r.limits)

	// A tar ends before its stream does, and a walk that gives up must not keep
	// the rest from being hashed: the diffID is of all bytes.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return read, err
	}
	read.facts.diffID = attestor.Digest("sha256:" + hex.EncodeToString(hash.Sum(nil)))
	return read, nil
}

// declared ends where a registry sends more bytes than the manifest says that
// the layer has: they are not the layer that was asked for.
type declared struct {
	r     io.Reader
	left  int64
	layer attestor.Image
}

func (d *declared) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if d.left -= int64(n); d.left < 0 {
		return 0, fault(attestor.CodeContentMismatch,
			fmt.Sprintf("the registry answered layer %s with more bytes than its manifest says", d.layer.Digest()),
			"push the image again; if it happens again, check the registry", nil)
	}
	return n, err
}

// faithful counts what was read and stays failed once reading has failed, so
// that a failure to unpack what did arrive is not taken for a failure to read.
type faithful struct {
	r   io.Reader
	n   int64
	err error
}

func (f *faithful) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.r.Read(p)
	f.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}
