package audit

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/lru"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config says where the record is kept: exactly one of SQLite and PostgreSQL.
type Config struct {
	SQLite     string           // a file; it and its directory are made where they are missing
	PostgreSQL string           // a connection string or URL, as libpq reads it
	Timeout    time.Duration    // of one call; 0: 10 s
	Now        func() time.Time // required
}

// A Store keeps decisions with their evidence, the history of bases' tags, and
// what is about to be signed. It implements [attestor.Recorder]: what a method
// that writes returned nil for survives a crash of the machine. Where the
// database cannot do its work, methods return an [attestor.Error] of kind
// Unavailable, and work again as soon as it can. It is safe for concurrent use.
type Store struct {
	read    *sql.DB
	write   *sql.DB // SQLite: one connection, so that writers queue here rather than poll the file's lock
	engine  engine
	timeout time.Duration
	now     func() time.Time
	enc     *zstd.Encoder
	dec     *zstd.Decoder
	packs   *lru.Cache[string, []byte] // packed blobs by hash
	group   *group                     // nil where writers do not queue: PostgreSQL
	stmts   map[string]*sql.Stmt       // prepared to write with, by their text; empty for PostgreSQL, whose driver does that itself
}

// engine is what differs between the databases.
type engine interface {
	// open returns a pool to read with and one to write with.
	open(ctx context.Context) (read, write *sql.DB, err error)
	dialect() goose.Dialect
	// lost is non-nil when what was written cannot be relied on any more, as
	// when somebody removed the file that is open.
	lost() error
	// alone is true only where no other process has the record open.
	alone() bool
	// close ends what open began beside the pools.
	close() error
	// trouble says in public words what err means, and what to do about it.
	trouble(err error) (msg, fix string)
}

const defaultTimeout = 10 * time.Second

// Open connects to the database and brings its schema up to date.
func Open(ctx context.Context, c Config) (*Store, error) {
	s := &Store{timeout: c.Timeout, now: c.Now, packs: lru.New[string, []byte](maxPacks), stmts: map[string]*sql.Stmt{}}
	switch {
	case c.Now == nil:
		return nil, errors.New("opening the record: no clock")
	case (c.SQLite == "") == (c.PostgreSQL == ""):
		return nil, &attestor.Error{Kind: attestor.Invalid, Msg: "the record needs either an SQLite file or a PostgreSQL connection string", Fix: "set one of the two in the configuration's store"}
	case c.SQLite != "":
		s.engine = &sqliteEngine{path: c.SQLite}
	default:
		s.engine = &postgresEngine{dsn: c.PostgreSQL}
	}
	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}
	var err error
	if s.enc, err = zstd.NewWriter(nil, zstd.WithLowerEncoderMem(true), zstd.WithEncoderLevel(zstd.SpeedFastest)); err != nil {
		return nil, fmt.Errorf("opening the record: %w", err)
	}
	if s.dec, err = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxBlob)); err != nil {
		return nil, fmt.Errorf("opening the record: %w", err)
	}
	if s.read, s.write, err = s.engine.open(ctx); err != nil {
		return nil, errors.Join(s.fail("opening the record", err), s.engine.close())
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(s.fail("bringing the record's schema up to date", err), s.Close())
	}
	if s.write != s.read {
		s.group = &group{}
		if err := s.prepare(ctx); err != nil {
			return nil, errors.Join(s.fail("opening the record", err), s.Close())
		}
	}
	return s, nil
}

// prepare spares every decision the parsing of what it is written with.
func (s *Store) prepare(ctx context.Context) error {
	for _, text := range []string{endRowText, putBlobText, putRowText, putDigestText} {
		stmt, err := s.write.PrepareContext(ctx, text)
		if err != nil {
			return err
		}
		s.stmts[text] = stmt
	}
	return nil
}

// exec runs a statement, prepared if it is one of those.
func (s *Store) exec(ctx context.Context, tx *sql.Tx, text string, args ...any) (sql.Result, error) {
	if stmt, ok := s.stmts[text]; ok {
		return tx.StmtContext(ctx, stmt).ExecContext(ctx, args...)
	}
	return tx.ExecContext(ctx, text, args...)
}

// migrate is safe where several instances start at once.
func (s *Store) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
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
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if have > want {
		return &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf("the record's schema is version %d, and this program knows %d", have, want), Fix: "run the version of attestor that wrote it, or a newer one"}
	}
	_, err = p.Up(ctx)
	return err
}

// Close ends all connections, when what is being written is.
func (s *Store) Close() error {
	if s.group != nil {
		s.group.wg.Wait()
	}
	s.dec.Close()
	err := s.enc.Close()
	if s.write != s.read {
		err = errors.Join(err, s.write.Close())
	}
	return errors.Join(err, s.read.Close(), s.engine.close())
}

// Alone reports that no other process has the record open, so that what was
// begun before this one opened it is nobody's work any more. False is "not
// known".
func (s *Store) Alone() bool { return s.engine.alone() }

// Ready reports whether the record can be written, for readiness: it takes the
// way that a decision takes, and leaves nothing behind.
func (s *Store) Ready(ctx context.Context) error {
	const id = "ready" // never seen by Intents: it is gone within the transaction
	return s.tx(ctx, "trying the record", func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO intents (id, at, data) VALUES ($1, $2, $3)`, id, s.now().UnixMicro(), []byte{}); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM intents WHERE id = $1`, id)
		return err
	})
}

// tx runs f in a transaction; when it returns nil, what f wrote is durable.
func (s *Store) tx(ctx context.Context, doing string, f func(context.Context, *sql.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := s.engine.lost(); err != nil {
		return s.fail(doing, err)
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return s.fail(doing, err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := f(ctx, tx); err != nil {
		return s.fail(doing, err)
	}
	if err := tx.Commit(); err != nil {
		return s.fail(doing, err)
	}
	if err := s.engine.lost(); err != nil { // again: it may have gone meanwhile
		return s.fail(doing, err)
	}
	return nil
}

// fail makes any error one that fails the request, and says in public what an
// operator needs to know.
func (s *Store) fail(doing string, err error) error {
	if _, ok := errors.AsType[*attestor.Error](err); ok {
		return err
	}
	msg, fix := s.engine.trouble(err)
	return &attestor.Error{Kind: attestor.Unavailable, Msg: msg, Fix: fix, Err: fmt.Errorf("%s: %w", doing, err)}
}
