package engine

import (
	"context"
	"sync"
	"time"
)

// leaveAfter is how long a service that stops waits for its work beside requests. Each piece of it has a deadline of its
// own that is shorter.
const leaveAfter = 30 * time.Second

// A background is the work of a service beside requests. It ends before what it works with is closed: a step that was
// begun is recorded, and does not meet a closed record.
type background struct {
	ctx  context.Context //nolint:containedctx // of all of its work
	stop context.CancelFunc
	work sync.WaitGroup
}

func newBackground(ctx context.Context) *background {
	b := &background{}
	b.ctx, b.stop = context.WithCancel(ctx)
	return b
}

// do begins a piece of work, which ends with its context.
func (b *background) do(f func(context.Context)) { b.work.Go(func() { f(b.ctx) }) }

// end has all of it end, and waits for that. It reports whether all ended in time.
func (b *background) end() bool {
	b.stop()
	ended := make(chan struct{})
	go func() {
		b.work.Wait()
		close(ended)
	}()

	timer := time.NewTimer(leaveAfter)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}
