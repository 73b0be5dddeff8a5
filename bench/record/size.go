package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
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

// printTables prints what each table and index takes, the largest first. Of an SQLite file it reads every page.
func (o options) printTables(ctx context.Context, w io.Writer) (err error) {
	driver, source := "sqlite", "file:"+o.sqlite
	query := `SELECT name, pgsize FROM dbstat WHERE aggregate = TRUE ORDER BY pgsize DESC`
	if o.postgres != "" {
		driver, source = "pgx", o.postgres
		query = `SELECT relname, CASE relkind WHEN 'r' THEN pg_table_size(oid) ELSE pg_relation_size(oid) END AS size
			FROM pg_class WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace ORDER BY size DESC`
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it only reads
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("reading the sizes of tables: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	fmt.Fprintf(w, "| table or index | MB | bytes for each decision |\n| --- | ---: | ---: |\n")
	for rows.Next() {
		var name string
		var bytes int64
		if err := rows.Scan(&name, &bytes); err != nil {
			return fmt.Errorf("reading the sizes of tables: %w", err)
		}
		fmt.Fprintf(w, "| %s | %.1f | %d |\n", name, float64(bytes)/(1<<20), bytes/int64(o.decisions))
	}
	fmt.Fprintln(w)
	return rows.Err()
}
