package audit_test

import (
	"database/sql"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// A probe tells a database that answers, and says what is wrong, from one that stops or starts.
func TestAProbeTellsWhatAnsweredFromWhatIsAway(t *testing.T) {
	for code, want := range map[string]attestor.Kind{
		"42P01": attestor.Upstream, "28P01": attestor.Upstream, "40P01": attestor.Upstream,
		"57P01": attestor.Unavailable, "57P03": attestor.Unavailable, "08001": attestor.Unavailable,
	} {
		if got := audit.ProbedKind(&pgconn.PgError{Code: code}); got != want {
			t.Errorf("%s: %v, want %v", code, got, want)
		}
	}
}

// beside connects to the database of a store, as another program would.
func beside(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// A restart ends the connections of the pool. The transactions that would have begun on them begin on others.
func TestConnectionsThatEndedFailNoTransaction(t *testing.T) {
	t.Parallel()
	const idle = 4
	dsn := shared.database(t)
	s := open(t, audit.Config{PostgreSQL: dsn, Now: clockAt(day).now})

	// Connections that were used a moment ago are not tested before they are used again. The first use of each is such a
	// test, and the second one is not.
	for range 2 {
		var conns []*sql.Conn
		for range idle {
			conn, err := s.Writer().Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			if err := conn.Close(); err != nil { // back into the pool
				t.Fatal(err)
			}
		}
	}
	run(t, beside(t, dsn), `SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`)

	for range idle {
		if err := s.PutIntent(t.Context(), "some", []byte("work")); err != nil {
			t.Fatal(err)
		}
	}
}

// PostgreSQL ends one of two transactions that wait for each other. The gate tries its own again.
func TestADeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	dsn := shared.database(t)
	s := open(t, audit.Config{PostgreSQL: dsn, Now: clockAt(day.Add(time.Hour)).now})
	finish(t, s, record(1, attestor.Pass, stored))
	finish(t, s, record(2, attestor.Pass, stored))
	started, err := s.StartRun(t.Context(), "run", attestor.CallerRef{Subject: "scheduler", Issuer: "test"})
	if err != nil {
		t.Fatal(err)
	}
	claimed, _, err := s.Claim(t.Context(), started, attestor.Admission{}, 10, func(string) bool { return true })
	if err != nil || len(claimed) != 2 {
		t.Fatalf("claimed %d admissions: %v", len(claimed), err)
	}
	var looks []attestor.Rejudgement
	for _, a := range slices.Backward(claimed) {
		looks = append(looks, attestor.Rejudgement{Admission: a, Answered: true, Verdict: attestor.Pass, Time: day})
	}

	// Another transaction has the second row, so that the gate gets the first one and waits.
	db := beside(t, dsn)
	other, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const touch = `UPDATE admissions SET verdict = verdict WHERE digest = $1`
	if _, err := other.ExecContext(t.Context(), touch, string(digest(2))); err != nil {
		t.Fatal(err)
	}
	looked := make(chan error, 1)
	go func() { looked <- s.Looked(t.Context(), started, looks) }()
	untilOneWaits(t, db)

	// Each waits for the other. PostgreSQL ends the one that has waited for a second first, which on a slow machine may
	// be this one.
	_, _ = other.ExecContext(t.Context(), touch, string(digest(1)))
	_ = other.Rollback()
	if err := <-looked; err != nil {
		t.Fatal(err)
	}
	if r, err := s.Run(t.Context(), started.ID); err != nil || r.Covered != 2 {
		t.Errorf("the run covered %d admissions, want 2: %v", r.Covered, err)
	}
}

// untilOneWaits returns when a transaction of the database waits for a lock.
func untilOneWaits(t *testing.T, db *sql.DB) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for waiting := false; !waiting; <-tick.C {
		if err := db.QueryRowContext(t.Context(), `SELECT EXISTS (SELECT 1 FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
}
