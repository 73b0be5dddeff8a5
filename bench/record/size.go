package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// size is how many bytes the record takes on disk, the log of an SQLite file included.
func (o options) size(ctx context.Context) (bytes int64, err error) {
	if o.postgres == "" {
		for _, name := range []string{o.sqlite, o.sqlite + "-wal"} {
			info, err := os.Stat(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return 0, err
			}
			bytes += info.Size()
		}
		return bytes, nil
	}

	db, err := sql.Open("pgx", o.postgres)
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }() // it only reads
	err = db.QueryRowContext(ctx, `SELECT pg_database_size(current_database())`).Scan(&bytes)
	if err != nil {
		return 0, fmt.Errorf("reading the size of the database: %w", err)
	}
	return bytes, nil
}
