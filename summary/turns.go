package summary

import (
	"context"
	"sync"
)

// turns lets one request at a time work on the same thing.
type turns struct {
	mu   sync.Mutex
	held map[string]*turn // guarded by mu
}

type turn struct {
	free  chan struct{} // holds one element while nobody works
	users int           // guarded by turns.mu
}

func newTurns() *turns { return &turns{held: map[string]*turn{}} }

// take waits until nobody else works on a thing. What it returns gives the turn back.
func (t *turns) take(ctx context.Context, thing string) (func(), error) {
	t.mu.Lock()
	x := t.held[thing]
	if x == nil {
		x = &turn{free: make(chan struct{}, 1)}
		x.free <- struct{}{}
		t.held[thing] = x
	}
	x.users++
	t.mu.Unlock()

	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if x.users--; x.users == 0 {
			delete(t.held, thing)
		}
	}
	select {
	case <-x.free:
		return func() { x.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
