package watch

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/attestor-gate/attestor"
)

// maxHandled bounds the ids of handled messages that are remembered. A message
// whose id was forgotten is handled again, which costs a judgement and changes
// nothing.
const maxHandled = 10_000

// shared lets at most one judgement of a key run and one wait, however many ask.
// Who asks while one runs shares the next. It starts after they asked, and so
// reads the state that their message is about; the one that runs may have read an
// older state. A scan with 300 findings sends 300 messages.
type shared[T any] struct {
	mu      sync.Mutex
	waiting map[string]*judgement[T] // not started; guarded by mu
	running map[string]*judgement[T] // guarded by mu
}

type judgement[T any] struct {
	done   chan struct{} // closed when the others are set
	result T
	err    error
}

func newShared[T any]() *shared[T] {
	return &shared[T]{waiting: map[string]*judgement[T]{}, running: map[string]*judgement[T]{}}
}

// judge returns the result of a call of f that starts after judge was called.
func (s *shared[T]) judge(ctx context.Context, key string, f func(context.Context) (T, error)) (result T, err error) {
	s.mu.Lock()
	j, joined := s.waiting[key]
	if !joined {
		j = &judgement[T]{done: make(chan struct{})}
		s.waiting[key] = j
		go s.run(context.WithoutCancel(ctx), key, j, f)
	}
	s.mu.Unlock()

	select {
	case <-j.done:
		return j.result, j.err
	case <-ctx.Done():
		return result, &attestor.Error{
			Kind: attestor.Unavailable,
			Msg:  "the request ended before the message was handled",
			Fix:  "deliver the message again",
			Err:  ctx.Err(),
		}
	}
}

// run calls f once the judgement that runs has ended. It does not end with the
// request that started it, since others may wait for the result; f has deadlines
// of its own.
func (s *shared[T]) run(ctx context.Context, key string, j *judgement[T], f func(context.Context) (T, error)) {
	s.mu.Lock()
	for s.running[key] != nil {
		before := s.running[key]
		s.mu.Unlock()
		<-before.done
		s.mu.Lock()
	}

	// Moving it is one step under the lock: from now on nobody joins it.
	delete(s.waiting, key)
	s.running[key] = j
	s.mu.Unlock()

	defer func() {
		// This goroutine has no caller that could recover: a panic would end the
		// process and every request with it.
		if p := recover(); p != nil {
			j.err = fmt.Errorf("panic while judging: %v\n%s", p, debug.Stack())
		}

		s.mu.Lock()
		delete(s.running, key)
		s.mu.Unlock()
		close(j.done)
	}()
	j.result, j.err = f(ctx)
}
