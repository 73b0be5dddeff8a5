package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/event"
)

const (
	kindRejudge = "rejudge"
	kindExpire  = "expire"

	// runFor is how long a run that was not ended is continued. After that, the next
	// one starts over.
	runFor = 24 * time.Hour
	// runsKept is how long runs are kept that have ended.
	runsKept = 90 * 24 * time.Hour
	// lease is how long a claim holds. What an instance had claimed when it was killed
	// is free for others after that.
	lease = 2 * time.Minute
	// ahead is how far the clocks of instances may differ.
	ahead = 5 * time.Minute
)

// StartRun continues a caller's run over all admissions, or starts one under the
// given id if there is none that goes on.
func (s *Store) StartRun(ctx context.Context, id string, caller attestor.CallerRef) (attestor.Run, error) {
	const doing = "starting a run"
	if s.none {
		return attestor.Run{}, unsupported()
	}

	var run string
	err := s.tx(ctx, doing, func(ctx context.Context, tx *txn) error {
		run = id

		// A scheduler may call twice at once. Two runs would each have the whole limit of revocations.
		if err := s.lockName(ctx, tx, "runs "+callerKey(caller)); err != nil {
			return err
		}

		now := s.now()
		open, err := runRow(tx.QueryRowContext(ctx, runColumns+` WHERE kind = 'rejudge' AND caller = $1
			AND ended IS NULL AND NOT stopped AND started > $2 AND started <= $3 ORDER BY started DESC LIMIT 1`,
			callerKey(caller), now.Add(-runFor).UnixMicro(), now.Add(ahead).UnixMicro()))
		if err == nil {
			run = open.ID
			return nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}

		// A clock that was ahead left times at which no run would come by for long.
		tooLate, claimed := now.Add(ahead).UnixMicro(), now.Add(ahead+lease).UnixMicro()
		if _, err := tx.ExecContext(ctx, forgetTriesText, tooLate, now.UnixMicro()); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, forgetClaimsText, tooLate, now.UnixMicro(), claimed); err != nil {
			return err
		}
		return s.putRun(ctx, tx, id, kindRejudge, caller, now)
	})
	if err != nil {
		return attestor.Run{}, err
	}
	return s.Run(ctx, run)
}

// Each is found by an index: with OR, all admissions would be read.
const (
	forgetTriesText = `UPDATE admissions SET tried_at = 0, claimed_until = 0,
		looked_at = CASE WHEN looked_at > $1 THEN $2 ELSE looked_at END WHERE tried_at > $1`

	forgetClaimsText = `UPDATE admissions SET tried_at = 0, claimed_until = 0,
		looked_at = CASE WHEN looked_at > $1 THEN $2 ELSE looked_at END WHERE claimed_until > $3 AND claimed_until > 0`
)

// putRun writes a new run, and removes those that ended long ago.
func (s *Store) putRun(
	ctx context.Context, tx *txn, id, kind string, caller attestor.CallerRef, now time.Time,
) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM runs WHERE kind = $1 AND started < $2`,
		kind, now.Add(-runsKept).UnixMicro())
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO runs
			(id, kind, caller, started, ended, covered, changed, failed, revoked, stopped)
		VALUES ($1, $2, $3, $4, NULL, 0, 0, 0, 0, FALSE) ON CONFLICT (id) DO NOTHING`,
		text(id), kind, callerKey(caller), now.UnixMicro())
	return err
}

// callerKey identifies a caller. Neither issuers nor subjects contain line breaks.
func callerKey(c attestor.CallerRef) string { return text(c.Issuer + "\n" + c.Subject) }

const runColumns = `SELECT id, started, ended, caller, covered, changed, failed, revoked, stopped FROM runs`

// runRow reads a row of runColumns.
func runRow(row *sql.Row) (attestor.Run, error) {
	var r attestor.Run
	var started int64
	var ended sql.NullInt64
	var caller string
	err := row.Scan(&r.ID, &started, &ended, &caller, &r.Covered, &r.Changed, &r.Failed, &r.Revoked, &r.Stopped)
	if err != nil {
		return attestor.Run{}, err
	}

	r.Started = instantOf(&started)
	if ended.Valid {
		r.Ended = instantOf(&ended.Int64)
	}
	r.Caller.Issuer, r.Caller.Subject, _ = strings.Cut(caller, "\n")
	return r, nil
}

// Run returns a run over all admissions, or an error of kind NotFound.
func (s *Store) Run(ctx context.Context, id string) (attestor.Run, error) {
	if s.none {
		return attestor.Run{}, unsupported()
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	r, err := runRow(s.read.QueryRowContext(ctx, runColumns+` WHERE id = $1 AND kind = 'rejudge'`, text(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return attestor.Run{}, &attestor.Error{Kind: attestor.NotFound, Msg: "no such run"}
	}
	if err != nil {
		return attestor.Run{}, s.fail("reading a run", err)
	}
	return r, nil
}

// Claim takes at most n admissions that a run has not covered, those first that
// were judged longest ago, for this instance alone. It begins after the admission
// of the last Claim, or with the zero Admission at the first one. visible selects
// the repositories of the run. last is where the next Claim begins; it is the zero
// Admission where there is nothing more.
//
// A claim ends when the Rejudgement is recorded, or by itself after two minutes.
func (s *Store) Claim(
	ctx context.Context, run attestor.Run, after attestor.Admission, n int, visible func(repository string) bool,
) (claimed []attestor.Admission, last attestor.Admission, err error) {
	if s.none {
		return nil, attestor.Admission{}, unsupported()
	}

	err = s.tx(ctx, "reading admissions", func(ctx context.Context, tx *txn) error {
		claimed, last = nil, attestor.Admission{}
		now := s.now()
		repository, digest := "", ""
		if after.Decision != "" {
			repository, digest = after.Image.Repository(), string(after.Image.Digest())
		}

		found, err := admissionRows(tx.QueryContext(ctx, `SELECT `+admissionColumns+` FROM admissions
			WHERE tried_at < $1 AND claimed_until <= $2 AND (tried_at, repository, digest) > ($3, $4, $5)
			ORDER BY tried_at, repository, digest LIMIT $6`,
			run.Started.UnixMicro(), now.UnixMicro(), after.Tried.UnixMicro(), repository, digest, n))
		if err != nil || len(found) == 0 {
			return err
		}

		// Also behind those of other repositories: the next claim must not read them again.
		last = found[len(found)-1]

		var marks []string
		args := []any{now.Add(lease).UnixMicro(), now.UnixMicro()}
		for _, a := range found {
			if !visible(a.Image.Repository()) {
				continue
			}
			args = append(args, a.Image.Repository(), string(a.Image.Digest()))
			marks = append(marks, fmt.Sprintf("($%d, $%d)", len(args)-1, len(args)))
		}
		if len(marks) == 0 {
			return nil
		}

		// Another instance may have claimed some of them since they were read. It holds
		// their rows until it commits, and then this statement finds its claim.
		claimed, err = admissionRows(tx.QueryContext(ctx, `UPDATE admissions SET claimed_until = $1
			WHERE claimed_until <= $2 AND (repository, digest) IN (VALUES `+strings.Join(marks, ", ")+`)
			RETURNING `+admissionColumns, args...))
		return err
	})
	return claimed, last, err
}

// Looked records what was found about admissions, and counts it for a run. run is
// the zero Run for looks outside of one. An admission that another decision has
// admitted since, or that the run has covered already, stays as it is.
func (s *Store) Looked(ctx context.Context, run attestor.Run, looks []attestor.Rejudgement) error {
	if s.none {
		return unsupported()
	}

	// In one order, so that instances wait for each other's rows, and stand in nobody's way.
	looks = slices.SortedFunc(slices.Values(looks), func(a, b attestor.Rejudgement) int {
		return strings.Compare(a.Admission.Image.String(), b.Admission.Image.String())
	})
	return s.tx(ctx, "recording what was judged again", func(ctx context.Context, tx *txn) error {
		var covered, changed, failed int64
		for _, l := range looks {
			n, err := s.putLook(ctx, tx, run, l)
			if err != nil {
				return err
			}
			covered += n
			if l.Decision != "" {
				changed += n
			}
			if !l.Answered {
				failed += n
			}
		}

		if run.ID == "" || covered == 0 {
			return nil
		}
		_, err := tx.ExecContext(ctx, `UPDATE runs SET covered = covered + $1, changed = changed + $2, failed = failed + $3
			WHERE id = $4`, covered, changed, failed, run.ID)
		return err
	})
}

// putLook writes one look, and returns how many admissions it changed: 0 or 1.
func (s *Store) putLook(ctx context.Context, tx *txn, run attestor.Run, l attestor.Rejudgement) (int64, error) {
	// The clocks of instances differ. The time is never before the start of the run,
	// so that the run does not come by again.
	tried, before := s.now(), int64(0)
	if run.ID != "" {
		before = run.Started.UnixMicro()
		if tried.Before(run.Started) {
			tried = run.Started
		}
	}

	set := `tried_at = $1, claimed_until = 0`
	args := []any{
		tried.UnixMicro(), l.Admission.Image.Repository(), string(l.Admission.Image.Digest()),
		l.Admission.Decision, before,
	}
	if l.Answered {
		set += `, looked_at = $1, verdict = $6, cause = $7`
		args = append(args, string(l.Verdict), string(l.Cause))
	}
	if l.Answered && l.Decision != "" {
		set += `, changed = $8, changed_at = $9`
		args = append(args, l.Decision, l.Time.UnixMicro())
	}

	res, err := tx.ExecContext(ctx, `UPDATE admissions SET `+set+`
		WHERE repository = $2 AND digest = $3 AND decision = $4
			AND (CAST($5 AS BIGINT) = 0 OR tried_at < CAST($5 AS BIGINT))`, args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()

	// A change for the worse is reported with the look that found it.
	if err == nil && n > 0 && l.Answered && l.Decision != "" && l.Verdict == attestor.Deny {
		ev := event.New(event.AdmissionLost, l.Decision, l.Time, l.Admission.Image.String(), event.OfLook(l))
		err = s.publish(ctx, tx, ev)
	}
	return n, err
}

// Left counts the admissions of some repositories that a run has not covered,
// those included that an instance has claimed.
func (s *Store) Left(ctx context.Context, run attestor.Run, visible func(repository string) bool) (int, error) {
	if s.none {
		return 0, unsupported()
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	left, err := s.left(ctx, run, visible)
	if err != nil {
		return 0, s.fail("counting admissions", err)
	}
	return left, nil
}

func (s *Store) left(ctx context.Context, run attestor.Run, visible func(string) bool) (left int, err error) {
	rows, err := s.read.QueryContext(ctx, `SELECT repository, COUNT(*) FROM admissions
		WHERE tried_at < $1 GROUP BY repository`, run.Started.UnixMicro())
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	for rows.Next() {
		var repository string
		var n int
		if err := rows.Scan(&repository, &n); err != nil {
			return 0, err
		}
		if visible(repository) {
			left += n
		}
	}
	return left, rows.Err()
}

// MayRevoke counts a revocation of a run, and reports whether it is within the
// limit of the whole run, however many instances take part. The first one beyond
// it stops the run, and stopped is true for that one alone.
func (s *Store) MayRevoke(ctx context.Context, run attestor.Run, limit int) (may, stopped bool, err error) {
	if s.none {
		return false, false, unsupported()
	}

	err = s.tx(ctx, "counting a revocation", func(ctx context.Context, tx *txn) error {
		may, stopped = false, false

		// One statement compares and counts, so that instances cannot go beyond the limit together.
		res, err := tx.ExecContext(ctx, `UPDATE runs SET revoked = revoked + 1
			WHERE id = $1 AND revoked < $2 AND NOT stopped`, run.ID, limit)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if may = n > 0; may || err != nil {
			return err
		}

		// Only the first one beyond the limit changes the row, and reports it.
		res, err = tx.ExecContext(ctx, `UPDATE runs SET stopped = TRUE WHERE id = $1 AND NOT stopped`, run.ID)
		if err != nil {
			return err
		}
		if n, err = res.RowsAffected(); err != nil || n == 0 {
			return err
		}
		stopped = true
		at := s.now()
		return s.publish(ctx, tx, event.New(event.WatchStalled, run.ID, at, "",
			event.Data{Stalled: &event.Stalled{What: "rejudge-cap", Since: at.UTC(), Run: run.ID}}))
	})
	return may, stopped, err
}

// EndRun ends a run. It reports whether this call did.
func (s *Store) EndRun(ctx context.Context, run attestor.Run) (ended bool, err error) {
	if s.none {
		return false, unsupported()
	}

	err = s.tx(ctx, "ending a run", func(ctx context.Context, tx *txn) error {
		res, err := tx.ExecContext(ctx, `UPDATE runs SET ended = $1 WHERE id = $2 AND ended IS NULL`,
			s.now().UnixMicro(), run.ID)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		ended = n > 0
		return err
	})
	return ended, err
}
