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

// sqliteEngine keeps the record in one file on a local disk.
type sqliteEngine struct {
	path string
	file os.FileInfo // the file that is open, to notice when it is not the one at path any more
	here *presence
}

// sqlitePragmas: synchronous=FULL syncs the write-ahead log at each commit,
// without which a commit could be lost with the machine.
const sqlitePragmas = "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_txlock=immediate"

const sqliteReaders = 4

func (e *sqliteEngine) open(ctx context.Context) (read, write *sql.DB, err error) {
	if err := e.create(); err != nil {
		return nil, nil, err
	}
	if e.here, err = attend(e.path + "-users"); err != nil {
		return nil, nil, err
	}
	// "?", "#" and "%" in a path would be read as parts of the URI.
	name := "file:" + strings.ReplaceAll(url.PathEscape(e.path), "%2F", "/") + "?" + sqlitePragmas
	if write, err = sql.Open("sqlite", name); err != nil {
		return nil, nil, err
	}
	write.SetMaxOpenConns(1)
	if err := write.PingContext(ctx); err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}
	if e.file, err = os.Stat(e.path); err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}
	if read, err = sql.Open("sqlite", name+"&_pragma=query_only(1)"); err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(sqliteReaders)
	read.SetMaxIdleConns(sqliteReaders)
	return read, write, nil
}

// create makes the file, readable by its owner only: it names people.
func (e *sqliteEngine) create() error {
	if err := os.MkdirAll(filepath.Dir(e.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(e.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func (e *sqliteEngine) alone() bool { return e.here.alone() }

func (e *sqliteEngine) close() error {
	if e.here == nil {
		return nil
	}
	return e.here.close()
}

func (e *sqliteEngine) dialect() goose.Dialect { return goose.DialectSQLite3 }

var errFileGone = errors.New("the database's file was removed or replaced while it was open")

// lost notices a file that was removed: SQLite would go on writing to what
// nobody can open any more.
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

func (e *sqliteEngine) trouble(err error) (msg, fix string) {
	if errors.Is(err, errFileGone) {
		return "the record's file was removed while it was in use", "put the file back, or restart the gate to begin a new one"
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return "the record did not answer in time", "try again"
	}
	known, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return "the record is not available", "see the log"
	}
	switch known.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return "the record's disk is full", "free space, or let attestor decisions prune remove old decisions"
	case sqlite3.SQLITE_READONLY:
		return "the record is read-only", "make the file and its directory writable for the gate"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return "the record is locked by another program", "end what holds the file, or use PostgreSQL for several instances"
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return "the record's file cannot be read or written", "check the disk and the file's permissions"
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return "the record's file is damaged", "restore it from a backup"
	}
	return "the record is not available", "see the log"
}
