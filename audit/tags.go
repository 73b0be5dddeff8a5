package audit

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/attestor-gate/attestor"
)

// RecordTag adds an observation to a base's history. With Until nil it says
// that the tag names the digest since From: what it named before ends there,
// and a repeat of what is known changes nothing. With Until set it adds a
// stretch that is over. An observation older than the newest one known changes
// nothing, so that several instances may report in any order.
func (s *Store) RecordTag(ctx context.Context, p attestor.TagPoint) error {
	if p.Repository == "" || p.Tag == "" || p.Digest == "" || p.From.IsZero() {
		return fmt.Errorf("recording a tag: repository, tag, digest or time is missing")
	}
	from := p.From.UnixMicro()
	return s.tx(ctx, "recording a tag", func(ctx context.Context, tx *sql.Tx) error {
		if p.Until != nil {
			_, err := tx.ExecContext(ctx, `INSERT INTO base_tags (repository, tag, digest, seen_from, seen_until) VALUES ($1, $2, $3, $4, $5)
				ON CONFLICT (repository, tag, seen_from) DO UPDATE SET seen_until = excluded.seen_until
				WHERE base_tags.digest = excluded.digest`, p.Repository, p.Tag, string(p.Digest), from, p.Until.UnixMicro())
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE base_tags SET seen_until = $4
			WHERE repository = $1 AND tag = $2 AND digest <> $3 AND seen_until IS NULL AND seen_from < $4`,
			p.Repository, p.Tag, string(p.Digest), from); err != nil {
			return err
		}
		// One stretch is open at most (base_tags_now): where it is still there, it
		// is this very digest's, or newer than this observation.
		_, err := tx.ExecContext(ctx, `INSERT INTO base_tags (repository, tag, digest, seen_from, seen_until) VALUES ($1, $2, $3, $4, NULL)
			ON CONFLICT DO NOTHING`, p.Repository, p.Tag, string(p.Digest), from)
		return err
	})
}

// TagHistory lists what a tag was seen to name, newest first; none for a tag
// that was never recorded.
func (s *Store) TagHistory(ctx context.Context, repository, tag string) ([]attestor.TagPoint, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	out, err := s.tagHistory(ctx, repository, tag)
	if err != nil {
		return nil, s.fail("reading a tag's history", err)
	}
	return out, nil
}

func (s *Store) tagHistory(ctx context.Context, repository, tag string) ([]attestor.TagPoint, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT digest, seen_from, seen_until FROM base_tags
		WHERE repository = $1 AND tag = $2 ORDER BY seen_from DESC`, text(repository), text(tag))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has it
	out := []attestor.TagPoint{}
	for rows.Next() {
		p := attestor.TagPoint{Repository: repository, Tag: tag}
		var from int64
		var until sql.NullInt64
		if err := rows.Scan(&p.Digest, &from, &until); err != nil {
			return nil, err
		}
		p.From = time.UnixMicro(from).UTC()
		if until.Valid {
			at := time.UnixMicro(until.Int64).UTC()
			p.Until = &at
		}
		out = append(out, p)
	}
	return out, rows.Err()
}
