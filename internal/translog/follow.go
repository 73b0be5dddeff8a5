package translog

import (
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// What [Head.Follow] finds wrong of a stored leaf.
const (
	EntryChanged  = "entry"  // its hash is another one than the tree has at its place
	HashesChanged = "hashes" // a subtree that it completes has another hash than its entries
)

// Follow adds a leaf as the database has it. Where something of it does not fit, it goes
// on with the hashes that are stored, so that one change is reported once and not for
// every entry after it. It returns "" where all fits.
func (h Head) Follow(l Stored) (next Head, wrong string) {
	// The caller's head keeps its peaks.
	peaks, last := slices.Clone(h.peaks), tlog.RecordHash(l.Entry)
	at := func(level int) (stored tlog.Hash, ok bool) {
		if level >= len(l.Hashes) {
			return tlog.Hash{}, false
		}
		return l.Hashes[level], true
	}

	if stored, ok := at(0); !ok || stored != last {
		wrong = EntryChanged
		if ok {
			last = stored
		}
	}

	// The subtrees that this entry completes, from the leaf up, as [Head.Add] makes them.
	level := 1
	for n := h.Size; n&1 == 1; n >>= 1 {
		last = tlog.NodeHash(peaks[len(peaks)-1], last)
		peaks = peaks[:len(peaks)-1]
		if stored, ok := at(level); !ok || stored != last {
			if wrong == "" {
				wrong = HashesChanged
			}
			if ok {
				last = stored
			}
		}
		level++
	}

	// A hash of a subtree that the entry does not complete would be read by proofs.
	if len(l.Hashes) > level && wrong == "" {
		wrong = HashesChanged
	}
	return Head{Size: h.Size + 1, peaks: append(peaks, last)}, wrong
}

// SubtreeStart returns the first entry of the largest subtree that the entry of an index
// completes: where its stored hashes do not fit, the change is between the two.
func SubtreeStart(index int64) int64 {
	first := index
	for n, width := index, int64(1); n&1 == 1; n >>= 1 {
		first -= width
		width *= 2
	}
	return first
}
