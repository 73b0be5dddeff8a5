package translog_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestor-gate/attestor/internal/testkit/standin"
	"github.com/attestor-gate/attestor/internal/translog"
)

// witnessOf is a witness of the log of key 0, with its parsed key.
func witnessOf(t *testing.T, name string, seed byte) (*standin.Witness, translog.WitnessKey) {
	t.Helper()
	w, err := standin.NewWitness(name, vkey(t, key(origin, 0)), seed)
	if err != nil {
		t.Fatal(err)
	}
	k, err := translog.ParseWitnessKey(w.Key())
	if err != nil {
		t.Fatal(err)
	}
	return w, k
}

// A witness's key has three parts that fit each other, and is of the one type that cosigns.
func TestWitnessKey(t *testing.T) {
	t.Parallel()
	w, k := witnessOf(t, "witness.example/w1", 1)
	good := w.Key()
	if k.String() != good || k.Name() != "witness.example/w1" {
		t.Errorf("%s of %s", k, k.Name())
	}

	name, rest, _ := strings.Cut(good, "+")
	hash, encoded, _ := strings.Cut(rest, "+")
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	typed := func(first byte, rest []byte) string {
		return name + "+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{first}, rest...))
	}
	for what, text := range map[string]string{
		"nothing":               "",
		"a name alone":          name,
		"two parts":             name + "+" + hash,
		"no name":               "+" + hash + "+" + encoded,
		"another name":          "witness.example/w2+" + hash + "+" + encoded,
		"a name with a space":   "witness example+" + hash + "+" + encoded,
		"a hash of another key": name + "+00000000+" + encoded,
		"a short hash":          name + "+" + hash[:7] + "+" + encoded,
		"no base64":             name + "+" + hash + "+" + encoded + "!",
		"an empty key":          name + "+" + hash + "+",
		"a short key":           typed(4, raw[1:32]),
		"a long key":            typed(4, append(bytes.Clone(raw[1:]), 0)),
		"a log's key":           vkey(t, key(origin, 0)),
		"the type of a log":     typed(1, raw[1:]),
		"ML-DSA":                typed(6, raw[1:]),
		"a private key":         "PRIVATE+KEY+" + good,
	} {
		if k, err := translog.ParseWitnessKey(text); err == nil {
			t.Errorf("%s: %q is the key of %s", what, text, k.Name())
		}
	}
}

// cosigned is a checkpoint with the answer of a witness that is asked for the first time.
func cosigned(t *testing.T, w *standin.Witness, signed []byte) []byte {
	t.Helper()
	return []byte(w.Cosign(signed))
}

// What a witness answers counts only if it is that witness's signature on this very checkpoint.
func TestCosign(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, w world) {
		w.fill(t, 3)
		signed, log := w.checkpoint(t), vkey(t, key(origin, 0))
		if err := w.add(t.Context(), 3, 4); err != nil {
			t.Fatal(err)
		}
		later := w.checkpoint(t)
		one, oneKey := witnessOf(t, "witness.example/w1", 1)
		two, twoKey := witnessOf(t, "witness.example/w2", 2)
		same, _ := witnessOf(t, "witness.example/w1", 3) // of the same name, with another key
		answer := cosigned(t, one, signed)

		for name, tt := range map[string]struct {
			answer []byte
			ok     bool
		}{
			"its cosignature":                  {answer, true},
			"beside another witness's":         {append(cosigned(t, two, signed), answer...), true},
			"beside one of its name":           {append(cosigned(t, same, signed), answer...), true},
			"nothing":                          {nil, false},
			"another witness's":                {cosigned(t, two, signed), false},
			"by another key of its name":       {cosigned(t, same, signed), false},
			"of another checkpoint":            {cosigned(t, one, later), false},
			"no signature":                     {[]byte("thanks\n"), false},
			"cut off":                          {answer[:len(answer)-9], false},
			"with a changed time":              {changed(t, answer, 5), false},
			"with a changed signature":         {changed(t, answer, 20), false},
			"more than a checkpoint may have":  {bytes.Repeat([]byte("x"), 17<<10), false},
			"the log's own signature instead":  {signed[bytes.LastIndex(signed, []byte("—")):], false},
			"an empty line and a whole note":   {append([]byte("\n"), signed...), false},
			"its cosignature in another place": {append([]byte("\n\n"), answer...), true},
		} {
			got, err := translog.Cosign(signed, tt.answer, log, oneKey)
			if (err == nil) != tt.ok {
				t.Errorf("%s: %v", name, err)
			}
			if !tt.ok {
				continue
			}
			if want := string(signed) + string(answer); string(got) != want {
				t.Errorf("%s: it is %q, want %q", name, got, want)
			}
			c, err := translog.OpenCosignature(got, log, oneKey)
			if err != nil || c.Entries != 3 || c.Time.Unix() != 1795000000 || c.Witness != "witness.example/w1" {
				t.Errorf("%s: %+v, %v", name, c, err)
			}
			if _, err := translog.OpenCosignature(got, log, twoKey); err == nil {
				t.Errorf("%s: it counts for another witness", name)
			}
			if _, err := translog.OpenCosignature(got, vkey(t, key(origin, 1)), oneKey); err == nil {
				t.Errorf("%s: it counts for another log's key", name)
			}
		}
		if _, err := translog.OpenCosignature(signed, log, oneKey); err == nil {
			t.Error("a checkpoint without a cosignature counts as cosigned")
		}
	})
}

// changed flips a bit of the nth byte of a signature line.
func changed(t *testing.T, line []byte, n int) []byte {
	t.Helper()
	i := bytes.LastIndexByte(line, ' ')
	head, encoded := string(line[:i]), strings.TrimSuffix(string(line[i+1:]), "\n")
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	raw[n] ^= 1
	return []byte(head + " " + base64.StdEncoding.EncodeToString(raw) + "\n")
}

// Cosignatures of one tree make one checkpoint, and those of two trees none.
func TestMergeCosigned(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, w world) {
		w.fill(t, 3)
		signed, log := w.checkpoint(t), vkey(t, key(origin, 0))
		one, oneKey := witnessOf(t, "witness.example/w1", 1)
		two, twoKey := witnessOf(t, "witness.example/w2", 2)
		first, second := append(bytes.Clone(signed), cosigned(t, one, signed)...), append(bytes.Clone(signed), cosigned(t, two, signed)...)

		both, err := translog.MergeCosigned(first, second, first)
		if err != nil {
			t.Fatal(err)
		}
		if want := string(first) + string(cosigned(t, two, signed)); string(both) != want {
			t.Errorf("%q, want %q", both, want)
		}
		for _, k := range []translog.WitnessKey{oneKey, twoKey} {
			if _, err := translog.OpenCosignature(both, log, k); err != nil {
				t.Error(err)
			}
		}

		if err := w.add(t.Context(), 3, 4); err != nil {
			t.Fatal(err)
		}
		if got, err := translog.MergeCosigned(first, w.checkpoint(t)); err == nil {
			t.Errorf("two trees make one checkpoint: %q", got)
		}
	})
}

// The proof that a tree grew verifies for whoever saw the smaller one, and there is none of a tree that the database lacks.
func TestProveHistory(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, w world) {
		var seen []translog.Checkpoint
		for n := range 20 {
			if err := w.add(t.Context(), n, n+1); err != nil {
				t.Fatal(err)
			}
			head := w.head(t)
			now := translog.Checkpoint{Origin: origin, Size: head.Size, Root: head.Root()}
			for _, old := range append(seen, now) {
				proof, err := translog.ProveHistory(t.Context(), w.db, old.Size, now)
				if err != nil {
					t.Fatal(err)
				}
				if err := tlog.CheckTree(proof, now.Size, now.Root, old.Size, old.Root); err != nil {
					t.Errorf("%d continues %d: %v", now.Size, old.Size, err)
				}
			}
			seen = append(seen, now)
		}

		other := seen[9]
		other.Root[0] ^= 1
		if _, err := translog.ProveHistory(t.Context(), w.db, 5, other); !translog.IsInconsistent(err) {
			t.Errorf("the history of another tree: %v", err)
		}
		if proof, err := translog.ProveHistory(t.Context(), w.db, 0, seen[9]); err != nil || proof != nil {
			t.Errorf("of no entries: %v, %v", proof, err)
		}
	})
}
