package translog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// tileHeight is the height of tiles that c2sp.org/tlog-tiles fixes: 256 hashes each.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// A Tile names a resource of c2sp.org/tlog-tiles.
type Tile struct {
	Entries bool  // a bundle of entries; otherwise hashes
	Level   int   // of hashes
	N       int64 // which one of its level
	Width   int   // 1 to 256
}

// ParseTilePath parses what follows "tile/": L/N[.p/W] or entries/N[.p/W], where N is
// in groups of three digits, all but the last preceded by "x".
func ParseTilePath(path string) (Tile, error) {
	malformed := errors.New("this is not the path of a tile: see c2sp.org/tlog-tiles")
	t := Tile{Width: tileWidth}

	level, rest, ok := strings.Cut(path, "/")
	if !ok || len(path) > 64 {
		return Tile{}, malformed
	}
	if level == "entries" {
		t.Entries = true
	} else {
		// "<L> is the level of the tile, as an ASCII decimal between 0 and 63, with no
		// additional leading zeroes".
		l, err := strconv.Atoi(level)
		if err != nil || l < 0 || l > 63 || strconv.Itoa(l) != level {
			return Tile{}, malformed
		}
		t.Level = l
	}

	index, width, partial := strings.Cut(rest, ".p/")
	if partial {
		w, err := strconv.Atoi(width)
		if err != nil || w < 1 || w >= tileWidth || strconv.Itoa(w) != width {
			return Tile{}, malformed
		}
		t.Width = w
	}

	digits := ""
	groups := strings.Split(index, "/")
	for i, g := range groups {
		if i < len(groups)-1 {
			if g, ok = strings.CutPrefix(g, "x"); !ok {
				return Tile{}, malformed
			}
		}

		if len(g) != 3 || strings.Trim(g, "0123456789") != "" {
			return Tile{}, malformed
		}
		digits += g
	}

	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || len(groups) > 1 && strings.HasPrefix(digits, "000") {
		return Tile{}, malformed
	}
	t.N = n
	return t, nil
}

// Path is the inverse of [ParseTilePath].
func (t Tile) Path() string {
	level := "entries"
	if !t.Entries {
		level = strconv.Itoa(t.Level)
	}

	// c2sp.org/tlog-tiles: "1234067 will be encoded as x001/x234/067".
	index := fmt.Sprintf("%03d", t.N%1000)
	for n := t.N / 1000; n > 0; n /= 1000 {
		index = fmt.Sprintf("x%03d/%s", n%1000, index)
	}
	if !t.Full() {
		index += fmt.Sprintf(".p/%d", t.Width)
	}
	return level + "/" + index
}

// EntryTiles lists the bundles of all entries of a tree, in order.
func EntryTiles(size int64) iter.Seq[Tile] {
	return func(yield func(Tile) bool) {
		for n := int64(0); n*tileWidth < size; n++ {
			if !yield(Tile{Entries: true, N: n, Width: int(min(tileWidth, size-n*tileWidth))}) {
				return
			}
		}
	}
}

// SplitEntries returns the entries of a bundle, as [ReadTile] encodes them.
func SplitEntries(bundle []byte) ([][]byte, error) {
	// Each entry has its length in two bytes before it.
	var out [][]byte
	for len(bundle) > 0 {
		if len(bundle) < 2 {
			return nil, errors.New("a bundle of entries is truncated")
		}
		n := int(binary.BigEndian.Uint16(bundle))
		if bundle = bundle[2:]; len(bundle) < n {
			return nil, errors.New("a bundle of entries is truncated")
		}
		out, bundle = append(out, bundle[:n]), bundle[n:]
	}
	return out, nil
}

// Full reports whether the tile can never change.
func (t Tile) Full() bool { return t.Width == tileWidth }

// In reports whether a tree of size entries has the tile in this width. A partial tile
// is that of the tree's right edge.
func (t Tile) In(size int64) bool {
	if t.Level*tileHeight > 62 {
		return false
	}
	have := size >> (t.Level * tileHeight) // hashes of the level
	start := t.N * tileWidth
	return t.N <= have/tileWidth && start+int64(t.Width) <= have
}

// ReadTile returns the content of a tile of a tree that has it: hashes one after the
// other, or entries, each after its length in two bytes.
func ReadTile(ctx context.Context, q Querier, t Tile) ([]byte, error) {
	if !t.Entries {
		return tlog.ReadTileData(tlog.Tile{H: tileHeight, L: t.Level, N: t.N, W: t.Width}, Hashes(ctx, q))
	}

	leaves, err := Leaves(ctx, q, t.N*tileWidth, t.Width)
	if err != nil {
		return nil, err
	}
	var out []byte
	for i, l := range leaves {
		if want := t.N*tileWidth + int64(i); l.Index != want {
			return nil, fmt.Errorf("log entry %d is missing", want)
		}
		if len(l.Entry) > maxEntry {
			return nil, fmt.Errorf("log entry %d has %d bytes; at most %d are allowed", l.Index, len(l.Entry), maxEntry)
		}
		out = binary.BigEndian.AppendUint16(out, uint16(len(l.Entry))) //nolint:gosec // bounded above
		out = append(out, l.Entry...)
	}

	if len(leaves) != t.Width {
		return nil, fmt.Errorf("log entry %d is missing", t.N*tileWidth+int64(len(leaves)))
	}
	return out, nil
}

// Bundles is how many full bundles of entries a tree has.
func Bundles(size int64) int64 { return size / tileWidth }

// EntryBundle is the full bundle of entries with number n.
func EntryBundle(n int64) Tile { return Tile{Entries: true, N: n, Width: tileWidth} }

// FilledTiles lists the tiles that become full with the full bundle of entries with number n, and that bundle last.
func FilledTiles(n int64) []Tile {
	out := []Tile{{N: n, Width: tileWidth}}

	// A level's tile is full when its last hash is of a full tile beneath.
	for level, m := 1, n+1; m%tileWidth == 0; level++ {
		m /= tileWidth
		out = append(out, Tile{Level: level, N: m - 1, Width: tileWidth})
	}
	return append(out, EntryBundle(n))
}

// EdgeTiles lists the tiles at the right edge of a tree that are not full, the bundle of entries last.
func EdgeTiles(size int64) []Tile {
	var out []Tile
	for level := 0; size>>(level*tileHeight) > 0; level++ {
		if have := size >> (level * tileHeight); have%tileWidth > 0 {
			out = append(out, Tile{Level: level, N: have / tileWidth, Width: int(have % tileWidth)})
		}
	}
	if size%tileWidth > 0 {
		out = append(out, Tile{Entries: true, N: size / tileWidth, Width: int(size % tileWidth)})
	}
	return out
}

// ReadTileOf is [ReadTile] of the tree of a checkpoint, and returns only what that tree has: the hashes are proven to
// be under its root, and entries to have these hashes.
func ReadTileOf(ctx context.Context, q Querier, t Tile, c Checkpoint) ([]byte, error) {
	level := t.Level
	if t.Entries {
		level = 0
	}

	// An entry's hash is on level 0, where its bundle has the same place.
	indexes := make([]int64, t.Width)
	for i := range indexes {
		indexes[i] = tlog.StoredHashIndex(level*tileHeight, t.N*tileWidth+int64(i))
	}

	// tlog.TileHashReader: "checks that the tiles … are consistent with the tree head".
	tree := tlog.Tree{N: c.Size, Hash: c.Root}
	rows := &tileRows{ctx: ctx, q: q}
	hashes, err := tlog.TileHashReader(tree, rows).ReadHashes(indexes)
	if rows.err != nil {
		return nil, fmt.Errorf("reading tile %s: %w", t.Path(), rows.err)
	}
	if err != nil {
		return nil, fmt.Errorf("tile %s: %w: %w", t.Path(), err, errInconsistent)
	}
	if !t.Entries {
		return joined(hashes), nil
	}

	data, err := ReadTile(ctx, q, t)
	if err != nil {
		return nil, err
	}
	entries, err := SplitEntries(data)
	if err != nil {
		return nil, err
	}
	for i, e := range entries {
		if i >= len(hashes) || tlog.RecordHash(e) != hashes[i] {
			return nil, fmt.Errorf("entry %d: %w", t.N*tileWidth+int64(i), errInconsistent)
		}
	}
	return data, nil
}

// tileRows reads tiles from the rows, as package tlog asks for them.
type tileRows struct {
	ctx context.Context //nolint:containedctx // tlog.TileReader passes none
	q   Querier
	err error // of the database
}

// Height implements [tlog.TileReader].
func (r *tileRows) Height() int { return tileHeight }

// ReadTiles implements [tlog.TileReader].
func (r *tileRows) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, t := range tiles {
		data, err := tlog.ReadTileData(t, Hashes(r.ctx, r.q))
		if err != nil {
			r.err = err
			return nil, err
		}
		out[i] = data
	}
	return out, nil
}

// SaveTiles implements [tlog.TileReader]: the rows are there already.
func (r *tileRows) SaveTiles([]tlog.Tile, [][]byte) {}
