package emulator

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/proto"
	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

// stateFile is the one file of a state directory, an SQLite database; beside
// it SQLite keeps its write-ahead log.
const stateFile = "emulator.db"

// journal keeps rows on disk. Each write is one transaction that is on the
// disk before the caller is answered; SQLite's recovery makes a crash leave
// all of it or none.
type journal struct{ db *sql.DB }

// openStore opens state in a directory, or in memory if dir is "".
func openStore(dir string, reset bool, maxOcc int) (*store, error) {
	if dir == "" {
		return newStore(maxOcc, nil), nil
	}

	// The directory holds private keys.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, stateFile)

	// Made here, so that only its owner can read it: SQLite would make it by the umask.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}

	if err := f.Close(); err != nil {
		return nil, err
	}

	// FULL: what a caller was answered survives a crash. EXCLUSIVE and no waiting: a
	// second emulator on the same file fails at once.
	const pragmas = "?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
		"&_pragma=locking_mode(EXCLUSIVE)&_pragma=busy_timeout(0)"
	db, err := sql.Open("sqlite", "file:"+path+pragmas)
	if err != nil {
		return nil, err
	}

	// One connection holds the lock; a second one of this process would wait for it
	// for ever.
	db.SetMaxOpenConns(1)
	j := &journal{db: db}
	s := newStore(maxOcc, j)
	if err := j.load(s, reset); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	return s, nil
}

func (j *journal) load(s *store, reset bool) error {
	ctx := context.Background()
	const schema = `CREATE TABLE IF NOT EXISTS rows (
		tbl TEXT NOT NULL, name TEXT NOT NULL, seq INTEGER NOT NULL, data BLOB NOT NULL,
		PRIMARY KEY (tbl, name)) WITHOUT ROWID`
	if _, err := j.db.ExecContext(ctx, schema); err != nil {
		return err
	}

	if reset {
		if _, err := j.db.ExecContext(ctx, `DELETE FROM rows`); err != nil {
			return err
		}
	}

	// In order of creation, so that lists come back in the order in which they were.
	rows, err := j.db.QueryContext(ctx, `SELECT tbl, name, seq, data FROM rows ORDER BY seq`)
	if err != nil {
		return err
	}
	defer rows.Close()

	for rows.Next() {
		var table string
		r := &row{}
		if err := rows.Scan(&table, &r.name, &r.seq, &r.data); err != nil {
			return err
		}

		// What lists filter by is taken out of an occurrence once.
		if table == tableOccurrences {
			o := &grafeaspb.Occurrence{}
			if err := proto.Unmarshal(r.data, o); err != nil {
				return fmt.Errorf("reading %s: %w", r.name, err)
			}
			r.occ = metaOf(o)
		}
		s.replace(table, r.name, r)
		s.seq = max(s.seq, r.seq)
	}
	return rows.Err()
}

// write puts the changes on disk; rows[i] is nil where changes[i] deletes.
func (j *journal) write(changes []change, rows []*row) (err error) {
	ctx := context.Background()
	tx, err := j.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()

	// All changes of one call, or none of them: a crash leaves no occurrence without its note.
	for i, c := range changes {
		if rows[i] == nil {
			_, err = tx.ExecContext(ctx, `DELETE FROM rows WHERE tbl = ? AND name = ?`, c.table, c.name)
		} else {
			_, err = tx.ExecContext(ctx, `INSERT OR REPLACE INTO rows (tbl, name, seq, data) VALUES (?, ?, ?, ?)`,
				c.table, c.name, rows[i].seq, rows[i].data)
		}

		if err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (j *journal) close() error { return j.db.Close() }
