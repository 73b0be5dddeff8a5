package audit_test

import (
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/audit"
)

// What was begun is nobody's work only where nobody else has the record open.
func TestAlone(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere nobody believes to be alone")
	}

	path, c := filepath.Join(t.TempDir(), "r.db"), clockAt(day)
	first := openSQLite(t, path, c)

	for range 2 { // asking takes nothing away
		if !first.Alone() {
			t.Error("the only one is not alone")
		}
	}

	second, err := audit.Open(t.Context(), audit.Config{SQLite: path, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}

	if first.Alone() || second.Alone() {
		t.Error("one of two believes to be alone")
	}

	if other := openSQLite(t, filepath.Join(t.TempDir(), "r.db"), c); !other.Alone() {
		t.Error("another record is in the way")
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}

	if !first.Alone() {
		t.Error("who has left is in the way")
	}

	none, err := audit.Open(t.Context(), audit.Config{None: true, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}

	if none.Alone() {
		t.Error("without a record somebody is alone")
	}

	if second.Alone() {
		t.Error("who has left believes to be alone")
	}
}

func TestPostgreSQLIsNeverAlone(t *testing.T) {
	if s := open(t, audit.Config{PostgreSQL: shared.database(t), Now: clockAt(day).now}); s.Alone() {
		t.Error("one of many instances believes to be alone")
	}
}
