package verify

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// compression is how a layer's blob is compressed.
type compression string

const (
	uncompressed compression = "uncompressed"
	gzipped      compression = "gzip"
	zstandard    compression = "zstd"
	bzip2        compression = "bzip2"
	xz           compression = "xz"
	// unstated is what a media type or an empty blob says: nothing.
	unstated compression = ""
)

// headBytes is how much of a blob its compression is recognized by, as in containerd.
const headBytes = 10

// detect recognises a compression by the first bytes of a blob, as containerd
// (pkg/archive/compression) and Docker (moby/go-archive) do. Docker alone knows
// bzip2 and xz; containerd would take those blobs for plain tars.
func detect(head []byte) compression {
	switch {
	case len(head) == 0:
		// "there are some odd cases where the layer.tar file will be empty (zero
		// bytes) …, just treat it as a non-compressed stream" (containerd)
		return unstated
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b, 0x08}):
		return gzipped
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}), skippable(head):
		return zstandard
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return xz
	}
	return uncompressed
}

// skippable reports whether a blob begins with a skippable frame, as pzstd
// writes them. RFC 8878, section 3.1.2: "Magic_Number: 4 bytes, little-endian
// format. Value: 0x184D2A5?, which means any value from 0x184D2A50 to
// 0x184D2A5F", and then the four bytes of its length.
func skippable(head []byte) bool {
	return len(head) >= 8 && binary.LittleEndian.Uint32(head)&^0xf == 0x184d2a50
}

// stated is the compression that a layer's media type names. Docker's type for
// a plain tar names none: "These media types may have been compressed but failed
// to use the correct media type" (containerd, core/images), so that every
// runtime goes by the first bytes.
func stated(mediaType string) compression {
	switch types.MediaType(mediaType) {
	case types.OCIUncompressedLayer:
		return uncompressed
	case types.OCILayer, types.DockerLayer:
		return gzipped
	case types.OCILayerZStd, mediaDockerZstd:
		return zstandard
	}
	return unstated
}

// maxZstdWindow is the largest window that the zstd program decompresses by default, and usualZstdWindow that of its
// levels up to 20: a frame decides how much memory its window takes.
const (
	maxZstdWindow   = 128 << 20
	usualZstdWindow = 32 << 20
)

// windowOf is the largest zstd window that a layer may have that begins with head: the usual one if that is enough for
// its first frame. What comes after a skippable frame is not known yet.
func windowOf(head []byte) uint64 {
	if detect(head) != zstandard {
		return usualZstdWindow
	}

	var first zstd.Header
	if err := first.Decode(head); err != nil || first.Skippable {
		return maxZstdWindow
	}

	// A frame in a single segment has a window of its whole content.
	window := first.WindowSize
	if first.SingleSegment {
		window = first.FrameContentSize
	}
	if window > usualZstdWindow {
		return maxZstdWindow
	}
	return usualZstdWindow
}

// decompress reads what is left of r by the compression that detect found, with zstd windows of window bytes at most.
// The caller calls done once nothing more is read.
//
// It goes by the libraries that containerd uses, with its options but for those
// that bound memory, so that both read the same bytes or both fail: zstd frames
// and skippable frames in any order, empty ones too, and any number of gzip
// members are one stream; bytes after them that are no frame or member are an
// error.
func decompress(r *bufio.Reader, c compression, window uint64) (unpacked io.Reader, done func(), err error) {
	switch c {
	case gzipped:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, err
		}
		return z, func() { _ = z.Close() }, nil // Read has reported every fault already

	case zstandard:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(window))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil

	case uncompressed, unstated:
		return r, func() {}, nil
	}
	return nil, nil, fmt.Errorf("%w: %s", errCompression, c)
}

// errCompression is given for a compression that only some runtimes know.
var errCompression = errors.New("compression that is not read")
