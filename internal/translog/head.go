package translog

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// A Head is the right edge of a tree: all that an append needs to know of the entries
// before it. The zero Head is that of the empty tree.
type Head struct {
	Size  int64
	peaks []tlog.Hash // of the complete subtrees, the largest first; as many as Size has bits set
}

// Add returns the head after one more entry, and the hashes that the entry adds to the
// tree: its own, and those of the subtrees that it completes, from the leaf up.
//
// RFC 6962, 2.1: "MTH(D[n]) = SHA-256(0x01 || MTH(D[0:k]) || MTH(D[k:n]))" with k "the
// largest power of two smaller than n". Complete subtrees therefore never change, and
// the new entry completes one for each low bit of the old size that is set.
func (h Head) Add(entry []byte) (Head, []tlog.Hash) {
	// The caller's head keeps its peaks.
	peaks, last := slices.Clone(h.peaks), tlog.RecordHash(entry)
	added := []tlog.Hash{last}

	for n := h.Size; n&1 == 1; n >>= 1 {
		left := peaks[len(peaks)-1]
		peaks = peaks[:len(peaks)-1]
		last = tlog.NodeHash(left, last)
		added = append(added, last)
	}
	return Head{Size: h.Size + 1, peaks: append(peaks, last)}, added
}

// Root returns the root hash of the tree.
func (h Head) Root() tlog.Hash {
	if h.Size == 0 {
		empty, _ := tlog.TreeHash(0, nil) // tlog reads no hash for a tree of no entries
		return empty
	}

	// RFC 6962, 2.1: an incomplete tree's root joins its complete subtrees, the smallest first.
	root := h.peaks[len(h.peaks)-1]
	for _, left := range slices.Backward(h.peaks[:len(h.peaks)-1]) {
		root = tlog.NodeHash(left, root)
	}
	return root
}

// Equal reports whether both are heads of trees with the same entries.
func (h Head) Equal(o Head) bool { return h.Size == o.Size && slices.Equal(h.peaks, o.peaks) }

// encodePeaks is the text of the peaks in log_head.
func (h Head) encodePeaks() string {
	b := make([]byte, 0, len(h.peaks)*tlog.HashSize)
	for _, p := range h.peaks {
		b = append(b, p[:]...)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// parseHead is the inverse of encodePeaks.
func parseHead(size int64, peaks string) (Head, error) {
	b, err := base64.StdEncoding.DecodeString(peaks)
	if err != nil {
		return Head{}, fmt.Errorf("the log's head is damaged: %w", err)
	}
	if size < 0 || len(b) != bits.OnesCount64(uint64(size))*tlog.HashSize {
		return Head{}, errors.New("the log's head is damaged: its hashes do not fit its size")
	}

	h := Head{Size: size}
	for p := range slices.Chunk(b, tlog.HashSize) {
		h.peaks = append(h.peaks, tlog.Hash(p))
	}
	return h, nil
}
