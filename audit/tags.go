package audit

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/attestor-gate/attestor"
)

// RecordTag records the observation that a tag had p.Digest at p.From; the other
// times of p are not read. The first observation of another digest ends the period
// before it, and a repeated one extends the period. An observation from before the
// newest period changes nothing, so that several instances may report in any
// order; of two at the same microsecond, the one that was recorded first counts.
func (s *Store) RecordTag(ctx context.Context, p attestor.TagPoint) error {
	if s.none {
		return nil
	}

	if p.Repository == "" || p.Tag == "" || p.Digest == "" || p.From.IsZero() {
		return errors.New("recording a tag: repository, tag, digest or time is missing")
	}

	return s.tx(ctx, "recording a tag", func(ctx context.Context, tx *txn) error {
		if err := s.lockName(ctx, tx, "base_tags "+p.Repository+":"+p.Tag); err != nil {
			return err
		}

		newest, known, err := newestPoint(ctx, tx, p.Repository, p.Tag)
		if err != nil {
			return err
		}

		at := p.From.UnixMicro()
		switch {
		case !known:
			return insertPoint(ctx, tx, p, at)
		case at < newest.from, at == newest.from && p.Digest != newest.digest:
			return nil
		case p.Digest == newest.digest && newest.open:
			return extendPoint(ctx, tx, p, newest.from, at)
		case at == newest.from: // the same digest, whose period was ended where it began
			return nil
		}

		// End before insert, in one transaction: at no time are two periods of a tag
		// open.
		if err := endPoint(ctx, tx, p, at); err != nil {
			return err
		}
		return insertPoint(ctx, tx, p, at)
	})
}

// lockName serialises the transactions that name the same, until tx ends. SQLite has one writer anyway. In PostgreSQL a
// row lock does not suffice: two instances that record the first observation of a tag, or that start a caller's run, have
// no row to lock.
//
// PostgreSQL, 13.3.5: advisory locks at transaction level "are automatically
// released at the end of the transaction, and there is no explicit unlock
// operation". Two names whose hashes collide wait for each other, and nothing else.
func (s *Store) lockName(ctx context.Context, tx *txn, name string) error {
	if s.engine.dialect() != goose.DialectPostgres {
		return nil
	}

	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, name)
	return err
}

// A storedPoint has what RecordTag reads of the newest period.
type storedPoint struct {
	digest attestor.Digest
	from   int64 // microseconds
	open   bool
}

// newestPoint returns the last period of a tag, and whether there is one.
func newestPoint(ctx context.Context, tx *txn, repository, tag string) (storedPoint, bool, error) {
	row := tx.QueryRowContext(ctx, `SELECT digest, seen_from, seen_until IS NULL FROM base_tags
		WHERE repository = $1 AND tag = $2 ORDER BY seen_from DESC LIMIT 1`, repository, tag)

	var p storedPoint
	err := row.Scan(&p.digest, &p.from, &p.open)
	if errors.Is(err, sql.ErrNoRows) {
		return storedPoint{}, false, nil
	}
	return p, err == nil, err
}

func insertPoint(ctx context.Context, tx *txn, p attestor.TagPoint, at int64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO base_tags (repository, tag, digest, seen_from, seen_last, seen_until)
		VALUES ($1, $2, $3, $4, $4, NULL)`, p.Repository, p.Tag, string(p.Digest), at)
	return err
}

func extendPoint(ctx context.Context, tx *txn, p attestor.TagPoint, from, at int64) error {
	_, err := tx.ExecContext(ctx, `UPDATE base_tags SET seen_last = $4
		WHERE repository = $1 AND tag = $2 AND seen_from = $3 AND (seen_last IS NULL OR seen_last < $4)`,
		p.Repository, p.Tag, from, at)
	return err
}

// endPoint ends the open period of a tag. Another instance may have extended it
// beyond at; its last observation is then moved back to the end.
func endPoint(ctx context.Context, tx *txn, p attestor.TagPoint, at int64) error {
	_, err := tx.ExecContext(ctx, `UPDATE base_tags
		SET seen_until = $3, seen_last = CASE WHEN seen_last > $3 THEN $3 ELSE seen_last END
		WHERE repository = $1 AND tag = $2 AND seen_until IS NULL`,
		p.Repository, p.Tag, at)
	return err
}

// TagHistory lists the digests that a tag had, oldest first, as periods that do
// not overlap. Only the last may be open; neighbours have different digests or a
// gap between them. It returns the newest [attestor.MaxTagPoints] at most, and
// none for a tag that was never recorded.
func (s *Store) TagHistory(ctx context.Context, repository, tag string) ([]attestor.TagPoint, error) {
	if s.none {
		return nil, nil
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	points, err := s.tagHistory(ctx, repository, tag)
	if err != nil {
		return nil, s.fail("reading a tag's history", err)
	}
	return inOrder(points), nil
}

// tagHistory reads the newest rows, newest first.
func (s *Store) tagHistory(ctx context.Context, repository, tag string) ([]attestor.TagPoint, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT digest, seen_from, seen_last, seen_until FROM base_tags
		WHERE repository = $1 AND tag = $2 ORDER BY seen_from DESC LIMIT $3`,
		text(repository), text(tag), attestor.MaxTagPoints)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	out := []attestor.TagPoint{}
	for rows.Next() {
		p := attestor.TagPoint{Repository: repository, Tag: tag}
		var from int64
		var last, until sql.NullInt64
		if err := rows.Scan(&p.Digest, &from, &last, &until); err != nil {
			return nil, err
		}

		p.From = time.UnixMicro(from).UTC()
		if last.Valid {
			p.Seen = time.UnixMicro(last.Int64).UTC()
		}
		if until.Valid {
			p.Until = new(time.UnixMicro(until.Int64).UTC())
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

// inOrder turns rows, newest first, into a history, oldest first. Instances of an
// older version that run beside this one may write periods that overlap, also
// after the migration that corrected those. As in the migration, a period ends
// where the next one begins.
func inOrder(rows []attestor.TagPoint) []attestor.TagPoint {
	out := make([]attestor.TagPoint, 0, len(rows))
	for _, p := range slices.Backward(rows) {
		if len(out) == 0 {
			out = append(out, p)
			continue
		}

		last := &out[len(out)-1]
		if last.Until == nil || last.Until.After(p.From) {
			last.Until = new(p.From)
		}

		// The same digest without a gap is one period.
		if last.Digest == p.Digest && last.Until.Equal(p.From) {
			last.Until = p.Until
			if p.Seen.After(last.Seen) {
				last.Seen = p.Seen
			}
			continue
		}

		if last.Seen.After(*last.Until) {
			last.Seen = *last.Until
		}
		out = append(out, p)
	}
	return out
}
