package audit_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/internal/testkit/pgtest"
	"github.com/attestor-gate/attestor/internal/testkit/postgres"
	"github.com/attestor-gate/attestor/internal/translog"
)

// replicated are a record with a replica by PostgreSQL's own streaming replication.
func replicated(t *testing.T) (s *audit.Store, primary, replica *postgres.Server, c *clock) {
	t.Helper()
	primary = pgtest.Need(t, postgres.New)
	t.Cleanup(func() { _ = primary.Close() })
	dsn, err := primary.Database("record")
	if err != nil {
		t.Fatal(err)
	}
	if replica, err = primary.Replica(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = replica.Close() })
	c = clockAt(day)
	s = open(t, audit.Config{PostgreSQL: dsn, Replica: replica.DSN("record"), Now: c.now})
	return s, primary, replica, c
}

// follow waits until the replica has what the record has.
func follow(t *testing.T, s *audit.Store) {
	t.Helper()
	want, err := translog.ReadHead(t.Context(), s.Reader())
	if err != nil {
		t.Fatal(err)
	}
	for {
		have, err := translog.ReadHead(t.Context(), s.ReplicaForTest())
		if err == nil && have.Size == want.Size {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the replica does not follow")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// listed are the ids of a list; lag says that it may be read from the replica.
func listed(t *testing.T, s *audit.Store, lag bool) []string {
	t.Helper()
	ctx := t.Context()
	if lag {
		ctx = audit.MayLag(ctx)
	}
	page, err := s.List(ctx, audit.Filter{}, 100, "")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, d := range page.Decisions {
		ids = append(ids, d.ID)
	}
	return ids
}

// What may lag is read from the replica, and what must not is not: a replica that stopped
// following shows which.
func TestReplica(t *testing.T) {
	s, _, replica, c := replicated(t)
	finish(t, s, record(1, attestor.Pass), record(2, attestor.Deny))
	follow(t, s)
	c.set(day.Add(time.Minute))
	if got := listed(t, s, true); len(got) != 2 {
		t.Fatalf("%v of the replica, want both", got)
	}

	// It goes on answering, and gets nothing new.
	if _, err := s.ReplicaForTest().ExecContext(t.Context(), "SELECT pg_wal_replay_pause()"); err != nil {
		t.Fatal(err)
	}
	for {
		var state string
		if err := s.ReplicaForTest().QueryRowContext(t.Context(), "SELECT pg_get_wal_replay_pause_state()").Scan(&state); err != nil {
			t.Fatal(err)
		}
		if state == "paused" {
			break
		}
	}
	finish(t, s, overridden(3))
	if got := listed(t, s, true); len(got) != 2 {
		t.Errorf("%v, want what the replica has", got)
	}
	if got := listed(t, s, false); len(got) != 3 {
		t.Errorf("%v, want what the record has", got)
	}
	if _, err := s.Decision(audit.MayLag(t.Context()), "0199-000003"); err != nil {
		t.Errorf("a decision is read from the replica: %v", err)
	}
	if _, err := s.Override(audit.MayLag(t.Context()), "0199-000003"); err != nil {
		t.Errorf("an override is read from the replica: %v", err)
	}
	if got, err := s.Of(t.Context(), record(3, attestor.Deny).Evidence.Image, 10); err != nil || len(got) != 1 {
		t.Errorf("what is decided by is read from the replica: %v, %v", got, err)
	}

	// A minute later it is too far behind, and is not asked.
	c.set(day.Add(90 * time.Second))
	listed(t, s, true)
	c.set(day.Add(3 * time.Minute))
	if got := listed(t, s, true); len(got) != 3 {
		t.Errorf("%v a minute later, want what the record has", got)
	}
	if state := s.Replica(t.Context()); state.Away == nil || state.Behind != 2 {
		t.Errorf("%+v, want that it is two entries behind, and not used", state)
	}

	// It follows again.
	if _, err := s.ReplicaForTest().ExecContext(t.Context(), "SELECT pg_wal_replay_resume()"); err != nil {
		t.Fatal(err)
	}
	follow(t, s)
	c.set(day.Add(4 * time.Minute))
	if state := s.Replica(t.Context()); state.Away != nil || state.Behind != 0 {
		t.Errorf("%+v, want that it is used", state)
	}

	// It is gone: nobody notices but the metric.
	replica.Stop()
	if got := listed(t, s, true); len(got) != 3 {
		t.Errorf("%v without the replica", got)
	}
	if state := s.Replica(t.Context()); !state.Configured || state.Away == nil {
		t.Errorf("%+v, want that it is away", state)
	}
}

// A replica answers as the database does: while it is used, and once it is gone.
func TestReplicaKeepsTheContract(t *testing.T) {
	s, _, replica, c := replicated(t)
	finish(t, s, record(1, attestor.Pass))
	follow(t, s)
	c.set(day.Add(time.Minute))
	if state := s.Replica(t.Context()); state.Away != nil {
		t.Fatalf("it is not used: %v", state.Away)
	}
	t.Run("used", func(t *testing.T) { contract.Querier(t, audit.LaggingForTest(t.Context(), s)) })
	t.Run("the database", func(t *testing.T) { contract.Querier(t, s.Reader()) })

	replica.Stop()
	t.Run("gone", func(t *testing.T) { contract.Querier(t, audit.LaggingForTest(t.Context(), s)) })
}

// A database that is another record's is never shown as this one's, and nothing is written
// to it.
func TestAReplicaOfAnotherRecordIsNotUsed(t *testing.T) {
	other := shared.database(t)
	o := open(t, audit.Config{PostgreSQL: other, Now: clockAt(day).now})
	finish(t, o, record(1, attestor.Pass), record(2, attestor.Pass))

	s := open(t, audit.Config{PostgreSQL: shared.database(t), Replica: other, Now: clockAt(day).now})
	finish(t, s, record(3, attestor.Deny), record(4, attestor.Deny), record(5, attestor.Deny))
	if got := listed(t, s, true); len(got) != 3 || got[0] != "0199-000005" {
		t.Errorf("%v, want those of the record", got)
	}
	if state := s.Replica(t.Context()); state.Away == nil || !strings.Contains(state.Away.Error(), "not a replica of this record") {
		t.Errorf("%+v", state)
	}
	if _, err := s.ReplicaForTest().ExecContext(t.Context(), "DELETE FROM decisions"); err == nil {
		t.Error("the replica's connections can write")
	}
}

// An SQLite file has no replica, and a string that cannot be parsed is refused.
func TestReplicaIsRefused(t *testing.T) {
	for name, c := range map[string]audit.Config{
		"of SQLite": {SQLite: filepath.Join(t.TempDir(), "r.db"), Replica: "postgres://x/y"},
		"malformed": {PostgreSQL: "postgres://x/y", Replica: "postgres://%%"},
	} {
		c.Now = clockAt(day).now
		if _, err := audit.Open(t.Context(), c); attestor.KindOf(err) != attestor.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Only what may lag is asked so: each file that does is listed here, and none decides.
func TestWhoMayLag(t *testing.T) {
	allowed := map[string]bool{
		"internal/engine/service.go": true, // GET /v1/decisions, POST /v1/simulate
		"internal/engine/summary.go": true, "internal/engine/pages.go": true, "internal/engine/pages_images.go": true,
		"internal/engine/pages_report.go": true, "cmd/attestor/decisions.go": true, "cmd/attestor/record.go": true, "audit/replica.go": true,
	}
	use := regexp.MustCompile(`\bMayLag\(`)
	for _, dir := range []string{"audit", "server", "internal", "cmd", "policy", "report"} {
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			if name := filepath.ToSlash(strings.TrimPrefix(path, ".."+string(filepath.Separator))); use.Match(b) && !allowed[name] {
				t.Errorf("%s reads from the replica", name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if audit.MayLag(context.Background()) == nil {
		t.Error("no context")
	}
}
