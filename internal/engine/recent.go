package engine

import (
	"context"
	"sync"
	"time"
)

const (
	// recentFor is how long an answer of the database is given again: whoever can reach /metrics asks as often as they
	// like.
	recentFor = 15 * time.Second
	// recentTimeout bounds the question, so that a slow database does not hold up the other metrics.
	recentTimeout = 2 * time.Second
)

// recent is the newest answer, or failure, of a question that metrics put to the database.
type recent[T any] struct {
	ask func(context.Context) (T, error)

	mu    sync.Mutex
	asked time.Time // guarded by mu
	known T         // guarded by mu
	err   error     // guarded by mu
}

func (r *recent[T]) get() (T, error) {
	r.mu.Lock()
	defer r.mu.Unlock()

	// A failure is kept as long as an answer: a database that is away is not asked by each scrape.
	if time.Since(r.asked) < recentFor {
		return r.known, r.err
	}

	// Not the caller's context: several scrapes share the answer.
	ctx, cancel := context.WithTimeout(context.Background(), recentTimeout)
	defer cancel()
	r.known, r.err = r.ask(ctx)
	r.asked = time.Now()
	return r.known, r.err
}
