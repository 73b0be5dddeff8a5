package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

const (
	// fillBatch is how many decisions one transaction of a fill reads.
	fillBatch = 500
	// fillFor is how long instances of the version before may go on recording after
	// the schema was changed, without admissions and overrides.
	fillFor = 24 * time.Hour
	// fillLag is how long after its time a decision may be recorded.
	fillLag = 15 * time.Minute
)

// startFill notes when the schema was changed. Where there are no decisions, there
// is nothing to read.
func (s *Store) startFill(ctx context.Context) error {
	_, err := s.write.ExecContext(ctx, `INSERT INTO fills (name, started, at, id, done)
		SELECT 'admissions', CAST($1 AS BIGINT), 0, '', NOT EXISTS (SELECT 1 FROM decisions) WHERE TRUE
		ON CONFLICT (name) DO NOTHING`, s.now().UnixMicro())
	return err
}

// Fill reads admissions, overrides and revocations from the decisions that
// versions before recorded, oldest first. It works until all is read or ctx ends,
// and goes on where it, or another instance, was interrupted. It reports whether
// everything was read that was recorded so far. Call it again and again: on
// PostgreSQL, instances of the version before may still be at work for a while.
func (s *Store) Fill(ctx context.Context) (complete bool, err error) {
	if s.none {
		return true, nil
	}

	for {
		n, done, err := s.fillStep(ctx)
		if err != nil || done || n < fillBatch {
			return err == nil, err
		}
		if err := ctx.Err(); err != nil {
			return false, s.fail("reading what was recorded before", err)
		}
	}
}

// fillStep reads one batch in one transaction.
func (s *Store) fillStep(ctx context.Context) (n int, done bool, err error) {
	err = s.tx(ctx, "reading what was recorded before", func(ctx context.Context, tx *txn) error {
		n, done, tx.entered = 0, false, s.now()

		// The update locks the row, so that instances take turns.
		var started, at int64
		var id string
		err := tx.QueryRowContext(ctx, `UPDATE fills SET at = at WHERE name = 'admissions'
			RETURNING started, at, id, done`).Scan(&started, &at, &id, &done)
		if err != nil || done {
			return err
		}

		// An SQLite file is this process's alone, so that nobody records the old way.
		until := s.now()
		single := s.write != s.read
		if !single {
			until = until.Add(-fillLag)
		}
		batch, err := s.fillRows(tx.QueryContext(ctx, `SELECT id, at, state, body, evidence, packed FROM decisions
			WHERE (at, id) > ($1, $2) AND at <= $3 AND NOT moved
				AND (state = 'finished' OR (policy = '' AND digest <> ''))
				AND (verdict = 'pass' OR break_glass OR (policy = '' AND digest <> ''))
			ORDER BY at, id LIMIT $4`, at, id, until.UnixMicro(), fillBatch))
		if err != nil {
			return err
		}

		for _, f := range batch {
			if err := s.fillOne(ctx, tx, f); err != nil {
				return fmt.Errorf("decision %s: %w", f.id, err)
			}
			at, id = f.at, f.id
		}
		n = len(batch)
		done = n < fillBatch && (single || until.After(instantOf(&started).Add(fillFor)))

		// Finished decisions have no later entries before until.
		if n < fillBatch && !done {
			at, id = max(at, until.UnixMicro()), ""
		}
		_, err = tx.ExecContext(ctx, `UPDATE fills SET at = $1, id = $2, done = $3 WHERE name = 'admissions'`, at, id,
			done)
		return err
	})
	return n, done, err
}

// A filled is a decision that was recorded before.
type filled struct {
	id, state, body string
	at              int64
}

func (s *Store) fillRows(rows *sql.Rows, err error) ([]filled, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []filled
	for rows.Next() {
		var f filled
		var t texts
		if err := rows.Scan(&f.id, &f.at, &f.state, &t.first, &t.second, &t.packed); err != nil {
			return nil, err
		}
		f.body, _ = s.unpack(t)
		out = append(out, f)
	}
	return out, rows.Err()
}

// fillOne writes what one decision says of admissions, overrides and revocations.
// Whatever was recorded by this version since is newer, and stays.
func (s *Store) fillOne(ctx context.Context, tx *txn, f filled) error {
	var d attestor.Decision
	if err := json.Unmarshal([]byte(f.body), &d); err != nil {
		return err
	}
	if r, ok := attestor.AsRevocation(d); ok {
		return s.fillRevocation(ctx, tx, f, r)
	}

	g := groundOf(d)

	// What was begun and never finished admits nothing.
	if f.state != stateFinished || !g.admits() {
		return nil
	}
	r := row{
		id: f.id, at: f.at, repository: text(repositoryOf(d)), digest: string(d.Image.Digest),
		verdict: string(d.Verdict), ground: g,
	}
	return s.fillGround(ctx, tx, r)
}

// fillGround writes the admission that an old decision was, unless it was revoked,
// or another decision has admitted the image since.
func (s *Store) fillGround(ctx context.Context, tx *txn, r row) error {
	var revocation, later string
	err := tx.QueryRowContext(ctx, `SELECT
		COALESCE((SELECT MIN(id) FROM revocations
			WHERE repository = $1 AND digest = $2 AND at >= $3 AND state = 'finished'), ''),
		COALESCE((SELECT decision FROM admissions WHERE repository = $1 AND digest = $2 AND at > $3 AND NOT break_glass), '')`,
		r.repository, r.digest, r.at).Scan(&revocation, &later)
	if err != nil {
		return err
	}

	if r.ground.override != nil {
		if err := s.putOverride(ctx, tx, r); err != nil {
			return err
		}
		why, by := attestor.ClosedRevoked, revocation
		if by == "" {
			why, by = attestor.ClosedPassed, later
		}
		if by != "" {
			_, err := tx.ExecContext(ctx, `UPDATE overrides SET closed = $1, closed_at = $2, closed_by = $3
				WHERE decision = $4 AND closed_at IS NULL`, string(why), s.now().UnixMicro(), by, r.id)
			return err
		}
	} else if revocation == "" {
		// A pass closes the overrides before it whose digests it stands for.
		marks, args := placeholders(r.ground.digests, r.repository, r.digest, r.at, r.id, s.now().UnixMicro())
		_, err := tx.ExecContext(ctx, `UPDATE overrides SET closed = 'passed', closed_by = $4, closed_at = $5
			WHERE repository = $1 AND digest = $2 AND closed_at IS NULL AND at <= $3
				AND NOT EXISTS (SELECT 1 FROM override_digests m
					WHERE m.override = overrides.decision AND m.digest NOT IN (`+marks+`))`, args...)
		if err != nil {
			return err
		}
	}

	// A revocation since then took the admission away, and a newer decision replaced it.
	if revocation != "" {
		return nil
	}
	var newer bool
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*) > 0 FROM admissions
		WHERE repository = $1 AND digest = $2 AND at >= $3`, r.repository, r.digest, r.at).Scan(&newer)
	if err != nil || newer {
		return err
	}
	return s.putAdmission(ctx, tx, r)
}

// fillRevocation records as a revocation one that was recorded as a decision.
// The decision itself stays as it was written.
func (s *Store) fillRevocation(ctx context.Context, tx *txn, f filled, r attestor.RevocationRecord) error {
	rows, err := tx.QueryContext(ctx, `SELECT decision FROM admissions WHERE repository = $1 AND digest = $2 AND at <= $3
		UNION SELECT decision FROM overrides WHERE repository = $1 AND digest = $2 AND closed_at IS NULL AND at <= $3
		ORDER BY 1`, r.Image.Repository(), string(r.Image.Digest()), f.at)
	if r.Admitted, err = idRows(rows, err); err != nil {
		return err
	}

	if err := s.putRevocation(ctx, tx, r, f.state); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE decisions SET moved = TRUE, state = 'finished' WHERE id = $1`, f.id)
	return err
}

// oldRevocation reports whether a recorded decision is a revocation in the form of earlier versions. Nothing lists or
// counts it as a denial, even before Fill has read it.
func oldRevocation(body string) bool {
	if !strings.Contains(body, `"`+string(attestor.CodeRevoked)+`"`) {
		return false // without decoding: nearly all
	}
	var d attestor.Decision
	if json.Unmarshal([]byte(body), &d) != nil {
		return false
	}
	_, ok := attestor.AsRevocation(d)
	return ok
}

// idRows reads rows of one text; never nil.
func idRows(rows *sql.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	out := []string{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, rows.Err()
}
