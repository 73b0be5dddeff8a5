package audit

import (
	"context"
	"slices"
	"sync"
)

// maxGroup bounds how many writes share a transaction.
const maxGroup = 256

// A committer puts writes that arrive at the same time into one transaction
// (group commit). SQLite has one writer: the sync at the end of a transaction costs
// more than the writes in it, and one makes all of them durable. In PostgreSQL
// transactions that append to the log take turns, so that one transaction for each
// decision would wait for as many commits as there are decisions before it.
type committer struct {
	mu      sync.Mutex
	queue   []*queuedWrite // guarded by mu
	running bool           // a goroutine commits the queue; guarded by mu
	wg      sync.WaitGroup // of that goroutine
}

// A queuedWrite is one write. Its parts run in a transaction that may be tried more
// than once.
type queuedWrite struct {
	logs  bool                                      // it appends to the log
	first func(context.Context, *txn) (bool, error) // writes all and returns true, or writes nothing; nil: nothing
	blobs []blob                                    // written unless first wrote all
	rest  func(context.Context, *txn) error         // after the blobs

	ctx  context.Context //nolint:containedctx // of the caller, who may give up before the write's transaction
	done chan struct{}   // closed when the write is durable, or err says why it is not
	err  error           // set before done is closed
}

// groupTx is [Store.tx] in a transaction that other writes may share. A write
// takes effect as a whole or not at all, whatever happens to the others.
func (s *Store) groupTx(ctx context.Context, doing string, w *queuedWrite) error {
	// PostgreSQL commits many transactions at once by itself, if they need not take turns.
	if !w.logs && s.write == s.read {
		return s.tx(ctx, doing, func(ctx context.Context, tx *txn) error {
			_, err := s.writeAll(ctx, tx, []*queuedWrite{w})
			return err
		})
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return s.fail(doing, err)
	}

	// Queueing and starting the goroutine are one step under the lock: the
	// goroutine ends only after it found the queue empty under the same lock, so
	// that no write stays behind.
	w.ctx, w.done = ctx, make(chan struct{})
	c := s.committer
	c.mu.Lock()
	c.queue = append(c.queue, w)
	if !c.running {
		c.running = true
		c.wg.Go(s.commitQueue)
	}
	c.mu.Unlock()

	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		// The write may be committed all the same. The caller must take it for
		// failed, as after any commit whose answer was lost.
		return s.fail(doing, ctx.Err())
	}
}

// commitQueue commits until the queue is empty.
func (s *Store) commitQueue() {
	c := s.committer
	for {
		c.mu.Lock()
		n := min(len(c.queue), maxGroup)
		if n == 0 {
			c.queue, c.running = nil, false
			c.mu.Unlock()
			return
		}

		// A copy, since Delete moves what follows to the front of the same array.
		batch := slices.Clone(c.queue[:n])
		c.queue = slices.Delete(c.queue, 0, n)
		c.mu.Unlock()

		s.commit(batch)
	}
}

// commit commits a batch in one transaction. A write that fails gets its error,
// and the transaction is tried again without it.
func (s *Store) commit(batch []*queuedWrite) {
	const doing = "recording decisions"

	// A caller who gave up was answered that nothing was recorded. Leaving the
	// write out keeps that true as far as it can be.
	batch = slices.DeleteFunc(batch, func(w *queuedWrite) bool {
		gone := w.ctx.Err() != nil
		if gone {
			w.end(s.fail(doing, w.ctx.Err()))
		}
		return gone
	})

	// The deadline is the batch's own: one caller who gives up must not cancel
	// the writes of the others.
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()

	for len(batch) > 0 {
		failed := -1
		err := s.tx(ctx, doing, func(ctx context.Context, tx *txn) (err error) {
			failed, err = s.writeAll(ctx, tx, batch)
			return err
		})

		// Either all are durable, or the commit itself failed, which concerns all
		// of them alike.
		if failed < 0 || ctx.Err() != nil {
			for _, w := range batch {
				w.end(err)
			}
			return
		}

		// The transaction was rolled back as a whole, so that the next attempt
		// writes nothing twice.
		batch[failed].end(err)
		batch = slices.Delete(batch, failed, failed+1)
	}
}

// writeAll runs the writes of a batch in tx. failed is the one that err is of, or -1
// where it concerns all of them.
func (s *Store) writeAll(ctx context.Context, tx *txn, batch []*queuedWrite) (failed int, err error) {
	var rest []int
	var blobs []blob
	for i, w := range batch {
		if w.first != nil {
			if done, err := w.first(ctx, tx); err != nil {
				return i, err
			} else if done {
				continue
			}
		}
		rest, blobs = append(rest, i), append(blobs, w.blobs...)
	}

	// The blobs of all writes come first, so that they are locked in one order.
	if err := s.putBlobs(ctx, tx, blobs); err != nil {
		return -1, err
	}
	for _, i := range rest {
		if err := batch[i].rest(ctx, tx); err != nil {
			return i, err
		}
	}
	return -1, nil
}

func (w *queuedWrite) end(err error) {
	w.err = err
	close(w.done)
}
