package audit

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/big"
	"runtime"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/lru"
	"github.com/attestor-gate/attestor/internal/tally"
	"github.com/attestor-gate/attestor/internal/translog"
)

// loadBatch is how many decisions [Store.Load] writes in one transaction. It is large: what
// they add to one row of the sums, or to one image, is then written once.
const loadBatch = 4000

// Load records finished decisions in bulk, each of which must be new: to fill a record
// for measurements. It is what [attestor.Recorder].Finish does for each of them, with the
// log and the search index, but in large transactions, and in PostgreSQL by COPY. It does
// not publish events, and refuses a decision that admits an image: these follow each other.
// A list of findings that records share must not change before Load returns.
// It returns how many decisions were recorded, which are the first of records.
func (s *Store) Load(ctx context.Context, records iter.Seq[attestor.Record]) (n int, err error) {
	if s.none {
		return 0, unsupported()
	}

	// What an earlier version, or the gate itself, left to be indexed comes first: the
	// newest decision on an image is known by what is indexed before.
	if err := s.indexAll(ctx); err != nil {
		return n, s.fail("loading decisions", err)
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	restore, err := s.bulky(ctx)
	if err != nil {
		return n, s.fail("loading decisions", err)
	}
	defer func() { err = errors.Join(err, restore()) }()

	l := loader{
		s: s, blobs: lru.New[string, struct{}](maxKnown), entered: lru.New[blobIn, struct{}](maxKnown),
		numbers: map[string]int64{},
	}
	for batch, err := range s.encoded(ctx, records) {
		if err == nil {
			err = l.load(ctx, batch)
		}
		if err != nil {
			return n, s.fail("loading decisions", err)
		}
		n += len(batch)
	}
	return n, nil
}

// A loadable is a decision with its entry in the log, and what the search index has of it.
type loadable struct {
	row
	leaf   translog.Leaf
	queued queued
	terms  []string
}

// encoded encodes batches of records by several goroutines while the one before is
// written, in their order.
func (s *Store) encoded(ctx context.Context, records iter.Seq[attestor.Record]) iter.Seq2[[]loadable, error] {
	type result struct {
		batch []loadable
		err   error
	}
	return func(yield func([]loadable, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()

		next := make(chan chan result, runtime.GOMAXPROCS(0))
		go func() {
			defer close(next)
			for chunk := range chunks(records, loadBatch) {
				done := make(chan result, 1)
				select {
				case next <- done:
				case <-ctx.Done():
					return
				}
				go func() {
					batch, err := s.encode(chunk)
					done <- result{batch, err}
				}()
			}
		}()

		for done := range next {
			if r := <-done; !yield(r.batch, r.err) || r.err != nil {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(nil, err)
		}
	}
}

// chunks are the values of a sequence in slices of n.
func chunks[T any](values iter.Seq[T], n int) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		var chunk []T
		for v := range values {
			if chunk = append(chunk, v); len(chunk) == n {
				if !yield(chunk) {
					return
				}
				chunk = nil
			}
		}
		if len(chunk) > 0 {
			yield(chunk)
		}
	}
}

func (s *Store) encode(records []attestor.Record) ([]loadable, error) {
	out := make([]loadable, 0, len(records))
	var last lastFindings
	var terms lastTerms
	for _, rec := range records {
		r, err := newRow(rec, s.codec, &last)
		if err != nil {
			return nil, err
		}
		if r.ground.admits() {
			return nil, &attestor.Error{Kind: attestor.Invalid, Msg: "decision " + r.id + " admits an image"}
		}
		for i, b := range r.blobs {
			r.blobs[i].data = s.compress(b)
		}

		leaf, err := r.leaf(time.Time{})
		if err == nil {
			leaf, err = leaf.Prepared()
		}
		if err != nil {
			return nil, err
		}
		q := queuedRow(r, rec)
		for i, p := range r.evidence {
			q.found = append(q.found, terms.of(p.Findings, rec.Evidence.Platforms[i].Scan.Findings))
		}
		r.columns = s.columns(r, stateFinished)
		out = append(out, loadable{r, leaf, q, termsOf(q.decision)})
	}
	return out, s.addLines(out, records)
}

// addLines makes the lines of those decisions of a batch that are the newest on their images.
func (s *Store) addLines(batch []loadable, records []attestor.Record) error {
	newest := map[string]int{}
	for i, r := range batch {
		if r.queued.decision == nil {
			continue
		}
		name := imageName(*r.queued.decision)
		if old, ok := newest[name]; !ok || r.queued.position().before(batch[old].queued.position()) {
			newest[name] = i
		}
	}

	for _, i := range newest {
		q := &batch[i].queued
		line, err := s.imageLine(*q, tally.Project(attestor.Record{Decision: *q.decision, Evidence: records[i].Evidence}))
		if err != nil {
			return err
		}
		q.line = line
	}
	return nil
}

// lastTerms are the terms of the findings that were looked at last: decisions that follow each other have the same.
type lastTerms struct {
	findings string // hash of the blob
	terms    []string
}

// of are the terms of findings, whose blob has the hash; "" and none: there are none.
func (l *lastTerms) of(hash string, findings []attestor.Vulnerability) []string {
	if l.findings != hash {
		*l = lastTerms{hash, slices.Collect(maps.Keys(termsIn(findings)))}
	}
	return l.terms
}

// queuedRow is what the search index has of a row, whose record is at hand.
func queuedRow(r row, rec attestor.Record) queued {
	q := queued{
		head:     head{id: r.id, repository: r.repository, body: r.body, at: r.at},
		recorded: true,
	}

	// As it would be decoded, in less time: a reason without its severity gets it there.
	if !oldRevocation(r.body) {
		d := rec.Decision
		d.Checks = make([]attestor.Check, 0, len(rec.Decision.Checks))
		for _, c := range rec.Decision.Checks {
			d.Checks = append(d.Checks, c.WithSeverities())
		}
		q.decision = &d
	}

	q.evidence.Parts = r.evidence
	return q
}

// A loader writes batches of decisions, and remembers what it wrote. What it has forgotten
// it writes again, which changes nothing.
type loader struct {
	s       *Store
	blobs   *lru.Cache[string, struct{}]
	entered *lru.Cache[blobIn, struct{}] // whose findings are in the index
	numbers map[string]int64             // of names
	terms   knownTerms
}

const (
	// maxKnown bounds what a loader remembers of one kind, in bytes.
	maxKnown = 128 << 20
	// maxNumbers bounds the numbers that it remembers.
	maxNumbers = 1 << 20
)

// load writes one batch in one transaction: the decisions, their entries in the log, and
// what the search index and the sums have of them.
func (l *loader) load(ctx context.Context, batch []loadable) error {
	return l.s.loadTx(ctx, func(ctx context.Context, tx *txn, b bulk) error {
		if err := l.s.lockIndex(ctx, tx); err != nil {
			return err
		}

		var blobs, decisions [][]any
		var digests, terms keyed
		var repositories []string
		queue := make([]queued, 0, len(batch))
		used := l.s.now().UnixMicro()
		for _, r := range batch {
			for _, part := range r.blobs {
				if _, known := l.blobs.Get(part.hash); !known {
					l.blobs.Put(part.hash, struct{}{}, int64(2*len(part.hash)))
					blobs = append(blobs, []any{part.hash, used, part.data})
				}
			}
			decisions = append(decisions, []any{
				r.id, r.at, stateFinished, r.requested, r.repository, r.digest, r.verdict, r.policy, r.policyDigest,
				r.breakGlass, r.columns[0], r.columns[1], r.columns[2],
			})
			for _, digest := range r.digests {
				digests = append(digests, keyedRow{digest, r.at, r.id})
			}
			for _, term := range r.terms {
				terms = append(terms, keyedRow{term, r.at, r.id})
			}
			if r.repository != "" {
				repositories = append(repositories, r.repository)
			}
			queue = append(queue, r.queued)
			tx.log(r.leaf, nil)
		}

		// Blobs come first, as everywhere: they are locked in the order of their hashes.
		slices.SortFunc(blobs, func(a, b []any) int {
			return cmp.Compare(a[0].(string), b[0].(string)) //nolint:forcetypeassert // set above
		})
		if err := upsert(ctx, tx, "blobs", []string{"hash", "used", "data"}, blobs,
			"(hash) DO UPDATE SET used = excluded.used"); err != nil {
			return err
		}
		if err := b.insert(ctx, "decisions", []string{
			"id", "at", "state", "requested", "repository", "digest", "verdict", "policy",
			"policy_digest", "break_glass",
			"body", "evidence", "packed",
		}, decisions); err != nil {
			return err
		}
		if err := b.insert(ctx, "decision_digests", []string{"digest", "at", "decision"}, digests.rows()); err != nil {
			return err
		}
		if err := b.insert(ctx, "decision_terms", []string{"term", "at", "decision"}, terms.rows()); err != nil {
			return err
		}
		return l.index(ctx, tx, repositories, queue)
	})
}

// keyed are rows of a table by a key, the time and the decision.
type keyed []keyedRow

type keyedRow struct {
	key string
	at  int64
	id  string
}

// rows are in the order of the key, so that those that follow each other are in one page of it.
func (k keyed) rows() [][]any {
	slices.SortFunc(k, func(a, b keyedRow) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id))
	})
	out := make([][]any, len(k))
	for i, r := range k {
		out[i] = []any{r.key, r.at, r.id}
	}
	return out
}

// index writes what is kept of many decisions together.
func (l *loader) index(ctx context.Context, tx *txn, repositories []string, batch []queued) error {
	slices.Sort(repositories)
	rows := make([][]any, 0, len(repositories))
	for _, r := range slices.Compact(repositories) {
		rows = append(rows, []any{r, lastSegment(r)})
	}
	if err := insert(ctx, tx, "repositories", []string{"repository", "name"}, rows); err != nil {
		return err
	}

	if err := l.findings(ctx, tx, batch); err != nil {
		return err
	}
	if err := l.s.indexImages(ctx, tx, batch); err != nil {
		return err
	}
	return addSums(ctx, tx, counted(batch), 1)
}

// findings enters the findings of a batch that their repositories did not have before.
func (l *loader) findings(ctx context.Context, tx *txn, batch []queued) error {
	if len(l.numbers) > maxNumbers {
		clear(l.numbers)
	}
	var places []place
	blobs := map[blobIn]bool{}
	for _, q := range batch {
		for i, p := range q.evidence.Parts {
			if p.Findings == "" {
				continue
			}
			blob := blobIn{p.Findings, q.repository}
			if _, known := l.entered.Get(blob); known {
				continue
			}
			l.entered.Put(blob, struct{}{}, int64(2*len(blob.hash)+len(blob.repository)))
			blobs[blob] = true

			for _, term := range l.terms.add(q.repository, q.found[i]) {
				places = append(places, place{term, q.repository})
			}
		}
	}

	notes, err := l.s.notes(ctx, tx, blobs, l.numbers)
	if err != nil {
		return err
	}
	if err := notes.add(ctx, tx, slices.SortedFunc(maps.Keys(blobs), blobIn.compare)); err != nil {
		return err
	}
	return l.s.putPlaces(ctx, tx, places, l.numbers)
}

// knownTerms are the terms that repositories are known to have: of each a set of numbers, which takes a bit for a term.
type knownTerms struct {
	numbers map[string]int
	of      map[string]*big.Int // by repository
}

// add adds terms to those of a repository, and returns which it did not have.
func (k *knownTerms) add(repository string, terms []string) (added []string) {
	if k.of == nil || len(k.of)*len(k.numbers)/8 > maxKnown {
		*k = knownTerms{map[string]int{}, map[string]*big.Int{}}
	}
	known := k.of[repository]
	if known == nil {
		known = new(big.Int)
		k.of[repository] = known
	}
	for _, term := range terms {
		n, ok := k.numbers[term]
		if !ok {
			n = len(k.numbers)
			k.numbers[term] = n
		}
		if known.Bit(n) == 0 {
			known.SetBit(known, n, 1)
			added = append(added, term)
		}
	}
	return added
}

// indexAll brings the search index up to date, in large steps.
func (s *Store) indexAll(ctx context.Context) error {
	const most = 500
	for n := most; n == most; {
		var err error
		if n, err = s.indexNext(ctx, most); err != nil {
			return err
		}
	}
	return nil
}

// bulky has SQLite's writer keep more pages in memory, also those that a statement could not leave half changed, and
// copy what it wrote from its log to the file less often, until what it returns is called. A machine that fails meanwhile
// takes the last batches with it, and nothing else: SQLite, PRAGMA synchronous, "WAL mode is always consistent with
// synchronous=NORMAL".
func (s *Store) bulky(ctx context.Context) (restore func() error, err error) {
	if s.engine.dialect() != goose.DialectSQLite3 {
		return func() error { return nil }, nil
	}

	_, err = s.write.ExecContext(ctx, "PRAGMA cache_size = -524288; PRAGMA wal_autocheckpoint = 65536; "+
		"PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY")
	return func() error {
		_, err := s.write.ExecContext(context.WithoutCancel(ctx),
			"PRAGMA temp_store = DEFAULT; PRAGMA synchronous = FULL; "+
				"PRAGMA wal_autocheckpoint = 1000; PRAGMA cache_size = -2000; PRAGMA wal_checkpoint(TRUNCATE)")
		return err
	}, err
}

// bulk inserts many rows in a transaction.
type bulk struct {
	tx   *txn
	conn *sql.Conn
	copy bool // by COPY
}

// loadTx is [Store.tx] with bulk inserts.
func (s *Store) loadTx(ctx context.Context, f func(context.Context, *txn, bulk) error) error {
	// COPY must run in the transaction, and so on its connection.
	conn, err := s.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // gives it back to the pool

	return s.txOn(ctx, "loading decisions", conn, func(ctx context.Context, tx *txn) error {
		return f(ctx, tx, bulk{tx, conn, s.engine.dialect() == goose.DialectPostgres})
	})
}

// insert inserts rows, of which none may be there.
func (b bulk) insert(ctx context.Context, table string, columns []string, rows [][]any) error {
	if b.copy {
		return b.conn.Raw(func(driver any) error {
			c, ok := driver.(*stdlib.Conn)
			if !ok {
				return fmt.Errorf("the driver's connection is a %T", driver)
			}
			_, err := c.Conn().CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromRows(rows))
			return err
		})
	}

	return insertRows(ctx, b.tx, table, columns, rows, rowsAt, "")
}

// rowsAt is how many rows SQLite is given in one statement.
const rowsAt = 100
