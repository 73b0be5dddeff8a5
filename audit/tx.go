package audit

import (
	"context"
	"database/sql"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/attestor-gate/attestor/internal/translog"
)

// A txn is a transaction, with the entries that the record's log gets for what it
// writes. They are appended when its other work is done, and so are committed with it
// or not at all.
type txn struct {
	*sql.Tx
	leaves  []translog.Leaf
	indexes []*int64
	entered time.Time // set where the records are older than the log

	// SQLite takes $1 for a name, and compares it with the names of all parameters before
	// it. Statements with thousands of parameters have none there.
	anonymous bool
	wrote     bool // it wrote events
}

// logParts appends the entry of a record with the given parts before the commit.
func (t *txn) logParts(kind, id string, at int64, parts map[string][]byte) {
	t.log(newLeaf(kind, id, at, t.entered, parts), nil)
}

// log appends a leaf before the commit. index, unless nil, is then set to where the log
// has it.
func (t *txn) log(leaf translog.Leaf, index *int64) {
	t.leaves, t.indexes = append(t.leaves, leaf), append(t.indexes, index)
}

// maxAttempts is how often a transaction that was in another one's way is tried again.
const maxAttempts = 3

// tx runs f in a transaction. It returns nil only if the writes of f are durable. f may run more than once, and must
// keep nothing of the time before.
func (s *Store) tx(ctx context.Context, doing string, f func(context.Context, *txn) error) error {
	// All attempts together have the time of one call.
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	for tries := 0; ; tries++ {
		err := s.txOn(ctx, doing, s.write, f)

		// A transaction that was in another one's way was rolled back as a whole, so that nothing is written twice.
		if err == nil || tries == maxAttempts || !s.engine.again(err) {
			return err
		}
	}
}

// A beginner begins transactions: a pool, or one of its connections.
type beginner interface {
	BeginTx(ctx context.Context, o *sql.TxOptions) (*sql.Tx, error)
}

// txOn is tx on a pool or a connection, and runs f once.
func (s *Store) txOn(
	ctx context.Context, doing string, on beginner, f func(context.Context, *txn) error,
) error {
	// What is written follows from the database itself. A caller who may be shown the replica's answer brings the index
	// up to date, too: blobs that the replica does not have yet would be entered as lost.
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, mayLag{}, nil), s.timeout)
	defer cancel()

	// Writes to an SQLite file that was removed succeed and are lost: this is noticed before the work, and once more
	// after the commit.
	if err := s.engine.lost(); err != nil {
		return s.fail(doing, err)
	}

	tx, err := s.beginTx(ctx, on)
	if err != nil {
		return s.fail(doing, err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing

	t := &txn{Tx: tx, anonymous: s.engine.dialect() == goose.DialectSQLite3}
	if err := f(ctx, t); err != nil {
		return s.fail(doing, err)
	}

	// The log comes last: until the commit no other instance can append to it.
	head, err := s.appendLeaves(ctx, t)
	if err != nil {
		return s.fail(doing, err)
	}
	if err := tx.Commit(); err != nil {
		return s.fail(doing, err)
	}

	// The file may have been removed since the first look. A commit to a removed
	// file succeeds and is lost when the process ends.
	if err := s.engine.lost(); err != nil {
		return s.fail(doing, err)
	}

	// Only a durable head may be signed or shown.
	s.log.Committed(head)
	if t.wrote {
		s.wakeCourier()
	}
	return nil
}

// beginTx begins a transaction. A restart of the database ends all connections of the pool, and each shows it when it is
// used next. What failed there is only the beginning of a transaction, which changes nothing: another connection is
// taken, at last a new one.
func (s *Store) beginTx(ctx context.Context, on beginner) (*sql.Tx, error) {
	for tries := 0; ; tries++ {
		tx, err := on.BeginTx(ctx, nil)
		if err == nil || tries == postgresConns || !s.engine.ended(err) {
			return tx, err
		}
	}
}

// appendLeaves appends what the transaction has logged, and sets the indexes.
func (s *Store) appendLeaves(ctx context.Context, t *txn) (translog.Head, error) {
	if len(t.leaves) == 0 {
		return translog.Head{}, nil
	}

	first, head, err := s.log.Append(ctx, t.Tx, t.leaves)
	if err != nil {
		return translog.Head{}, err
	}
	for i, index := range t.indexes {
		if index != nil {
			*index = first + int64(i)
		}
	}
	return head, nil
}

// exec runs a statement within t, by its prepared form if there is one.
func (s *Store) exec(ctx context.Context, t *txn, text string, args ...any) (sql.Result, error) {
	return s.execPrepared(ctx, t.Tx, text, args...)
}

func (s *Store) execPrepared(ctx context.Context, tx *sql.Tx, text string, args ...any) (sql.Result, error) {
	if stmt, ok := s.stmts[text]; ok {
		return tx.StmtContext(ctx, stmt).ExecContext(ctx, args...)
	}
	return tx.ExecContext(ctx, text, args...)
}
