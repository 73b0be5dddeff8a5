// Package packed compresses what the record keeps of decisions. What it is made of are
// short texts of JSON, of which each has little that repeats, and all have much in common:
// so they are compressed with a dictionary, of what is in most of them.
//
// What a record has stays readable for ever: a dictionary never changes, and a better one
// gets the next number.
package packed

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// dictionary1 is text, and no dictionary with tables of its own: everyone can read what
// is in it. What is needed most is at its end.
//
//go:embed 1.txt
var dictionary1 []byte

// id1 is the number of dictionary1 in the head of every frame that needs it. RFC 8878, 3.1.1.1.3:
// numbers below 32,768 are reserved for a registry, and private ones begin there.
const id1 = 32_768 + 1

// A Codec packs and unpacks. It is safe for concurrent use. It holds memory only, no goroutines, and need not be
// closed: closing the decoder would make who still reads wait for ever, or panic.
type Codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// New returns a Codec that unpacks up to maxBytes: content that claims to be larger is an
// error before its memory is allocated.
func New(maxBytes uint64) (*Codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithLowerEncoderMem(true), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderDictRaw(id1, dictionary1))
	if err != nil {
		return nil, fmt.Errorf("starting to compress: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxBytes), zstd.WithDecoderDictRaw(id1, dictionary1))
	if err != nil {
		return nil, fmt.Errorf("starting to decompress: %w", err)
	}
	return &Codec{enc, dec}, nil
}

// Bytes appends content to dst, packed.
func (c *Codec) Bytes(dst, content []byte) []byte { return c.enc.EncodeAll(content, dst) }

// Unpack returns the content of what [Codec.Bytes] returned, or of several of them that
// follow each other. It reads what was compressed without a dictionary too.
func (c *Codec) Unpack(packed []byte) ([]byte, error) { return c.dec.DecodeAll(packed, nil) }

// texts are joined by it. JSON that is not indented has none.
const between = "\n"

// Two packs two texts, of which the first has no line end.
func (c *Codec) Two(first, second string) []byte {
	return c.enc.EncodeAll([]byte(first+between+second), nil)
}

// UnpackTwo is the inverse of [Codec.Two].
func (c *Codec) UnpackTwo(packed []byte) (first, second string, err error) {
	content, err := c.Unpack(packed)
	if err != nil {
		return "", "", err
	}
	first, second, ok := strings.Cut(string(content), between)
	if !ok {
		return "", "", errors.New("the content is not two texts")
	}
	return first, second, nil
}
