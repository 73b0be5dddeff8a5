package audit

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/attestor-gate/attestor"
)

// pendingPage is how many begun rows are read at once.
const pendingPage = 100

// A begun is a row that was begun and never finished, or why it cannot be read.
type begun[T any] struct {
	at    position
	value T
	err   error
}

// Pending lists the decisions that were begun longer than olderThan ago and never finished, oldest first, so that the
// gate can finish them. One whose evidence was changed or lost is an error that names it, and the others are listed all
// the same, however many such there are. An error of the database ends the list.
func (s *Store) Pending(ctx context.Context, olderThan time.Duration) iter.Seq2[attestor.Record, error] {
	return eachBegun(s, "listing unfinished decisions", olderThan,
		func(until int64, after position) ([]begun[attestor.Record], error) {
			return s.begunDecisions(ctx, until, after)
		})
}

// PendingRevocations lists the revocations that were begun longer than olderThan ago and never finished, as
// [Store.Pending] lists decisions.
func (s *Store) PendingRevocations(
	ctx context.Context, olderThan time.Duration,
) iter.Seq2[attestor.RevocationRecord, error] {
	return eachBegun(s, "reading revocations", olderThan,
		func(until int64, after position) ([]begun[attestor.RevocationRecord], error) {
			return s.begunRevocations(ctx, until, after)
		})
}

// eachBegun yields the rows of every page, each of which begins after the last row of the one before. Rows that cannot
// be read, or that nobody can finish, stay where they are: they must not stand before the others for ever.
func eachBegun[T any](
	s *Store, doing string, olderThan time.Duration, page func(until int64, after position) ([]begun[T], error),
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if s.none {
			return
		}

		until := s.now().Add(-olderThan).UnixMicro()
		for after := (position{at: math.MinInt64}); ; {
			rows, err := page(until, after)
			if err != nil {
				var none T
				yield(none, s.fail(doing, err)) // the database's, which concerns all of them
				return
			}

			for _, r := range rows {
				if !yield(r.value, r.err) {
					return
				}
			}
			if len(rows) < pendingPage {
				return
			}
			after = rows[len(rows)-1].at
		}
	}
}

func (s *Store) begunDecisions(
	ctx context.Context, until int64, after position,
) ([]begun[attestor.Record], error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	heads, err := s.heads(ctx, `SELECT id, at, repository, body, evidence, packed FROM decisions
		WHERE state = 'begun' AND at <= $1 AND NOT moved AND (at, id) > ($2, $3) ORDER BY at, id LIMIT $4`,
		until, after.at, after.id, pendingPage)
	if err != nil {
		return nil, err
	}

	out := make([]begun[attestor.Record], 0, len(heads))
	for _, h := range heads {
		known, err := s.blobsOf(ctx, h)
		if err != nil && !evidenceGone(err) {
			return nil, err
		}

		// What is not as it was recorded decides nothing, and keeps nothing else from being finished.
		b := begun[attestor.Record]{at: h.position()}
		if b.err = cmp.Or(h.damaged, err); b.err == nil {
			b.value, b.err = join(h.body, h.evidence, known)
		}
		if b.err != nil {
			b.err = fmt.Errorf("decision %s was begun, and its record cannot be read: %w", h.id, b.err)
		} else {
			b.value.Decision.OverrideState, b.value.Decision.Revoked = h.override, h.revoked
		}
		out = append(out, b)
	}
	return out, nil
}

func (s *Store) begunRevocations(
	ctx context.Context, until int64, after position,
) ([]begun[attestor.RevocationRecord], error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	rows, err := s.read.QueryContext(ctx, `SELECT id, at, body FROM revocations
		WHERE state = 'begun' AND at <= $1 AND (at, id) > ($2, $3) ORDER BY at, id LIMIT $4`,
		until, after.at, after.id, pendingPage)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []begun[attestor.RevocationRecord]
	for rows.Next() {
		var b begun[attestor.RevocationRecord]
		var body string
		if err := rows.Scan(&b.at.id, &b.at.at, &body); err != nil {
			return nil, err
		}

		if b.value, b.err = revocationOf(body); b.err != nil {
			b.err = fmt.Errorf("revocation %s was begun, and cannot be read: %w", b.at.id, b.err)
		}
		out = append(out, b)
	}
	return out, rows.Err()
}
