package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/probe"
	"github.com/attestor-gate/attestor/internal/translog"
)

// onRecord is the record, as results name it.
const onRecord = "record"

// Probe asks whether decisions could be recorded now in the database that c names. Unlike [Open] it creates no file and
// brings no schema up to date, so that it may be asked by another version of this program than the gate's. Nothing is
// asked where nothing is kept.
func Probe(ctx context.Context, c Config) []probe.Result {
	if c.None {
		return nil
	}
	s := &Store{timeout: c.Timeout, now: c.Now}
	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}
	subject := "SQLite file " + c.SQLite
	s.engine = &sqliteEngine{path: c.SQLite}
	if c.PostgreSQL != "" {
		subject = database(c.PostgreSQL)
		s.engine = &postgresEngine{dsn: c.PostgreSQL}
	}

	var results []probe.Result
	ask := func(question string, f func(context.Context) error) bool {
		r := probe.Ask(onRecord, subject, question, s.timeout, func() error {
			ctx, cancel := context.WithTimeout(ctx, s.timeout)
			defer cancel()
			return byDatabase(f(ctx))
		})
		results = append(results, r)
		return r.Err == nil
	}

	// Opening would create the file, which is the gate's to do, as the gate's user.
	if _, err := os.Stat(c.SQLite); c.SQLite != "" && errors.Is(err, os.ErrNotExist) {
		ask("the file can be created", func(context.Context) error { return mayCreate(c.SQLite) })
		return results
	}

	opened := ask("it can be opened", func(ctx context.Context) (err error) {
		if s.read, s.write, err = s.engine.open(ctx); err != nil {
			return errors.Join(s.fail("opening the decision store", err), s.engine.close())
		}
		return nil
	})
	if !opened {
		return results
	}
	defer s.closePools()
	s.log = &translog.Table{Postgres: s.engine.dialect() == goose.DialectPostgres} // nothing is logged

	// An empty database has no table to write to: the first start of the gate makes them.
	have := 0
	known := ask("its schema is one that this program knows", func(ctx context.Context) (err error) {
		have, err = s.schemaKnown(ctx)
		return err
	})
	if known && have > 0 {
		ask("a decision can be written", s.Ready)
	}
	return results
}

// byDatabase makes an error that the database itself gave an answer: it was reached, and it says what is wrong. Others
// stay of kind Unavailable.
func byDatabase(err error) error {
	e, ok := errors.AsType[*attestor.Error](err)
	if !ok {
		return err
	}
	_, fromSQLite := errors.AsType[*sqlite.Error](err)
	_, fromPostgres := postgresAnswer(err)
	if fromSQLite || fromPostgres {
		return &attestor.Error{Kind: attestor.Upstream, Msg: e.Msg, Fix: e.Fix, Err: e.Err}
	}
	return err
}

// closePools closes what [Probe] opened. An error of closing changes no answer.
func (s *Store) closePools() {
	if s.write != s.read {
		_ = s.write.Close()
	}
	_ = s.read.Close()
	_ = s.engine.close()
}

// schemaKnown returns the version of the schema; 0: there is none yet. An older one is brought up to date by the first
// instance that starts, and is no fault.
func (s *Store) schemaKnown(ctx context.Context) (int, error) {
	entries, err := migrations.ReadDir("migrations")
	if err != nil || len(entries) == 0 {
		return 0, errors.Join(errors.New("this program has no schema of the record"), err)
	}
	want := 0 // names begin with the version, and are in its order
	if _, err := fmt.Sscanf(entries[len(entries)-1].Name(), "%d_", &want); err != nil {
		return 0, err
	}

	table := `SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'goose_db_version'`
	if s.engine.dialect() == goose.DialectPostgres {
		table = `SELECT COUNT(*) FROM pg_catalog.pg_class WHERE oid = to_regclass('goose_db_version')`
	}
	var tables, have int
	if err := s.read.QueryRowContext(ctx, table).Scan(&tables); err != nil || tables == 0 {
		return 0, s.failed("reading the schema's version", err)
	}
	err = s.read.QueryRowContext(ctx,
		`SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&have)
	if err != nil {
		return 0, s.failed("reading the schema's version", err)
	}
	if have > want {
		return have, tooNew(int64(have), int64(want))
	}
	return have, nil
}

// failed is [Store.fail] of an error that may be nil.
func (s *Store) failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	return s.fail(doing, err)
}

// tooNew is the error of a schema that a later version wrote: it may give a column another meaning, and writing by the
// old one could make decisions unreadable.
func tooNew(have, want int64) error {
	return &attestor.Error{
		Kind: attestor.Invalid,
		Msg:  fmt.Sprintf("the decision store has schema version %d; this program supports up to %d", have, want),
		Fix:  "run the version of attestor that wrote it, or a newer one",
	}
}

// database names a PostgreSQL database by its connection string, without the password.
func database(dsn string) string {
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		return "PostgreSQL" // the error of opening says what is wrong with the string
	}
	return fmt.Sprintf("PostgreSQL %s on %s as %s", c.Database, c.Host, c.User)
}

// mayCreate makes a file beside the one that is to be created, and removes it.
func mayCreate(path string) error {
	dir := filepath.Dir(path)
	for {
		_, err := os.Stat(dir)
		if err == nil || !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir) // the gate makes the directories between
	}

	f, err := os.CreateTemp(dir, ".attestor-*")
	if err != nil {
		return &attestor.Error{
			Kind: attestor.Upstream, Msg: "the file of the decision store cannot be created in " + dir, Err: err,
			Fix: "make the directory writable for the gate's user, or name another file under store.sqlite",
		}
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
