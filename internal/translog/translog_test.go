package translog_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestor-gate/attestor/internal/translog"
)

// A head is held to package tlog, which computes the same tree from stored hashes.
func TestHeadIsTheTreeOfRFC6962(t *testing.T) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})

	var h translog.Head
	for n := range int64(300) {
		e := entry(t, int(n))
		want, err := tlog.StoredHashes(n, e, reader)
		if err != nil {
			t.Fatal(err)
		}

		var got []tlog.Hash
		h, got = h.Add(e)
		if !slices.Equal(got, want) {
			t.Fatalf("entry %d adds %v, want %v", n, got, want)
		}

		stored = append(stored, want...)
		root, err := tlog.TreeHash(n+1, reader)
		if err != nil {
			t.Fatal(err)
		}

		if h.Size != n+1 || h.Root() != root {
			t.Fatalf("the head of %d entries has size %d and root %s, want %s", n+1, h.Size, h.Root(), root)
		}
	}

	// RFC 6962, 2.1: "The hash of an empty list is the hash of an empty string".
	if got := (translog.Head{}).Root().String(); got != "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" {
		t.Errorf("the empty tree has root %s", got)
	}
}

func TestAppendedIsProven(t *testing.T) {
	onBoth(t, func(t *testing.T, w world) {
		ctx := t.Context()
		w.fill(t, 1)

		for n := 1; n < 300; n += 23 {
			if err := w.add(ctx, n, min(n+23, 300)); err != nil {
				t.Fatal(err)
			}
		}

		var want translog.Head
		for n := range 300 {
			want, _ = want.Add(entry(t, n))
		}

		if got := w.head(t); !got.Equal(want) {
			t.Fatalf("the head has size %d and root %s, want %d and %s", got.Size, got.Root(), want.Size, want.Root())
		}

		signed, v := w.checkpoint(t), vkey(t, key(origin, 0))
		for n := range 300 {
			found, err := translog.Find(ctx, w.db, "decision", fmt.Sprintf("0199-%06d", n))
			if err != nil {
				t.Fatal(err)
			}

			p, err := translog.Prove(ctx, w.db, found, signed)
			if err != nil {
				t.Fatal(err)
			}

			read, err := translog.ParseProof(p.Encode())
			if err != nil {
				t.Fatal(err)
			}

			if c, err := read.Verify(entry(t, n), v); err != nil || c.Size != 300 || c.Origin != origin {
				t.Fatalf("entry %d: %+v, %v", n, c, err)
			}
			if _, err := read.Verify(entry(t, n+1), v); err == nil {
				t.Fatalf("the proof of entry %d verifies for another entry", n)
			}
		}

		if _, err := translog.Find(ctx, w.db, "override", "0199-000001"); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("a leaf of another kind: %v", err)
		}
	})
}

// What is rolled back leaves neither entry nor gap, and what this process remembers of
// the head does not outlive the rows.
func TestRolledBackIsNotAppended(t *testing.T) {
	onBoth(t, func(t *testing.T, w world) {
		ctx := t.Context()
		w.fill(t, 5)
		tx, err := w.db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.Append(ctx, tx, []translog.Leaf{leaf(77)}); err != nil {
			t.Fatal(err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}

		if err := w.add(ctx, 5, 7); err != nil {
			t.Fatal(err)
		}

		leaves, err := translog.Leaves(ctx, w.db, 0, 100)
		if err != nil || len(leaves) != 7 {
			t.Fatalf("%d leaves, %v", len(leaves), err)
		}

		for n, l := range leaves {
			if l.Index != int64(n) || !bytes.Equal(l.Entry, entry(t, n)) {
				t.Errorf("leaf %d: index %d, %s", n, l.Index, l.Entry)
			}
		}
	})
}

// Instances that append at once make one sequence.
func TestInstancesTakeTurns(t *testing.T) {
	onBoth(t, func(t *testing.T, w world) {
		const instances, each = 4, 25
		var wg sync.WaitGroup

		for i := range instances {
			other := world{Table: &translog.Table{Postgres: w.Postgres}, db: w.db}
			wg.Go(func() {
				for k := range each {
					n := i*each + k
					if err := other.add(context.Background(), n, n+1); err != nil {
						t.Errorf("appending %d: %v", n, err)
					}
				}
			})
		}

		wg.Wait()

		leaves, err := translog.Leaves(t.Context(), w.db, 0, 1000)
		if err != nil || len(leaves) != instances*each {
			t.Fatalf("%d leaves, %v", len(leaves), err)
		}

		var want translog.Head
		ids := map[string]bool{}

		for n, l := range leaves {
			if l.Index != int64(n) {
				t.Fatalf("leaf %d has index %d", n, l.Index)
			}
			ids[l.ID] = true
			want, _ = want.Add(l.Entry)
		}

		if got := w.head(t); len(ids) != instances*each || !got.Equal(want) {
			t.Errorf("%d records, size %d, root %s; want %s", len(ids), got.Size, got.Root(), want.Root())
		}
	})
}

// One record has one leaf.
func TestRecordIsNotAppendedTwice(t *testing.T) {
	onBoth(t, func(t *testing.T, w world) {
		w.fill(t, 3)
		if err := w.add(t.Context(), 2, 3); err == nil {
			t.Error("a record got a second leaf")
		}
		if got := w.head(t); got.Size != 3 {
			t.Errorf("the log has %d entries", got.Size)
		}
	})
}

func TestHistoryShowsWhatWasChanged(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, w world)
		shown  bool
	}{
		{"nothing", func(*testing.T, world) {}, false},
		{"more entries", func(t *testing.T, w world) {
			t.Helper()
			if err := w.add(t.Context(), 20, 40); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"another hash", func(t *testing.T, w world) {
			t.Helper()
			w.exec(t, `UPDATE log_leaves SET hashes = (SELECT hashes FROM log_leaves WHERE n = 3) WHERE n = 19`)
		}, true},
		{"no entries any more", func(t *testing.T, w world) {
			t.Helper()
			w.exec(t, `DELETE FROM log_leaves`)
			w.exec(t, `UPDATE log_head SET size = 0, peaks = ''`)
		}, true},
		{"another history of the same length", func(t *testing.T, w world) {
			t.Helper()
			w.exec(t, `DELETE FROM log_leaves`)
			w.exec(t, `UPDATE log_head SET size = 0, peaks = ''`)
			if err := w.add(t.Context(), 1, 21); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, w world) {
				w.fill(t, 20)
				kept, err := translog.OpenCheckpoint(w.checkpoint(t), vkey(t, key(origin, 0)))
				if err != nil {
					t.Fatal(err)
				}

				tt.change(t, w)
				if err := translog.CheckHistory(t.Context(), w.db, kept); (err != nil) != tt.shown {
					t.Errorf("CheckHistory: %v", err)
				}
			})
		})
	}
}

// A proof that does not verify is an error and leaves nobody.
func TestDamagedTreeProvesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, w world) {
		w.fill(t, 9)
		signed := w.checkpoint(t)
		w.exec(t, `UPDATE log_leaves SET hashes = (SELECT hashes FROM log_leaves WHERE n = 0) WHERE n = 2`)
		found, err := translog.Find(t.Context(), w.db, "decision", "0199-000003")
		if err != nil {
			t.Fatal(err)
		}

		if p, err := translog.Prove(t.Context(), w.db, found, signed); !translog.IsInconsistent(err) {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

func TestEntry(t *testing.T) {
	l := leaf(7)
	l.Entry.Entered = day
	b, err := l.Entry.Encode()
	if err != nil {
		t.Fatal(err)
	}

	e, err := translog.ParseEntry(b)
	if err != nil || e.ID != l.Entry.ID || !e.Time.Equal(l.Entry.Time) || !e.Entered.Equal(day) {
		t.Fatalf("%+v, %v", e, err)
	}

	// The entry says nothing of the content, and fits the bundle of a tile.
	if strings.Contains(string(b), "content") || len(b) > 1024 {
		t.Errorf("%d bytes: %s", len(b), b)
	}

	if got := e.Differs(l.Salt, parts(7)); got != nil {
		t.Errorf("its own content differs: %v", got)
	}

	for name, tt := range map[string]struct {
		salt  []byte
		parts map[string][]byte
		want  []string
	}{
		"other content": {l.Salt, map[string][]byte{"decision": []byte("content 7 "), "record": []byte("columns 7")}, []string{"decision"}},
		"swapped":       {l.Salt, map[string][]byte{"decision": []byte("columns 7"), "record": []byte("content 7")}, []string{"decision", "record"}},
		"a part less":   {l.Salt, map[string][]byte{"decision": []byte("content 7")}, []string{"record"}},
		"a part more":   {l.Salt, map[string][]byte{"decision": []byte("content 7"), "record": []byte("columns 7"), "x": nil}, []string{"x"}},
		"another salt":  {leaf(8).Salt, parts(7), []string{"decision", "record"}},
		"no salt":       {nil, parts(7), []string{"decision", "record"}},
		"nothing":       {l.Salt, nil, []string{"decision", "record"}},
	} {
		if got := e.Differs(tt.salt, tt.parts); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}

	for name, bad := range map[string]string{
		"a space more":     strings.Replace(string(b), `,"id"`, `, "id"`, 1),
		"something behind": string(b) + `{}`,
		"an unknown field": strings.Replace(string(b), `"kind"`, `"more":1,"kind"`, 1),
		"another order":    `{"kind":"decision","v":1,"id":"x","time":"2026-11-21T12:00:00Z","parts":{}}`,
		"another version":  strings.Replace(string(b), `"v":1`, `"v":2`, 1),
		"a key twice":      strings.Replace(string(b), `"kind":"decision"`, `"kind":"override","kind":"decision"`, 1),
		"nothing":          ``,
		"no object":        `[]`,
		"too much":         `{"v":1,"kind":"` + strings.Repeat("k", 5000) + `"}`,
	} {
		if e, err := translog.ParseEntry([]byte(bad)); err == nil {
			t.Errorf("%s: read as %+v", name, e)
		}
	}

	l.Entry.ID = strings.Repeat("x", 5000)
	if _, err := l.Entry.Encode(); err == nil {
		t.Error("an entry of 5,000 bytes was encoded")
	}
}

func TestSaltsDiffer(t *testing.T) {
	a, b := translog.NewSalt(), translog.NewSalt()
	if len(a) != translog.SaltSize || bytes.Equal(a, b) {
		t.Errorf("%x, %x", a, b)
	}
}

func head(t *testing.T, n int) translog.Head {
	t.Helper()
	var h translog.Head

	for i := range n {
		h, _ = h.Add(entry(t, i))
	}
	return h
}

func TestCheckpointIsOfOneLogAndKey(t *testing.T) {
	k := key(origin, 0)
	signed, err := k.SignCheckpoint(t.Context(), head(t, 10))
	if err != nil {
		t.Fatal(err)
	}

	text := string(signed)
	if want := fmt.Sprintf("%s\n10\n%s\n\n— %s ", origin, head(t, 10).Root(), origin); !strings.HasPrefix(text, want) {
		t.Errorf("%s\ndoes not begin with\n%s", text, want)
	}
	if c, err := translog.UnverifiedCheckpoint(signed); err != nil || c.Size != 10 || c.Root != head(t, 10).Root() {
		t.Errorf("%+v, %v", c, err)
	}

	// Another log's key that signed this text would be one log speaking for another.
	foreign := key("other.example/log", 1)
	mixed, err := foreign.SignCheckpoint(t.Context(), head(t, 10))
	if err != nil {
		t.Fatal(err)
	}

	for name, tt := range map[string]struct{ signed, vkey string }{
		"another key":          {text, vkey(t, key(origin, 1))},
		"another log's key":    {text, vkey(t, key("other.example/log", 0))},
		"another log":          {string(mixed), vkey(t, k)},
		"another size":         {strings.Replace(text, "\n10\n", "\n11\n", 1), vkey(t, k)},
		"another root":         {strings.Replace(text, head(t, 10).Root().String(), head(t, 9).Root().String(), 1), vkey(t, k)},
		"no signature":         {text[:strings.Index(text, "—")], vkey(t, k)},
		"no key":               {text, ""},
		"a key without a name": {text, strings.TrimPrefix(vkey(t, k), origin)},
		"too long":             {text + strings.Repeat("x", 20<<10), vkey(t, k)},
		"nothing":              {"", vkey(t, k)},
	} {
		if c, err := translog.OpenCheckpoint([]byte(tt.signed), tt.vkey); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}

	// The text is signed as it is: what does not have the form of a checkpoint is refused.
	for _, bad := range []string{
		origin + "\n010\n" + head(t, 10).Root().String() + "\n",
		origin + "\n-1\n" + head(t, 10).Root().String() + "\n",
		origin + "\n10\nAAAA\n",
		origin + "\n10\n" + head(t, 10).Root().String() + "\nextension\n",
		"\n10\n" + head(t, 10).Root().String() + "\n",
		origin + "\n10\n",
		"other.example/log\n10\n" + head(t, 10).Root().String() + "\n",
	} {
		signed := signNote(t, k, bad)
		if c, err := translog.OpenCheckpoint([]byte(signed), vkey(t, k)); err == nil {
			t.Errorf("%q: %+v", bad, c)
		}
	}
}

// signNote signs any text as a note: c2sp.org/signed-note.
func signNote(t *testing.T, k translog.Key, text string) string {
	t.Helper()
	sig, err := k.Sign(t.Context(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}

	hash := strings.Split(vkey(t, k), "+")[1]
	var id uint32
	if _, err := fmt.Sscanf(hash, "%08x", &id); err != nil {
		t.Fatal(err)
	}

	b := append(binary.BigEndian.AppendUint32(nil, id), sig...)
	return text + "\n— " + k.Origin + " " + base64.StdEncoding.EncodeToString(b) + "\n"
}

func TestSignatureThatDoesNotVerifyIsNoCheckpoint(t *testing.T) {
	away := errors.New("the key is away")
	for name, sign := range map[string]func(context.Context, []byte) ([]byte, error){
		"by another key": key(origin, 1).Sign,
		"cut":            func(context.Context, []byte) ([]byte, error) { return make([]byte, ed25519.SignatureSize-1), nil },
		"none":           func(context.Context, []byte) ([]byte, error) { return nil, away },
	} {
		k := key(origin, 0)
		k.Sign = sign
		if signed, err := k.SignCheckpoint(t.Context(), head(t, 3)); err == nil {
			t.Errorf("%s: %s", name, signed)
		}
	}
}

func TestProofIsReadStrictly(t *testing.T) {
	p := translog.Proof{Extra: []byte("more"), Index: 3, Hashes: tlog.RecordProof{{1}, {2}}, Checkpoint: []byte("origin\n4\nAAAA\n\n— s\n")}
	text := string(p.Encode())
	got, err := translog.ParseProof([]byte(text))
	if err != nil || string(got.Extra) != "more" || got.Index != 3 || len(got.Hashes) != 2 || string(got.Checkpoint) != string(p.Checkpoint) {
		t.Fatalf("%+v, %v", got, err)
	}

	hash := tlog.Hash{1}.String()
	for name, bad := range map[string]string{
		"another header":     strings.Replace(text, "@v1", "@v2", 1),
		"no checkpoint":      text[:strings.Index(text, "\n\n")],
		"no index":           strings.Replace(text, "index 3\n", "", 1),
		"index 03":           strings.Replace(text, "index 3", "index 03", 1),
		"index -3":           strings.Replace(text, "index 3", "index -3", 1),
		"extra not base64":   strings.Replace(text, "extra ", "extra !", 1),
		"extra alone":        "c2sp.org/tlog-proof@v1\nextra AAAA\n\nx",
		"a short hash":       strings.Replace(text, hash, "AAAA", 1),
		"a hash with a bit":  strings.Replace(text, hash, hash[:len(hash)-2]+"B=", 1),
		"hashes without end": strings.Replace(text, hash+"\n", strings.Repeat(hash+"\n", 64), 1),
		"nothing":            "",
	} {
		if got, err := translog.ParseProof([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func FuzzParseProof(f *testing.F) {
	f.Add([]byte("c2sp.org/tlog-proof@v1\nindex 0\n\n" + origin + "\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— a AAAA\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := translog.ParseProof(b)
		if err != nil {
			return
		}

		if again := p.Encode(); !bytes.Equal(again, b) {
			t.Errorf("%q is read and written as %q", b, again)
		}
		if _, err := p.Verify(nil, vkey(t, key(origin, 0))); err == nil {
			t.Errorf("%q verifies", b)
		}
	})
}
