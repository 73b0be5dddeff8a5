package audit

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/translog"
)

// Pruned counts what [Store.Prune] removed.
type Pruned struct {
	Decisions int64 `json:"decisions"`
	Events    int64 `json:"events"` // dead letters: events that their receivers never got
	Blobs     int64 `json:"blobs"`  // evidence and policy texts that no decision refers to any more
}

// pruneBatch is how many rows a transaction removes. It is short, so that
// decisions can be recorded in between.
const pruneBatch = 1000

// Prune removes the finished decisions from before a time, the evidence that only
// they referred to, and the closed overrides and the revocations from before it.
//
// Whatever their age, these stay: a decision that is begun and not finished, since
// an attestation may exist that only it explains; admissions and open overrides,
// with the decisions that they refer to, since their attestations stand.
func (s *Store) Prune(ctx context.Context, before time.Time) (Pruned, error) {
	if s.none {
		return Pruned{}, unsupported()
	}

	// What versions before recorded is read first, or it would be lost unseen.
	if complete, err := s.Fill(ctx); err != nil {
		return Pruned{}, err
	} else if !complete {
		return Pruned{}, &attestor.Error{
			Kind: attestor.Unavailable, Msg: "what earlier versions recorded was not read yet", Fix: "try again",
		}
	}

	var out Pruned

	// The entry comes first. A crash then leaves an entry that excuses nothing, and never a record that is gone
	// without one.
	if err := s.beginPrune(ctx, before); err != nil {
		return out, err
	}
	for pos := (position{}); ; {
		last, n, err := s.pruneStep(ctx, before, pos)
		out.Decisions += n
		if err != nil {
			return out, err
		}
		if last == (position{}) {
			break
		}
		pos = last
	}

	if err := s.dropEmptySums(ctx, before); err != nil {
		return out, err
	}

	for _, q := range []struct{ kind, text string }{
		{kindOverride, `DELETE FROM overrides WHERE decision IN
			(SELECT decision FROM overrides WHERE closed_at IS NOT NULL AND at < $1 ORDER BY at LIMIT $2) RETURNING decision`},
		{kindRevocation, `DELETE FROM revocations WHERE id IN
			(SELECT id FROM revocations WHERE state = 'finished' AND at < $1 ORDER BY at LIMIT $2) RETURNING id`},
	} {
		for {
			n, err := s.pruneKind(ctx, q.kind, q.text, before)
			if err != nil {
				return out, err
			}
			if n < pruneBatch {
				break
			}
		}
	}

	if err := s.dropMarks(ctx); err != nil {
		return out, err
	}

	for n := int64(pruneBatch); n == pruneBatch; {
		var err error
		if n, err = s.pruneEvents(ctx, before); err != nil {
			return out, err
		}
		out.Events += n
	}

	// No remaining decision refers to a blob that was last used before the cutoff:
	// the column used lags the last use by less than blobSlack, and the clocks of
	// instances differ by less than that. A decision that is being recorded holds
	// the lock of its blobs' rows; see putBlobText.
	cutoff, err := s.blobCutoff(ctx, before)
	if err != nil {
		return out, err
	}

	for {
		n, err := s.pruneBlobs(ctx, cutoff)
		out.Blobs += n
		if err != nil || n < pruneBatch {
			return out, err
		}
	}
}

// pruneStep removes the decisions among the next batch that nothing refers to, and
// returns where the batch ended: the zero position after the last one.
func (s *Store) pruneStep(ctx context.Context, before time.Time, after position) (last position, n int64, err error) {
	err = s.tx(ctx, "pruning decisions", func(ctx context.Context, tx *txn) error {
		last, n = position{}, 0

		// A decision that is being indexed must not leave terms behind.
		if err := s.lockIndex(ctx, tx); err != nil {
			return err
		}
		batch, err := s.pruneRows(tx.QueryContext(ctx, `SELECT d.id, d.at, d.repository, d.body, d.evidence, d.packed,
				EXISTS (SELECT 1 FROM admissions a WHERE a.decision = d.id OR a.changed = d.id)
				OR EXISTS (SELECT 1 FROM overrides o WHERE o.decision = d.id AND o.closed_at IS NULL)
			FROM decisions d WHERE d.state = 'finished' AND d.at < $1 AND (d.at, d.id) > ($2, $3)
			ORDER BY d.at, d.id LIMIT $4`, before.UnixMicro(), after.at, after.id, pruneBatch))
		if err != nil {
			return err
		}

		var gone, used []string
		var removed []prunable
		for _, p := range batch {
			last = position{p.at, p.id}
			if !p.kept {
				gone, removed = append(gone, p.id), append(removed, p)
				continue
			}

			// Evidence that somebody damaged cannot be read, whatever is kept of it. It must not end retention for all
			// others.
			var o outline
			if json.Unmarshal([]byte(p.evidence), &o) == nil {
				used = append(used, o.hashes()...)
			}
		}

		// Below, blobs are removed by their last use. Those of a decision that stays are
		// in use.
		if err := s.touchBlobs(ctx, tx, used); err != nil || len(gone) == 0 {
			return err
		}
		if err := s.forget(ctx, tx, removed); err != nil {
			return err
		}
		marks, args := placeholders(gone)
		res, err := tx.ExecContext(ctx, `DELETE FROM decisions WHERE id IN (`+marks+`)`, args...)
		if err != nil {
			return err
		}
		if n, err = res.RowsAffected(); err != nil {
			return err
		}
		return dropSalts(ctx, tx, kindDecision, gone)
	})
	return last, n, err
}

// dropMarks removes what passes noted of overrides that came to nothing: recovery found no attestation.
func (s *Store) dropMarks(ctx context.Context) error {
	return s.tx(ctx, "pruning decisions", func(ctx context.Context, tx *txn) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM override_passes
			WHERE override NOT IN (SELECT decision FROM overrides)
				AND override NOT IN (SELECT id FROM decisions WHERE state = 'begun')`)
		return err
	})
}

// beginPrune enters into the log that records from before a time may be gone from here
// on, so that they do not look as if somebody had removed them. Where there are none,
// nothing is entered.
func (s *Store) beginPrune(ctx context.Context, before time.Time) error {
	return s.tx(ctx, "pruning decisions", func(ctx context.Context, tx *txn) error {
		var some bool
		err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM decisions WHERE state = 'finished' AND at < $1)
			OR EXISTS (SELECT 1 FROM overrides WHERE closed_at IS NOT NULL AND at < $1)
			OR EXISTS (SELECT 1 FROM revocations WHERE state = 'finished' AND at < $1)`, before.UnixMicro()).Scan(&some)
		if err != nil || !some {
			return err
		}

		tx.logParts(kindPrune, hex.EncodeToString(translog.NewSalt()), before.UnixMicro(), nil)
		return nil
	})
}

// pruneKind removes one batch of a kind of records by a statement that returns their ids.
func (s *Store) pruneKind(ctx context.Context, kind, text string, before time.Time) (n int, err error) {
	err = s.tx(ctx, "pruning decisions", func(ctx context.Context, tx *txn) error {
		gone, err := idRows(tx.QueryContext(ctx, text, before.UnixMicro(), pruneBatch))
		if n = len(gone); err != nil || n == 0 {
			return err
		}
		return dropSalts(ctx, tx, kind, gone)
	})
	return n, err
}

// dropSalts deletes the keys of the commitments to records whose content is deleted. What
// the log has of them can then not even be compared with a guess.
func dropSalts(ctx context.Context, tx *txn, kind string, ids []string) error {
	marks, args := placeholders(ids, kind)
	_, err := tx.ExecContext(ctx, `UPDATE log_leaves SET salt = NULL WHERE kind = $1 AND id IN (`+marks+`)`, args...)
	return err
}

// A prunable is a decision from before the cutoff.
type prunable struct {
	id, repository, body, evidence string
	at                             int64
	kept                           bool
}

func (s *Store) pruneRows(rows *sql.Rows, err error) ([]prunable, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []prunable
	for rows.Next() {
		var p prunable
		var t texts
		if err := rows.Scan(&p.id, &p.at, &p.repository, &t.first, &t.second, &t.packed, &p.kept); err != nil {
			return nil, err
		}
		p.body, p.evidence = s.unpack(t)
		out = append(out, p)
	}
	return out, rows.Err()
}

// touchBlobs notes that blobs are in use.
func (s *Store) touchBlobs(ctx context.Context, tx *txn, hashes []string) error {
	slices.Sort(hashes)
	hashes = slices.Compact(hashes)
	for chunk := range slices.Chunk(hashes, pruneBatch) {
		now := s.now()
		marks, args := placeholders(chunk, now.UnixMicro(), now.Add(-blobSlack).UnixMicro())
		_, err := tx.ExecContext(ctx, `UPDATE blobs SET used = $1 WHERE used < $2 AND hash IN (`+marks+`)`, args...)
		if err != nil {
			return err
		}
	}
	return nil
}

// blobCutoff returns a time before the last use of every blob that a remaining
// decision refers to, the begun ones included.
func (s *Store) blobCutoff(ctx context.Context, before time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	var oldest sql.NullInt64
	row := s.read.QueryRowContext(ctx, `SELECT MIN(at) FROM decisions WHERE state = 'begun'`)
	if err := row.Scan(&oldest); err != nil {
		return time.Time{}, s.fail("pruning decisions", err)
	}

	// What is begun keeps its evidence, whatever its age: recovery judges by it.
	if began := time.UnixMicro(oldest.Int64); oldest.Valid && began.Before(before) {
		before = began
	}

	// A blob in use was used at the latest now, so that a cutoff in the future would
	// delete the evidence of decisions that stay, or were recorded meanwhile.
	if now := s.now(); now.Before(before) {
		before = now
	}
	return before.Add(-2 * blobSlack), nil
}

// pruneBlobs removes one batch of the blobs that were last used before a time, with the
// search index's notes that their findings were entered.
func (s *Store) pruneBlobs(ctx context.Context, before time.Time) (n int64, err error) {
	err = s.tx(ctx, "pruning decisions", func(ctx context.Context, tx *txn) error {
		// A decision on the same findings that is being indexed enters them after this.
		if err := s.lockIndex(ctx, tx); err != nil {
			return err
		}
		gone, err := idRows(tx.QueryContext(ctx, `DELETE FROM blobs WHERE used < $1
			AND hash IN (SELECT hash FROM blobs WHERE used < $1 LIMIT $2) RETURNING hash`, before.UnixMicro(), pruneBatch))
		if n = int64(len(gone)); err != nil {
			return err
		}
		return forgetFindings(ctx, tx, gone)
	})
	return n, err
}

// An exported is one line of an export.
type exported struct {
	Decision attestor.Decision `json:"decision"`
	Evidence attestor.Evidence `json:"evidence"`
	Policy   string            `json:"policy,omitempty"` // the text
}

// Export writes the decisions that f selects as NDJSON, newest first, one object
// {decision, evidence, policy} a line, and returns how many it wrote. It holds one
// batch in memory.
func (s *Store) Export(ctx context.Context, w io.Writer, f Filter) (int, error) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)

	n := 0
	for r, err := range s.Records(ctx, f) {
		if err != nil {
			return n, err
		}
		if err := enc.Encode(exported{r.Decision, r.Evidence, string(r.PolicyText)}); err != nil {
			return n, fmt.Errorf("writing the export: %w", err)
		}
		n++
	}
	return n, nil
}
