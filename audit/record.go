package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
)

const (
	stateBegun    = "begun"
	stateFinished = "finished"
)

// Begin records that r is about to be attested to, in one transaction. No
// attestation may be stored before it returned nil: an attestation without a
// decision would admit an image, and nobody could explain why.
func (s *Store) Begin(ctx context.Context, r attestor.Record) error {
	_, err := s.record(ctx, "recording what is about to be signed", r, stateBegun)
	return err
}

// Finish records the answer, in place of the row that [Store.Begin] wrote. A
// finished decision never changes: the same answer again is accepted, and a
// different one under the same id is an error. It returns where the record's log has
// the decision, and the proof where a checkpoint was signed in time; nil for a store
// that keeps nothing.
func (s *Store) Finish(ctx context.Context, r attestor.Record) (*attestor.LogEntry, error) {
	return s.record(ctx, "recording the decision", r, stateFinished)
}

func (s *Store) record(ctx context.Context, doing string, r attestor.Record, state string) (*attestor.LogEntry, error) {
	if s.none {
		return nil, nil //nolint:nilnil // nothing is kept, and so no log
	}

	if r.Decision.ID == "" {
		return nil, errors.New(doing + ": the decision has no id")
	}
	row, err := newRow(r, s.codec, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}

	if state == stateFinished && len(s.receivers) > 0 {
		row.events = EventsOf(r.Decision)
	}

	// A blob above maxBlob could be written and never be read: the limit is the
	// decoder's.
	for i, b := range row.blobs {
		if b.size > maxBlob {
			return nil, &attestor.Error{
				Kind: attestor.TooLarge,
				Msg: fmt.Sprintf("one part of the evidence has %d bytes; at most %d can be recorded",
					b.size, maxBlob),
				Fix: "reduce the image's findings or attestations: the limit cannot be changed",
			}
		}
		row.blobs[i].data = s.compress(b)
	}

	row.columns = s.columns(row, state)
	if state == stateBegun {
		return nil, s.begin(ctx, doing, row)
	}
	return s.finish(ctx, doing, row)
}

// begin writes a row that is about to be attested to. It has no entry in the log yet:
// its content will change.
func (s *Store) begin(ctx context.Context, doing string, r row) error {
	return s.groupTx(ctx, doing, &queuedWrite{
		blobs: r.blobs,
		rest: func(ctx context.Context, tx *txn) error {
			_, err := s.putDecision(ctx, tx, r, stateBegun)
			return err
		},
	})
}

// finish writes a finished row with its entry in the log. One transaction: a decision
// is never stored without its evidence, and neither without its entry.
func (s *Store) finish(ctx context.Context, doing string, r row) (*attestor.LogEntry, error) {
	leaf, err := r.leaf(time.Time{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}

	entry := &attestor.LogEntry{}
	w := &queuedWrite{
		blobs: r.blobs,
		logs:  true,
		rest: func(ctx context.Context, tx *txn) error {
			repeat, err := s.putDecision(ctx, tx, r, stateFinished)
			if repeat && err == nil {
				// The decision has its entry since it was finished first.
				entry, err = s.entryOf(ctx, tx, r.id)
				return err
			}
			if err == nil {
				tx.log(leaf, &entry.Index)
			}
			return err
		},
	}
	if r.attested {
		w.first = func(ctx context.Context, tx *txn) (done bool, err error) {
			if done, err = s.finishRow(ctx, tx, r); err != nil || !done {
				return done, err
			}
			tx.log(leaf, &entry.Index)
			if err := s.putGround(ctx, tx, r, stateFinished); err != nil {
				return true, err
			}
			return true, s.finished(ctx, tx, r)
		}
	}

	if err := s.groupTx(ctx, doing, w); err != nil {
		return nil, err
	}
	s.indexer.poke()
	s.attach(ctx, entry, leaf)
	return entry, nil
}

// putDecision writes a decision whose blobs are written, what it changes of the
// admissions and overrides, and its place in the queue of the search index. It reports whether the decision was
// finished before with the same answer, so that nothing is written.
func (s *Store) putDecision(ctx context.Context, tx *txn, r row, state string) (repeat bool, err error) {
	// A decision that was never begun takes its place in the order of admissions now.
	begun := true
	if state == stateFinished && r.ground.admits() {
		err := tx.QueryRowContext(ctx, `SELECT COUNT(*) > 0 FROM decisions WHERE id = $1`, r.id).Scan(&begun)
		if err != nil {
			return false, err
		}
	}

	if repeat, err := s.putRow(ctx, tx, r, state); repeat || err != nil {
		return repeat, err
	}
	if !begun {
		if err := s.putGround(ctx, tx, r, stateBegun); err != nil {
			return false, err
		}
	}
	if err := s.putGround(ctx, tx, r, state); err != nil || state != stateFinished {
		return false, err
	}
	return false, s.finished(ctx, tx, r)
}

// finished writes what follows from a decision that is recorded as finished: the events
// about it, and its place in the queue of the search index.
func (s *Store) finished(ctx context.Context, tx *txn, r row) error {
	for _, ev := range r.events {
		if err := s.publish(ctx, tx, ev); err != nil {
			return err
		}
	}
	return s.enqueue(ctx, tx, r.id)
}

// Small blobs are kept compressed, since the same ones come with every decision,
// or with the begin and the finish of one.
const (
	maxCachedBlob = 64 << 10 // bytes of one blob, not compressed
	maxCompressed = 4 << 20  // bytes of the whole cache, compressed
)

// compress returns b.data compressed. The result must not be changed.
func (s *Store) compress(b blob) []byte {
	if b.zipped {
		return b.data
	}
	if len(b.data) > maxCachedBlob {
		return s.codec.Bytes(nil, b.data)
	}
	if data, ok := s.compressed.Get(b.hash); ok {
		return data
	}

	data := s.codec.Bytes(nil, b.data)
	s.compressed.Put(b.hash, data, int64(len(data)+len(b.hash)))
	return data
}

const (
	// PostgreSQL, INSERT, ON CONFLICT DO UPDATE ... WHERE: "Only rows for which this
	// expression returns true will be updated". A finished decision is none of them.
	putRowText = `INSERT INTO decisions
		(id, at, state, requested, repository, digest, verdict, policy, policy_digest, break_glass, body, evidence, packed)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (id) DO UPDATE SET at = excluded.at, state = excluded.state, requested = excluded.requested,
			repository = excluded.repository, digest = excluded.digest, verdict = excluded.verdict,
			policy = excluded.policy, policy_digest = excluded.policy_digest, break_glass = excluded.break_glass,
			body = excluded.body, evidence = excluded.evidence, packed = excluded.packed
		WHERE decisions.state = 'begun'`

	// Every indexed column keeps its value, and is compared and not rewritten.
	finishRowText = `UPDATE decisions SET state = 'finished', body = $1, evidence = $2, packed = $3
		WHERE id = $4 AND state = 'begun' AND at = $5 AND requested = $6 AND repository = $7 AND digest = $8
			AND verdict = $9 AND policy = $10 AND policy_digest = $11 AND break_glass = $12 AND evidence = $13`

	putDigestText = `INSERT INTO decision_digests (digest, at, decision) VALUES ($1, $2, $3)
		ON CONFLICT (digest, at, decision) DO NOTHING`

	// PostgreSQL, INSERT, of the same WHERE: "all rows will be locked when the ON
	// CONFLICT DO UPDATE action is taken", those that it leaves unchanged too. So
	// pruning cannot remove a blob between this statement and the commit.
	putBlobText = `INSERT INTO blobs (hash, used, data) VALUES ($1, $2, $3)
		ON CONFLICT (hash) DO UPDATE SET used = excluded.used WHERE blobs.used < excluded.used - $4`
)

// finishRow finishes a decision that was begun with the same evidence and
// outcome, which is the usual case. It need not write blobs and digests: they
// were written by Begin, and pruning spares those of begun decisions.
func (s *Store) finishRow(ctx context.Context, tx *txn, r row) (done bool, err error) {
	res, err := s.exec(ctx, tx, finishRowText,
		r.columns[0], r.columns[1], r.columns[2], r.id, r.at, r.requested, r.repository, r.digest,
		r.verdict, r.policy, r.policyDigest, r.breakGlass, r.outline)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// putRow writes a decision that is new or was only begun. It reports whether the
// decision was finished before with the same answer, so that nothing is written.
func (s *Store) putRow(ctx context.Context, tx *txn, r row, state string) (repeat bool, err error) {
	res, err := s.exec(ctx, tx, putRowText,
		r.id, r.at, state, r.requested, r.repository, r.digest,
		r.verdict, r.policy, r.policyDigest, r.breakGlass, r.columns[0], r.columns[1], r.columns[2])
	if err != nil {
		return false, err
	}

	// No row was written, so that a finished one has this id.
	if n, err := res.RowsAffected(); err != nil {
		return false, err
	} else if n == 0 {
		return true, s.repeated(ctx, tx, r, state)
	}

	for _, digest := range r.digests {
		if _, err := s.exec(ctx, tx, putDigestText, digest, r.at, r.id); err != nil {
			return false, err
		}
	}
	return false, nil
}

// repeated accepts a decision that is stored already with the same answer, as
// after a commit whose success did not reach the caller. It refuses every other
// change of a finished decision.
func (s *Store) repeated(ctx context.Context, tx *txn, r row, state string) error {
	var t texts
	err := tx.QueryRowContext(ctx, `SELECT body, evidence, packed FROM decisions WHERE id = $1`, r.id).
		Scan(&t.first, &t.second, &t.packed)
	if err != nil {
		return err
	}
	body, _ := s.unpack(t)
	if state == stateFinished && body == r.body {
		return nil
	}

	return &attestor.Error{
		Kind: attestor.Internal,
		Msg:  "decision " + r.id + " is finished and cannot be changed",
	}
}

// blobSlack is how far the column used may lag behind a blob's last use, so that
// not every decision updates it.
const blobSlack = 24 * time.Hour

// putBlobs writes blobs in the order of their hashes, each once. Two instances that
// lock the same rows in two orders would wait for each other.
func (s *Store) putBlobs(ctx context.Context, tx *txn, blobs []blob) error {
	used := s.now().UnixMicro()
	blobs = slices.SortedFunc(slices.Values(blobs), func(a, b blob) int { return cmp.Compare(a.hash, b.hash) })
	blobs = slices.CompactFunc(blobs, func(a, b blob) bool { return a.hash == b.hash })

	for _, b := range blobs {
		_, err := s.exec(ctx, tx, putBlobText, b.hash, used, b.data, blobSlack.Microseconds())
		if err != nil {
			return err
		}
	}
	return nil
}
