package audit_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"modernc.org/sqlite"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// held keeps the one connection that writes, counts its commits, and returns
// how to let it go and how many commits there were.
func held(t *testing.T, s *audit.Store) (release func(), commits *atomic.Int32) {
	t.Helper()
	commits = &atomic.Int32{}
	conn, err := s.Writer().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	if err := conn.Raw(func(c any) error {
		c.(sqlite.HookRegisterer).RegisterCommitHook(func() int32 { commits.Add(1); return 0 })
		return nil
	}); err != nil {
		t.Fatal(err)
	}

	return func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}, commits
}

// all finishes records at the same time, while the connection is held, so that
// none is written before all but the first wait.
func all(t *testing.T, s *audit.Store, records []attestor.Record) (errs []error, commits int) {
	t.Helper()
	release, count := held(t, s)
	errs = make([]error, len(records))
	var wg sync.WaitGroup
	for i, r := range records {
		wg.Go(func() { _, errs[i] = s.Finish(t.Context(), r) })
	}

	synctest.Wait() // all wait: one batch for the connection, the rest behind it
	release()
	wg.Wait()
	return errs, int(count.Load())
}

func TestWhatComesTogetherIsOneTransaction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, whatComesTogetherIsOneTransaction)
}

func whatComesTogetherIsOneTransaction(t *testing.T) {
	s := openSQLite(t, migratedFile(t), clockAt(day))
	var records []attestor.Record
	for i := range 50 {
		records = append(records, record(i, attestor.Pass))
	}

	errs, commits := all(t, s, records)
	for i, err := range errs {
		if err != nil {
			t.Errorf("record %d: %v", i, err)
		}
		if _, err := s.Record(t.Context(), records[i].Decision.ID); err != nil {
			t.Errorf("record %d: %v", i, err)
		}
	}

	// The first may have been taken alone, before the others came.
	if commits < 1 || commits > 2 {
		t.Errorf("%d commits", commits)
	}
}

// One that cannot be written, and one whose caller has gone, take nobody along.
func TestWhatFailsInATransactionFailsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, whatFailsInATransactionFailsAlone)
}

func whatFailsInATransactionFailsAlone(t *testing.T) {
	s := openSQLite(t, migratedFile(t), clockAt(day))
	finish(t, s, record(3, attestor.Pass))
	gone, cancel := context.WithCancel(t.Context())
	var records []attestor.Record
	for i := range 10 {
		records = append(records, record(i, attestor.Deny)) // 3 says something else than was finished
	}

	release, _ := held(t, s)
	errs := make([]error, len(records))
	var wg sync.WaitGroup
	for i, r := range records {
		ctx := t.Context()
		if i == 7 {
			ctx = gone
		}
		wg.Go(func() { _, errs[i] = s.Finish(ctx, r) })
	}

	synctest.Wait() // all wait: one batch for the connection, the rest behind it
	cancel()
	release()
	wg.Wait()
	for i, err := range errs {
		if i == 3 && attestor.KindOf(err) != attestor.Internal || i == 7 && attestor.KindOf(err) != attestor.Unavailable || i != 3 && i != 7 && err != nil {
			t.Errorf("record %d: %v", i, err)
		}
		r, err := s.Record(t.Context(), records[i].Decision.ID)
		switch {
		case i == 7: // gone: it may have been written before that was seen
		case err != nil:
			t.Errorf("record %d: %v", i, err)
		case (r.Decision.Verdict == attestor.Pass) != (i == 3):
			t.Errorf("record %d has verdict %v", i, r.Decision.Verdict)
		}
	}
}

// A database that cannot be written fails all that share a transaction.
func TestATransactionThatFailsFailsAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, aTransactionThatFailsFailsAll)
}

func aTransactionThatFailsFailsAll(t *testing.T) {
	s := openSQLite(t, migratedFile(t), clockAt(day))
	if _, err := s.Writer().Exec(`PRAGMA query_only(1)`); err != nil {
		t.Fatal(err)
	}
	var records []attestor.Record
	for i := range 20 {
		records = append(records, record(i, attestor.Pass))
	}

	errs, commits := all(t, s, records)
	for i, err := range errs {
		if attestor.KindOf(err) != attestor.Unavailable || err == nil {
			t.Errorf("record %d: %v", i, err)
		}
	}

	if commits != 0 {
		t.Errorf("%d commits", commits)
	}
}
