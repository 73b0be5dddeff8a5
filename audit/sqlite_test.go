package audit_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/attestor-gate/attestor/audit"
)

// A new file of SQLite has pages of 8 KB, and an earlier one keeps its own.
func TestPagesOfAFile(t *testing.T) {
	pageSize := func(s *audit.Store) (n int) {
		t.Helper()
		if err := s.Reader().QueryRowContext(t.Context(), `PRAGMA page_size`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := pageSize(openSQLite(t, filepath.Join(t.TempDir(), "record.db"), clockAt(day))); n != 8192 {
		t.Errorf("a new file has pages of %d bytes, want 8192", n)
	}

	path := filepath.Join(t.TempDir(), "earlier.db")
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	run(t, db, `PRAGMA page_size = 4096`)
	run(t, db, `CREATE TABLE earlier (n BIGINT)`)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if n := pageSize(openSQLite(t, path, clockAt(day))); n != 4096 {
		t.Errorf("the file has pages of %d bytes since it was opened, and had 4096", n)
	}
}
