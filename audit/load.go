package audit

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/translog"
)

// loadBatch is how many decisions [Store.Load] writes in one transaction.
const loadBatch = 500

// Load records finished decisions in bulk, each of which must be new: to fill a record
// for measurements. It is what [attestor.Recorder].Finish does for each of them, with the
// log and the search index, but in large transactions, and in PostgreSQL by COPY. It does
// not tell events, and refuses a decision that admits an image: these follow each other.
// It returns how many decisions were recorded, which are the first of records.
func (s *Store) Load(ctx context.Context, records iter.Seq[attestor.Record]) (n int, err error) {
	if s.none {
		return 0, unsupported()
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for batch, err := range s.encoded(ctx, records) {
		if err == nil {
			err = s.loadSome(ctx, batch)
		}
		if err != nil {
			return n, s.fail("loading decisions", err)
		}
		n += len(batch)
	}

	// What an interrupted call left is entered into the index, too.
	if err := s.indexAll(ctx); err != nil {
		return n, s.fail("loading decisions", err)
	}
	return n, nil
}

// A loadable is a decision with its entry in the log.
type loadable struct {
	row
	leaf translog.Leaf
}

// encoded encodes batches of records by several goroutines while the one before is
// written, in their order.
func (s *Store) encoded(ctx context.Context, records iter.Seq[attestor.Record]) iter.Seq2[[]loadable, error] {
	type result struct {
		batch []loadable
		err   error
	}
	return func(yield func([]loadable, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()

		next := make(chan chan result, runtime.GOMAXPROCS(0))
		go func() {
			defer close(next)
			for chunk := range chunks(records, loadBatch) {
				done := make(chan result, 1)
				select {
				case next <- done:
				case <-ctx.Done():
					return
				}
				go func() {
					batch, err := s.encode(chunk)
					done <- result{batch, err}
				}()
			}
		}()

		for done := range next {
			if r := <-done; !yield(r.batch, r.err) || r.err != nil {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// chunks are the values of a sequence in slices of n.
func chunks[T any](values iter.Seq[T], n int) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		var chunk []T
		for v := range values {
			if chunk = append(chunk, v); len(chunk) == n {
				if !yield(chunk) {
					return
				}
				chunk = nil
			}
		}
		if len(chunk) > 0 {
			yield(chunk)
		}
	}
}

func (s *Store) encode(records []attestor.Record) ([]loadable, error) {
	out := make([]loadable, 0, len(records))
	for _, rec := range records {
		r, err := newRow(rec, s.enc)
		if err != nil {
			return nil, err
		}
		if r.ground.admits() {
			return nil, &attestor.Error{Kind: attestor.Invalid, Msg: "decision " + r.id + " admits an image"}
		}
		for i, b := range r.blobs {
			r.blobs[i].data = s.compress(b)
		}

		leaf, err := r.leaf(time.Time{})
		if err != nil {
			return nil, err
		}
		out = append(out, loadable{r, leaf})
	}
	return out, nil
}

// loadSome writes one batch: first the decisions, and then what the search index has of
// them, which reads their evidence.
func (s *Store) loadSome(ctx context.Context, batch []loadable) error {
	err := s.loadTx(ctx, func(ctx context.Context, tx *txn, b bulk) error {
		var blobs []blob
		var decisions, digests, queue [][]any
		for _, r := range batch {
			blobs = append(blobs, r.blobs...)
			decisions = append(decisions, []any{
				r.id, r.at, stateFinished, r.requested, r.repository, r.digest, r.verdict, r.policy, r.policyDigest,
				r.breakGlass, r.body, r.outline,
			})
			for _, digest := range r.digests {
				digests = append(digests, []any{digest, r.at, r.id})
			}
			queue = append(queue, []any{r.id})
			tx.log(r.leaf, nil)
		}

		// The queue keeps what a crash leaves between the two transactions.
		if err := s.putBlobs(ctx, tx, blobs); err != nil {
			return err
		}
		if err := b.insert(ctx, "decisions", []string{
			"id", "at", "state", "requested", "repository", "digest", "verdict", "policy", "policy_digest", "break_glass",
			"body", "evidence",
		}, decisions); err != nil {
			return err
		}
		if err := b.insert(ctx, "decision_digests", []string{"digest", "at", "decision"}, digests); err != nil {
			return err
		}
		return b.insert(ctx, "decision_queue", []string{"id"}, queue)
	})
	if err != nil {
		return err
	}
	return s.indexAll(ctx)
}

// indexAll brings the search index up to date, in large steps.
func (s *Store) indexAll(ctx context.Context) error {
	for n := loadBatch; n == loadBatch; {
		var err error
		if n, err = s.indexNext(ctx, loadBatch); err != nil {
			return err
		}
	}
	return nil
}

// bulk inserts many rows in a transaction.
type bulk struct {
	tx   *txn
	conn *sql.Conn
	copy bool // by COPY
}

// loadTx is [Store.tx] with bulk inserts.
func (s *Store) loadTx(ctx context.Context, f func(context.Context, *txn, bulk) error) error {
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // gives it back to the pool

	return s.txOn(ctx, "loading decisions", conn, func(ctx context.Context, tx *txn) error {
		return f(ctx, tx, bulk{tx, conn, s.engine.dialect() == goose.DialectPostgres})
	})
}

// insert inserts rows, of which none may be there.
func (b bulk) insert(ctx context.Context, table string, columns []string, rows [][]any) error {
	if b.copy {
		return b.conn.Raw(func(driver any) error {
			c, ok := driver.(*stdlib.Conn)
			if !ok {
				return fmt.Errorf("the driver's connection is a %T", driver)
			}
			_, err := c.Conn().CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromRows(rows))
			return err
		})
	}

	for some := range slices.Chunk(rows, 100) {
		st := statement{anonymous: b.tx.anonymous}
		st.values(table, columns, some)
		if _, err := b.tx.ExecContext(ctx, st.text.String(), st.args...); err != nil {
			return err
		}
	}
	return nil
}
