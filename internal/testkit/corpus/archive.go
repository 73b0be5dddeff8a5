package corpus

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// A File is an entry of a tar: a regular file, or by its content "->TARGET" a
// symlink, "=>TARGET" a hard link; a name with a slash at its end is a directory,
// whose content "NAME=VALUE" is an extended attribute.
type File struct{ Name, Content string }

// Tar writes files in their order.
func Tar(files ...File) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.Name, Mode: 0o644, Size: int64(len(f.Content)), Typeflag: tar.TypeReg}
		switch {
		case strings.HasSuffix(f.Name, "/"):
			h.Typeflag, h.Size = tar.TypeDir, 0
			if name, value, ok := strings.Cut(f.Content, "="); ok {
				h.PAXRecords = map[string]string{"SCHILY.xattr." + name: value}
			}
		case strings.HasPrefix(f.Content, "->"):
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, f.Content[2:], 0
		case strings.HasPrefix(f.Content, "=>"):
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, f.Content[2:], 0
		}

		check(w.WriteHeader(h))
		if h.Size > 0 {
			_, err := io.WriteString(w, f.Content)
			check(err)
		}
	}
	check(w.Close())
	return b.Bytes()
}

// Gzip packs b, without the tables that make packing a few bytes dear.
func Gzip(b []byte) []byte { return gzipOf(bytes.NewReader(b), gzip.StatelessCompression) }

// GzipOf packs what r holds, however much that is.
func GzipOf(r io.Reader) []byte { return gzipOf(r, gzip.BestSpeed) }

func gzipOf(r io.Reader, level int) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, level)
	check(err)
	_, err = io.Copy(w, r)
	check(err)
	check(w.Close())
	return out.Bytes()
}

// Zstd packs b.
func Zstd(b []byte) []byte {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(zstd.MinWindowSize))
	check(err)
	packed := w.EncodeAll(b, nil)
	check(w.Close())
	return packed
}

// Zeros reads as zeros without end.
type Zeros struct{}

func (Zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// check is for what fails only if a case in this package is written wrongly:
// nothing here reads what it did not write.
func check(err error) {
	if err != nil {
		panic("corpus: " + err.Error())
	}
}
