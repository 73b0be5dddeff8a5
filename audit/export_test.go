package audit

import (
	"context"
	"database/sql"
)

// Writer is the pool that writes, to bring about what an operator's disk does.
func (s *Store) Writer() *sql.DB { return s.write }

// Count counts rows of a table of the schema.
func (s *Store) Count(ctx context.Context, table string) (n int, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM `+table).Scan(&n)
	return n, err
}
