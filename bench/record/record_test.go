package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/testkit/pgtest"
	"github.com/attestor-gate/attestor/internal/testkit/postgres"
)

// decisions is how many a test fills a record with.
func decisions() string {
	if os.Getenv("GATE_TEST_ALL") == "1" {
		return "100000"
	}
	return "400"
}

// A record is filled, indexed and asked on both databases. Times are printed and not
// judged: docs/performance.md has them.
func TestRecord(t *testing.T) {
	ask := func(t *testing.T, args ...string) {
		var out strings.Builder
		if err := run(t.Context(), append(args, "-tables", "-decisions", decisions()), &out); err != nil {
			t.Fatal(err)
		}
		t.Log(out.String())
		for _, want := range []string{decisions() + " decisions recorded", "| finding_places |", "| caller |", "pairs;",
			"overview of 7 days", "| 90 days | " + decisions() + " |"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the output does not say %q", want)
			}
		}
	}

	t.Run("sqlite", func(t *testing.T) { ask(t, "-sqlite", filepath.Join(t.TempDir(), "record.db")) })
	t.Run("postgresql", func(t *testing.T) {
		pg := pgtest.Need(t, postgres.New)
		t.Cleanup(func() { _ = pg.Close() })
		dsn, err := pg.Database("record")
		if err != nil {
			t.Fatal(err)
		}
		ask(t, "-postgres", dsn)
	})
}
