package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/attestor-gate/attestor"
)

const overrideColumns = `decision, repository, digest, at, granted_to, reason, attestors, expires,
	closed, closed_at, closed_by`

// overrideRows reads rows of overrideColumns, without their digests.
func overrideRows(rows *sql.Rows, err error) ([]attestor.Override, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []attestor.Override
	for rows.Next() {
		var o attestor.Override
		var repository, digest, attestors string
		var at int64
		var expires, closed sql.NullInt64
		err := rows.Scan(&o.Decision, &repository, &digest, &at, &o.By, &o.Reason, &attestors, &expires,
			&o.Closed, &closed, &o.ClosedBy)
		if err != nil {
			return nil, err
		}

		if o.Image, err = attestor.ParseImage(repository + "@" + digest); err != nil {
			return nil, fmt.Errorf("reading override %s: %w", o.Decision, err)
		}
		if err := json.Unmarshal([]byte(attestors), &o.Attestors); err != nil {
			return nil, fmt.Errorf("reading override %s: %w", o.Decision, err)
		}
		o.Time = instantOf(&at)
		if expires.Valid {
			o.Expires = new(instantOf(&expires.Int64))
		}
		if closed.Valid {
			o.ClosedAt = instantOf(&closed.Int64)
		}
		out = append(out, o)
	}
	return out, rows.Err()
}

// overrides runs a query for overrideColumns and adds the digests.
func (s *Store) overrides(ctx context.Context, query string, args ...any) ([]attestor.Override, error) {
	out, err := overrideRows(s.read.QueryContext(ctx, query, args...))
	if err != nil {
		return nil, err
	}
	for i := range out {
		if out[i].Digests, err = digestsOf(ctx, s.read, out[i].Decision); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// digestsOf lists the digests of an override.
func digestsOf(ctx context.Context, q querier, override string) ([]attestor.Digest, error) {
	rows, err := q.QueryContext(ctx, `SELECT digest FROM override_digests WHERE override = $1 ORDER BY digest`,
		override)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []attestor.Digest
	for rows.Next() {
		var d attestor.Digest
		if err := rows.Scan(&d); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, rows.Err()
}

const (
	overdueText = `SELECT ` + overrideColumns + ` FROM overrides
		WHERE closed_at IS NULL AND expires <= $1 AND (expires, decision) > ($2, $3)
		ORDER BY expires, decision LIMIT $4`

	openOverridesText = `SELECT ` + overrideColumns + ` FROM overrides
		WHERE closed_at IS NULL AND decision IN
			(SELECT override FROM override_digests WHERE repository = $1 AND digest = $2)
		ORDER BY at DESC, decision DESC LIMIT 100`
)

// Overdue lists open overrides that should have ended by now, those first that
// ended first: at most n, after the given one or, for the zero Override, from the
// first on.
func (s *Store) Overdue(ctx context.Context, after attestor.Override, n int) ([]attestor.Override, error) {
	if s.none {
		return nil, unsupported()
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	var from int64
	if after.Expires != nil {
		from = after.Expires.UnixMicro()
	}
	out, err := s.overrides(ctx, overdueText, s.now().UnixMicro(), from, after.Decision, n)
	if err != nil {
		return nil, s.fail("reading overrides", err)
	}
	return out, nil
}

// OpenOverrides lists the open overrides whose attestations include an image, the
// newest first. A Store that keeps nothing knows none.
func (s *Store) OpenOverrides(ctx context.Context, img attestor.Image) ([]attestor.Override, error) {
	if s.none {
		return nil, nil
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	out, err := s.overrides(ctx, openOverridesText, img.Repository(), string(img.Digest()))
	if err != nil {
		return nil, s.fail("reading overrides", err)
	}
	return out, nil
}

// Override returns the override that a decision granted, or an error of kind
// NotFound.
func (s *Store) Override(ctx context.Context, decision string) (attestor.Override, error) {
	if s.none {
		return attestor.Override{}, unsupported()
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	out, err := s.overrides(ctx, `SELECT `+overrideColumns+` FROM overrides WHERE decision = $1`, text(decision))
	if err != nil {
		return attestor.Override{}, s.fail("reading an override", err)
	}
	if len(out) == 0 {
		return attestor.Override{}, &attestor.Error{Kind: attestor.NotFound, Msg: "this decision granted no override"}
	}
	return out[0], nil
}

// Grounds returns what admits the digests of an override beside it: images that
// passed in their own right since and stand for them, and other overrides in force.
func (s *Store) Grounds(ctx context.Context, o attestor.Override) (attestor.Grounds, error) {
	if s.none {
		return attestor.Grounds{}, unsupported()
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	g, err := s.grounds(ctx, s.read, o.Decision, o.Image.Repository(), o.Digests)
	if err != nil {
		return attestor.Grounds{}, s.fail("reading what admits an image", err)
	}
	return g, nil
}

// A querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (s *Store) grounds(
	ctx context.Context, q querier, override, repository string, digests []attestor.Digest,
) (attestor.Grounds, error) {
	var g attestor.Grounds
	for _, d := range digests {
		var decision string
		var pass bool
		err := q.QueryRowContext(ctx, `SELECT decision, passed FROM (
				SELECT a.decision AS decision, 1 AS passed FROM admission_digests m
				JOIN admissions a ON a.repository = m.repository AND a.digest = m.image
				WHERE m.repository = $1 AND m.digest = $2 AND NOT a.break_glass
				UNION ALL
				SELECT o.decision AS decision, 0 AS passed FROM override_digests m
				JOIN overrides o ON o.decision = m.override
				WHERE m.repository = $1 AND m.digest = $2 AND o.closed_at IS NULL AND o.decision <> $3
					AND (o.expires IS NULL OR o.expires > $4)
			) AS grounds ORDER BY passed DESC, decision LIMIT 1`,
			repository, string(d), override, s.now().UnixMicro()).Scan(&decision, &pass)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return attestor.Grounds{}, err
		}

		g.Keep = append(g.Keep, d)
		if g.By == "" || (pass && !g.Passed) {
			g.By = decision
		}
		g.Passed = g.Passed || pass
	}
	return g, nil
}

// CloseOverride closes an override whose attestations all have another ground. It
// leaves one alone that is closed, or being ended.
func (s *Store) CloseOverride(ctx context.Context, o attestor.Override, why attestor.Closing, by string) error {
	if s.none {
		return unsupported()
	}

	return s.tx(ctx, "closing an override", func(ctx context.Context, tx *txn) error {
		// An override that is being ended is closed by its revocation, which deletes attestations.
		_, err := tx.ExecContext(ctx, `UPDATE overrides SET closed = $1, closed_at = $2, closed_by = $3
			WHERE decision = $4 AND closed_at IS NULL AND revocation = ''`,
			string(why), s.now().UnixMicro(), by, o.Decision)
		return err
	})
}

// Expired records that a run over all overdue overrides has ended.
func (s *Store) Expired(ctx context.Context, id string, caller attestor.CallerRef, started time.Time) error {
	if s.none {
		return unsupported()
	}

	return s.tx(ctx, "recording a run", func(ctx context.Context, tx *txn) error {
		if err := s.putRun(ctx, tx, id, kindExpire, caller, started); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE runs SET ended = $1 WHERE id = $2`, s.now().UnixMicro(), text(id))
		return err
	})
}

// Watched says how well the record of admissions and overrides is kept up.
type Watched struct {
	Admissions bool          // there are any
	Oldest     time.Duration // since the admission was looked at that was not for longest
	Open       int64         // open overrides with an end
	Overdue    time.Duration // of the one that should have ended first; 0: none
	Expired    time.Duration // since the last run that ended overrides; since the first start, if there was none
}

// Watched reads how well the record is kept up, at little cost.
func (s *Store) Watched(ctx context.Context) (Watched, error) {
	if s.none {
		return Watched{}, unsupported()
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	var looked, first, ran sql.NullInt64
	var open int64
	err := s.read.QueryRowContext(ctx, `SELECT
		(SELECT MIN(looked_at) FROM admissions),
		(SELECT MIN(expires) FROM overrides WHERE closed_at IS NULL),
		(SELECT COUNT(*) FROM overrides WHERE closed_at IS NULL AND expires IS NOT NULL),
		COALESCE((SELECT MAX(ended) FROM runs WHERE kind = 'expire'), (SELECT MIN(started) FROM fills))`).
		Scan(&looked, &first, &open, &ran)
	if err != nil {
		return Watched{}, s.fail("reading the state of the watch", err)
	}

	since := func(at sql.NullInt64) time.Duration {
		if !at.Valid {
			return 0
		}
		return max(0, s.now().Sub(instantOf(&at.Int64)))
	}
	return Watched{
		Admissions: looked.Valid, Oldest: since(looked), Open: open, Overdue: since(first), Expired: since(ran),
	}, nil
}
