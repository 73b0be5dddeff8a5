package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// A ground is what a decision changes of the admissions. The zero value changes
// nothing: a denial, an error, a dry run.
type ground struct {
	pass      bool                 // a pass in its own right, by a policy that enforces
	override  *attestor.BreakGlass // or an override that was granted
	digests   []string             // that its attestations are of; empty: nothing stands
	attestors []string
}

// groundOf returns the ground that a decision is. Dry runs are none, and neither
// are judgements of what was admitted before, which are dry runs too.
func groundOf(d attestor.Decision) ground {
	if d.DryRun || d.Policy == nil {
		return ground{}
	}

	// The right to attest comes from a pass or an override, never from both.
	g := ground{pass: d.Verdict == attestor.Pass && d.BreakGlass == nil, override: d.BreakGlass}
	for _, a := range d.Attestations {
		if !slices.Contains(g.digests, string(a.Digest)) {
			g.digests = append(g.digests, string(a.Digest))
		}
		if !slices.Contains(g.attestors, a.Attestor) {
			g.attestors = append(g.attestors, a.Attestor)
		}
	}
	slices.Sort(g.digests) // writers of the same rows take their locks in one order
	return g
}

// admits reports whether attestations stand by this ground. An override of which
// only a part was stored is among them, since that part must end too.
func (g ground) admits() bool { return (g.pass || g.override != nil) && len(g.digests) > 0 }

// putGround writes what a decision changes of admissions and overrides.
//
// Admissions are in the order in which they were begun, and not in that of their
// times: clocks jump, and a pass that a crash left begun may be finished after a
// later override, whose end it must not take away.
func (s *Store) putGround(ctx context.Context, tx *txn, r row, state string) error {
	switch {
	case state == stateBegun:
		return s.mark(ctx, tx, r)
	case r.ground.admits():
		return s.admit(ctx, tx, r)
	case r.verdict == string(attestor.Undecided): // a pass that was begun and is none
		return s.unmark(ctx, tx, r.id)
	}
	return nil
}

// admit writes the admission that a decision is, and closes the overrides that a
// pass has made needless.
func (s *Store) admit(ctx context.Context, tx *txn, r row) error {
	if r.ground.override != nil {
		if err := s.putOverride(ctx, tx, r); err != nil {
			return err
		}
		return s.putAdmission(ctx, tx, r)
	}

	// Most images were never overridden.
	var open, marked bool
	err := tx.QueryRowContext(ctx, `SELECT
		EXISTS (SELECT 1 FROM overrides WHERE repository = $1 AND digest = $2 AND closed_at IS NULL
			AND decision NOT IN (SELECT override FROM override_passes WHERE decision = $3)),
		EXISTS (SELECT 1 FROM override_passes WHERE decision = $3)`, r.repository, r.digest, r.id).Scan(&open, &marked)
	if err != nil {
		return err
	}

	if marked {
		if err := s.closePassed(ctx, tx, r); err != nil {
			return err
		}
		if err := s.unmark(ctx, tx, r.id); err != nil {
			return err
		}
	}

	// An open override that was granted after this pass was begun remains the ground.
	if open {
		return nil
	}
	return s.putAdmission(ctx, tx, r)
}

// putAdmission makes the decision the ground on which its image is admitted.
func (s *Store) putAdmission(ctx context.Context, tx *txn, r row) error {
	_, err := s.exec(ctx, tx, putAdmissionText,
		r.repository, r.digest, r.id, r.at, r.ground.override != nil, r.verdict)
	if err != nil {
		return err
	}

	// What an earlier decision attested, and this one does not stand for, has another
	// ground or none.
	if _, err := s.exec(ctx, tx, deleteAdmissionDigestsText, r.repository, r.digest); err != nil {
		return err
	}
	for _, digest := range r.ground.digests {
		if _, err := s.exec(ctx, tx, putAdmissionDigestText, r.repository, digest, r.digest); err != nil {
			return err
		}
	}
	return nil
}

const (
	putAdmissionText = `INSERT INTO admissions (repository, digest, decision, at, break_glass,
			looked_at, tried_at, claimed_until, verdict, cause, changed, changed_at)
		VALUES ($1, $2, $3, $4, $5, $4, $4, 0, $6, '', $3, $4)
		ON CONFLICT (repository, digest) DO UPDATE SET decision = excluded.decision, at = excluded.at,
			break_glass = excluded.break_glass, looked_at = excluded.looked_at, tried_at = excluded.tried_at,
			claimed_until = 0, verdict = excluded.verdict, cause = '', changed = excluded.changed,
			changed_at = excluded.changed_at`

	putAdmissionDigestText = `INSERT INTO admission_digests (repository, digest, image) VALUES ($1, $2, $3)
		ON CONFLICT (repository, digest, image) DO NOTHING`

	deleteAdmissionDigestsText = `DELETE FROM admission_digests WHERE repository = $1 AND image = $2`
)

// mark notes which open overrides a pass follows that is about to be attested.
func (s *Store) mark(ctx context.Context, tx *txn, r row) error {
	if !r.ground.pass {
		return nil
	}

	// The update locks the rows: an override's end, which updates them too, is begun
	// either before this, and is seen below, or after it, and then finds the mark.
	marks, args := placeholders(r.digests, r.repository)
	open := `closed_at IS NULL AND decision IN
		(SELECT override FROM override_digests WHERE repository = $1 AND digest IN (` + marks + `))`
	res, err := tx.ExecContext(ctx, `UPDATE overrides SET revocation = revocation WHERE `+open, args...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err
	}

	// Attestations that exist are reused, and these are being deleted.
	var ending bool
	err = tx.QueryRowContext(ctx,
		`SELECT COUNT(*) > 0 FROM overrides WHERE revocation <> '' AND `+open, args...).Scan(&ending)
	if err != nil {
		return err
	}
	if ending {
		return &attestor.Error{
			Kind: attestor.Unavailable,
			Msg:  "an override of this image has reached its end, and its attestations are being deleted",
			Fix:  "repeat the request in a minute",
		}
	}

	args = append(args, r.id)
	_, err = tx.ExecContext(ctx, fmt.Sprintf(`INSERT INTO override_passes (override, decision)
		SELECT decision, CAST($%d AS TEXT) FROM overrides WHERE %s
		ON CONFLICT (override, decision) DO NOTHING`, len(args), open), args...)
	return err
}

// unmark removes the marks of a decision that is finished.
func (s *Store) unmark(ctx context.Context, tx *txn, decision string) error {
	_, err := s.exec(ctx, tx, unmarkText, decision)
	return err
}

const unmarkText = `DELETE FROM override_passes WHERE decision = $1`

// closePassed closes the overrides that a pass follows, where it stands for every
// digest of theirs. Of the others, the part that it does not stand for ends later.
func (s *Store) closePassed(ctx context.Context, tx *txn, r row) error {
	marks, args := placeholders(r.ground.digests, r.repository, r.id, s.now().UnixMicro())
	_, err := tx.ExecContext(ctx, `UPDATE overrides SET closed = 'passed', closed_by = $2, closed_at = $3
		WHERE repository = $1 AND closed_at IS NULL
			AND decision IN (SELECT override FROM override_passes WHERE decision = $2)
			AND NOT EXISTS (SELECT 1 FROM override_digests m
				WHERE m.override = overrides.decision AND m.digest NOT IN (`+marks+`))`, args...)
	return err
}

// putOverride writes an override that was granted and attested.
func (s *Store) putOverride(ctx context.Context, tx *txn, r row) error {
	b := r.ground.override
	attestors, err := json.Marshal(r.ground.attestors)
	if err != nil {
		return err
	}

	granted := overridePart{
		Repository: r.repository, Digest: r.digest, At: r.at, GrantedTo: text(b.By), Reason: text(b.Reason),
		Attestors: text(string(attestors)), Expires: endOf(b),
	}
	res, err := tx.ExecContext(ctx, `INSERT INTO overrides
			(decision, repository, digest, at, granted_to, reason, attestors, expires, closed_at, closed, closed_by, revocation)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL, '', '', '')
		ON CONFLICT (decision) DO NOTHING`,
		r.id, granted.Repository, granted.Digest, granted.At, granted.GrantedTo, granted.Reason, granted.Attestors,
		granted.Expires)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n > 0 {
		parts, err := granted.parts()
		if err != nil {
			return err
		}
		tx.logParts(kindOverride, r.id, r.at, parts)
	}

	for _, digest := range r.ground.digests {
		_, err := tx.ExecContext(ctx, `INSERT INTO override_digests (repository, digest, override) VALUES ($1, $2, $3)
			ON CONFLICT (repository, digest, override) DO NOTHING`, r.repository, digest, r.id)
		if err != nil {
			return err
		}
	}
	return nil
}

// endOf is the end of an override in the unit of the store, or nil for none.
func endOf(b *attestor.BreakGlass) *int64 {
	if b.Expires == nil {
		return nil
	}
	return micros(*b.Expires)
}

// placeholders returns the placeholders of values that follow args, and all of
// them together. Without values it is one that matches nothing.
func placeholders(values []string, args ...any) (string, []any) {
	if len(values) == 0 {
		values = []string{""}
	}
	var marks []string
	for _, v := range values {
		args = append(args, v)
		marks = append(marks, fmt.Sprintf("$%d", len(args)))
	}
	return strings.Join(marks, ", "), args
}

const admissionColumns = `repository, digest, decision, at, break_glass, looked_at, tried_at,
	verdict, cause, changed, changed_at`

// admissionRows reads rows of admissionColumns.
func admissionRows(rows *sql.Rows, err error) ([]attestor.Admission, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []attestor.Admission
	for rows.Next() {
		var a attestor.Admission
		var repository, digest string
		var at, looked, tried, since int64
		err := rows.Scan(&repository, &digest, &a.Decision, &at, &a.BreakGlass, &looked, &tried,
			&a.Verdict, &a.Cause, &a.Changed, &since)
		if err != nil {
			return nil, err
		}

		if a.Image, err = attestor.ParseImage(repository + "@" + digest); err != nil {
			return nil, fmt.Errorf("reading an admission: %w", err)
		}
		a.Time, a.Looked, a.Tried, a.Since = instantOf(&at), instantOf(&looked), instantOf(&tried), instantOf(&since)
		out = append(out, a)
	}
	return out, rows.Err()
}

// maxAdmittedWith bounds the admissions that one digest is looked up in.
const maxAdmittedWith = 100

// AdmittedWith lists the admissions whose attestations include an image: its own,
// and those of indexes that it is a child of. It lists at most 100.
func (s *Store) AdmittedWith(ctx context.Context, img attestor.Image) ([]attestor.Admission, error) {
	if s.none {
		return nil, nil
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	out, err := admissionRows(s.read.QueryContext(ctx, `SELECT `+admissionColumns+` FROM admissions
		WHERE repository = $1 AND digest IN
			(SELECT image FROM admission_digests WHERE repository = $1 AND digest = $2)
		ORDER BY digest LIMIT $3`, img.Repository(), string(img.Digest()), maxAdmittedWith))
	if err != nil {
		return nil, s.fail("reading admissions", err)
	}
	return out, nil
}
