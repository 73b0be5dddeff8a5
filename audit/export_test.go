package audit

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/translog"
)

// MigrateForTest gives an empty database the schema, and nothing else.
func MigrateForTest(ctx context.Context, c Config) (err error) {
	s := &Store{engine: engine(&sqliteEngine{path: c.SQLite})}
	if c.PostgreSQL != "" {
		s.engine = &postgresEngine{dsn: c.PostgreSQL}
	}

	if s.read, s.write, err = s.engine.open(ctx); err != nil {
		return err
	}
	err = errors.Join(s.migrate(ctx), s.write.Close())
	if s.read != s.write {
		err = errors.Join(err, s.read.Close())
	}
	return errors.Join(err, s.engine.close())
}

// Writer is the pool that writes, to bring about what an operator's disk does.
func (s *Store) Writer() *sql.DB { return s.write }

// EvidenceHashesInBulk are the hashes that a filling gives evidence that follows each other.
func EvidenceHashesInBulk(t *testing.T, evidence ...attestor.Evidence) (out []string) {
	t.Helper()
	var last lastFindings
	for _, ev := range evidence {
		hash, err := evidenceHash(ev, &last)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, hash)
	}
	return out
}

// EvidenceHash is the content hash that a decision refers to its evidence by.
func EvidenceHash(ev attestor.Evidence) (string, error) { return evidenceHash(ev, nil) }

// Count counts rows of a table of the schema.
func (s *Store) Count(ctx context.Context, table string) (n int, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM `+table).Scan(&n)
	return n, err
}

// Bulk finishes many records in few transactions, to fill a history quickly.
func (s *Store) Bulk(ctx context.Context, records iter.Seq[attestor.Record]) error {
	next, stop := iter.Pull(records)
	defer stop()

	for more := true; more; {
		err := s.tx(ctx, "filling", func(ctx context.Context, tx *txn) error {
			for range 2000 {
				r, ok := next()
				if more = ok; !ok {
					return nil
				}
				row, err := newRow(r, s.codec, nil)
				if err != nil {
					return err
				}

				for i := range row.blobs {
					row.blobs[i].data = s.compress(row.blobs[i])
				}
				row.columns = s.columns(row, stateFinished)
				if err := s.putBlobs(ctx, tx, row.blobs); err != nil {
					return err
				}
				if _, err := s.putDecision(ctx, tx, row, stateFinished); err != nil {
					return err
				}
				leaf, err := row.leaf(time.Time{})
				if err != nil {
					return err
				}
				tx.log(leaf, nil)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// HeldBy reports whether stored findings have one with an id and of a package.
func HeldBy(cve, pkg string, stored []byte) (bool, error) { return finding{cve, pkg}.heldBy(stored) }

// Lacks reports whether the summary of stored findings says that they have none with an id and of a package; plain is
// false where they have no summary.
func Lacks(cve, pkg string, stored []byte) (lacks, plain bool) {
	sum, plain := summaryOf(stored)
	return sum.lacks(finding{cve, pkg}), plain
}

// IndexAll brings the search index up to date.
func (s *Store) IndexAll(ctx context.Context) error { return s.indexAll(ctx) }

// FinishLogged is [Store.Finish], or what it would be without a log: the benchmark's
// measure of what the log costs.
func (s *Store) FinishLogged(ctx context.Context, r attestor.Record, log bool) error {
	if log {
		_, err := s.Finish(ctx, r)
		return err
	}

	row, err := newRow(r, s.codec, nil)
	if err != nil {
		return err
	}
	for i, b := range row.blobs {
		row.blobs[i].data = s.compress(b)
	}
	row.columns = s.columns(row, stateFinished)
	w := &queuedWrite{
		blobs: row.blobs,
		rest: func(ctx context.Context, tx *txn) error {
			_, err := s.putDecision(ctx, tx, row, stateFinished)
			return err
		},
	}
	if row.attested {
		w.first = func(ctx context.Context, tx *txn) (bool, error) {
			done, err := s.finishRow(ctx, tx, row)
			if !done || err != nil {
				return done, err
			}
			if err := s.putGround(ctx, tx, row, stateFinished); err != nil {
				return true, err
			}
			return true, s.finished(ctx, tx, row)
		}
	}
	if err := s.groupTx(ctx, "recording", w); err != nil {
		return err
	}
	s.indexer.poke() // the search index takes the same time with and without the log
	return nil
}

// RowsForTest are the statements that look up the rows of a filter's first source, with their arguments.
func (s *Store) RowsForTest(ctx context.Context, f Filter) (texts []string, args [][]any, err error) {
	for _, g := range f.Alternatives() {
		p, err := s.plan(ctx, g)
		if err != nil {
			return nil, nil, err
		}
		st := s.statement()
		st.rows(p, p.sources[0], position{at: 1 << 60, id: "x"}, 50)
		texts, args = append(texts, st.text.String()), append(args, st.args)
	}
	return texts, args, nil
}

// KeysForTest are the statements that walk along a filter's sources, with their
// arguments.
func (s *Store) KeysForTest(ctx context.Context, f Filter) (texts []string, args [][]any, err error) {
	for _, g := range f.Alternatives() {
		p, err := s.plan(ctx, g)
		if err != nil {
			return nil, nil, err
		}
		for _, src := range p.sources {
			st := s.statement()
			st.keys(src, position{at: 1 << 60, id: "x"}, 50, 0)
			texts, args = append(texts, st.text.String()), append(args, st.args)
		}
	}
	return texts, args, nil
}

// NarrowestForTest is the table that the narrowest source of a filter is of.
func (s *Store) NarrowestForTest(ctx context.Context, f Filter) (string, error) {
	p, err := s.plan(ctx, f)
	if err != nil {
		return "", err
	}
	src, err := s.narrowest(ctx, p, position{at: 1 << 60, id: "x"})
	if err != nil {
		return "", err
	}
	return src[0].from, nil
}

// StatementsForTest are statements that no filter makes and that must not read a whole
// table either, with arguments: on open overrides, and on admissions when a run starts.
func StatementsForTest() (texts []string, args [][]any) {
	return []string{
			overdueText, openOverridesText, forgetTriesText, forgetClaimsText, "SELECT " + revokingText("$2"), "SELECT id FROM " + begunDecisions + " d",
		}, [][]any{
			{int64(1), int64(0), "", 100}, {"r.example/app", "sha256:0"}, {int64(2), int64(1)}, {int64(2), int64(1), int64(3)},
			{"r.example/app", "sha256:0"}, {},
		}
}

// ReplicaForTest is the pool of the replica.
func (s *Store) ReplicaForTest() *sql.DB { return s.replica.db }

// WrapWriter makes the connections that write anew, each wrapped, and stops the indexer:
// what remains is the work of requests.
func (s *Store) WrapWriter(ctx context.Context, wrap func(driver.Connector) driver.Connector) error {
	s.indexer.close()
	old, single := s.write, s.write != s.read
	switch e := s.engine.(type) {
	case *sqliteEngine:
		s.write = sql.OpenDB(wrap(named{old.Driver(), e.name()}))
		s.write.SetMaxOpenConns(1)
	case *postgresEngine:
		c, err := pgx.ParseConfig(e.dsn)
		if err != nil {
			return err
		}
		s.write = sql.OpenDB(wrap(stdlib.GetConnector(*c)))
		s.write.SetMaxOpenConns(4)
	}
	for text, stmt := range s.stmts {
		_ = stmt.Close()
		delete(s.stmts, text)
	}
	err := old.Close()
	if !single {
		s.read = s.write
		return err
	}
	return errors.Join(err, s.prepare(ctx))
}

// WrapReader makes the connections that read a file anew, each wrapped.
func (s *Store) WrapReader(wrap func(driver.Connector) driver.Connector) {
	old := s.read
	s.read = sql.OpenDB(wrap(named{old.Driver(), s.engine.(*sqliteEngine).name()})) //nolint:forcetypeassert // of a file
	_ = old.Close()
}

// named is a connector of a driver that has none.
type named struct {
	driver driver.Driver
	name   string
}

func (n named) Connect(context.Context) (driver.Conn, error) { return n.driver.Open(n.name) }
func (n named) Driver() driver.Driver                        { return n.driver }

// AcquireForTest asks a limiter of one place for it, and returns how many calls it then takes to be running.
func AcquireForTest(ctx context.Context) (running int, err error) {
	l := newLimiter(1, time.Now)
	err = l.acquire(ctx)
	return l.running, err
}

// IndexForTest brings the search index up to date.
func (s *Store) IndexForTest(ctx context.Context) error { return s.indexAll(ctx) }

// MoveBatch is how many rows [Store.MoveFindings] moves.
const MoveBatch = moveBatch

// MoveFindings moves one batch of the findings that earlier versions entered, once the indexer was stopped.
func (s *Store) MoveFindings(ctx context.Context) (more bool, err error) {
	n, err := s.moveFindings(ctx)
	return n > 0, err
}

// EventsForTest counts the events of the outbox by type.
func (s *Store) EventsForTest(ctx context.Context) (map[string]int, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT type, COUNT(*) FROM outbox GROUP BY type`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	out := map[string]int{}
	for rows.Next() {
		var kind string
		var n int
		if err := rows.Scan(&kind, &n); err != nil {
			return nil, err
		}
		out[kind] = n
	}
	return out, rows.Err()
}

// LaggingForTest is what queries that may lag are asked of.
func LaggingForTest(ctx context.Context, s *Store) translog.Querier { return s.from(MayLag(ctx)) }

// Reader is the pool that reads.
func (s *Store) Reader() *sql.DB { return s.read }

// SetOutboxBounds bounds the waiting events and the dead letters of a receiver.
func SetOutboxBounds(s *Store, waiting, dead int64) { s.maxWaiting, s.maxDead = waiting, dead }

// CopyRound is one round of [Store.CopyLog].
func (s *Store) CopyRound(ctx context.Context) (more bool, err error) { return s.copyLog(ctx) }

// SignRound is one round of [Store.KeepLog].
func (s *Store) SignRound(ctx context.Context) error { return s.keepLog(ctx) }

// WitnessRound is one round of [Store.WitnessLog], with the nth witness.
func (s *Store) WitnessRound(ctx context.Context, nth int) error {
	return s.witnessRound(ctx, s.notary.cosigners[nth])
}

// VerifyBeside is [Store.Verify] where something is recorded after it has read the log's head.
func (s *Store) VerifyBeside(ctx context.Context, r VerifyRequest, meanwhile func() error) (Verification, error) {
	v := &verifier{store: s, r: r}
	head, err := translog.ReadHead(ctx, s.read)
	if err != nil {
		return v.done, err
	}
	if err := meanwhile(); err != nil {
		return v.done, err
	}
	return v.done, v.run(ctx, head)
}

// HashOf names a blob.
func HashOf(b []byte) string { return hashOf(b) }

// ProbedKind is the kind of what [Probe] says of an error of PostgreSQL.
func ProbedKind(err error) attestor.Kind {
	return attestor.KindOf(byDatabase(&attestor.Error{Kind: attestor.Unavailable, Err: err}))
}

// PostgresMessage is what is said of an error of PostgreSQL.
func PostgresMessage(err error) string {
	msg, _ := (&postgresEngine{}).message(err)
	return msg
}
