package verify

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/singleflight"

	"github.com/attestor-gate/attestor"
)

// layerFacts are what a layer's bytes say. They are facts about a digest, and
// so hold wherever it is met, for ever.
type layerFacts struct {
	diffID attestor.Digest
	passwd passwdEffect
}

// layerReader reads layers whole, one time each: it hashes them packed and
// unpacked, and notes what they do to /etc/passwd on the way.
type layerReader struct {
	fetch   *fetcher
	limits  Limits
	flights singleflight.Group
	slots   chan struct{}
	diffIDs *lru[attestor.Digest, attestor.Digest]
	passwd  *lru[attestor.Digest, passwdEffect]
}

const passwdCacheBytes = 16 << 20

func newLayerReader(f *fetcher, l Limits) *layerReader {
	return &layerReader{
		fetch: f, limits: l, slots: make(chan struct{}, l.LayerReads),
		diffIDs: newLRU[attestor.Digest, attestor.Digest](int64(l.LayerFacts)),
		passwd:  newLRU[attestor.Digest, passwdEffect](passwdCacheBytes),
	}
}

// diffID is the digest of the unpacked layer.
func (r *layerReader) diffID(ctx context.Context, repository attestor.Image, l descriptor) (attestor.Digest, error) {
	if d, ok := r.diffIDs.get(l.Digest); ok {
		return d, nil
	}
	f, err := r.read(ctx, repository.Sibling(l.Digest), l)
	return f.diffID, err
}

// effect is what the layer does to /etc/passwd.
func (r *layerReader) effect(ctx context.Context, repository attestor.Image, l descriptor) (passwdEffect, error) {
	if e, ok := r.passwd.get(l.Digest); ok {
		return e, nil
	}
	f, err := r.read(ctx, repository.Sibling(l.Digest), l)
	return f.passwd, err
}

// read is shared by all who want the layer at the same time, and outlives a
// caller who gives up: the next one finds it done.
func (r *layerReader) read(ctx context.Context, layer attestor.Image, l descriptor) (layerFacts, error) {
	if l.Size > r.limits.LayerBytes {
		return layerFacts{}, r.tooLarge(layer)
	}
	// The size is part of the flight, so that a manifest that lies about it
	// fails nobody else.
	ch := r.flights.DoChan(fmt.Sprint(layer, "#", l.Size), func() (any, error) {
		diffID, hashed := r.diffIDs.get(l.Digest)
		effect, walked := r.passwd.get(l.Digest)
		if hashed && walked { // read since the caller looked
			return layerFacts{diffID: diffID, passwd: effect}, nil
		}
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.limits.LayerTimeout)
		defer cancel()
		f, err := guarded(func() (layerFacts, error) { return r.unpack(work, layer, l.Size) })
		if errors.Is(err, errTooLarge) {
			err = r.tooLarge(layer)
		}
		if err != nil {
			return layerFacts{}, classify(err, "layer "+string(layer.Digest()), layer.Repository())
		}
		r.diffIDs.put(l.Digest, f.diffID, 1)
		r.passwd.put(l.Digest, f.passwd, int64(len(f.passwd.content))+256)
		return f, nil
	})
	select {
	case <-ctx.Done():
		return layerFacts{}, timedOut("layer "+string(layer.Digest()), ctx.Err())
	case res := <-ch:
		return res.Val.(layerFacts), res.Err
	}
}

func (r *layerReader) tooLarge(layer attestor.Image) *attestor.Error {
	return fault(attestor.CodeLayerTooLarge, fmt.Sprintf("layer %s is larger than the gate reads (%d bytes packed, %d unpacked, %d files)",
		layer.Digest(), r.limits.LayerBytes, r.limits.UncompressedBytes, r.limits.LayerEntries), "make the layer smaller, or raise the gate's limits", nil)
}

func (r *layerReader) unpack(ctx context.Context, layer attestor.Image, size int64) (layerFacts, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return layerFacts{}, ctx.Err()
	}
	packed, err := r.fetch.open(ctx, layer)
	if err != nil {
		return layerFacts{}, err
	}
	defer packed.Close()
	source := &faithful{r: &declared{r: packed, left: size, layer: layer}}
	buffered := bufio.NewReaderSize(source, 64<<10)
	unpacked, done, err := decompress(buffered)
	if err != nil {
		return layerFacts{}, source.explain(layer, err)
	}
	defer done()

	hash := sha256.New()
	bounded := &boundedBody{ReadCloser: io.NopCloser(unpacked), left: r.limits.UncompressedBytes}
	stream := io.TeeReader(bounded, hash)
	effect := readPasswd(stream, r.limits)
	// A tar ends before its stream does, and a reader of tars that gives up
	// must not keep the rest from being hashed.
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return layerFacts{}, source.explain(layer, err)
	}
	// To the end of the packed bytes, where their digest is compared.
	if _, err := io.Copy(io.Discard, buffered); err != nil {
		return layerFacts{}, source.explain(layer, err)
	}
	return layerFacts{diffID: attestor.Digest("sha256:" + hex.EncodeToString(hash.Sum(nil))), passwd: effect}, nil
}

// decompress goes by the first bytes, as runtimes do; media types claim.
func decompress(r *bufio.Reader) (io.Reader, func(), error) {
	head, err := r.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, err
		}
		return z, func() { _ = z.Close() }, nil // all it could say was said by Read
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return r, func() {}, nil
}

// maxZstdWindow is what zstd itself unpacks without being told to; a frame may
// ask for more, in memory.
const maxZstdWindow = 128 << 20

// declared ends where a registry sends more than the manifest says that the
// layer has: whatever follows, it is not what was asked for.
type declared struct {
	r     io.Reader
	left  int64
	layer attestor.Image
}

func (d *declared) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if d.left -= int64(n); d.left < 0 {
		return 0, fault(attestor.CodeContentMismatch, fmt.Sprintf("the registry answered layer %s with more bytes than its manifest says", d.layer.Digest()),
			"push the image again; if it happens again, see to the registry", nil)
	}
	return n, err
}

// faithful remembers whether reading failed, so that a failure to unpack what
// did arrive can be told from a failure to read.
type faithful struct {
	r   io.Reader
	err error
}

func (f *faithful) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// explain returns the failure to read, or says that the layer is broken.
func (f *faithful) explain(layer attestor.Image, err error) error {
	switch {
	case f.err != nil:
		return f.err
	case errors.Is(err, errTooLarge), errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return errTooLarge
	}
	return fault(attestor.CodeLayersMismatch, fmt.Sprintf("layer %s cannot be unpacked", layer.Digest()), fixRebuild, err)
}
