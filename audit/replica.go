package audit

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/translog"
)

// mayLag is the key of a context whose reads may be of a moment ago.
type mayLag struct{}

// MayLag returns a context in which lists, reports and exports may be read from the
// replica, if there is one: what was recorded in the last moments may be missing. Nothing
// that decides may be asked in it. Without it every read is of the database itself.
func MayLag(ctx context.Context) context.Context { return context.WithValue(ctx, mayLag{}, true) }

// from is where a query of a context is asked.
func (s *Store) from(ctx context.Context) translog.Querier {
	if s.replica == nil || ctx.Value(mayLag{}) == nil {
		return s.read
	}
	return s.replica
}

const (
	replicaCheck = 10 * time.Second // between two looks at the replica
	replicaPart  = 5                // a look has this part of the time that a statement has
	replicaLag   = time.Minute      // a replica that has lacked entries of the log for so long is not used
)

// A replica is a read-only copy of the database that follows it. While it does not answer,
// is too far behind, or is a copy of something else, its queries are asked of the database
// itself.
type replica struct {
	s  *Store
	db *sql.DB

	looking sync.Mutex // held while it is looked at
	mu      sync.Mutex
	looked  time.Time // guarded by mu, as what follows
	away    error     // nil: it is used
	behind  int64     // entries of the log
	lacks   struct {  // the entries that it was first seen to lack, and has not got since
		size  int64 // of the log with them; 0: it lacks none
		since time.Time
	}
}

// openReplica makes the pool. That the replica does not answer now is no error: the gate
// can do without it.
func (s *Store) openReplica(dsn string, conns int) error {
	e := &postgresEngine{dsn: dsn, conns: conns}
	db, err := e.pool(true)
	if err != nil {
		return err
	}
	s.replica = &replica{s: s, db: db, away: errors.New("it was not looked at yet")}
	return nil
}

// QueryContext asks the replica, or the database where the replica fails.
func (r *replica) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	if r.usable(ctx) {
		rows, err := r.db.QueryContext(ctx, text, args...)

		// A caller who gave up is no sign that the replica fails.
		if err == nil || ctx.Err() != nil {
			return rows, err //nolint:sqlclosecheck // the caller's
		}
		r.fail(err)
	}
	return r.s.read.QueryContext(ctx, text, args...)
}

// QueryRowContext is QueryContext for one row.
func (r *replica) QueryRowContext(ctx context.Context, text string, args ...any) *sql.Row {
	if r.usable(ctx) {
		row := r.db.QueryRowContext(ctx, text, args...)
		if row.Err() == nil || ctx.Err() != nil {
			return row
		}
		r.fail(row.Err())
	}
	return r.s.read.QueryRowContext(ctx, text, args...)
}

// fail stops the use of the replica until it is looked at again.
func (r *replica) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away, r.looked = err, r.s.now()
}

// usable reports whether the replica is used now. It looks at it if that was not done
// lately; while somebody else does, what was found before counts.
func (r *replica) usable(ctx context.Context) bool {
	r.mu.Lock()

	// The absolute difference: a clock that was set back must not keep an old answer in use.
	due := r.looked.IsZero() || r.s.now().Sub(r.looked).Abs() >= replicaCheck
	r.mu.Unlock()
	if due && r.looking.TryLock() {
		defer r.looking.Unlock()
		r.look(ctx)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	return r.away == nil
}

// look compares the log of the replica with the database's.
func (r *replica) look(ctx context.Context) {
	// Only a part of a statement's time, since the caller's own query still has to follow.
	ctx, cancel := context.WithTimeout(ctx, r.s.timeout/replicaPart)
	defer cancel()
	have, want, err := r.compare(ctx)

	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.s.now()
	r.looked, r.away, r.behind = now, err, max(0, want-have)
	if err != nil {
		return
	}

	switch {
	case have == want:
		r.lacks.size = 0
	case r.lacks.size == 0 || have >= r.lacks.size: // it lacks others than before
		r.lacks.size, r.lacks.since = want, now
	case now.Sub(r.lacks.since).Abs() >= replicaLag:
		r.away = fmt.Errorf("it lacks entries that are older than %v", replicaLag)
	}
}

// compare returns the sizes of both logs. The error says so where the replica's log is not
// the beginning of the database's: it is then a copy of another record, which would be
// shown as this one.
func (r *replica) compare(ctx context.Context) (have, want int64, err error) {
	copied, err := translog.ReadHead(ctx, r.db)
	if err != nil {
		return 0, 0, err
	}
	own, err := translog.ReadHead(ctx, r.s.read)
	if err != nil {
		return 0, 0, err
	}

	var a, b []translog.Stored
	if copied.Size > 0 {
		if a, err = translog.Leaves(ctx, r.db, copied.Size-1, 1); err == nil {
			b, err = translog.Leaves(ctx, r.s.read, copied.Size-1, 1)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	same := len(a) == 1 && len(b) == 1 && bytes.Equal(a[0].Entry, b[0].Entry)
	if copied.Size > own.Size || copied.Size > 0 && !same || copied.Size == 0 && own.Size > 0 {
		return 0, 0, errors.New("it is not a replica of this record")
	}
	return copied.Size, own.Size, nil
}

// A ReplicaState says how the replica is.
type ReplicaState struct {
	Configured bool
	Away       error // why it is not used; nil: it is
	Behind     int64 // entries of the log
}

// Replica returns how the replica is, at little cost.
func (s *Store) Replica(ctx context.Context) ReplicaState {
	if s.replica == nil {
		return ReplicaState{}
	}
	s.replica.usable(ctx)
	s.replica.mu.Lock()
	defer s.replica.mu.Unlock()
	return ReplicaState{Configured: true, Away: s.replica.away, Behind: s.replica.behind}
}

// errReplica is of a configuration that has nothing to replicate.
func errReplica() error {
	return &attestor.Error{
		Kind: attestor.Invalid, Msg: "only a record in PostgreSQL can have a replica", Fix: "leave out store.replica",
	}
}
