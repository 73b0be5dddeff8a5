package courier_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/courier"
	"github.com/attestor-gate/attestor/internal/event"
)

// denials opens a record with n denials that each of the receivers is told of. later moves
// its clock.
func denials(t *testing.T, n int, receivers ...string) (s *audit.Store, now func() time.Time, later func(time.Duration)) {
	t.Helper()
	var at atomic.Int64
	at.Store(time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC).UnixMicro())
	now = func() time.Time { return time.UnixMicro(at.Load()).UTC() }

	c := audit.Config{SQLite: filepath.Join(t.TempDir(), "record.db"), Now: now}
	for _, name := range receivers {
		c.Receivers = append(c.Receivers, audit.Receiver{Name: name, Types: event.Types()})
	}
	c.Timeout = 5 * time.Minute // a loaded machine is no fault of the store
	s, err := audit.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for i := range n {
		d := attestor.Decision{ID: fmt.Sprintf("d-%03d", i), Time: now(), Verdict: attestor.Deny}
		if _, err := s.Finish(t.Context(), attestor.Record{Decision: d}); err != nil {
			t.Fatal(err)
		}
	}
	return s, now, func(d time.Duration) { at.Add(d.Microseconds()) }
}

func newCourier(t *testing.T, s *audit.Store, now func() time.Time, receivers ...courier.Receiver) *courier.Courier {
	t.Helper()
	c, err := courier.New(courier.Config{
		Outbox: s, Receivers: receivers, Source: "https://gate.example", Now: now,
		Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sending is a receiver whose messages f takes.
func sending(name string, f func(ctx context.Context) error) courier.Receiver {
	publish := func(ctx context.Context, _ []byte, _ map[string]string) error { return f(ctx) }
	return courier.Receiver{Name: name, Sender: courier.Topic{Publish: publish}, Batch: 8}
}

// waiting is the one event of the record, and whether it is a dead letter.
func waiting(t *testing.T, s *audit.Store) (d event.Delivery, dead bool) {
	t.Helper()
	for _, dead := range []bool{false, true} {
		all, err := s.Events(t.Context(), event.Filter{Dead: dead}, event.Delivery{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 1 {
			return all[0], dead
		}
	}
	t.Fatal("the event is lost")
	return d, false
}

// An event is tried as often as the documentation says, after the pauses that it says.
func TestAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	s, now, later := denials(t, 1, "chat")
	sent := 0
	r := sending("chat", func(context.Context) error { sent++; return errors.New("refused") })
	c := newCourier(t, s, now, r)

	pauses := []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute}
	for _, hours := range []time.Duration{2, 5, 10, 14, 20, 24} {
		pauses = append(pauses, hours*time.Hour)
	}
	for i, want := range pauses {
		if n, _, err := c.Deliver(t.Context(), r); err != nil || n != 1 {
			t.Fatalf("attempt %d: %d, %v", i+1, n, err)
		}
		d, dead := waiting(t, s)
		if pause := d.Due.Sub(now()); dead || pause < want || pause > want+want/10+time.Second || d.Error != "refused" {
			t.Errorf("after attempt %d: due in %v, want %v; dead %t, %q", i+1, pause, want, dead, d.Error)
		}
		if n, _, err := c.Deliver(t.Context(), r); err != nil || n != 0 {
			t.Errorf("before it is due: %d, %v", n, err)
		}
		later(want + want/10 + time.Second)
	}
	if _, _, err := c.Deliver(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if d, dead := waiting(t, s); !dead || d.Attempts != 10 || sent != 10 || courier.Attempts() != 10 {
		t.Errorf("dead %t after %d attempts, %d sent", dead, d.Attempts, sent)
	}

	// Sent again by a person, it is new.
	if n, err := s.Redrive(t.Context(), event.Filter{}); err != nil || n != 1 {
		t.Fatalf("%d, %v", n, err)
	}
	if n, _, err := c.Deliver(t.Context(), r); err != nil || n != 1 || sent != 11 {
		t.Errorf("%d, %v, %d sent", n, err, sent)
	}
}

// A receiver may ask for more time, up to a day, and for no more events.
func TestReceiversAreHeard(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		failure  courier.Failure
		least    time.Duration
		most     time.Duration
		dead     bool
		panicked bool
	}{
		"in an hour":  {failure: courier.Failure{After: time.Hour}, least: time.Hour, most: time.Hour},
		"in a year":   {failure: courier.Failure{After: 365 * 24 * time.Hour}, least: 24 * time.Hour, most: 24 * time.Hour},
		"at once":     {failure: courier.Failure{After: 0}, least: 5 * time.Second, most: 6 * time.Second},
		"gone":        {failure: courier.Failure{Gone: true}, dead: true},
		"it panicked": {panicked: true, least: 5 * time.Second, most: 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, now, _ := denials(t, 1, "chat")
			r := sending("chat", func(context.Context) error {
				if tt.panicked {
					panic("a defect")
				}
				tt.failure.Err = errors.New("not now")
				return &tt.failure
			})
			_, gone, err := newCourier(t, s, now, r).Deliver(t.Context(), r)
			if err != nil || gone != tt.failure.Gone {
				t.Fatalf("gone %t, %v", gone, err)
			}
			d, dead := waiting(t, s)
			if pause := d.Due.Sub(now()); dead != tt.dead || !dead && (pause < tt.least || pause > tt.most) {
				t.Errorf("dead %t, due in %v; want %t, %v to %v", dead, pause, tt.dead, tt.least, tt.most)
			}
		})
	}
}

// A receiver that does not answer keeps no event from another one, and loses none.
func TestASlowReceiverDelaysNoOther(t *testing.T) {
	t.Parallel()
	const n = 50
	s, now, _ := denials(t, n, "slow", "quick")
	got := make(chan struct{}, n)
	c := newCourier(t, s, now,
		sending("slow", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }),
		sending("quick", func(context.Context) error { got <- struct{}{}; return nil }),
	)
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() { defer close(stopped); c.Run(ctx) }()
	for range n {
		<-got
	}
	stop()
	<-stopped

	all, err := s.EventCounts(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	for _, r := range all {
		if want := map[string]int64{"slow": n, "quick": 0}[r.Receiver]; r.Pending != want || r.Dead != 0 {
			t.Errorf("%+v, want %d that wait", r, want)
		}
	}
}
