package pages_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor/audit/pages"
)

// What took long is kept for a while and a minute at most; what is quick, and what
// failed, is computed again.
func TestKept(t *testing.T) {
	for _, tt := range []struct {
		name        string
		takes, wait time.Duration
		err         error
		again       bool
	}{
		{"quick", 0, 0, nil, true},
		{"a while", time.Second, 18 * time.Second, nil, false},
		{"a while, and later", time.Second, 19 * time.Second, nil, true},
		{"long", 10 * time.Second, 49 * time.Second, nil, false},
		{"long, and later", 10 * time.Second, 50 * time.Second, nil, true},
		{"failed", time.Second, 0, errors.New("no record"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, computed := pages.NewKept[string, int](time.Now), 0
				get := func(key string) (int, error) {
					return k.Get(key, func() (int, error) {
						time.Sleep(tt.takes)
						computed++
						return computed, tt.err
					})
				}

				if _, err := get("one caller"); !errors.Is(err, tt.err) {
					t.Fatal(err)
				}

				time.Sleep(tt.wait)
				got, err := get("one caller")
				if !errors.Is(err, tt.err) || (got == 2) != tt.again {
					t.Errorf("the second answer is computation %d, %v; computed again should be %t", got, err, tt.again)
				}
				if got, _ := get("another caller"); got != computed || got < 2 {
					t.Errorf("another caller sees computation %d", got)
				}
			})
		})
	}
}

func TestKeptIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, computed := pages.NewKept[int, int](time.Now), 0
		get := func(key int) {
			_, _ = k.Get(key, func() (int, error) {
				computed++
				time.Sleep(10 * time.Millisecond)
				return 0, nil
			})
		}

		_, _ = k.Get(0, func() (int, error) { time.Sleep(10 * time.Second); return 0, nil })
		for key := range 64 {
			get(key + 1)
		}

		before := computed
		get(0)
		if computed == before {
			t.Error("65 values are kept")
		}
	})
}
