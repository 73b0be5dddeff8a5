package audit_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/event"
)

// A cutter ends the connection at one step of a transaction: the nth statement, or its
// commit, before or after the database has done it.
type cutter struct {
	mu     sync.Mutex
	at     int  // steps until it cuts; 0: never
	commit bool // commits are counted only, and are done before the cut: what a database that fails over leaves unknown
	cut    bool
}

var errCut = errors.New("the connection was cut")

func (c *cutter) arm(at int, commit bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.commit, c.cut = at, commit, false
}

// disarm reports whether it cut.
func (c *cutter) disarm() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = 0
	return c.cut
}

// step counts a step, and reports whether to cut at it.
func (c *cutter) step(commit bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == 0 || c.commit && !commit {
		return false
	}
	if c.at--; c.at > 0 {
		return false
	}
	c.cut = true
	return true
}

// wrap makes a connector whose connections are cut. What it does not know of a driver's
// connection it leaves to it.
func (c *cutter) wrap(inner driver.Connector) driver.Connector { return cutConnector{inner, c} }

type cutConnector struct {
	driver.Connector
	c *cutter
}

func (k cutConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := k.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &cutConn{Conn: conn, c: k.c}, nil
}

type cutConn struct {
	driver.Conn
	c  *cutter
	in bool // a transaction
}

func (k *cutConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	tx, err := k.Conn.(driver.ConnBeginTx).BeginTx(ctx, o) //nolint:forcetypeassert // both drivers have it
	if err != nil {
		return nil, err
	}
	k.in = true
	return &cutTx{tx, k}, nil
}

func (k *cutConn) cuts() bool { return k.in && k.c.step(false) }

func (k *cutConn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	if k.cuts() {
		return nil, errCut
	}
	return k.Conn.(driver.ExecerContext).ExecContext(ctx, text, args) //nolint:forcetypeassert // as above
}

func (k *cutConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	if k.cuts() {
		return nil, errCut
	}
	return k.Conn.(driver.QueryerContext).QueryContext(ctx, text, args) //nolint:forcetypeassert // as above
}

func (k *cutConn) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	stmt, err := k.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, text) //nolint:forcetypeassert // as above
	if err != nil {
		return nil, err
	}
	return &cutStmt{stmt, k}, nil
}

// CheckNamedValue leaves the values to the driver.
func (k *cutConn) CheckNamedValue(v *driver.NamedValue) error {
	if n, ok := k.Conn.(driver.NamedValueChecker); ok {
		return n.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

type cutStmt struct {
	driver.Stmt
	k *cutConn
}

func (s *cutStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if s.k.cuts() {
		return nil, errCut
	}
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args) //nolint:forcetypeassert // as above
}

func (s *cutStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if s.k.cuts() {
		return nil, errCut
	}
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args) //nolint:forcetypeassert // as above
}

type cutTx struct {
	driver.Tx
	k *cutConn
}

func (t *cutTx) Commit() error {
	t.k.in = false
	if !t.k.c.step(true) {
		return t.Tx.Commit()
	}
	t.k.c.mu.Lock()
	done := t.k.c.commit
	t.k.c.mu.Unlock()
	if done {
		return errors.Join(t.Tx.Commit(), errCut)
	}
	return errors.Join(t.Tx.Rollback(), errCut)
}

func (t *cutTx) Rollback() error {
	t.k.in = false
	return t.Tx.Rollback()
}

// A step of a request writes to the record. n tells repeats of the table apart.
type writeStep struct {
	before func(t *testing.T, s *audit.Store, n int) // what the step follows
	do     func(ctx context.Context, s *audit.Store, n int) error
}

// writeSteps are what requests write, with the log on.
func writeSteps() map[string]writeStep {
	finish1 := func(ctx context.Context, s *audit.Store, r attestor.Record) error {
		_, err := s.Finish(ctx, r)
		return err
	}
	passes := func(n int) attestor.Record { return record(n, attestor.Pass, attest) }
	revocation := func(n int) attestor.RevocationRecord {
		return attestor.RevocationRecord{
			ID: fmt.Sprintf("0199-r%05d", n), Time: day.Add(time.Hour), Kind: attestor.RevokedByPerson, Image: passes(n).Evidence.Image,
			Reason: "a key leaked", Caller: attestor.CallerRef{Subject: "admin@example"}, Admitted: []string{}, Attestations: []attestor.Attestation{},
		}
	}
	finished := func(t *testing.T, s *audit.Store, n int) { t.Helper(); finish(t, s, passes(n)) }
	return map[string]writeStep{
		"a denial": {do: func(ctx context.Context, s *audit.Store, n int) error {
			return finish1(ctx, s, record(n, attestor.Deny))
		}},
		"an override": {do: func(ctx context.Context, s *audit.Store, n int) error { return finish1(ctx, s, overridden(n)) }},
		"what is about to be signed": {do: func(ctx context.Context, s *audit.Store, n int) error {
			return s.Begin(ctx, record(n, attestor.Pass))
		}},
		"what was signed": {
			before: func(t *testing.T, s *audit.Store, n int) {
				t.Helper()
				if err := s.Begin(t.Context(), passes(n)); err != nil {
					t.Fatal(err)
				}
			},
			do: func(ctx context.Context, s *audit.Store, n int) error { return finish1(ctx, s, passes(n)) },
		},
		"a revocation that begins": {before: finished, do: func(ctx context.Context, s *audit.Store, n int) error {
			_, err := s.BeginRevocation(ctx, revocation(n))
			return err
		}},
		"a revocation": {
			before: func(t *testing.T, s *audit.Store, n int) {
				t.Helper()
				finished(t, s, n)
				if _, err := s.BeginRevocation(t.Context(), revocation(n)); err != nil {
					t.Fatal(err)
				}
			},
			do: func(ctx context.Context, s *audit.Store, n int) error { return s.FinishRevocation(ctx, revocation(n)) },
		},
		"policies": {do: func(ctx context.Context, s *audit.Store, n int) error {
			_, err := s.RecordPolicies(ctx, attestor.PolicyChange{
				ID: fmt.Sprintf("0199-p%05d", n), Time: day.Add(time.Hour), Cause: attestor.PoliciesReloaded,
				Policies: []attestor.PolicyInForce{{Name: "production", Digest: digest(n), Source: "p.yaml"}},
			})
			return err
		}},
		"a prune": {
			before: func(t *testing.T, s *audit.Store, n int) {
				t.Helper()
				finish(t, s, record(n, attestor.Deny, func(r *attestor.Record) {
					r.Decision.Time = day.AddDate(0, 0, -100).Add(time.Duration(n) * time.Second)
					r.Evidence.Time = r.Decision.Time
				}))
			},
			do: func(ctx context.Context, s *audit.Store, _ int) error {
				_, err := s.Prune(ctx, day.AddDate(0, 0, -50))
				return err
			},
		},
	}
}

// TestWritesThatAreCut cuts the connection to the database at each statement of each thing
// that a request writes, and at its commit, which the database has done or not: what a
// database that fails over leaves unknown. Whoever asked is told, and asks again. Then
// nothing is lost, nothing is there twice, the sums are those of the decisions, and the
// record verifies.
//
// Without GATE_TEST_ALL it cuts the first three statements, and the commits, of some.
func TestWritesThatAreCut(t *testing.T) {
	whole := os.Getenv("GATE_TEST_ALL") == "1"
	some := map[string]bool{"a denial": true, "what was signed": true, "a revocation": true}
	onBothConfigs(t, func(t *testing.T, config func(t *testing.T) audit.Config) {
		for name, step := range writeSteps() {
			if !whole && !some[name] {
				continue
			}
			t.Run(name, func(t *testing.T) {
				c := config(t)
				c.Now, c.Log = clockAt(day).now, signedLog(time.Minute)
				c.Receivers = []audit.Receiver{{Name: "all", Types: append(event.Types(), event.DecisionRecorded)}}
				s := open(t, c)
				var cut cutter
				if err := s.WrapWriter(t.Context(), cut.wrap); err != nil {
					t.Fatal(err)
				}

				n := 0
				for _, commit := range []bool{false, true} {
					for at := 1; ; at++ {
						n++
						if step.before != nil {
							step.before(t, s, n)
						}
						cut.arm(at, commit)
						err := step.do(t.Context(), s, n)
						hit := cut.disarm()
						switch {
						case !hit && err != nil:
							t.Fatalf("nothing was cut: %v", err)
						case hit && attestor.KindOf(err) != attestor.Unavailable:
							t.Fatalf("cut at step %d (commit: %t): %v, want an error of kind Unavailable", at, commit, err)
						case hit:
							if err := step.do(t.Context(), s, n); err != nil {
								t.Fatalf("again after a cut at step %d (commit: %t): %v", at, commit, err)
							}
						}

						if !hit || !whole && at == 3 {
							break
						}
					}
				}
				checkWhole(t, s, name, n)
			})
		}
	})
}

// checkWhole holds a record of n repeats of a step to what they recorded.
func checkWhole(t *testing.T, s *audit.Store, name string, n int) {
	t.Helper()
	if err := s.IndexForTest(t.Context()); err != nil {
		t.Fatal(err)
	}
	v, faults := verified(t, s)
	if len(faults) > 0 {
		t.Errorf("%+v: %v", v, faults)
	}

	all := everything(t, s)
	seen := map[string]bool{}
	for _, r := range all {
		if seen[r.Decision.ID] {
			t.Errorf("%s is listed twice", r.Decision.ID)
		}
		seen[r.Decision.ID] = true
	}
	want := map[string]int{"what is about to be signed": 0, "policies": 0, "a prune": 0}
	if w, ok := want[name]; !ok && len(all) != n || ok && len(all) != w {
		t.Errorf("%d decisions of %d", len(all), n)
	}
	lines, wantDays := recomputed(all, audit.Filter{})
	if d := gocmp.Diff(wantDays, days(t, s, audit.Filter{}), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("days (-want +got):\n%s", d)
	}
	if d := gocmp.Diff(factsOf(lines), facts(t, s, audit.Filter{}), cmpopts.EquateEmpty()); d != "" {
		t.Errorf("facts (-want +got):\n%s", d)
	}

	// Each event is there once: what recorded it was.
	told, err := s.EventsForTest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := told[string(event.DecisionRecorded)]; name != "a prune" && got != len(all) {
		t.Errorf("%d events tell of %d decisions", got, len(all))
	}
	changes := 0
	for _, err := range s.PolicyChanges(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		changes++
	}
	if name == "policies" && changes != n {
		t.Errorf("%d changes of policies, want %d", changes, n)
	}
}
