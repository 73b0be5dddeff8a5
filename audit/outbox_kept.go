package audit

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/event"
)

// Bounds of the outbox.
const (
	// outboxAge is how long an event waits at most, whatever its attempts, as where no
	// instance delivers to its receiver any more.
	outboxAge = 7 * 24 * time.Hour
	// maxWaiting and maxDead bound the rows of one receiver. Beyond them the oldest are
	// dropped, and counted.
	maxWaiting = 1_000_000
	maxDead    = 100_000
	// sweepBatch is how many rows one transaction of a sweep changes.
	sweepBatch = 1000
)

// SweepEvents holds the outbox to its bounds: events that have waited for seven days
// become dead letters, and beyond 1,000,000 waiting events or 100,000 dead letters of a
// receiver the oldest are dropped and counted. It returns how many it dropped.
func (s *Store) SweepEvents(ctx context.Context) (dropped int64, err error) {
	if s.none {
		return 0, nil
	}

	before := s.now().Add(-outboxAge).UnixMicro()

	// Small transactions: decisions write their events to the same table meanwhile.
	for n := int64(sweepBatch); n == sweepBatch; {
		if n, err = s.expireOld(ctx, before); err != nil {
			return 0, err
		}
	}

	counts, err := s.EventCounts(ctx)
	if err != nil {
		return 0, err
	}
	for _, c := range counts {
		for state, excess := range map[string]int64{outboxPending: c.Pending - s.maxWaiting,
			outboxDead: c.Dead - s.maxDead} {
			for excess > 0 {
				n, err := s.dropEvents(ctx, c.Receiver, state, min(excess, sweepBatch))

				// Nothing left to drop: another instance dropped it.
				if err != nil || n == 0 {
					return dropped, err
				}
				excess, dropped = excess-n, dropped+n
			}
		}
	}
	return dropped, nil
}

// expireOld makes dead letters of events that have waited too long.
func (s *Store) expireOld(ctx context.Context, before int64) (n int64, err error) {
	err = s.tx(ctx, "expiring events", func(ctx context.Context, tx *txn) error {
		res, err := tx.ExecContext(ctx, `UPDATE outbox SET state = 'dead', due = $1,
				error = CASE WHEN error = '' THEN 'no instance has sent it for seven days' ELSE error END
			WHERE state = 'pending' AND (receiver, event) IN
				(SELECT receiver, event FROM outbox WHERE state = 'pending' AND at < $2 ORDER BY at LIMIT $3)`,
			s.now().UnixMicro(), before, sweepBatch)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	return n, err
}

// dropEvents removes the oldest events of a receiver in a state, and counts them.
func (s *Store) dropEvents(ctx context.Context, receiver, state string, n int64) (dropped int64, err error) {
	err = s.tx(ctx, "dropping events", func(ctx context.Context, tx *txn) error {
		res, err := tx.ExecContext(ctx, `DELETE FROM outbox WHERE receiver = $1 AND state = $2 AND event IN
			(SELECT event FROM outbox WHERE receiver = $1 AND state = $2 ORDER BY at, event LIMIT $3)`, receiver, state, n)
		if err != nil {
			return err
		}
		if dropped, err = res.RowsAffected(); err != nil || dropped == 0 {
			return err
		}
		return countDropped(ctx, tx, receiver, dropped)
	})
	return dropped, err
}

// countDropped adds to the count of events that a receiver never gets.
func countDropped(ctx context.Context, tx *txn, receiver string, n int64) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO outbox_counts (receiver, dropped) VALUES ($1, $2)
		ON CONFLICT (receiver) DO UPDATE SET dropped = outbox_counts.dropped + excluded.dropped`, receiver, n)
	return err
}

// pruneEvents removes dead letters from before a time, and counts them. Events that wait
// stay, whatever their age: they hold all that they publish.
func (s *Store) pruneEvents(ctx context.Context, before time.Time) (n int64, err error) {
	err = s.tx(ctx, "pruning events", func(ctx context.Context, tx *txn) error {
		n = 0
		rows, err := tx.QueryContext(ctx, `DELETE FROM outbox WHERE state = 'dead' AND (receiver, event) IN
			(SELECT receiver, event FROM outbox WHERE state = 'dead' AND at < $1 ORDER BY at LIMIT $2)
			RETURNING receiver`, before.UnixMicro(), pruneBatch)
		gone, err := idRows(rows, err)
		if err != nil {
			return err
		}
		for _, receiver := range gone {
			if err := countDropped(ctx, tx, receiver, 1); err != nil {
				return err
			}
		}
		n = int64(len(gone))
		return nil
	})
	return n, err
}

// EventCounts says what the outbox has, by receiver: of those that are configured, and of
// others that something still waits for.
func (s *Store) EventCounts(ctx context.Context) ([]event.Counts, error) {
	if s.none {
		return nil, unsupported()
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	out, err := s.eventCounts(ctx)
	if err != nil {
		return nil, s.fail("counting events", err)
	}
	return out, nil
}

func (s *Store) eventCounts(ctx context.Context) ([]event.Counts, error) {
	index := map[string]int{}
	var out []event.Counts
	of := func(receiver string) *event.Counts {
		i, ok := index[receiver]
		if !ok {
			i = len(out)
			index[receiver], out = i, append(out, event.Counts{Receiver: receiver})
		}
		return &out[i]
	}
	for _, r := range s.receivers {
		of(r.Name)
	}

	rows, err := s.read.QueryContext(ctx, `SELECT receiver, state, COUNT(*), MIN(at) FROM outbox GROUP BY receiver, state
		UNION ALL SELECT receiver, 'dropped', dropped, 0 FROM outbox_counts ORDER BY 1, 2`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error
	for rows.Next() {
		var receiver, state string
		var n, oldest int64
		if err := rows.Scan(&receiver, &state, &n, &oldest); err != nil {
			return nil, err
		}
		switch c := of(receiver); state {
		case outboxPending:
			c.Pending, c.Oldest = n, max(0, s.now().Sub(instantOf(&oldest)))
		case outboxDead:
			c.Dead = n
		default:
			c.Dropped = n
		}
	}
	return out, rows.Err()
}

// Events lists at most n events of the outbox, the oldest first, after the given one; after
// the zero Delivery, from the first on.
func (s *Store) Events(
	ctx context.Context, f event.Filter, after event.Delivery, n int,
) ([]event.Delivery, error) {
	if s.none {
		return nil, unsupported()
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	state := outboxPending
	if f.Dead {
		state = outboxDead
	}
	where, args := `state = $1`, []any{state}
	if after.Event.ID != "" {
		where += ` AND (at, receiver, event) > ($2, $3, $4)`
		args = append(args, after.Written.UnixMicro(), after.Receiver, after.Event.ID)
	}
	where, args = narrowed(f, where, args)
	args = append(args, n)
	//nolint:gosec // where has placeholders, and no values
	out, err := deliveryRows(s.read.QueryContext(ctx, `SELECT `+deliveryColumns+` FROM outbox WHERE `+where+
		fmt.Sprintf(` ORDER BY at, receiver, event LIMIT $%d`, len(args)), args...))
	if err != nil {
		return nil, s.fail("listing events", err)
	}
	return out, nil
}

// narrowed adds the conditions of a filter to others.
func narrowed(f event.Filter, where string, args []any) (string, []any) {
	for _, c := range []struct{ column, value string }{{"receiver", f.Receiver}, {"event", f.Event}} {
		if c.value != "" {
			args = append(args, text(c.value))
			where += fmt.Sprintf(` AND %s = $%d`, c.column, len(args))
		}
	}
	return where, args
}

// Redrive has dead letters sent again, as if they were new, and returns how many there are.
// They are sent by the instances that are at work. A receiver that is neither configured nor
// waited for is an error of kind Invalid.
func (s *Store) Redrive(ctx context.Context, f event.Filter) (n int64, err error) {
	if s.none {
		return 0, unsupported()
	}
	if err := s.checkReceiver(ctx, f.Receiver); err != nil {
		return 0, err
	}

	err = s.tx(ctx, "sending events again", func(ctx context.Context, tx *txn) error {
		where, args := narrowed(f, `state = 'dead'`, []any{s.now().UnixMicro()})
		res, err := tx.ExecContext(ctx, `UPDATE outbox SET state = 'pending', due = $1, at = $1, attempts = 0, error = ''
			WHERE `+where, args...)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		tx.wrote = n > 0
		return err
	})
	return n, err
}

// checkReceiver is the error of a receiver's name that nobody has: a name that was mistyped must not look like a receiver
// for which nothing is left to send. "" is every receiver.
func (s *Store) checkReceiver(ctx context.Context, name string) error {
	configured := make([]string, 0, len(s.receivers))
	for _, r := range s.receivers {
		configured = append(configured, r.Name)
	}
	if name == "" || slices.Contains(configured, name) {
		return nil
	}

	// Of a receiver that was taken out of the configuration, events may be left.
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var waits bool
	err := s.read.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM outbox WHERE receiver = $1)`, text(name)).Scan(&waits)
	if err != nil {
		return s.fail("looking for a receiver", err)
	}
	if waits {
		return nil
	}

	fix := "configure receivers under events in the configuration"
	if len(configured) > 0 {
		fix = "name one of " + strings.Join(configured, ", ") + ", or none for all"
	}
	return &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf("no receiver of events is called %q", name), Fix: fix}
}

// After these times the watch is said to have stalled. They are those of the alerts.
const (
	expireLate  = 15 * time.Minute
	rejudgeLate = 48 * time.Hour
)

// PublishStalled publishes that admitted images are not judged again, or that overrides do not
// end: once when it is so, and again only after it was well in between.
func (s *Store) PublishStalled(ctx context.Context) error {
	if s.none || len(s.receivers) == 0 {
		return nil
	}

	w, err := s.Watched(ctx)
	if err != nil {
		return err
	}
	now := s.now()
	for _, c := range []struct {
		what string
		late time.Duration
		is   bool
	}{
		{"expire-late", w.Overdue, w.Overdue > expireLate},
		{"rejudge-late", w.Oldest, w.Admissions && w.Oldest > rejudgeLate},
	} {
		if err := s.publishState(ctx, c.what, c.is, now.Add(-c.late)); err != nil {
			return err
		}
	}
	return nil
}

// publishState publishes a state when it begins.
func (s *Store) publishState(ctx context.Context, what string, is bool, since time.Time) error {
	// Most of the time nothing has changed.
	var marked bool
	ask, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := s.read.QueryRowContext(ask, `SELECT EXISTS (SELECT 1 FROM outbox_marks WHERE name = $1)`, what).Scan(&marked)
	if err != nil {
		return s.fail("recording an event about a state", err)
	}
	if marked == is {
		return nil
	}

	return s.tx(ctx, "recording an event about a state", func(ctx context.Context, tx *txn) error {
		if !is {
			_, err := tx.ExecContext(ctx, `DELETE FROM outbox_marks WHERE name = $1`, what)
			return err
		}
		res, err := tx.ExecContext(ctx, `INSERT INTO outbox_marks (name, value) VALUES ($1, $2)
			ON CONFLICT (name) DO NOTHING`, what, since.UTC().Format(time.RFC3339Nano))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			return err // another instance wrote it
		}
		return s.publish(ctx, tx, event.New(event.WatchStalled, what+"-"+fmt.Sprint(since.UnixMicro()), s.now(), "",
			event.Data{Stalled: &event.Stalled{What: what, Since: since.UTC()}}))
	})
}
