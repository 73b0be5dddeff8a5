package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/when"
)

// An indexer enters decisions into the search index after they were recorded. The
// transaction that finishes a decision only adds a row to the queue: it takes no
// lock that another decision waits for, and a crash loses nothing.
type indexer struct {
	wake  chan struct{} // has room for one: several decisions are one reason to look
	stop  context.CancelFunc
	wg    sync.WaitGroup
	mover mover // of the goroutine that indexes
}

const (
	indexBatch   = 64                     // decisions of one transaction, so that recording does not wait for it
	indexPause   = 250 * time.Millisecond // from the first decision on, so that a batch has several
	indexRetry   = 5 * time.Second        // after an error of the database
	catchUpShare = 3                      // a search waits for the index for this part of the time that a statement has
)

// startIndexer starts the indexer. Close stops it.
func (s *Store) startIndexer() {
	ctx, stop := context.WithCancel(context.Background())
	s.indexer = &indexer{wake: make(chan struct{}, 1), stop: stop}
	s.indexer.wg.Go(func() { s.runIndexer(ctx) })
	s.indexer.poke() // what an earlier process left
}

func (i *indexer) poke() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// close stops the indexer and waits for its transaction.
func (i *indexer) close() {
	i.stop()
	i.wg.Wait()
}

func (s *Store) runIndexer(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.indexer.wake:
		}
		if when.Sleep(ctx, indexPause) != nil {
			return
		}

		for {
			n, err := s.indexSome(ctx)

			// Earlier decisions are added to the sums where nothing newer waits.
			if err == nil && n < indexBatch {
				n, err = s.sumEarlier(ctx)
			}
			if err == nil && n < indexBatch {
				n, err = s.moveFindings(ctx)
			}
			if err != nil {
				// The queue keeps what was not indexed. A search meanwhile says so itself.
				if when.Sleep(ctx, indexRetry) != nil {
					return
				}
				continue
			}
			if n < indexBatch {
				break
			}
		}
	}
}

// catchUp brings the index up to date. It gives up where the queue is long, as after
// an update to the first version that has the index.
func (s *Store) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout/catchUpShare)
	defer cancel()

	for {
		n, err := s.indexSome(ctx)
		switch {
		case err == nil && n < indexBatch:
			return nil
		case err == nil:
			continue
		case !errors.Is(err, context.DeadlineExceeded):
			return err
		}

		// A search of half an index would leave decisions out without a word.
		return &attestor.Error{
			Kind: attestor.Unavailable,
			Msg:  "earlier decisions are still being entered into the search index",
			Fix:  "try again later, or search by id, image, digest, a whole repository, policy, verdict or time",
			Err:  err,
		}
	}
}

// enqueue is called in the transaction that finishes a decision.
func (s *Store) enqueue(ctx context.Context, tx *txn, id string) error {
	_, err := s.exec(ctx, tx, enqueueText, id)
	return err
}

const enqueueText = `INSERT INTO decision_queue (id) VALUES ($1) ON CONFLICT (id) DO NOTHING`

// indexLock is the key of the advisory lock under which PostgreSQL's instances index
// one after the other. The number has no meaning.
const indexLock = 0x61747465_73740001

// lockIndex makes transactions that change the index follow each other, until tx
// ends. SQLite has one writer in any case.
func (s *Store) lockIndex(ctx context.Context, tx *txn) error {
	if s.engine.dialect() != goose.DialectPostgres {
		return nil
	}
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, int64(indexLock))
	return err
}

// indexSome enters one batch of the queue into the index, and returns how many
// decisions it had.
func (s *Store) indexSome(ctx context.Context) (n int, err error) {
	return s.indexNext(ctx, indexBatch)
}

// indexNext enters at most so many decisions.
func (s *Store) indexNext(ctx context.Context, most int) (n int, err error) {
	err = s.tx(ctx, "indexing decisions", func(ctx context.Context, tx *txn) error {
		n = 0
		if err := s.lockIndex(ctx, tx); err != nil {
			return err
		}

		queued, err := s.queuedDecisions(ctx, tx, "decision_queue", most)
		if err != nil || len(queued) == 0 {
			return err
		}

		n = len(queued)
		return s.index(ctx, tx, queued)
	})
	return n, err
}

// A queued decision has its row, if that was not pruned meanwhile.
type queued struct {
	head
	recorded bool
	decision *attestor.Decision // nil: it is not recorded, or does not decode

	// What is made of a decision ahead, where it is recorded in bulk.
	line  *imageLine // nil: it is made where it is needed
	found [][]string // terms of the findings of each part
}

// queuedDecisions reads the newest of a queue, by their ids, at most so many.
func (s *Store) queuedDecisions(ctx context.Context, tx *txn, queue string, most int) ([]queued, error) {
	return s.queuedRows(tx.QueryContext(ctx, `SELECT q.id, d.at, d.repository, d.body, d.evidence, d.packed
		FROM (SELECT id FROM `+queue+` ORDER BY id DESC LIMIT $1) AS q
		LEFT JOIN decisions d ON d.id = q.id AND d.state = 'finished' AND NOT d.moved`, most))
}

func (s *Store) queuedRows(rows *sql.Rows, err error) ([]queued, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []queued
	for rows.Next() {
		var q queued
		var at sql.NullInt64
		var repository sql.NullString
		var t texts
		if err := rows.Scan(&q.id, &at, &repository, &t.first, &t.second, &t.packed); err != nil {
			return nil, err
		}

		var evidence string
		q.at, q.repository, q.recorded = at.Int64, repository.String, at.Valid
		q.body, evidence = s.unpack(t)
		q.decision = decisionIn(q.body)

		// One row that somebody damaged must not keep all others from being found and counted. What it says itself
		// counts, as where its evidence is lost.
		if evidence != "" && json.Unmarshal([]byte(evidence), &q.evidence) != nil {
			q.evidence = outline{}
		}
		out = append(out, q)
	}
	return out, rows.Err()
}

// index writes what a batch adds to the index, and takes the batch from the queue.
func (s *Store) index(ctx context.Context, tx *txn, batch []queued) error {
	var terms, repositories [][]any
	var done []any
	known := map[string]bool{}
	for _, q := range batch {
		// Also what was pruned since: the queue must not keep it.
		done = append(done, q.id)
		if !q.recorded {
			continue
		}

		for _, term := range termsOf(q.decision) {
			terms = append(terms, []any{term, q.at, q.id})
		}
		if !known[q.repository] && q.repository != "" {
			known[q.repository] = true
			repositories = append(repositories, []any{q.repository, lastSegment(q.repository)})
		}
	}

	// All of it is one transaction with the end of the queue's entry: a crash leaves everything or nothing, so that
	// each decision counts once.
	if err := insert(ctx, tx, "decision_terms", []string{"term", "at", "decision"}, terms); err != nil {
		return err
	}
	if err := insert(ctx, tx, "repositories", []string{"repository", "name"}, repositories); err != nil {
		return err
	}
	if err := s.indexFindings(ctx, tx, batch); err != nil {
		return err
	}
	if err := s.indexImages(ctx, tx, batch); err != nil {
		return err
	}
	if err := addSums(ctx, tx, counted(batch), 1); err != nil {
		return err
	}
	return deleteFrom(ctx, tx, "decision_queue", "id", done)
}

// findingsTerm is how versions before noted in finding_terms that the findings of a blob were entered.
func findingsTerm(hash string) string { return "findings:" + hash }

// Terms, as the index has them.
func callerTerm(subject string) string     { return term("caller:", subject) }
func reasonTerm(code attestor.Code) string { return term("reason:", string(code)) }
func tagTerm(tag string) string            { return term("tag:", tag) }
func cveTerm(id string) string             { return term("cve:", strings.ToUpper(id)) }
func packageTerm(name string) string       { return term("package:", strings.ToLower(name)) }

// maxTerm is how long a term may be, in bytes. PostgreSQL's rows of an index have
// 2704 at most.
const maxTerm = 512

// term is kind and value, or a hash of the value where that is long.
func term(kind, value string) string {
	if value = text(value); len(value) > maxTerm {
		value = hashOf([]byte(value))
	}
	return kind + value
}

// decisionIn decodes a decision for index and sums, or returns nil: one that does not decode is in neither, nor is a
// revocation of an earlier version, whether or not Fill has read it yet.
func decisionIn(body string) *attestor.Decision {
	var d attestor.Decision
	if json.Unmarshal([]byte(body), &d) != nil || oldRevocation(body) {
		return nil
	}
	return &d
}

// termsOf are the terms of a decision; nil has none.
func termsOf(d *attestor.Decision) []string {
	if d == nil {
		return nil
	}

	terms := map[string]bool{callerTerm(d.Caller.Subject): true}
	if ref, err := attestor.ParseReference(d.Image.Requested); err == nil && ref.Tag() != "" {
		terms[tagTerm(ref.Tag())] = true
	}
	for _, c := range d.Checks {
		for _, r := range c.Reasons {
			terms[reasonTerm(r.Code)] = true
		}
	}
	return slices.Sorted(maps.Keys(terms))
}

// maxRows is how many rows one statement inserts: SQLite takes 32,766 parameters.
const maxRows = 500

// insert inserts rows that are not there yet.
func insert(ctx context.Context, tx *txn, table string, columns []string, rows [][]any) error {
	return upsert(ctx, tx, table, columns, rows, "DO NOTHING")
}

// upsert inserts rows, of which no two have the same key. conflict is what follows ON
// CONFLICT.
func upsert(ctx context.Context, tx *txn, table string, columns []string, rows [][]any, conflict string) error {
	return insertRows(ctx, tx, table, columns, rows, maxRows, " ON CONFLICT "+conflict)
}

// insertRows inserts rows, so many in one statement, which has an end.
func insertRows(
	ctx context.Context, tx *txn, table string, columns []string, rows [][]any, most int, end string,
) (err error) {
	// SQLite parses thousands of parameters as long as it inserts their rows: what is run several times is parsed once.
	// PostgreSQL's driver remembers what it has prepared.
	var whole *sql.Stmt
	if tx.anonymous && len(rows) >= 2*most {
		st := statement{anonymous: true}
		st.values(table, columns, rows[:most])
		if whole, err = tx.PrepareContext(ctx, st.text.String()+end); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, whole.Close()) }()
	}

	for some := range slices.Chunk(rows, most) {
		if whole != nil && len(some) == most {
			_, err = whole.ExecContext(ctx, slices.Concat(some...)...)
		} else {
			st := statement{anonymous: tx.anonymous}
			st.values(table, columns, some)
			_, err = tx.ExecContext(ctx, st.text.String()+end, st.args...)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// values appends an INSERT of rows.
func (st *statement) values(table string, columns []string, rows [][]any) {
	st.add("INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES ")
	marks := "(?" + strings.Repeat(", ?", len(columns)-1) + ")"
	for i, row := range rows {
		if i > 0 {
			st.add(", ")
		}
		st.add(marks, row...)
	}
}

// deleteFrom deletes the rows whose column has one of some values.
func deleteFrom(ctx context.Context, tx *txn, table, column string, values []any) error {
	for some := range slices.Chunk(values, maxRows) {
		st := statement{anonymous: tx.anonymous}
		st.add("DELETE FROM "+table+" WHERE "+column+" IN (?"+strings.Repeat(", ?", len(some)-1)+")", some...)
		if _, err := tx.ExecContext(ctx, st.text.String(), st.args...); err != nil {
			return err
		}
	}
	return nil
}

// forget takes decisions that are about to be removed out of the index, and out of
// the counts of their days, unless they are only queued for it.
func (s *Store) forget(ctx context.Context, tx *txn, removed []prunable) error {
	ids, names := make([]any, 0, len(removed)), make([]string, 0, len(removed))
	decisions := make([]*attestor.Decision, len(removed))
	var terms [][]any
	for i, p := range removed {
		ids, names = append(ids, p.id), append(names, p.id)
		decisions[i] = decisionIn(p.body)
		for _, term := range termsOf(decisions[i]) {
			terms = append(terms, []any{term, p.at, p.id})
		}
	}

	// What still waits in the queue was never added to the sums.
	waiting, err := stillQueued(ctx, tx, ids)
	if err != nil {
		return err
	}
	err = addSums(ctx, tx, func(yield func(string, *attestor.Decision) bool) {
		for i, p := range removed {
			if d := decisions[i]; d != nil && !waiting[p.id] && !yield(p.repository, d) {
				return
			}
		}
	}, -1)
	if err != nil {
		return err
	}

	if err := s.forgetImages(ctx, tx, names); err != nil {
		return err
	}
	for _, queue := range []string{"decision_queue", "sum_queue"} {
		if err := deleteFrom(ctx, tx, queue, "id", ids); err != nil {
			return err
		}
	}
	return deleteTerms(ctx, tx, terms)
}

// stillQueued returns which decisions are in a queue, and so are not counted yet.
func stillQueued(ctx context.Context, tx *txn, ids []any) (map[string]bool, error) {
	out := map[string]bool{}
	for some := range slices.Chunk(ids, maxRows) {
		st := statement{anonymous: tx.anonymous}
		marks := " WHERE id IN (?" + strings.Repeat(", ?", len(some)-1) + ")"
		st.add("SELECT id FROM decision_queue"+marks, some...)
		st.add(" UNION ALL SELECT id FROM sum_queue"+marks, some...)
		found, err := idRows(tx.QueryContext(ctx, st.text.String(), st.args...))
		if err != nil {
			return nil, err
		}
		for _, id := range found {
			out[id] = true
		}
	}

	return out, nil
}

func deleteTerms(ctx context.Context, tx *txn, terms [][]any) error {
	for some := range slices.Chunk(terms, maxRows) {
		st := statement{anonymous: tx.anonymous}
		st.add("DELETE FROM decision_terms WHERE (term, at, decision) IN (VALUES ")
		for i, row := range some {
			if i > 0 {
				st.add(", ")
			}
			// PostgreSQL takes parameters of a VALUES list for text.
			st.add("(?, CAST(? AS BIGINT), ?)", row...)
		}
		st.add(")")
		if _, err := tx.ExecContext(ctx, st.text.String(), st.args...); err != nil {
			return err
		}
	}
	return nil
}
