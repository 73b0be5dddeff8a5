package audit

import (
	"context"
	"database/sql"
	"slices"
	"sync"
)

// maxGroup bounds how many writes share a transaction.
const maxGroup = 256

// A group joins what is written at the same time into one transaction, where
// there is one writer: the sync at a transaction's end costs more than what is
// written, and is as good for many as for one.
type group struct {
	mu      sync.Mutex
	waiting []*grouped     // guarded by mu
	running bool           // somebody commits what waits; guarded by mu
	wg      sync.WaitGroup // of who commits
}

// grouped is one write: done is closed when it is durable, or err says why not.
type grouped struct {
	ctx  context.Context //nolint:containedctx // of the caller, who may have gone before its turn
	f    func(context.Context, *sql.Tx) error
	done chan struct{}
	err  error // set before done is closed
}

// together is tx, in a transaction that others may share. Each either takes
// effect whole or fails by itself.
func (s *Store) together(ctx context.Context, doing string, f func(context.Context, *sql.Tx) error) error {
	if s.group == nil {
		return s.tx(ctx, doing, f)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return s.fail(doing, err)
	}
	w := &grouped{ctx: ctx, f: f, done: make(chan struct{})}
	g := s.group
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	if !g.running {
		g.running = true
		g.wg.Go(s.commitAll)
	}
	g.mu.Unlock()
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		// It may be committed all the same, as any commit that is not awaited.
		return s.fail(doing, ctx.Err())
	}
}

// commitAll works until nothing waits.
func (s *Store) commitAll() {
	g := s.group
	for {
		g.mu.Lock()
		n := min(len(g.waiting), maxGroup)
		if n == 0 {
			g.waiting, g.running = nil, false
			g.mu.Unlock()
			return
		}
		batch := slices.Clone(g.waiting[:n])
		g.waiting = slices.Delete(g.waiting, 0, n)
		g.mu.Unlock()
		s.commit(batch)
	}
}

// commit writes a batch in one transaction. One that fails in it is told so,
// and the rest begins anew without it.
func (s *Store) commit(batch []*grouped) {
	const doing = "recording decisions"
	batch = slices.DeleteFunc(batch, func(w *grouped) bool {
		gone := w.ctx.Err() != nil
		if gone {
			w.end(s.fail(doing, w.ctx.Err()))
		}
		return gone
	})
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout) // no caller's: it is for all of them
	defer cancel()
	for len(batch) > 0 {
		failed := -1
		err := s.tx(ctx, doing, func(ctx context.Context, tx *sql.Tx) error {
			for i, w := range batch {
				if err := w.f(ctx, tx); err != nil {
					failed = i
					return err
				}
			}
			return nil
		})
		if failed < 0 || ctx.Err() != nil {
			for _, w := range batch {
				w.end(err)
			}
			return
		}
		batch[failed].end(err)
		batch = slices.Delete(batch, failed, failed+1)
	}
}

func (w *grouped) end(err error) {
	w.err = err
	close(w.done)
}
