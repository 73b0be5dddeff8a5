package audit_test

import (
	"context"
	"database/sql/driver"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// A deafReader fails the nth query from now on whose text has a part, as a database does that does not answer.
type deafReader struct {
	mu   sync.Mutex
	part string
	nth  int // 0: none fails
}

func (d *deafReader) arm(part string, nth int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.part, d.nth = part, nth
}

// failed reports whether the query that was to fail was made.
func (d *deafReader) failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.nth == 0
}

func (d *deafReader) hears(text string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nth == 0 || !strings.Contains(text, d.part) {
		return true
	}
	d.nth--
	return d.nth > 0
}

func (d *deafReader) wrap(inner driver.Connector) driver.Connector { return deafConnector{inner, d} }

type deafConnector struct {
	driver.Connector
	d *deafReader
}

func (c deafConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	return &deafConn{conn, c.d}, err
}

type deafConn struct {
	driver.Conn
	d *deafReader
}

func (c *deafConn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	if !c.d.hears(text) {
		return nil, errCut
	}
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, text, args) //nolint:forcetypeassert // SQLite's has it
}

// A database that does not answer has changed nothing: only what it answers is compared.
func TestSilenceIsNoTampering(t *testing.T) {
	const hashes = "SELECT n, hashes FROM log_leaves"
	s := open(t, audit.Config{SQLite: migratedFile(t), Now: clockAt(day).now, Log: signedLog(time.Minute)})
	for n := range 5 {
		finish(t, s, record(n+1, attestor.Deny))
	}
	if err := s.SignRound(t.Context()); err != nil {
		t.Fatal(err)
	}
	const id = "0199-000003"
	deaf := &deafReader{}
	s.WrapReader(deaf.wrap)

	unchanged := func(t *testing.T) {
		t.Helper()
		if r, err := s.Record(t.Context(), id); err != nil || r.Decision.Log != nil && r.Decision.Log.Changed != "" {
			t.Fatalf("%+v, %v; want the decision as it was recorded", r.Decision.Log, err)
		}
	}
	unchanged(t)

	// Silence at any of the queries that look at the log is an error that may pass, and never a change.
	for _, silence := range []struct {
		part string
		nth  int
	}{{hashes, 1}, {hashes, 2}, {"log_leaves", 1}, {"log_head", 1}} {
		part := silence.part
		deaf.arm(part, silence.nth)
		r, err := s.Record(t.Context(), id)
		if !deaf.failed() {
			t.Fatalf("not %d queries have %q", silence.nth, part)
		}
		if attestor.KindOf(err) != attestor.Unavailable {
			t.Errorf("a query with %q fails: %+v, %v; want an error of kind Unavailable", part, r.Decision.Log, err)
		}
		unchanged(t)
	}

	// What it does answer is compared: a hash that is missing or damaged is a change.
	for _, change := range []string{
		"UPDATE log_leaves SET hashes = x'00' WHERE n = 1",
		"UPDATE log_leaves SET hashes = zeroblob(32) WHERE n = 1",
		"DELETE FROM log_leaves WHERE n = 1",
	} {
		run(t, s.Writer(), change)
		if r, err := s.Record(t.Context(), id); err != nil || r.Decision.Log == nil || r.Decision.Log.Changed == "" {
			t.Errorf("%s: %+v, %v; want a changed entry", change, r.Decision.Log, err)
		}
	}
}
