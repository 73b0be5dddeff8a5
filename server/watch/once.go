package watch

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/attestor-gate/attestor"
)

// maxSeen bounds the memory of handled messages. One that is forgotten is
// handled again, which costs work and changes nothing.
const maxSeen = 10_000

// turns let one judgement of an image run and one wait, however many ask: who
// comes while one runs shares the next, which begins after they came and so
// sees what they came for. A scan with 300 findings sends 300 messages.
type turns struct {
	mu   sync.Mutex
	next map[string]*turn // not begun; guarded by mu
	busy map[string]*turn // running; guarded by mu
}

type turn struct {
	done chan struct{}
	d    attestor.Decision
	err  error
}

func newTurns() *turns { return &turns{next: map[string]*turn{}, busy: map[string]*turn{}} }

// take runs f, or waits for a run of it that begins from now on.
func (t *turns) take(ctx context.Context, key string, f func(context.Context) (attestor.Decision, error)) (attestor.Decision, error) {
	t.mu.Lock()
	mine, waiting := t.next[key]
	if !waiting {
		mine = &turn{done: make(chan struct{})}
		t.next[key] = mine
		go t.run(context.WithoutCancel(ctx), key, mine, f)
	}
	t.mu.Unlock()
	select {
	case <-mine.done:
		return mine.d, mine.err
	case <-ctx.Done():
		return attestor.Decision{}, &attestor.Error{Kind: attestor.Unavailable, Msg: "the message was given up before it was handled", Err: ctx.Err()}
	}
}

// run waits for the turn before it. f has deadlines of its own; it outlives
// whoever asked first, since others may wait for it.
func (t *turns) run(ctx context.Context, key string, mine *turn, f func(context.Context) (attestor.Decision, error)) {
	t.mu.Lock()
	for t.busy[key] != nil {
		before := t.busy[key]
		t.mu.Unlock()
		<-before.done
		t.mu.Lock()
	}
	delete(t.next, key)
	t.busy[key] = mine
	t.mu.Unlock()
	defer func() {
		if p := recover(); p != nil { // nobody above this goroutine would
			mine.err = fmt.Errorf("panic while judging: %v\n%s", p, debug.Stack())
		}
		t.mu.Lock()
		delete(t.busy, key)
		t.mu.Unlock()
		close(mine.done)
	}()
	mine.d, mine.err = f(ctx)
}
