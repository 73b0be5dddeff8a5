package audit

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/lru"
	"github.com/attestor-gate/attestor/internal/packed"
	"github.com/attestor-gate/attestor/internal/translog"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config says where decisions are stored: exactly one of SQLite, PostgreSQL
// and None.
type Config struct {
	SQLite     string // a file; it and its directory are created if missing
	PostgreSQL string // a connection string or URL, in libpq's syntax
	// Connections is how many connections to PostgreSQL there are at most; 0: 10.
	Connections int
	// Replica is how to connect to a read replica of PostgreSQL; "": there is none. See
	// [MayLag].
	Replica   string
	None      bool             // nowhere: writes succeed and are not kept, reads are errors of kind Unsupported
	Timeout   time.Duration    // of one call; 0: 10 s
	Receivers []Receiver       // of events
	Log       *LogKey          // signs the record's log; nil: it is kept unsigned
	Now       func() time.Time // required
}

// A Store keeps decisions with their evidence, the history of bases' tags, and
// intents: what is about to be signed. It implements [attestor.Recorder]: after a
// writing method returned nil, the write survives a crash of the machine. While
// the database fails, methods return an [attestor.Error] of kind Unavailable; they
// work again as soon as it does. It is safe for concurrent use.
type Store struct {
	none    bool // nothing is kept, and no other field is set
	read    *sql.DB
	write   *sql.DB  // SQLite: one connection, so that writers queue here rather than poll the file's lock
	replica *replica // nil: there is none
	engine  engine
	timeout time.Duration
	now     func() time.Time
	codec   *packed.Codec

	packFrom  time.Time // when finished decisions begin to be compressed
	shortFrom time.Time // when entries of the log begin to be stored short, and places of findings by number

	log        *translog.Table             // of what is recorded, in the same database
	compressed *lru.Cache[string, []byte]  // small blobs as they are stored, by hash
	summaries  *lru.Cache[string, termSet] // of findings, by the hash of their blob
	notary     *notary                     // nil: the log is not signed
	entered    atomic.Bool                 // every record that is older than the log has its entry
	committer  *committer
	indexer    *indexer
	receivers  []Receiver
	maxWaiting int64                // events of one receiver
	maxDead    int64                // dead letters of one receiver
	written    chan struct{}        // one place: events were written
	stmts      map[string]*sql.Stmt // by text, for the writer; empty for PostgreSQL, whose driver prepares itself
}

// An engine is one kind of database.
type engine interface {
	// open returns a pool for reading and one for writing.
	open(ctx context.Context) (read, write *sql.DB, err error)
	dialect() goose.Dialect
	// lost returns an error when commits are not durable any more, as after
	// somebody removed the open file.
	lost() error
	// alone reports whether no other process has the store open. False may also
	// mean that it is not known.
	alone() bool
	// close releases what open acquired beside the pools.
	close() error
	// again reports whether a transaction failed because of another one, as in a
	// deadlock, so that it can succeed when it is tried again.
	again(err error) bool
	// ended reports whether the database closed a connection of the pool.
	ended(err error) bool
	// message translates an error of the database into a public message and a fix.
	message(err error) (msg, fix string)
}

const defaultTimeout = 10 * time.Second

// Open connects to the database and brings its schema up to date.
func Open(ctx context.Context, c Config) (*Store, error) {
	s := &Store{
		timeout: c.Timeout, now: c.Now,
		compressed: lru.New[string, []byte](maxCompressed), summaries: lru.New[string, termSet](maxSummaries),
		stmts: map[string]*sql.Stmt{}, committer: &committer{},
		receivers: c.Receivers, written: make(chan struct{}, 1), maxWaiting: maxWaiting, maxDead: maxDead,
	}

	switch {
	case c.Now == nil:
		return nil, errors.New("opening the decision store: no clock")
	case c.None && c.SQLite == "" && c.PostgreSQL == "":
		return &Store{none: true, written: make(chan struct{})}, nil
	case c.None || (c.SQLite == "") == (c.PostgreSQL == ""):
		return nil, &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  "the decision store needs either an SQLite file or a PostgreSQL connection string",
			Fix:  "set exactly one of the two under store in the configuration",
		}
	case c.SQLite != "":
		s.engine = &sqliteEngine{path: c.SQLite}
	default:
		s.engine = &postgresEngine{dsn: c.PostgreSQL, conns: c.Connections}
	}

	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}

	// The decoder's limit holds for every blob: a damaged or malicious one that
	// claims to be huge is an error before its memory is allocated.
	var err error
	if s.codec, err = packed.New(maxBlob); err != nil {
		return nil, fmt.Errorf("opening the decision store: %w", err)
	}

	if c.Replica != "" {
		if c.PostgreSQL == "" {
			return nil, errReplica()
		}
		if err := s.openReplica(c.Replica, c.Connections); err != nil {
			return nil, err
		}
	}
	if s.read, s.write, err = s.engine.open(ctx); err != nil {
		return nil, errors.Join(s.fail("opening the decision store", err), s.engine.close())
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(s.fail("migrating the decision store", err), s.Close())
	}
	if c.Log != nil {
		s.notary = newNotary(*c.Log, s)
	}
	s.log = &translog.Table{
		Postgres: s.engine.dialect() == goose.DialectPostgres, Exec: s.execPrepared,
		Whole: func() bool { return !s.shortens() },
	}
	if err := errors.Join(s.startForms(ctx), s.startFill(ctx), s.startLog(ctx)); err != nil {
		return nil, errors.Join(s.fail("migrating the decision store", err), s.Close())
	}

	// Two pools mean SQLite, with one connection that writes.
	if s.write != s.read {
		if err := s.prepare(ctx); err != nil {
			return nil, errors.Join(s.fail("opening the decision store", err), s.Close())
		}
	}
	s.startIndexer()
	return s, nil
}

// prepare prepares the statements that write decisions, so that they are parsed
// once and not with each decision.
func (s *Store) prepare(ctx context.Context) error {
	texts := append(s.log.Statements(), finishRowText, putBlobText, putRowText, putDigestText, enqueueText,
		putAdmissionText, deleteAdmissionDigestsText, putAdmissionDigestText, putOutboxText)
	for _, text := range texts {
		stmt, err := s.write.PrepareContext(ctx, text)
		if err != nil {
			return err
		}
		s.stmts[text] = stmt
	}
	return nil
}

// migrate brings the schema up to date.
func (s *Store) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}

	// Several instances may start at once. In PostgreSQL one of them migrates under
	// an advisory lock and the others wait; an SQLite file is for one instance.
	var opts []goose.ProviderOption
	if s.engine.dialect() == goose.DialectPostgres {
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return err
		}
		opts = append(opts, goose.WithSessionLocker(locker))
	}

	p, err := goose.NewProvider(s.engine.dialect(), s.write, files, opts...)
	if err != nil {
		return err
	}

	// A newer schema may give a column another meaning; writing by the old one
	// could make decisions unreadable.
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if have > want {
		return tooNew(have, want)
	}
	if _, err = p.Up(ctx); err != nil || s.engine.dialect() != goose.DialectSQLite3 {
		return err
	}
	return keepByKey(ctx, s.write)
}

// Close waits for the writes that are in progress and closes all connections.
func (s *Store) Close() error {
	if s.none {
		return nil
	}

	// Writers end before the log's signer and the indexer, which work on what was written, and all of them before the
	// pools.
	s.committer.wg.Wait()
	s.leaveLog()
	if s.indexer != nil {
		s.indexer.close()
	}

	var err error
	if s.replica != nil {
		err = s.replica.db.Close()
	}
	if s.write != s.read {
		err = errors.Join(err, s.write.Close())
	}
	return errors.Join(err, s.read.Close(), s.engine.close())
}

// Alone reports whether no other process has the store open. Decisions that were
// begun before this process opened it are then nobody's work any more, and can be
// recovered at once. False may also mean that it is not known.
func (s *Store) Alone() bool { return !s.none && s.engine.alone() }

// Ready returns an error unless a decision could be recorded now: it commits a
// write as a decision does. It leaves no row behind.
func (s *Store) Ready(ctx context.Context) error {
	if s.none {
		return nil
	}

	const id = "ready" // Intents never returns it: it is deleted in the same transaction
	return s.tx(ctx, "testing the decision store", func(ctx context.Context, tx *txn) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO intents (id, at, data) VALUES ($1, $2, $3)`,
			id, s.now().UnixMicro(), []byte{})
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM intents WHERE id = $1`, id)
		return err
	})
}

// fail turns an error of the database into one of kind Unavailable, whose message
// says to an operator what to do. An [attestor.Error] stays as it is.
func (s *Store) fail(doing string, err error) error {
	if _, ok := errors.AsType[*attestor.Error](err); ok {
		return err
	}

	msg, fix := s.engine.message(err)
	return &attestor.Error{Kind: attestor.Unavailable, Msg: msg, Fix: fix, Err: fmt.Errorf("%s: %w", doing, err)}
}
