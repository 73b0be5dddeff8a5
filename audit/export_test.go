package audit

import (
	"context"
	"database/sql"
	"iter"

	"github.com/attestor-gate/attestor"
)

// Writer is the pool that writes, to bring about what an operator's disk does.
func (s *Store) Writer() *sql.DB { return s.write }

// EvidenceHash is the content hash that a decision refers to its evidence by.
var EvidenceHash = evidenceHash

// Count counts rows of a table of the schema.
func (s *Store) Count(ctx context.Context, table string) (n int, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM `+table).Scan(&n)
	return n, err
}

// Bulk finishes many records in few transactions, to fill a history quickly.
func (s *Store) Bulk(ctx context.Context, records iter.Seq[attestor.Record]) error {
	next, stop := iter.Pull(records)
	defer stop()

	for more := true; more; {
		err := s.tx(ctx, "filling", func(ctx context.Context, tx *sql.Tx) error {
			for range 2000 {
				r, ok := next()
				if more = ok; !ok {
					return nil
				}
				row, err := newRow(r)
				if err != nil {
					return err
				}

				for i := range row.blobs {
					row.blobs[i].data = s.enc.EncodeAll(row.blobs[i].data, nil)
				}
				if err := s.putDecision(ctx, tx, row, stateFinished); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
