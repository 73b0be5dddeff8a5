package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/attestor-gate/attestor"
)

const (
	stateBegun    = "begun"
	stateFinished = "finished"
)

// Begin notes that r is about to be attested to. It is one transaction.
func (s *Store) Begin(ctx context.Context, r attestor.Record) error {
	return s.record(ctx, "recording what is about to be signed", r, stateBegun)
}

// Finish records the answer, in the place of what [Store.Begin] noted. What is
// finished is never changed: the same answer again is accepted, and a different
// one under its id is an error.
func (s *Store) Finish(ctx context.Context, r attestor.Record) error {
	return s.record(ctx, "recording the decision", r, stateFinished)
}

func (s *Store) record(ctx context.Context, doing string, r attestor.Record, state string) error {
	if r.Decision.ID == "" {
		return errors.New(doing + ": the decision has no id")
	}
	row, err := newRow(r)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	for i, b := range row.blobs {
		if len(b.data) > maxBlob {
			return &attestor.Error{Kind: attestor.TooLarge, Msg: fmt.Sprintf("the evidence has %d bytes in one part, at most %d can be recorded", len(b.data), maxBlob)}
		}
		row.blobs[i].data = s.pack(b)
	}
	return s.together(ctx, doing, func(ctx context.Context, tx *sql.Tx) error {
		if ended, err := s.endRow(ctx, tx, row, state); ended || err != nil {
			return err
		}
		if err := s.putBlobs(ctx, tx, row.blobs); err != nil {
			return err
		}
		return s.putRow(ctx, tx, row, state)
	})
}

const (
	putRowText = `INSERT INTO decisions
		(id, at, state, requested, repository, digest, verdict, policy, policy_digest, break_glass, body, evidence)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (id) DO UPDATE SET at = excluded.at, state = excluded.state, requested = excluded.requested,
			repository = excluded.repository, digest = excluded.digest, verdict = excluded.verdict, policy = excluded.policy,
			policy_digest = excluded.policy_digest, break_glass = excluded.break_glass, body = excluded.body, evidence = excluded.evidence
		WHERE decisions.state = 'begun'`
	// All that is indexed is as it was begun: it is compared, not rewritten.
	endRowText = `UPDATE decisions SET state = 'finished', body = $1
		WHERE id = $2 AND state = 'begun' AND at = $3 AND requested = $4 AND repository = $5 AND digest = $6 AND verdict = $7
			AND policy = $8 AND policy_digest = $9 AND break_glass = $10 AND evidence = $11`
	putDigestText = `INSERT INTO decision_digests (digest, at, decision) VALUES ($1, $2, $3)
		ON CONFLICT (digest, at, decision) DO NOTHING`
	// The conflicting row is locked even where WHERE leaves it unchanged, so
	// that pruning cannot remove it before this transaction ends.
	putBlobText = `INSERT INTO blobs (hash, used, data) VALUES ($1, $2, $3)
		ON CONFLICT (hash) DO UPDATE SET used = excluded.used WHERE blobs.used < excluded.used - $4`
)

// endRow finishes what was begun with the same evidence and outcome, as nearly
// all that is begun ends: its blobs and digests are there, and stay while it is
// begun.
func (s *Store) endRow(ctx context.Context, tx *sql.Tx, r row, state string) (bool, error) {
	if state != stateFinished || !r.attested {
		return false, nil
	}
	res, err := s.exec(ctx, tx, endRowText,
		r.body, r.id, r.at, r.requested, r.repository, r.digest, r.verdict, r.policy, r.policyDigest, r.breakGlass, r.outline)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// putRow writes only where there is nothing, or something merely begun.
func (s *Store) putRow(ctx context.Context, tx *sql.Tx, r row, state string) error {
	res, err := s.exec(ctx, tx, putRowText,
		r.id, r.at, state, r.requested, r.repository, r.digest, r.verdict, r.policy, r.policyDigest, r.breakGlass, r.body, r.outline)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return sameRow(ctx, tx, r, state)
	}
	for _, digest := range r.digests {
		if _, err := s.exec(ctx, tx, putDigestText, digest, r.at, r.id); err != nil {
			return err
		}
	}
	return nil
}

// sameRow accepts a repeat of what is finished already, and nothing else.
func sameRow(ctx context.Context, tx *sql.Tx, r row, state string) error {
	var body string
	if err := tx.QueryRowContext(ctx, `SELECT body FROM decisions WHERE id = $1`, r.id).Scan(&body); err != nil {
		return err
	}
	if state == stateFinished && body == r.body {
		return nil
	}
	return &attestor.Error{Kind: attestor.Internal, Msg: "decision " + r.id + " is recorded already and cannot be changed"}
}

// blobSlack is how far a blob's "used" may lie behind the last use, so that
// not every decision rewrites it.
const blobSlack = 24 * time.Hour

func (s *Store) putBlobs(ctx context.Context, tx *sql.Tx, blobs []blob) error {
	used := s.now().UnixMicro()
	for _, b := range blobs {
		if _, err := s.exec(ctx, tx, putBlobText,
			b.hash, used, b.data, blobSlack.Microseconds()); err != nil {
			return err
		}
	}
	return nil
}

const maxPending = 1000

// Pending lists what was begun longer than olderThan ago and never finished,
// oldest first and at most a thousand, so that a start can complete it.
func (s *Store) Pending(ctx context.Context, olderThan time.Duration) ([]attestor.Record, error) {
	const doing = "listing unfinished decisions"
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	heads, err := s.heads(ctx, `SELECT id, at, repository, body, evidence FROM decisions WHERE state = 'begun' AND at <= $1 ORDER BY at, id LIMIT $2`,
		s.now().Add(-olderThan).UnixMicro(), maxPending)
	if err != nil {
		return nil, s.fail(doing, err)
	}
	out := make([]attestor.Record, 0, len(heads))
	for _, h := range heads {
		r, err := s.full(ctx, h, nil)
		if err != nil {
			return nil, s.fail(doing, err)
		}
		out = append(out, r)
	}
	return out, nil
}
