package corpus

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Skippable is a zstd frame that decoders skip (RFC 8878, section 3.1.2), by
// one of the sixteen magic numbers.
func Skippable(number byte, content string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0x184d2a50+uint32(number))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(content)))
	return append(b, content...)
}

// EmptyZstd is a zstd frame of no content.
func EmptyZstd() []byte { return []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0} }

// ZstdBlocks is a zstd frame of uncompressed blocks, each of at most 128 KiB and
// possibly empty.
func ZstdBlocks(blocks ...[]byte) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x38} // a window of 128 KiB, no checksum, no size
	for i, block := range blocks {
		header := uint32(len(block)) << 3
		if i == len(blocks)-1 {
			header |= 1
		}
		b = append(b, byte(header), byte(header>>8), byte(header>>16))
		b = append(b, block...)
	}
	return b
}

// EmptyBzip2 and EmptyXz are what those programs make of no input.
func EmptyBzip2() []byte { return []byte("BZh9\x17\x72\x45\x38\x50\x90\x00\x00\x00\x00") }

// EmptyXz is what xz makes of no input.
func EmptyXz() []byte {
	return []byte(
		"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x00\x00\x00\x00\x1c\xdf\x44\x21\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04YZ")
}

// StartingWith is a tar whose first entry's name begins with head: other bytes
// than a tar's, for whoever goes by the first ones.
func StartingWith(head string, files ...File) []byte {
	b := Tar(append([]File{{strings.Repeat("n", len(head)+1), ""}}, files...)...)
	copy(b, head)

	// The sum of the header's bytes, its own field counted as spaces.
	copy(b[148:156], "        ")
	var sum int
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// Polyglot is a tar of the files shown, which decoders of zstd skip, followed by
// a zstd frame of the content hidden.
func Polyglot(shown []File, hidden []byte) []byte {
	length := len(StartingWith("12345678", shown...)) - 8
	head := binary.LittleEndian.AppendUint32([]byte("P*M\x18"), uint32(length))
	return append(StartingWith(string(head), shown...), Zstd(hidden)...)
}

// Gzipped is a plain layer, compressed.
func (l Layer) Gzipped() Layer {
	return Layer{Blob: Gzip(l.Blob), MediaType: OCILayer + "+gzip", DiffID: Sum(l.Blob)}
}

// Zstded is a plain layer, compressed.
func (l Layer) Zstded() Layer {
	return Layer{Blob: Zstd(l.Blob), MediaType: OCILayer + "+zstd", DiffID: Sum(l.Blob)}
}

// halves are b in two parts.
func halves(b []byte) (first, second []byte) { return b[:len(b)/2], b[len(b)/2:] }

// packed joins parts of a blob.
func packed(parts ...[]byte) []byte { return slices.Concat(parts...) }

// tampered is b with its last byte changed.
func tampered(b []byte) []byte {
	out := bytes.Clone(b)
	out[len(out)-1] ^= 1
	return out
}

// Pzstded is a layer of one file with the same content, as pzstd compresses it.
func (l Layer) Pzstded(name string) Layer {
	l = l.Recompressed(name)
	l.Blob = packed(Skippable(0, "\x10\x00\x00\x00"), l.Blob)
	return l
}

// InMembers is a layer of one file with the same content in two gzip members.
func (l Layer) InMembers(name string) Layer {
	first, second := halves(Tar(File{name, "content of " + name}))
	l.Blob, l.MediaType = packed(Gzip(first), Gzip(second)), gzipLayer
	return l
}

// As is a layer of one file, compressed by zstd and said to be something else.
func (l Layer) As(name, mediaType string) Layer {
	l = l.Recompressed(name)
	l.MediaType = mediaType
	return l
}
