// Package pgtest starts PostgreSQL servers for tests.
package pgtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/attestor-gate/attestor/internal/testkit/postgres"
)

// Need is a server by start. It skips the test if PostgreSQL is not installed,
// unless GATE_REQUIRE_PARTS=1. The caller closes the server.
func Need(tb testing.TB, start func() (*postgres.Server, error)) *postgres.Server {
	tb.Helper()

	pg, err := start()
	switch {
	case errors.Is(err, postgres.ErrMissing) && os.Getenv("GATE_REQUIRE_PARTS") != "1":
		tb.Skip(err)
	case err != nil:
		tb.Fatal(err)
	}
	return pg
}

// Start starts a server that ends with the test.
func Start(tb testing.TB) *postgres.Server {
	tb.Helper()

	pg := Need(tb, postgres.New)
	tb.Cleanup(func() { _ = pg.Close() })
	return pg
}

// Databases returns a function that creates another empty database of one server
// with each call, and returns its connection string.
func Databases(tb testing.TB) func(tb testing.TB) string {
	tb.Helper()

	pg := Start(tb)
	var n atomic.Int64
	return func(tb testing.TB) string {
		tb.Helper()
		dsn, err := pg.Database(fmt.Sprintf("test%d", n.Add(1)))
		if err != nil {
			tb.Fatal(err)
		}
		return dsn
	}
}

// File creates a database of a server of its own. It returns the path of a file
// with the connection string, as the configuration names it.
func File(tb testing.TB) string {
	tb.Helper()

	path := filepath.Join(tb.TempDir(), "dsn")
	if err := os.WriteFile(path, []byte(Databases(tb)(tb)), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
