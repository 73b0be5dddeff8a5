package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/attestor-gate/attestor"
)

// Pruned counts what [Store.Prune] removed.
type Pruned struct {
	Decisions int64 `json:"decisions"`
	Blobs     int64 `json:"blobs"` // evidence and policy texts that no decision refers to any more
}

// pruneBatch is how many rows a transaction removes. It is short, so that
// decisions can be recorded in between.
const pruneBatch = 1000

// Prune removes the finished decisions from before a time, and the evidence that
// only they referred to. A decision that is begun and not finished stays, whatever
// its age: an attestation may exist that only it explains.
func (s *Store) Prune(ctx context.Context, before time.Time) (Pruned, error) {
	if s.none {
		return Pruned{}, unsupported()
	}

	var out Pruned
	for {
		n, err := s.delete(ctx, `DELETE FROM decisions WHERE id IN
			(SELECT id FROM decisions WHERE state = 'finished' AND at < $1 ORDER BY at LIMIT $2)`, before)
		out.Decisions += n
		if err != nil {
			return out, err
		}

		if n < pruneBatch {
			break
		}
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
		n, err := s.delete(
			ctx,
			`DELETE FROM blobs WHERE used < $1 AND hash IN (SELECT hash FROM blobs WHERE used < $1 LIMIT $2)`,
			cutoff,
		)
		out.Blobs += n
		if err != nil || n < pruneBatch {
			return out, err
		}
	}
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
	if began := time.UnixMicro(oldest.Int64); oldest.Valid && began.Before(before) {
		before = began
	}
	return before.Add(-2 * blobSlack), nil
}

// delete runs one batch of a deletion and returns how many rows it removed.
func (s *Store) delete(ctx context.Context, query string, before time.Time) (n int64, err error) {
	err = s.tx(ctx, "pruning decisions", func(ctx context.Context, tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, query, before.UnixMicro(), pruneBatch)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
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
