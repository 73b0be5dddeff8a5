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

// Pruned says what was removed.
type Pruned struct {
	Decisions int64 `json:"decisions"`
	Blobs     int64 `json:"blobs"` // evidence and policy texts that nothing refers to any more
}

// pruneBatch keeps each transaction short, so that decisions go on meanwhile.
const pruneBatch = 1000

// Prune removes finished decisions from before a time, and the evidence that
// only they used. What is begun and not finished stays, whatever its age.
func (s *Store) Prune(ctx context.Context, before time.Time) (Pruned, error) {
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
	// A blob's "used" lags its last use by less than blobSlack, and was set by
	// the clock when the decision was recorded, which is not before its time
	// by more than instances' clocks differ: what is older than this, no
	// remaining decision refers to. One that is being recorded holds the row.
	cutoff, err := s.blobCutoff(ctx, before)
	if err != nil {
		return out, err
	}
	for {
		n, err := s.delete(ctx, `DELETE FROM blobs WHERE used < $1 AND hash IN (SELECT hash FROM blobs WHERE used < $1 LIMIT $2)`, cutoff)
		out.Blobs += n
		if err != nil || n < pruneBatch {
			return out, err
		}
	}
}

// blobCutoff spares what the oldest remaining decision uses, begun ones too.
func (s *Store) blobCutoff(ctx context.Context, before time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var oldest sql.NullInt64
	if err := s.read.QueryRowContext(ctx, `SELECT MIN(at) FROM decisions WHERE state = 'begun'`).Scan(&oldest); err != nil {
		return time.Time{}, s.fail("pruning the record", err)
	}
	if began := time.UnixMicro(oldest.Int64); oldest.Valid && began.Before(before) {
		before = began
	}
	return before.Add(-2 * blobSlack), nil
}

func (s *Store) delete(ctx context.Context, query string, before time.Time) (n int64, err error) {
	err = s.tx(ctx, "pruning the record", func(ctx context.Context, tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, query, before.UnixMicro(), pruneBatch)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	return n, err
}

// exported is one line of an export.
type exported struct {
	Decision attestor.Decision `json:"decision"`
	Evidence attestor.Evidence `json:"evidence"`
	Policy   string            `json:"policy,omitempty"` // the text
}

// Export writes the records that f chooses as NDJSON, newest first, one
// object {decision, evidence, policy} a line, and returns how many. Memory
// stays flat however many there are.
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
