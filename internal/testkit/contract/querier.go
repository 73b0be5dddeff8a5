package contract

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"
)

// querier is translog.Querier.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Querier proves of whatever reads from a database that it answers as one: with the rows
// that are asked for, in order, and with an error where there are none, the statement is
// wrong or the caller has left.
func Querier(t *testing.T, q querier) {
	t.Helper()
	const three = "SELECT v FROM (SELECT 3 AS v UNION ALL SELECT 1 AS v UNION ALL SELECT 2 AS v) AS t WHERE v <= " +
		"$1 ORDER BY v"

	t.Run("rows", func(t *testing.T) {
		for most, want := range map[int][]int{3: {1, 2, 3}, 1: {1}, 0: nil} {
			got, err := queried(t.Context(), q, three, most)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("up to %d: %v, %v; want %v", most, got, err, want)
			}
		}
	})

	t.Run("one row", func(t *testing.T) {
		var n int
		if err := q.QueryRowContext(t.Context(), three+" LIMIT 1", 3).Scan(&n); err != nil || n != 1 {
			t.Errorf("%d, %v; want 1", n, err)
		}
		if err := q.QueryRowContext(t.Context(), three, 0).Scan(&n); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("no row: %v, want sql.ErrNoRows", err)
		}
	})

	t.Run("a wrong statement", func(t *testing.T) {
		const wrong = "SELECT v FROM no_such_table"
		var n int
		if got, err := queried(t.Context(), q, wrong); err == nil {
			t.Errorf("rows: %v and no error", got)
		}
		if err := q.QueryRowContext(t.Context(), wrong).Scan(&n); err == nil || errors.Is(err, sql.ErrNoRows) {
			t.Errorf("one row: %v; it must not read as a row that is not there", err)
		}

		// It goes on answering.
		if got, err := queried(t.Context(), q, three, 2); err != nil || !slices.Equal(got, []int{1, 2}) {
			t.Errorf("afterwards: %v, %v", got, err)
		}
	})

	t.Run("the caller has left", func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		leave()
		var n int
		if got, err := queried(ctx, q, three, 3); !errors.Is(err, context.Canceled) {
			t.Errorf("rows: %v, %v; want context.Canceled", got, err)
		}
		if err := q.QueryRowContext(ctx, three, 3).Scan(&n); !errors.Is(err, context.Canceled) {
			t.Errorf("one row: %v, want context.Canceled", err)
		}
	})
}

// queried reads all rows of a query that has one number in each.
func queried(ctx context.Context, q querier, text string, args ...any) ([]int, error) {
	rows, err := q.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()

	var out []int
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, rows.Err()
}
