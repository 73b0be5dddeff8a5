// Package together runs functions side by side, and keeps a panic of one of them from ending the process: on a
// goroutine of its own nobody can recover it, and every other request would end too.
package together

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// ErrPanic marks what was a panic.
var ErrPanic = errors.New("panic")

// A Group is a [sync.WaitGroup] of functions that may panic. Its zero value is ready.
type Group struct {
	wg sync.WaitGroup

	mu    sync.Mutex
	first error // of the first that panicked; guarded by mu
}

// Go runs f on a goroutine of its own.
func (g *Group) Go(f func()) {
	g.wg.Go(func() {
		_, err := Try(func() (struct{}, error) { f(); return struct{}{}, nil })

		g.mu.Lock()
		defer g.mu.Unlock()
		if g.first == nil {
			g.first = err
		}
	})
}

// Wait returns when all functions have ended. If one of them panicked, Wait panics with an [ErrPanic] that has its
// value and its stack: whoever waits has a request to fail, and must not go on with what the function did not finish.
func (g *Group) Wait() {
	g.wg.Wait()

	g.mu.Lock()
	defer g.mu.Unlock()
	if g.first != nil {
		panic(g.first)
	}
}

// Try runs f on this goroutine and returns a panic as an [ErrPanic] with its value and its stack. It is for work that
// nobody waits for by a Group, such as that of singleflight.DoChan.
func Try[T any](f func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", ErrPanic, p, debug.Stack())
		}
	}()
	return f()
}

// Caught is f with its panics as errors, for the Go of an errgroup.
func Caught(f func() error) func() error {
	return func() error {
		_, err := Try(func() (struct{}, error) { return struct{}{}, f() })
		return err
	}
}
