package lru_test

import (
	"sync"
	"testing"

	"github.com/attestor-gate/attestor/internal/lru"
)

func TestTheLeastRecentlyUsedGoesFirst(t *testing.T) {
	c := lru.New[string, int](8)
	for i, k := range []string{"a", "b", "c", "d"} {
		c.Put(k, i, 2)
	}

	if v, ok := c.Get("a"); !ok || v != 0 {
		t.Fatalf("Get(a) = %d, %t before the limit was passed", v, ok)
	}

	c.Put("e", 4, 2) // b was used least recently
	for k, want := range map[string]bool{"a": true, "b": false, "c": true, "d": true, "e": true} {
		if _, ok := c.Get(k); ok != want {
			t.Errorf("%s is kept: %t, want %t", k, ok, want)
		}
	}
}

func TestSizesAreCounted(t *testing.T) {
	c := lru.New[int, string](100)
	for i := range 1000 {
		c.Put(i, "x", int64(i%25)+1)
	}

	sum := int64(0)
	for i := range 1000 {
		if _, ok := c.Get(i); ok {
			sum += int64(i%25) + 1
		}
	}

	if sum > 100 || sum < 75 {
		t.Errorf("entries of %d in sum are kept, want at most 100 and no more forgotten than needed", sum)
	}

	c.Put(1, "new", 3)
	c.Put(1, "newer", 3)
	if v, _ := c.Get(1); v != "newer" {
		t.Errorf("Get(1) = %q after it was replaced", v)
	}

	c.Remove(1)
	if _, ok := c.Get(1); ok {
		t.Error("1 is there after Remove")
	}
}

// What does not fit is not kept, and neither is what it would have replaced.
func TestOneLargeValueEmptiesNothing(t *testing.T) {
	c := lru.New[string, int](100)
	c.Put("small", 1, 10)
	c.Put("large", 1, 20)
	c.Put("large", 2, 26)
	if _, ok := c.Get("large"); ok {
		t.Error("a value of more than a quarter was kept, or an old one in its place")
	}
	if _, ok := c.Get("small"); !ok {
		t.Error("a value that did not fit drove out another")
	}
	if c.Len() != 1 {
		t.Errorf("Len() = %d, want 1", c.Len())
	}
}

func TestManyAtOnce(t *testing.T) {
	c := lru.New[int, int](50)
	var wg sync.WaitGroup

	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				c.Put(i%70, g, 1)
				c.Get(i % 30)
				c.Remove(i % 11)
			}
		})
	}

	wg.Wait()
	if n := c.Len(); n > 50 {
		t.Errorf("%d entries, want at most 50", n)
	}
}
