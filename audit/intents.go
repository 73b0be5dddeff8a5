package audit

import (
	"context"
)

// PutIntent makes data durable under id, so that the caller can complete after a
// crash what it was about to do. An intent with the same id is replaced.
func (s *Store) PutIntent(ctx context.Context, id string, data []byte) error {
	if s.none {
		return nil
	}

	return s.tx(ctx, "recording an intent", func(ctx context.Context, tx *txn) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO intents (id, at, data) VALUES ($1, $2, $3)
			ON CONFLICT (id) DO UPDATE SET at = excluded.at, data = excluded.data`, id, s.now().UnixMicro(), data)
		return err
	})
}

// DeleteIntent deletes an intent. It returns nil if there is none.
func (s *Store) DeleteIntent(ctx context.Context, id string) error {
	if s.none {
		return nil
	}

	return s.tx(ctx, "deleting an intent", func(ctx context.Context, tx *txn) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM intents WHERE id = $1`, id)
		return err
	})
}

// Intents returns the data of all intents by id.
func (s *Store) Intents(ctx context.Context) (map[string][]byte, error) {
	if s.none {
		return nil, nil
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	out, err := s.intents(ctx)
	if err != nil {
		return nil, s.fail("reading intents", err)
	}
	return out, nil
}

func (s *Store) intents(ctx context.Context) (map[string][]byte, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT id, data FROM intents`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	out := map[string][]byte{}
	for rows.Next() {
		var id string
		var data []byte
		if err := rows.Scan(&id, &data); err != nil {
			return nil, err
		}
		out[id] = data
	}
	return out, rows.Err()
}
