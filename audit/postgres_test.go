package audit_test

import (
	"errors"
	"os"
	"testing"

	"github.com/attestor-gate/attestor/internal/testkit/postgres"
)

// startPostgres starts a server of the test's own.
func startPostgres(tb testing.TB) *postgres.Server {
	tb.Helper()
	pg := newPostgres(tb)
	tb.Cleanup(func() { _ = pg.Close() })
	return pg
}

// newPostgres skips the test where there is none, unless GATE_REQUIRE_PARTS=1.
func newPostgres(tb testing.TB) *postgres.Server {
	tb.Helper()
	pg, err := postgres.New()

	switch {
	case errors.Is(err, postgres.ErrMissing) && os.Getenv("GATE_REQUIRE_PARTS") != "1":
		tb.Skip(err)
	case err != nil:
		tb.Fatal(err)
	}
	return pg
}
