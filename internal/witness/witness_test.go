package witness_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestor-gate/attestor/internal/reach"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
	"github.com/attestor-gate/attestor/internal/translog"
	"github.com/attestor-gate/attestor/internal/witness"
)

const origin = "gate.example/decisions"

// A log is a tree in memory, with its key.
type log struct {
	key    translog.Key
	vkey   string
	head   translog.Head
	hashes []tlog.Hash
}

func newLog(t *testing.T, seed byte) *log {
	t.Helper()
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+seed)), ed25519.SeedSize)))
	k := translog.Key{
		Origin: origin, Public: private.Public().(ed25519.PublicKey), //nolint:forcetypeassert // crypto/ed25519 says so
		Sign: func(_ context.Context, msg []byte) ([]byte, error) { return ed25519.Sign(private, msg), nil },
	}
	vkey, err := k.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	return &log{key: k, vkey: vkey}
}

// add appends entries, and returns the signed checkpoint of all.
func (l *log) add(t *testing.T, entries ...string) []byte {
	t.Helper()
	for _, e := range entries {
		var added []tlog.Hash
		l.head, added = l.head.Add([]byte(e))
		l.hashes = append(l.hashes, added...)
	}
	signed, err := l.key.SignCheckpoint(t.Context(), l.head)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// since is the proof that the tree continues its first old entries.
func (l *log) since(t *testing.T, old int64) tlog.TreeProof {
	t.Helper()
	if old == 0 || old == l.head.Size {
		return nil
	}
	proof, err := tlog.ProveTree(l.head.Size, old, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			out = append(out, l.hashes[i])
		}
		return out, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

func client(t *testing.T, address, key string) *witness.Client {
	t.Helper()
	c, err := witness.New(address, key, false)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A witness of a log that grows cosigns each of its checkpoints, and no other.
func cosignsAsItGrows(t *testing.T, l *log, c *witness.Client) {
	t.Helper()
	cosigns := func(old int64, signed []byte, want int64) {
		t.Helper()
		got, err := c.Add(t.Context(), old, l.since(t, old), signed, l.vkey)
		if err != nil {
			t.Fatal(err)
		}
		if cosigned, err := translog.OpenCosignature(got, l.vkey, c.Key()); err != nil || cosigned.Entries != want {
			t.Errorf("%+v, %v of %q", cosigned, err, got)
		}
	}
	cosigns(0, l.add(t, "a", "b", "c"), 3)
	cosigns(3, l.add(t), 3)
	cosigns(3, l.add(t, "d", "e"), 5)

	later := l.add(t, "f")
	_, err := c.Add(t.Context(), 3, l.since(t, 3), later, l.vkey)
	if conflict, ok := errors.AsType[*witness.ConflictError](err); !ok || conflict.Size != 5 {
		t.Errorf("from another size: %v", err)
	}

	// The same log with another history, and the same history under another key.
	fork := newLog(t, 0)
	signed := fork.add(t, "a", "b", "c", "d", "X", "f")
	if _, err := c.Add(t.Context(), 5, fork.since(t, 5), signed, fork.vkey); !errors.Is(err, witness.ErrInconsistent) {
		t.Errorf("a second history: %v", err)
	}
	thief := newLog(t, 1)
	signed = thief.add(t, "a", "b", "c", "d", "e", "f")
	if _, err := c.Add(t.Context(), 5, thief.since(t, 5), signed, thief.vkey); err == nil ||
		!strings.Contains(err.Error(), "does not know this log or its key") {
		t.Errorf("another key: %v", err)
	}
	cosigns(5, later, 6)
}

func TestWitnessCosigns(t *testing.T) {
	t.Parallel()
	l := newLog(t, 0)
	w, err := standin.NewWitness("witness.example/w1", l.vkey, 1)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	cosignsAsItGrows(t, l, client(t, srv.URL, w.Key()))
	if w.Saw() != 6 {
		t.Errorf("it saw %d entries", w.Saw())
	}
}

// What a witness answers beside a valid cosignature is an error that says so, whatever it is, and nothing of it is believed.
func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	l := newLog(t, 0)
	w, err := standin.NewWitness("witness.example/w1", l.vkey, 1)
	if err != nil {
		t.Fatal(err)
	}
	other, err := standin.NewWitness("witness.example/w1", l.vkey, 2)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(w)
	t.Cleanup(srv.Close)
	c, signed := client(t, srv.URL+"/", w.Key()), l.add(t, "a")

	for name, tt := range map[string]struct {
		status int
		kind   string
		body   string
		says   string
	}{
		"nothing":                      {200, "", "", "no valid cosignature"},
		"another key's signature":      {200, "", other.Cosign(signed), "no valid cosignature"},
		"more than allowed":            {200, "", strings.Repeat("x\n", 10<<10), "more than 8192 bytes"},
		"created":                      {201, "", w.Cosign(signed), "201 Created"},
		"no content":                   {204, "", "", "204 No Content"},
		"elsewhere":                    {307, "", "", "307"},
		"a bad request":                {400, "", "malformed", `400 Bad Request: "malformed"`},
		"forbidden":                    {403, "", "", "does not know this log or its key"},
		"not found":                    {404, "", "", "does not know this log"},
		"a conflict without a size":    {409, "text/x.tlog.size", "many\n", "409 without the size"},
		"a conflict with less than 0":  {409, "text/x.tlog.size", "-1\n", "409 without the size"},
		"a conflict of another type":   {409, "text/plain", "5\n", "409 without the size"},
		"a conflict that is too large": {409, "text/x.tlog.size", strings.Repeat("9", 30), "409 without the size"},
		"too many":                     {429, "", "", "429"},
		"an error":                     {500, "", strings.Repeat("e", 5000), strings.Repeat("e", 200) + `"`},
		"unavailable":                  {503, "", "", "503"},
	} {
		w.Answer(func(rw http.ResponseWriter, _ *http.Request) {
			if tt.kind != "" {
				rw.Header().Set("Content-Type", tt.kind)
			}
			rw.Header().Set("Location", "http://127.0.0.1:1/")
			rw.WriteHeader(tt.status)
			_, _ = rw.Write([]byte(tt.body))
		})
		if got, err := c.Add(t.Context(), 0, nil, signed, l.vkey); err == nil || !strings.Contains(err.Error(), tt.says) || len(err.Error()) > 400 {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}

	// One that never answers ends with the caller's deadline.
	w.Answer(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Add(ctx, 0, nil, signed, l.vkey); !errors.Is(err, context.Canceled) {
		t.Errorf("without an answer: %v", err)
	}
}

// The address of a witness is https, or this machine; it has no credentials, and unless private it is public.
func TestAddresses(t *testing.T) {
	t.Parallel()
	l := newLog(t, 0)
	w, err := standin.NewWitness("witness.example/w1", l.vkey, 1)
	if err != nil {
		t.Fatal(err)
	}
	for address, ok := range map[string]bool{
		"https://witness.example":         true,
		"https://witness.example/prefix/": true,
		"http://127.0.0.1:1/":             true,
		"http://localhost:8080":           true,
		"http://witness.example":          false,
		"http://10.0.0.1":                 false,
		"https://user:pw@witness.example": false,
		"https://witness.example/?a=b":    false,
		"https://witness.example/#a":      false,
		"https:witness.example":           false,
		"witness.example":                 false,
		"":                                false,
		"ftp://witness.example":           false,
	} {
		if _, err := witness.New(address, w.Key(), false); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := witness.New("https://witness.example", l.vkey, false); err == nil {
		t.Error("the log's own key is taken for a witness's")
	}

	c := client(t, "https://10.0.0.1:1", w.Key())
	if _, err := c.Add(t.Context(), 0, nil, l.add(t, "a"), l.vkey); !errors.Is(err, reach.ErrRefused) {
		t.Errorf("a private address: %v", err)
	}
}
