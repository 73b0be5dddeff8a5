package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pressly/goose/v3"

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
		return s.unmark(ctx, tx, r.id, false)
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
		if passed, err := s.overtaken(ctx, tx, r); passed || err != nil {
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
		if err := s.unmark(ctx, tx, r.id, true); err != nil {
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

// mark notes which overrides a pass follows that is about to be attested. Attestations that exist are reused: neither a
// pass nor an override is begun while those of its image are being deleted.
func (s *Store) mark(ctx context.Context, tx *txn, r row) error {
	if !r.ground.pass && r.ground.override == nil {
		return nil
	}

	// The update locks the rows: an override's end, which locks them too, is begun either before this, and is seen
	// below, or after it, and then finds what is begun here.
	marks, args := placeholders(r.digests, r.repository)
	open := `closed_at IS NULL AND decision IN
		(SELECT override FROM override_digests WHERE repository = $1 AND digest IN (` + marks + `))`
	res, err := tx.ExecContext(ctx, `UPDATE overrides SET revocation = revocation WHERE `+open, args...)
	if err != nil {
		return err
	}
	opened, err := res.RowsAffected()
	if err != nil {
		return err
	}
	if err := s.lockAdmission(ctx, tx, r.repository, r.digest); err != nil {
		return err
	}

	args = append(args, r.id)
	begun := fmt.Sprintf(`FROM `+begunDecisions+` d WHERE d.break_glass AND d.repository = $1 AND d.id <> $%d AND EXISTS
		(SELECT 1 FROM decision_digests g WHERE g.decision = d.id AND g.digest IN (%s))`, len(args), marks)

	// What was found to exist when the request began may be deleted since.
	since := fmt.Sprintf(`EXISTS (SELECT 1 FROM revocations r WHERE r.repository = $1 AND r.digest = $%d
		AND r.at > $%d AND r.at <= $%d)`, len(args)+1, len(args)+2, len(args)+3)
	var revoking, overriding bool
	err = tx.QueryRowContext(ctx, `SELECT `+revokingText(marks)+` OR `+since+`, EXISTS (SELECT 1 `+begun+`)`,
		append(slices.Clone(args), r.digest, r.at, s.now().UnixMicro())...).Scan(&revoking, &overriding)
	if err != nil {
		return err
	}
	if revoking {
		return &attestor.Error{
			Kind: attestor.Unavailable,
			Msg:  "the attestations of this image are just being deleted, as of an override that has reached its end",
			Fix:  "repeat the request in a minute; if that does not help, the gate's log says why they cannot be deleted",

			After: revokedIn,
		}
	}
	if !r.ground.pass {
		return nil
	}

	// An override that was only begun, and is finished by recovery perhaps, was before this pass as well.
	put := fmt.Sprintf(`INSERT INTO override_passes (override, decision)
		SELECT %%s, CAST($%d AS TEXT) %%s ON CONFLICT (override, decision) DO NOTHING`, len(args))
	if opened > 0 {
		_, err = tx.ExecContext(ctx, fmt.Sprintf(put, "decision", `FROM overrides WHERE `+open), args...)
	}
	if err == nil && overriding {
		_, err = tx.ExecContext(ctx, fmt.Sprintf(put, "d.id", begun), args...)
	}
	return err
}

// revokedIn is how long a deletion usually takes at most.
const revokedIn = 5 * time.Second

// begunDecisions are the newest decisions that were begun and have not ended: few, but for those that nobody can finish.
const begunDecisions = `(SELECT id, at, repository, verdict, break_glass FROM decisions
		WHERE state = 'begun' AND NOT moved ORDER BY at DESC, id DESC LIMIT 1000)`

// revokingText is the condition that a revocation was begun, and has not ended, of one of some digests in the
// repository $1: of an image, or of one that it is a child of.
func revokingText(marks string) string {
	return `EXISTS (SELECT 1 FROM revocations r WHERE r.state = 'begun' AND r.repository = $1
		AND (r.digest IN (` + marks + `) OR EXISTS (SELECT 1 FROM revocation_decisions m
			JOIN decision_digests g ON g.decision = m.decision
			WHERE m.revocation = r.id AND g.digest IN (` + marks + `))))`
}

// underwayFor is longer than any request takes. What was begun before is only left to be recovered, and is judged then
// by the attestations that exist.
const underwayFor = time.Hour

// underway reports whether a decision was begun that may count on the attestations of some digests: an override or,
// unless only overrides are asked for, a pass.
func (s *Store) underway(
	ctx context.Context, tx *txn, repository string, digests []string, onlyOverrides bool,
) (begun bool, err error) {
	kind := `(d.break_glass OR d.verdict = 'pass')`
	if onlyOverrides {
		kind = `d.break_glass`
	}
	now := s.now()
	marks, args := placeholders(digests, repository, now.Add(-underwayFor).UnixMicro(), now.Add(ahead).UnixMicro())
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM `+begunDecisions+` d
		WHERE `+kind+` AND d.repository = $1 AND d.at > $2 AND d.at <= $3 AND EXISTS
			(SELECT 1 FROM decision_digests g WHERE g.decision = d.id AND g.digest IN (`+marks+`)))`, args...).Scan(&begun)
	return begun, err
}

// lockAdmission makes what is begun about an admitted image follow each other, until tx ends. SQLite has one writer in
// any case.
func (s *Store) lockAdmission(ctx context.Context, tx *txn, repository, digest string) error {
	if s.engine.dialect() != goose.DialectPostgres {
		return nil
	}
	var one int
	err := tx.QueryRowContext(ctx, `SELECT 1 FROM admissions WHERE repository = $1 AND digest = $2 FOR UPDATE`,
		repository, digest).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // nothing is admitted, so that nothing is revoked
	}
	return err
}

// unmark removes the marks of a decision that is finished. Those of overrides that are begun stay, where it is a pass:
// they are what says that it follows them.
func (s *Store) unmark(ctx context.Context, tx *txn, decision string, passed bool) error {
	text := unmarkText
	if passed {
		text += ` AND override NOT IN (SELECT id FROM decisions WHERE state = 'begun')`
	}
	_, err := s.exec(ctx, tx, text, decision)
	return err
}

const unmarkText = `DELETE FROM override_passes WHERE decision = $1`

// overtaken handles an override that is finished after a pass which was begun later, as after a crash: the pass is the
// ground of what it stands for. It reports whether the pass stands for the override's own image.
func (s *Store) overtaken(ctx context.Context, tx *txn, r row) (passed bool, err error) {
	by, err := idRows(tx.QueryContext(ctx, `SELECT a.decision FROM override_passes p
		JOIN admissions a ON a.decision = p.decision
		WHERE p.override = $1 AND a.repository = $2 AND a.digest = $3 AND NOT a.break_glass`,
		r.id, r.repository, r.digest))
	if err != nil {
		return false, err
	}

	// What has finished holds up the override's end no longer. A pass that is only begun closes it when it finishes.
	_, err = tx.ExecContext(ctx, `DELETE FROM override_passes WHERE override = $1
		AND decision NOT IN (SELECT id FROM decisions WHERE state = 'begun')`, r.id)
	if err != nil || len(by) == 0 {
		return false, err
	}

	// Closed only if the pass stands for every digest: the rest ends at its end.
	_, err = tx.ExecContext(ctx, `UPDATE overrides SET closed = 'passed', closed_by = $1, closed_at = $2
		WHERE decision = $3 AND closed_at IS NULL AND NOT EXISTS (SELECT 1 FROM override_digests m
			WHERE m.override = $3 AND NOT EXISTS (SELECT 1 FROM admission_digests a
				WHERE a.repository = $4 AND a.image = $5 AND a.digest = m.digest))`,
		by[0], s.now().UnixMicro(), r.id, r.repository, r.digest)
	return err == nil, err
}

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
