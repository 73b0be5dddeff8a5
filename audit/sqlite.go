package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A sqliteEngine stores decisions in one file on a local disk.
type sqliteEngine struct {
	path  string
	file  os.FileInfo // of the open file, to notice that path names another one
	users *usersLock
}

// sqlitePragmas are those of every connection. SQLite's documentation of PRAGMA
// synchronous: "WAL mode does lose durability" with NORMAL, since "a transaction
// committed in WAL mode with synchronous=NORMAL might roll back following a power
// loss". FULL syncs the log at each commit.
//
// Transactions begin IMMEDIATE: one that read first and then could not get the
// write lock would fail with SQLITE_BUSY without waiting for busy_timeout.
const sqlitePragmas = "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)" +
	"&_pragma=foreign_keys(1)&_txlock=immediate"

// sqliteReaders is how many connections read. In WAL mode readers do not block
// the writer, nor the writer them.
const sqliteReaders = 4

func (e *sqliteEngine) open(ctx context.Context) (read, write *sql.DB, err error) {
	if err := e.create(ctx); err != nil {
		return nil, nil, err
	}
	if e.users, err = lockShared(e.path + "-users"); err != nil {
		return nil, nil, err
	}

	name := e.name()
	if write, err = sql.Open("sqlite", name); err != nil {
		return nil, nil, err
	}

	// One connection writes: writers then queue in this process, in order, and do
	// not poll the file's lock against each other.
	write.SetMaxOpenConns(1)
	if err := write.PingContext(ctx); err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}

	// The file itself is remembered, not its path, so that lost notices another file under the same path.
	if e.file, err = os.Stat(e.path); err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}

	// query_only holds the pool to its purpose: a write by it is an error.
	if read, err = sql.Open("sqlite", name+"&_pragma=query_only(1)"); err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(sqliteReaders)
	read.SetMaxIdleConns(sqliteReaders)
	return read, write, nil
}

// name is how the driver opens the file for writing. SQLite, "URI Filenames": "?", "#"
// and "%" in a path must be escaped as "%HH", or they would be read as parts of the URI.
func (e *sqliteEngine) name() string {
	return "file:" + strings.ReplaceAll(url.PathEscape(e.path), "%2F", "/") + "?" + sqlitePragmas
}

// create creates the file if it is missing. Only its owner can read it, since
// decisions name callers.
func (e *sqliteEngine) create(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(e.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(e.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil || info.Size() > 0 {
		return err
	}
	return e.layOut(ctx)
}

// layOut gives an empty file pages of 8 KB. A third of those of 4 KB is empty where evidence is, and a seventh where
// rows of decisions are. SQLite, PRAGMA page_size: the size of a file that is in WAL mode cannot be changed, so that
// this comes first.
func (e *sqliteEngine) layOut(ctx context.Context) error {
	name, _, _ := strings.Cut(e.name(), "?")
	db, err := sql.Open("sqlite", name+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1) // both statements are of one connection

	// Where two processes lay out one file, the second finds it in WAL mode, and changes nothing.
	_, err = db.ExecContext(ctx, `PRAGMA page_size = 8192; PRAGMA journal_mode = WAL`)
	return errors.Join(err, db.Close())
}

func (e *sqliteEngine) alone() bool { return e.users.alone() }

func (e *sqliteEngine) close() error {
	if e.users == nil {
		return nil
	}
	return e.users.close()
}

// again is always false: one connection writes, and waits for other processes.
func (e *sqliteEngine) again(error) bool { return false }

// ended is always false: a file has no server that could end connections.
func (e *sqliteEngine) ended(error) bool { return false }

func (e *sqliteEngine) dialect() goose.Dialect { return goose.DialectSQLite3 }

var errFileGone = errors.New("the database's file was removed or replaced while it was open")

// lost notices that the file or its log was removed or replaced. SQLite, "How To
// Corrupt An SQLite Database File", 2.4: a process that has the file open goes on
// writing to the removed one, which no other process can open.
func (e *sqliteEngine) lost() error {
	for _, f := range []struct {
		path string
		want os.FileInfo
	}{{e.path, e.file}, {e.path + "-wal", nil}} {
		now, err := os.Stat(f.path)
		if err != nil {
			return fmt.Errorf("%w: %w", errFileGone, err)
		}
		if f.want != nil && !os.SameFile(now, f.want) {
			return errFileGone
		}
	}
	return nil
}

func (e *sqliteEngine) message(err error) (msg, fix string) {
	if errors.Is(err, errFileGone) {
		return "the file of the decision store was removed or replaced while it was open",
			"put the file back, or restart the gate to start with the file that is there"
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return "the decision store did not answer in time", "try again"
	}

	known, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return storeUnavailable, seeLog
	}

	// The low byte is the primary result code, the rest extends it.
	switch known.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return diskFull, "free space on the disk, or remove old decisions with attestor decisions prune"
	case sqlite3.SQLITE_READONLY:
		return "the decision store is read-only", "make the file and its directory writable for the gate's user"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return "another program has locked the decision store",
			"stop the program that holds the file, or use PostgreSQL for several instances"
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return "the file of the decision store cannot be read or written", "check the disk and the file's permissions"
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return "the file of the decision store is damaged", "restore it from a backup"
	}
	return storeUnavailable, seeLog
}

// Messages that both databases give.
const (
	diskFull         = "the disk of the decision store is full"
	storeUnavailable = "the decision store is not available"
	seeLog           = "look for the database's error in the gate's log"
)

// keepByKey has SQLite keep the tables that are little more than their key in the order of
// that key (WITHOUT ROWID), in half of the space: others have the key a second time, in an
// index. PostgreSQL has no tables of that kind, so that the migrations, which both have in
// common, make the other one. A table that has rows stays as it is, and works as well.
func keepByKey(ctx context.Context, db *sql.DB) error {
	for _, table := range []string{
		"decision_terms", "finding_terms", "finding_places", "finding_blobs", "image_sums", "day_sums", "hour_sums",
	} {
		if text, err := otherwise(ctx, db, table); err != nil {
			return err
		} else if text == "" {
			continue
		}
		if err := remake(ctx, db, table); err != nil {
			return fmt.Errorf("making %s anew: %w", table, err)
		}
	}
	return nil
}

// otherwise returns how an empty table was made, if that was otherwise; else "".
func otherwise(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, table string,
) (text string, err error) {
	err = q.QueryRowContext(ctx, `SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = $1
		AND sql NOT LIKE '%`+withoutRowID+`' AND NOT EXISTS (SELECT 1 FROM `+table+`)`, table).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return text, err
}

const withoutRowID = " WITHOUT ROWID"

// remake makes an empty table anew. Another process may have the file open, and so it is
// looked at again where nobody else can write: transactions begin IMMEDIATE.
func remake(ctx context.Context, db *sql.DB, table string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing

	text, err := otherwise(ctx, tx, table)
	if err != nil || text == "" {
		return err
	}
	for _, statement := range []string{"DROP TABLE " + table, text + withoutRowID} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}
