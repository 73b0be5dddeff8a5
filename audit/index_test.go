package audit_test

import (
	"context"
	"database/sql/driver"
	"path/filepath"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// stopIndexer leaves the index to requests.
func stopIndexer(t *testing.T, s *audit.Store) {
	t.Helper()
	if err := s.WrapWriter(t.Context(), func(c driver.Connector) driver.Connector { return c }); err != nil {
		t.Fatal(err)
	}
}

// withFinding are the decisions that a search for a CVE finds, and the findings in the lines of their images.
func withFinding(t *testing.T, s *audit.Store) (decisions, findings int) {
	t.Helper()
	page, err := s.List(t.Context(), audit.Filter{CVE: "CVE-2026-1234"}, 10, "")
	if err != nil {
		t.Fatal(err)
	}
	for line, err := range s.Images(t.Context(), audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range line.Published {
			findings += p.N
		}
	}
	return len(page.Decisions), findings
}

// A caller whose list may come from the replica brings the index up to date. The replica lacks the findings of the newest
// decision: they are read from the database, or no search would ever find them.
func TestTheIndexIsNotMadeOfTheReplica(t *testing.T) {
	s, _, _, c := replicated(t)
	finish(t, s, record(1, attestor.Deny, func(r *attestor.Record) { r.Evidence.Platforms[0].Scan.Findings = nil }))
	follow(t, s)
	stopIndexer(t, s)
	if _, err := s.ReplicaForTest().ExecContext(t.Context(), "SELECT pg_wal_replay_pause()"); err != nil {
		t.Fatal(err)
	}
	for state := ""; state != "paused"; {
		err := s.ReplicaForTest().QueryRowContext(t.Context(), "SELECT pg_get_wal_replay_pause_state()").Scan(&state)
		if err != nil {
			t.Fatal(err)
		}
	}

	finish(t, s, record(2, attestor.Deny))
	c.set(day.Add(time.Minute))
	if _, err := s.List(audit.MayLag(t.Context()), audit.Filter{CVE: "CVE-2026-1234"}, 10, ""); err != nil {
		t.Fatal(err)
	}
	if state := s.Replica(t.Context()); state.Away != nil {
		t.Fatalf("the replica was not used: %v", state.Away)
	}
	if decisions, findings := withFinding(t, s); decisions != 1 || findings != 1 {
		t.Errorf("%d decisions and %d findings, want one of each", decisions, findings)
	}
}

// A database that does not give the evidence now says nothing of it: the decision stays in the queue, and is not entered
// as one without findings.
func TestTheIndexWaitsForEvidenceThatCannotBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	s := openSQLite(t, path, clockAt(day))
	stopIndexer(t, s)
	finish(t, s, record(1, attestor.Deny))
	if err := s.Reader().Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.IndexForTest(context.WithoutCancel(t.Context())); attestor.KindOf(err) != attestor.Unavailable {
		t.Errorf("the index was made without the evidence: %v", err)
	}

	again := openSQLite(t, path, clockAt(day))
	if decisions, findings := withFinding(t, again); decisions != 1 || findings != 1 {
		t.Errorf("%d decisions and %d findings, want one of each", decisions, findings)
	}
}

// Evidence that is gone for good does not keep other decisions from being found.
func TestTheIndexGoesOnWithoutLostEvidence(t *testing.T) {
	s := openSQLite(t, filepath.Join(t.TempDir(), "r.db"), clockAt(day))
	stopIndexer(t, s)
	finish(t, s, record(1, attestor.Deny))
	run(t, s.Writer(), `DELETE FROM blobs`)
	finish(t, s, record(2, attestor.Deny, func(r *attestor.Record) {
		r.Evidence.Platforms[0].Scan.Findings[0].Package = "zlib"
	}))
	if err := s.IndexForTest(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, err := range s.Images(t.Context(), audit.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		lines++
	}
	if lines != 2 {
		t.Errorf("%d images are in the index, want both", lines)
	}
}
