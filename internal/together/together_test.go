package together_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/attestor-gate/attestor/internal/together"
)

// panicOf is the error that f panics with; nil if it does not.
func panicOf(t *testing.T, f func()) (err error) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			var ok bool
			if err, ok = p.(error); !ok {
				t.Fatalf("it panicked with %v, no error", p)
			}
		}
	}()
	f()
	return nil
}

func TestWaitPassesAPanicOn(t *testing.T) {
	var g together.Group
	var ended atomic.Int32
	release := make(chan struct{})
	g.Go(func() { defer close(release); panic("a bug") })
	for range 3 {
		g.Go(func() { <-release; ended.Add(1) })
	}

	err := panicOf(t, g.Wait)
	if !errors.Is(err, together.ErrPanic) || !strings.Contains(err.Error(), "a bug") || !strings.Contains(err.Error(), "together_test.go") {
		t.Errorf("Wait panics with %v, want the value and the place of the panic", err)
	}
	if n := ended.Load(); n != 3 {
		t.Errorf("%d of 3 others had ended", n)
	}
}

func TestWaitReturns(t *testing.T) {
	var g together.Group
	var ended atomic.Int32
	for range 3 {
		g.Go(func() { ended.Add(1) })
	}
	if err := panicOf(t, g.Wait); err != nil || ended.Load() != 3 {
		t.Errorf("Wait: %v after %d of 3", err, ended.Load())
	}
}

func TestTry(t *testing.T) {
	bad := errors.New("bad")
	if v, err := together.Try(func() (int, error) { return 7, bad }); v != 7 || !errors.Is(err, bad) {
		t.Errorf("Try returns %d and %v, want what the function returned", v, err)
	}
	v, err := together.Try(func() (int, error) { panic("a bug") })
	if v != 0 || !errors.Is(err, together.ErrPanic) || !strings.Contains(err.Error(), "a bug") {
		t.Errorf("Try returns %d and %v, want the panic as an error", v, err)
	}
}
