package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/event"
)

var _ attestor.Revocations = (*Store)(nil)

// BeginRevocation implements [attestor.Revocations].
func (s *Store) BeginRevocation(
	ctx context.Context, r attestor.RevocationRecord,
) (attestor.RevocationRecord, error) {
	if s.none {
		return r, nil
	}

	var out attestor.RevocationRecord
	err := s.groupTx(ctx, "recording what is about to be revoked", &queuedWrite{rest: func(ctx context.Context,
		tx *txn) (err error) {
		// The transaction may be tried again: it begins with the caller's record each time.
		out = r
		switch r.Kind {
		case attestor.RevokedAtEnd:
			if out, err = s.endOverride(ctx, tx, r); err != nil || out.ID != r.ID {
				return err
			}
		case attestor.RevokedByJudgment:
			if out.Kept, err = s.loseAdmission(ctx, tx, r); err != nil {
				return err
			}
		}

		if out.Admitted, err = s.admittedBy(ctx, tx, r); err != nil {
			return err
		}
		return s.putRevocation(ctx, tx, out, stateBegun)
	}})

	// Who gave up while it was written must not read what is written still.
	if err != nil {
		return attestor.RevocationRecord{}, err
	}
	return out, nil
}

// loseAdmission returns which digests of an admitted index have another ground, and keep their attestations when it is
// revoked by a judgement: a child that stands by a pass of its own, or of another index, that was not found to be refused
// since, or by an override in force.
func (s *Store) loseAdmission(ctx context.Context, tx *txn, r attestor.RevocationRecord) ([]attestor.Digest, error) {
	repository, digest := r.Image.Repository(), string(r.Image.Digest())
	if err := s.lockAdmission(ctx, tx, repository, digest); err != nil {
		return nil, err
	}

	// What is just being decided knows more, and counts on the attestations that exist.
	begun, err := s.underway(ctx, tx, repository, []string{digest}, false)
	if err != nil {
		return nil, err
	}
	if begun {
		return nil, &attestor.Error{Kind: attestor.NotFound, Msg: "another decision is just admitting the image"}
	}

	kept, err := idRows(tx.QueryContext(ctx, `SELECT m.digest FROM admission_digests m
		WHERE m.repository = $1 AND m.image = $2 AND m.digest <> $2 AND (
			EXISTS (SELECT 1 FROM admission_digests o
				JOIN admissions a ON a.repository = o.repository AND a.digest = o.image
				WHERE o.repository = $1 AND o.digest = m.digest AND o.image <> $2 AND a.verdict = 'pass')
			OR EXISTS (SELECT 1 FROM override_digests v JOIN overrides o ON o.decision = v.override
				WHERE v.repository = $1 AND v.digest = m.digest AND o.digest <> $2 AND o.closed_at IS NULL
					AND (o.expires IS NULL OR o.expires > $3)))
		ORDER BY m.digest`, repository, digest, s.now().UnixMicro()))
	if err != nil {
		return nil, err
	}
	var out []attestor.Digest
	for _, d := range kept {
		out = append(out, attestor.Digest(d))
	}
	return out, nil
}

// endOverride notes at an override that a revocation ends it. It returns the
// revocation that does: this one, or one that was begun before.
func (s *Store) endOverride(
	ctx context.Context, tx *txn, r attestor.RevocationRecord,
) (attestor.RevocationRecord, error) {
	// The first update locks the row against what is about to be attested; see mark. One statement is not enough.
	// PostgreSQL, 13.2.1, of an update that waited for a row: "it does not see effects of those commands on other rows in
	// the database", and so not the mark of a pass that it waited for.
	_, err := tx.ExecContext(ctx, `UPDATE overrides SET revocation = revocation WHERE decision = $1`, r.Override)
	if err != nil {
		return attestor.RevocationRecord{}, err
	}
	res, err := tx.ExecContext(ctx, `UPDATE overrides SET revocation = $1
		WHERE decision = $2 AND closed_at IS NULL AND revocation = ''
			AND NOT EXISTS (SELECT 1 FROM override_passes p WHERE p.override = overrides.decision)`, r.ID, r.Override)
	if err != nil {
		return attestor.RevocationRecord{}, err
	}
	if n, err := res.RowsAffected(); err != nil {
		return attestor.RevocationRecord{}, err
	} else if n > 0 {
		return s.endWithout(ctx, tx, r)
	}

	var body string
	err = tx.QueryRowContext(ctx, `SELECT r.body FROM overrides o JOIN revocations r ON r.id = o.revocation
		WHERE o.decision = $1 AND o.closed_at IS NULL AND r.state = 'begun'`, r.Override).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return attestor.RevocationRecord{}, &attestor.Error{
			Kind: attestor.NotFound,
			Msg:  "the override is closed, or the image is just being attested in its own right",
		}
	}
	if err != nil {
		return attestor.RevocationRecord{}, err
	}
	return revocationOf(body)
}

// endWithout returns r with the digests that have another ground, as it is now: no
// pass of this override's digests is being attested. Where all of them have one,
// there is nothing to end.
func (s *Store) endWithout(
	ctx context.Context, tx *txn, r attestor.RevocationRecord,
) (attestor.RevocationRecord, error) {
	digests, err := digestsOf(ctx, tx, r.Override)
	if err != nil {
		return attestor.RevocationRecord{}, err
	}
	g, err := s.grounds(ctx, tx, r.Override, r.Image.Repository(), digests)
	if err != nil {
		return attestor.RevocationRecord{}, err
	}

	if r.Kept = g.Keep; len(g.Keep) == len(digests) {
		return attestor.RevocationRecord{}, &attestor.Error{
			Kind: attestor.NotFound,
			Msg:  "all that the override admitted has another ground",
		}
	}

	// An override that takes this one's place may have reused its attestations already, and is a ground in a moment.
	texts := make([]string, 0, len(digests))
	for _, d := range digests {
		texts = append(texts, string(d))
	}
	begun, err := s.underway(ctx, tx, r.Image.Repository(), texts, true)
	if err != nil {
		return attestor.RevocationRecord{}, err
	}
	if begun {
		return attestor.RevocationRecord{}, &attestor.Error{
			Kind: attestor.NotFound,
			Msg:  "the image is just being attested by another override",
		}
	}
	return r, nil
}

// admittedBy lists the decisions by which the image of a revocation stands
// admitted. For a judgement it refuses an image that another decision has admitted
// since: that one knew more.
func (s *Store) admittedBy(ctx context.Context, tx *txn, r attestor.RevocationRecord) ([]string, error) {
	rows, err := tx.QueryContext(ctx, `SELECT decision FROM admissions WHERE repository = $1 AND digest = $2
		UNION SELECT decision FROM overrides WHERE repository = $1 AND digest = $2 AND closed_at IS NULL
		ORDER BY 1`, r.Image.Repository(), string(r.Image.Digest()))
	admitted, err := idRows(rows, err)
	if err != nil {
		return nil, err
	}
	if r.Kind == attestor.RevokedByJudgment && !slices.Equal(admitted, r.Admitted) {
		return nil, &attestor.Error{Kind: attestor.NotFound, Msg: "another decision has admitted the image since"}
	}

	// At its end an override takes away only what it gave.
	if r.Kind == attestor.RevokedAtEnd {
		admitted = slices.DeleteFunc(admitted, func(id string) bool { return id != r.Override })
	}
	return admitted, nil
}

// putRevocation writes a revocation that is new or was only begun.
func (s *Store) putRevocation(ctx context.Context, tx *txn, r attestor.RevocationRecord, state string) error {
	encoded, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding a revocation: %w", err)
	}
	body := text(string(encoded))

	res, err := tx.ExecContext(ctx, `INSERT INTO revocations (id, at, state, kind, repository, digest, body)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (id) DO UPDATE SET state = excluded.state, body = excluded.body WHERE revocations.state = 'begun'`,
		r.ID, r.Time.UnixMicro(), state, string(r.Kind), r.Image.Repository(), string(r.Image.Digest()), body)
	if err != nil {
		return err
	}

	// Finished before: by another instance that completed it too.
	if n, err := res.RowsAffected(); n == 0 || err != nil {
		return err
	}

	for _, id := range r.Admitted {
		_, err := tx.ExecContext(ctx, `INSERT INTO revocation_decisions (decision, revocation) VALUES ($1, $2)
			ON CONFLICT (decision, revocation) DO NOTHING`, id, r.ID)
		if err != nil {
			return err
		}
	}
	if state != stateFinished {
		return nil
	}

	// Once only: for a record that was finished before, the statement above wrote nothing.
	tx.logParts(kindRevocation, r.ID, r.Time.UnixMicro(), map[string][]byte{kindRevocation: []byte(body)})
	if err := s.publish(ctx, tx, event.Revoked(r)); err != nil {
		return err
	}
	return s.withdraw(ctx, tx, r)
}

// withdraw removes what a finished revocation has taken away: the admissions by the
// decisions that it was begun for, and no later ones.
func (s *Store) withdraw(ctx context.Context, tx *txn, r attestor.RevocationRecord) error {
	marks, args := placeholders(r.Admitted, r.Image.Repository(), string(r.Image.Digest()))
	res, err := tx.ExecContext(ctx, `DELETE FROM admissions
		WHERE repository = $1 AND digest = $2 AND decision IN (`+marks+`)`, args...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n > 0 {
		_, err := tx.ExecContext(ctx, deleteAdmissionDigestsText, r.Image.Repository(), string(r.Image.Digest()))
		if err != nil {
			return err
		}
	}

	why := attestor.ClosedRevoked
	if r.Kind == attestor.RevokedAtEnd {
		why = attestor.ClosedExpired
	}
	marks, args = placeholders(r.Admitted, string(why), s.now().UnixMicro(), r.ID)
	_, err = tx.ExecContext(ctx, `UPDATE overrides SET closed = $1, closed_at = $2, closed_by = $3
		WHERE closed_at IS NULL AND decision IN (`+marks+`)`, args...)
	return err
}

// FinishRevocation implements [attestor.Revocations].
func (s *Store) FinishRevocation(ctx context.Context, r attestor.RevocationRecord) error {
	if s.none {
		return nil
	}
	return s.groupTx(ctx, "recording a revocation", &queuedWrite{logs: true, rest: func(ctx context.Context,
		tx *txn) error {
		return s.putRevocation(ctx, tx, r, stateFinished)
	}})
}

// RevocationsOf lists the revocations of what a decision had admitted, the oldest
// first.
func (s *Store) RevocationsOf(ctx context.Context, decision string) ([]attestor.RevocationRecord, error) {
	if s.none {
		return nil, unsupported()
	}
	return s.revocations(ctx, `SELECT r.body FROM revocation_decisions m JOIN revocations r ON r.id = m.revocation
		WHERE m.decision = $1 AND r.state = 'finished' ORDER BY r.at, r.id LIMIT 100`, text(decision))
}

// Revocation returns a finished revocation, or an error of kind NotFound.
func (s *Store) Revocation(ctx context.Context, id string) (attestor.RevocationRecord, error) {
	if s.none {
		return attestor.RevocationRecord{}, unsupported()
	}
	out, err := s.revocations(ctx, `SELECT body FROM revocations WHERE id = $1 AND state = 'finished'`, text(id))
	if err != nil {
		return attestor.RevocationRecord{}, err
	}
	if len(out) == 0 {
		return attestor.RevocationRecord{}, &attestor.Error{Kind: attestor.NotFound, Msg: "no such revocation"}
	}
	return out[0], nil
}

// revocations runs a query for bodies.
func (s *Store) revocations(ctx context.Context, query string, args ...any) ([]attestor.RevocationRecord, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	out, err := func() ([]attestor.RevocationRecord, error) {
		rows, err := s.read.QueryContext(ctx, query, args...)
		if err != nil {
			return nil, err
		}
		defer func() { _ = rows.Close() }() // rows.Err has the error

		var out []attestor.RevocationRecord
		for rows.Next() {
			var body string
			if err := rows.Scan(&body); err != nil {
				return nil, err
			}
			r, err := revocationOf(body)
			if err != nil {
				return nil, err
			}
			out = append(out, r)
		}
		return out, rows.Err()
	}()
	if err != nil {
		return nil, s.fail("reading revocations", err)
	}
	return out, nil
}

func revocationOf(body string) (attestor.RevocationRecord, error) {
	var r attestor.RevocationRecord
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		return r, fmt.Errorf("decoding a revocation: %w", err)
	}
	return r, nil
}

// addSince adds to rows what became of their decisions: of an override that was
// granted, and of what was admitted. It takes two queries, however many rows.
func (s *Store) addSince(ctx context.Context, heads []head) error {
	if len(heads) == 0 {
		return nil
	}

	index := map[string]*head{}
	var ids []string
	for i := range heads {
		index[heads[i].id] = &heads[i]
		ids = append(ids, heads[i].id)
	}
	marks, args := placeholders(ids)
	if err := s.addRevocations(ctx, index, marks, args); err != nil {
		return err
	}

	overrides, err := overrideRows(s.from(ctx).QueryContext(ctx, `SELECT `+overrideColumns+` FROM overrides
		WHERE decision IN (`+marks+`)`, args...))
	if err != nil {
		return err
	}
	for _, o := range overrides {
		state := &attestor.OverrideState{Open: o.Closed == "", Overdue: o.Overdue(s.now()),
			Closed: o.Closed, By: o.ClosedBy}
		if !o.ClosedAt.IsZero() {
			state.Time = &o.ClosedAt
		}
		index[o.Decision].override = state
	}
	return nil
}

// addRevocations adds the last finished revocation to the rows of index.
func (s *Store) addRevocations(ctx context.Context, index map[string]*head, marks string, args []any) error {
	//nolint:gosec // marks are placeholders, and no values
	rows, err := s.from(ctx).QueryContext(ctx, `SELECT m.decision, r.body FROM revocation_decisions m
		JOIN revocations r ON r.id = m.revocation
		WHERE r.state = 'finished' AND m.decision IN (`+marks+`) ORDER BY r.at, r.id`, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	for rows.Next() {
		var id, body string
		if err := rows.Scan(&id, &body); err != nil {
			return err
		}
		r, err := revocationOf(body)
		if err != nil {
			return err
		}
		index[id].revoked = &r
	}
	return rows.Err()
}
