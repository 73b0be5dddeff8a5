package contract

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A Journal keeps intents, as attest.Journal declares it.
type journal interface {
	PutIntent(ctx context.Context, id string, data []byte) error
	DeleteIntent(ctx context.Context, id string) error
	Intents(ctx context.Context) (map[string][]byte, error)
}

// Journal is the suite of attest.Journal. open returns an empty journal, and
// again one that reads what the first wrote as another process would; again is
// nil for a journal that is declared not to outlive its process.
func Journal[J journal](t *testing.T, open func(t *testing.T) (first J, again func() J)) {
	put := func(t *testing.T, j J, id, data string) {
		t.Helper()
		if err := j.PutIntent(t.Context(), id, []byte(data)); err != nil {
			t.Fatalf("PutIntent(%q): %v", id, err)
		}
	}

	want := func(t *testing.T, j J, want map[string]string) {
		t.Helper()
		got, err := j.Intents(t.Context())
		if err != nil {
			t.Fatalf("Intents: %v", err)
		}

		text := map[string]string{}
		for id, data := range got {
			text[id] = string(data)
		}
		if !maps.Equal(text, want) {
			t.Errorf("%d intents %.300q, want %d %.300q", len(text), text, len(want), want)
		}
	}

	t.Run("empty", func(t *testing.T) {
		j, _ := open(t)
		want(t, j, map[string]string{})
	})

	t.Run("replaced and deleted", func(t *testing.T) {
		j, _ := open(t)
		put(t, j, "a", "1")
		put(t, j, "b", "2")
		put(t, j, "a", "3")
		want(t, j, map[string]string{"a": "3", "b": "2"})

		for _, id := range []string{"b", "b", "never there"} {
			if err := j.DeleteIntent(t.Context(), id); err != nil {
				t.Errorf("DeleteIntent(%q): %v", id, err)
			}
		}
		want(t, j, map[string]string{"a": "3"})
	})

	t.Run("any bytes", func(t *testing.T) {
		j, _ := open(t)
		put(t, j, "empty", "")
		put(t, j, "hostile", "\x00\xff'; DROP TABLE intents; --\n")
		put(t, j, "long", strings.Repeat("x", 100_000))
		want(t, j, map[string]string{"empty": "", "hostile": "\x00\xff'; DROP TABLE intents; --\n",
			"long": strings.Repeat("x", 100_000)})
	})

	t.Run("keeps what it was given, not the caller's memory", func(t *testing.T) {
		j, _ := open(t)
		data := []byte("before")
		if err := j.PutIntent(t.Context(), "a", data); err != nil {
			t.Fatal(err)
		}

		copy(data, "AFTER!")
		got, err := j.Intents(t.Context())
		if err != nil {
			t.Fatal(err)
		}

		copy(got["a"], "CHANGE")
		delete(got, "a")
		want(t, j, map[string]string{"a": "before"})
	})

	t.Run("more than 500, written concurrently", func(t *testing.T) {
		j, _ := open(t)
		all := map[string]string{}
		for n := range 600 {
			all[fmt.Sprintf("id-%d", n)] = fmt.Sprint(n)
		}

		var wg sync.WaitGroup
		for chunk := range slices.Chunk(slices.Sorted(maps.Keys(all)), 75) {
			wg.Go(func() {
				for _, id := range chunk {
					if err := j.PutIntent(t.Context(), id, []byte(all[id])); err != nil {
						t.Errorf("PutIntent(%q): %v", id, err)
					}
				}
			})
		}
		wg.Wait()
		want(t, j, all)
	})

	t.Run("nil means durable", func(t *testing.T) {
		j, again := open(t)
		put(t, j, "kept", "1")
		put(t, j, "deleted", "2")
		if err := j.DeleteIntent(t.Context(), "deleted"); err != nil {
			t.Fatal(err)
		}

		kept := map[string]string{"kept": "1"}
		if err := j.PutIntent(gone(t), "late", []byte("3")); err == nil {
			kept["late"] = "3" // it may be written, but then it is there
		}
		want(t, j, kept)
		if again != nil {
			want(t, again(), kept)
		}
	})
}
