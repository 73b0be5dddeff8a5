package pages_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor/audit/pages"
)

// changing is the state of a record that changes all the time.
func changing() func() (string, error) {
	return func() (string, error) { return time.Now().String(), nil }
}

// A value is kept longer while its record stays as it is, and is computed once for all
// who wait for it.
func TestKeptIsSharedAndKeptAtRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, computed, state := pages.NewKept[string, int](time.Now), 0, "a"
		get := func() int {
			v, err := k.Get("key", func() (string, error) { return state, nil }, func() (int, error) {
				time.Sleep(time.Second)
				computed++
				return computed, nil
			})
			if err != nil {
				t.Error(err)
			}
			return v
		}

		answers := make(chan int)
		for range 10 {
			go func() { answers <- get() }()
		}
		for range 10 {
			if got := <-answers; got != 1 {
				t.Errorf("computation %d, want the first", got)
			}
		}

		time.Sleep(8 * time.Minute)
		if got := get(); got != 1 {
			t.Errorf("nothing changed, and it was computed again: %d", got)
		}
		state = "b"
		if got := get(); got != 2 {
			t.Errorf("the record changed: computation %d, want the second", got)
		}
		time.Sleep(11 * time.Minute)
		if got := get(); got != 3 {
			t.Errorf("after ten minutes: computation %d, want the third", got)
		}

		if _, err := k.Get("other", func() (string, error) { return "", errors.New("down") }, func() (int, error) { return 0, nil }); err == nil {
			t.Error("the state cannot be read, and there is an answer")
		}
	})
}

// Who waits for a computation that panics gets an error.
func TestKeptSurvivesAPanic(t *testing.T) {
	k := pages.NewKept[string, int](time.Now)
	started, waiting := make(chan struct{}), make(chan error)
	go func() {
		defer func() { _ = recover() }() // as the server does
		_, _ = k.Get("key", changing(), func() (int, error) {
			close(started)
			go func() {
				_, err := k.Get("key", func() (string, error) { return "", nil }, func() (int, error) { return 1, nil })
				waiting <- err
			}()
			time.Sleep(10 * time.Millisecond) // so that the other most likely waits; either way it gets an answer
			panic("template")
		})
	}()
	<-started
	if err := <-waiting; err != nil && err.Error() != "computing a page failed" {
		t.Error(err)
	}
	if v, err := k.Get("key", changing(), func() (int, error) { return 2, nil }); err != nil || v == 0 {
		t.Errorf("afterwards: %d, %v", v, err)
	}
}

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
					return k.Get(key, changing(), func() (int, error) {
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
			_, _ = k.Get(key, changing(), func() (int, error) {
				computed++
				time.Sleep(10 * time.Millisecond)
				return 0, nil
			})
		}

		_, _ = k.Get(0, changing(), func() (int, error) { time.Sleep(10 * time.Second); return 0, nil })
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
