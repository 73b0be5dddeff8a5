package translog_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestor-gate/attestor/internal/translog"
)

// stored are the entries as their rows have them, in order.
func (w world) stored(t *testing.T) (out [][]byte) {
	t.Helper()
	rows, err := w.db.QueryContext(t.Context(), `SELECT entry FROM log_leaves ORDER BY n`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// Rows have entries in half of the space, or as earlier versions read them, and both side by side are one log.
func TestEntriesAreStoredShort(t *testing.T) {
	onBoth(t, func(t *testing.T, w world) {
		whole := true
		w.Whole = func() bool { return whole }
		if err := w.add(t.Context(), 0, 20); err != nil {
			t.Fatal(err)
		}
		whole = false
		if err := w.add(t.Context(), 20, 40); err != nil {
			t.Fatal(err)
		}

		for n, b := range w.stored(t) {
			e := entry(t, n)
			if n < 20 && !bytes.Equal(b, e) {
				t.Errorf("entry %d is stored as %q, which earlier versions do not read", n, b)
			}
			if n >= 20 && (len(b) > len(e)/2 || bytes.Contains(b, []byte("0199-"))) {
				t.Errorf("entry %d has %d bytes of %d: %q", n, len(b), len(e), b)
			}
		}

		// Whoever reads the log gets the entries that the tree is made of.
		leaves, err := translog.Leaves(t.Context(), w.db, 0, 100)
		if err != nil || len(leaves) != 40 {
			t.Fatalf("%d leaves, %v", len(leaves), err)
		}
		for n, l := range leaves {
			if !bytes.Equal(l.Entry, entry(t, n)) || l.Hashes[0] != tlog.RecordHash(entry(t, n)) {
				t.Errorf("entry %d is read as %q", n, l.Entry)
			}
		}
		checkpoint, err := translog.OpenCheckpoint(w.checkpoint(t), vkey(t, key(origin, 0)))
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := translog.ReadTileOf(t.Context(), w.db, translog.Tile{Entries: true, Width: 40}, checkpoint)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := translog.SplitEntries(bundle)
		same := func(e []byte, l translog.Stored) bool { return bytes.Equal(e, l.Entry) }
		if err != nil || !slices.EqualFunc(entries, leaves, same) {
			t.Errorf("%d entries are served, %v", len(entries), err)
		}
	})
}

// Every entry comes back as it was appended: one that the short form cannot hold is stored as it is.
func TestWhatIsNotShortIsWhole(t *testing.T) {
	salt := translog.NewSalt()
	commitment := translog.CommitAll(salt, map[string][]byte{"decision": []byte("content")})
	for name, tt := range map[string]struct {
		entry translog.Entry
		whole bool
	}{
		"one part":       {translog.Entry{Time: day, Parts: commitment}, false},
		"no parts":       {translog.Entry{Time: day, Parts: map[string]string{}}, false},
		"parts of nil":   {translog.Entry{Time: day}, true},
		"entered later":  {translog.Entry{Time: day, Entered: day.Add(time.Microsecond), Parts: commitment}, false},
		"before 1970":    {translog.Entry{Time: time.Date(1969, 1, 1, 0, 0, 0, 1000, time.UTC), Parts: commitment}, false},
		"another zone":   {translog.Entry{Time: day.In(time.FixedZone("", 3600)), Parts: commitment}, false},
		"nanoseconds":    {translog.Entry{Time: day.Add(1), Parts: commitment}, true},
		"no commitment":  {translog.Entry{Time: day, Parts: map[string]string{"a": "b"}}, true},
		"a short one":    {translog.Entry{Time: day, Parts: map[string]string{"a": strings.Repeat("A", 42)}}, true},
		"a long one":     {translog.Entry{Time: day, Parts: map[string]string{"a": strings.Repeat("A", 44)}}, true},
		"loose base64":   {translog.Entry{Time: day, Parts: map[string]string{"a": strings.Repeat("A", 42) + "B"}}, true},
		"a nameless one": {translog.Entry{Time: day, Parts: map[string]string{"": commitment["decision"]}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, w world) {
				tt.entry.Kind, tt.entry.ID = "decision", "0199-000001"
				want, err := tt.entry.Encode()
				if err != nil {
					t.Fatal(err)
				}
				tx, err := w.db.BeginTx(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = tx.Rollback() }() // after a commit it does nothing
				if _, _, err := w.Append(t.Context(), tx, []translog.Leaf{{Salt: salt, Entry: tt.entry}}); err != nil {
					t.Fatal(err)
				}
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}

				if got := w.stored(t)[0]; bytes.Equal(got, want) != tt.whole {
					t.Errorf("%s is stored as %q", want, got)
				}
				found, err := translog.Find(t.Context(), w.db, "decision", "0199-000001")
				if err != nil || !bytes.Equal(found.Entry, want) {
					t.Errorf("%q, %v, want %s", found.Entry, err, want)
				}
			})
		})
	}
}

// A short form that was changed in any way, or whose columns were, is never read as the entry that it was.
func TestAChangedShortEntryIsAnother(t *testing.T) {
	db := opened(t, "sqlite", "file:"+t.TempDir()+"/log.db?_txlock=immediate")
	w := world{Table: &translog.Table{}, db: db}
	w.fill(t, 2)
	b, want := w.stored(t)[1], entry(t, 1)
	if got := translog.EntryOf("decision", "0199-000001", b); !bytes.Equal(got, want) {
		t.Fatalf("%q, want %s", got, want)
	}

	differs := func(kind, id string, changed []byte) {
		t.Helper()
		if got := translog.EntryOf(kind, id, changed); tlog.RecordHash(got) == tlog.RecordHash(want) {
			t.Errorf("%q of %s %s is read as the entry that it is not", changed, kind, id)
		}
	}
	differs("override", "0199-000001", b)
	differs("decision", "0199-000002", b)
	differs("decision", "0199-000001", append(slices.Clone(b), 0))
	differs("decision", "0199-000001", nil)
	for i := range b {
		differs("decision", "0199-000001", b[:i])
		for bit := range 8 {
			changed := slices.Clone(b)
			changed[i] ^= 1 << bit
			differs("decision", "0199-000001", changed)
		}
	}
}
