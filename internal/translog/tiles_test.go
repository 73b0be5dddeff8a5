package translog_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestor-gate/attestor/internal/translog"
)

func TestTiles(t *testing.T) {
	// c2sp.org/tlog-tiles: "1234067 will be encoded as x001/x234/067".
	for path, want := range map[string]translog.Tile{
		"0/000":                 {Level: 0, N: 0, Width: 256},
		"0/x001/x234/067":       {Level: 0, N: 1234067, Width: 256},
		"0/x001/x234/067.p/8":   {Level: 0, N: 1234067, Width: 8},
		"2/001.p/255":           {Level: 2, N: 1, Width: 255},
		"entries/x001/x234/067": {Entries: true, N: 1234067, Width: 256},
		"entries/000.p/1":       {Entries: true, N: 0, Width: 1},
		"63/000":                {Level: 63, N: 0, Width: 256},
	} {
		if got, err := translog.ParseTilePath(path); err != nil || got != want {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
		if got := want.Path(); got != path {
			t.Errorf("%+v is written %s, want %s", want, got, path)
		}
	}

	for _, bad := range []string{
		"", "0", "0/", "0/0", "0/0000", "00/000", "64/000", "-1/000", "0/x000/001", "0/001/002", "0/x001", "0/000.p/256",
		"0/000.p/0", "0/000.p/01", "0/000.p/", "0/000/", "0/+01", "x/000", "0/x001/x002/x003/x004/x005/x006/x007/x008/x009/x010/011",
		"entries", "entries/0", "1/../000",
	} {
		if got, err := translog.ParseTilePath(bad); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}

	for _, tt := range []struct {
		path string
		size int64
		in   bool
	}{
		{"0/000", 256, true}, {"0/000", 255, false}, {"0/000.p/255", 255, true}, {"0/000.p/3", 255, true},
		{"0/001.p/1", 256, false}, {"0/001.p/1", 257, true}, {"1/000.p/1", 256, true}, {"1/000.p/2", 511, false},
		{"1/000.p/2", 512, true}, {"63/000.p/1", 1 << 62, false}, {"entries/000.p/1", 0, false}, {"0/x999/x999/999", 256, false},
	} {
		tile, err := translog.ParseTilePath(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		if got := tile.In(tt.size); got != tt.in {
			t.Errorf("%s in a tree of %d: %v", tt.path, tt.size, got)
		}
	}
}

// Whoever has the tiles alone computes the root: they are what other programs read.
func TestTilesMakeTheTree(t *testing.T) {
	onBoth(t, func(t *testing.T, w world) {
		const size = 600
		w.fill(t, size)
		read := func(path string) []byte {
			t.Helper()
			tile, err := translog.ParseTilePath(path)
			if err != nil {
				t.Fatal(err)
			}

			if !tile.In(size) {
				t.Fatalf("%s is not in the tree", path)
			}

			b, err := translog.ReadTile(t.Context(), w.db, tile)
			if err != nil {
				t.Fatal(err)
			}

			return b
		}

		var want translog.Head
		n := 0

		for _, path := range []string{"entries/000", "entries/001", "entries/002.p/88"} {
			for b := read(path); len(b) > 0; n++ {
				length := int(binary.BigEndian.Uint16(b))
				want, _ = want.Add(b[2 : 2+length])
				b = b[2+length:]
			}
		}

		if n != size || want.Root() != w.head(t).Root() {
			t.Errorf("%d entries with root %s, want %s", n, want.Root(), w.head(t).Root())
		}

		tree := tlog.Tree{N: size, Hash: want.Root()}
		root, err := tlog.TreeHash(size, tlog.TileHashReader(tree, tiles(read)))
		if err != nil || root != want.Root() {
			t.Errorf("the tiles of hashes have root %s, %v", root, err)
		}

		w.exec(t, `DELETE FROM log_leaves WHERE n = 300`)
		for _, path := range []string{"entries/001", "0/001"} {
			tile, _ := translog.ParseTilePath(path)
			if b, err := translog.ReadTile(t.Context(), w.db, tile); err == nil {
				t.Errorf("%s has %d bytes although an entry is missing", path, len(b))
			}
		}
	})
}

// tiles gives package tlog the tiles of a log.
type tiles func(path string) []byte

func (tiles) Height() int                     { return 8 }
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (r tiles) ReadTiles(all []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range all {
		// tlog's own path is tile/8/L/N[.p/W].
		out = append(out, r(strings.TrimPrefix(tile.Path(), "tile/8/")))
	}
	return out, nil
}
