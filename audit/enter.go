package audit

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

const (
	// entryComplete is the id of the log's entry that says that every older record was
	// entered. A record without an entry is not the gate's from there on.
	entryComplete = "complete"
	// enterBatch is how many records one transaction enters. It holds up the decisions
	// that are recorded meanwhile, and so is short.
	enterBatch = 100
)

// startLog notes when the record got a log. A record without decisions has nothing to
// enter, and its log says so with its first entry.
func (s *Store) startLog(ctx context.Context) error {
	return s.tx(ctx, "migrating the decision store", func(ctx context.Context, tx *txn) error {
		res, err := tx.ExecContext(ctx, `INSERT INTO fills (name, started, at, id, done)
			SELECT 'log', CAST($1 AS BIGINT), 0, '', NOT EXISTS (SELECT 1 FROM decisions) WHERE TRUE
			ON CONFLICT (name) DO NOTHING`, s.now().UnixMicro())
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err
		}

		var done bool
		if err := tx.QueryRowContext(ctx, `SELECT done FROM fills WHERE name = 'log'`).Scan(&done); err != nil {
			return err
		}
		if done {
			tx.logParts(kindLog, entryComplete, s.now().UnixMicro(), nil)
		}
		return nil
	})
}

// EnterLog gives decisions that are older than the log their entries, marked as entered
// later, oldest first. It works until all have one or ctx ends, and goes on where it, or
// another instance, was interrupted. It reports whether everything was entered that was
// recorded so far. Call it again and again: on PostgreSQL, instances of the version
// before may still record without entries for a while.
func (s *Store) EnterLog(ctx context.Context) (complete bool, err error) {
	if s.none {
		return true, nil
	}
	if done, err := s.logComplete(ctx); done || err != nil {
		return done, err
	}

	for {
		n, done, err := s.enterStep(ctx)
		if err != nil || done || n < enterBatch {
			return err == nil, err
		}
		if err := ctx.Err(); err != nil {
			return false, s.fail("entering older decisions into the log", err)
		}
	}
}

// LogComplete reports whether every record that is older than the log was entered, and
// the log says so. From then on a record without an entry is not the gate's.
func (s *Store) LogComplete(ctx context.Context) (bool, error) {
	if s.none {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.logComplete(ctx)
}

// enterStep enters one batch in one transaction.
func (s *Store) enterStep(ctx context.Context) (n int, done bool, err error) {
	err = s.tx(ctx, "entering older decisions into the log", func(ctx context.Context, tx *txn) error {
		n, done, tx.entered = 0, false, s.now()

		// Instances take turns, and none of them finishes a decision meanwhile: whatever has
		// no entry below is older than the log.
		if err := s.log.Lock(ctx, tx.Tx); err != nil {
			return err
		}
		var started, at int64
		var id string
		err := tx.QueryRowContext(ctx, `SELECT started, at, id, done FROM fills WHERE name = 'log'`).
			Scan(&started, &at, &id, &done)
		if err != nil || done {
			return err
		}

		// An SQLite file is this process's alone, so that nobody records without entries.
		until := s.now()
		single := s.write != s.read
		if !single {
			until = until.Add(-fillLag)
		}
		batch, err := s.unenteredRows(tx.QueryContext(ctx, `SELECT d.id, d.at, d.requested, d.repository, d.digest, d.verdict,
				d.policy, d.policy_digest, d.break_glass, d.body, d.evidence, d.packed
			FROM decisions d WHERE (d.at, d.id) > ($1, $2) AND d.at <= $3 AND d.state = 'finished'
				AND NOT EXISTS (SELECT 1 FROM log_leaves l WHERE l.id = d.id AND l.kind = 'decision')
			ORDER BY d.at, d.id LIMIT $4`, at, id, until.UnixMicro(), enterBatch))
		if err != nil {
			return err
		}

		for _, r := range batch {
			leaf, err := r.leaf(tx.entered)
			if err != nil {
				return fmt.Errorf("decision %s: %w", r.id, err)
			}
			tx.log(leaf, nil)
			at, id = r.at, r.id
		}
		n = len(batch)
		done = n < enterBatch && (single || until.After(time.UnixMicro(started).Add(fillFor)))
		if done {
			tx.logParts(kindLog, entryComplete, s.now().UnixMicro(), nil)
		} else if n < enterBatch {
			at, id = max(at, until.UnixMicro()), "" // finished decisions have no later entries before until
		}
		_, err = tx.ExecContext(ctx, `UPDATE fills SET at = $1, id = $2, done = $3 WHERE name = 'log'`, at, id, done)
		return err
	})
	return n, done, err
}

func (s *Store) unenteredRows(rows *sql.Rows, err error) ([]row, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []row
	for rows.Next() {
		var r row
		var t texts
		err := rows.Scan(&r.id, &r.at, &r.requested, &r.repository, &r.digest, &r.verdict, &r.policy, &r.policyDigest,
			&r.breakGlass, &t.first, &t.second, &t.packed)
		if err != nil {
			return nil, err
		}
		r.body, r.outline = s.unpack(t)
		out = append(out, r)
	}
	return out, rows.Err()
}
