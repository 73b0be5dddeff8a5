package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/event"
)

// A Receiver gets events. Each event is kept in the record until the receiver has
// it.
type Receiver struct {
	Name  string       // in the configuration; 1 to 63 bytes
	Types []event.Type // that it gets
}

// States of a row of the outbox.
const (
	outboxPending = "pending"
	outboxDead    = "dead" // not tried any more, until it is sent again by a person
)

// publish writes an event for each receiver that gets its type. It is committed with what
// it is about, or not at all: a crash loses none, and invents none.
func (s *Store) publish(ctx context.Context, tx *txn, ev event.Event) error {
	// What versions before recorded is no news.
	if !tx.entered.IsZero() {
		return nil
	}

	var body string
	for _, r := range s.receivers {
		if !slices.Contains(r.Types, ev.Type) {
			continue
		}

		if body == "" {
			b, err := json.Marshal(ev)
			if err != nil {
				return fmt.Errorf("encoding event %s: %w", ev.ID, err)
			}
			body = text(string(b))
		}
		now := s.now().UnixMicro()
		if _, err := s.exec(ctx, tx, putOutboxText, r.Name, text(ev.ID), string(ev.Type), now, body); err != nil {
			return err
		}
		tx.wrote = true
	}
	return nil
}

const putOutboxText = `INSERT INTO outbox (receiver, event, type, at, body, state, due, attempts, error)
	VALUES ($1, $2, $3, $4, $5, 'pending', $4, 0, '') ON CONFLICT (receiver, event) DO NOTHING`

// Written is sent to after events were written by this process. Others write events, too:
// look for them every few seconds.
func (s *Store) Written() <-chan struct{} { return s.written }

// ClaimEvents takes at most n events of a receiver that are due, those first that are due
// for longest, for this instance alone. Until the lease ends nobody else gets them; after
// that they are due again, so that those of an instance that was killed are not lost.
// Each claim counts as an attempt.
func (s *Store) ClaimEvents(
	ctx context.Context, receiver string, n int, lease time.Duration,
) (claimed []event.Delivery, err error) {
	if s.none {
		return nil, unsupported()
	}

	// Instances that ask at the same time pass over each other's rows. SQLite has one
	// writer at a time.
	skip := ""
	if s.engine.dialect() == goose.DialectPostgres {
		skip = "FOR UPDATE SKIP LOCKED"
	}
	err = s.tx(ctx, "claiming events", func(ctx context.Context, tx *txn) (err error) {
		now := s.now()
		claimed, err = deliveryRows(tx.QueryContext(ctx, `
			WITH first AS MATERIALIZED (SELECT event FROM outbox
				WHERE receiver = $2 AND state = 'pending' AND due <= $3 ORDER BY due LIMIT $4 `+skip+`)
			UPDATE outbox SET due = $1, attempts = attempts + 1
			WHERE receiver = $2 AND state = 'pending' AND due <= $3 AND event IN (SELECT event FROM first)
			RETURNING `+deliveryColumns, now.Add(lease).UnixMicro(), receiver, now.UnixMicro(), n))
		return err
	})
	return claimed, err
}

const deliveryColumns = `receiver, event, type, at, body, state, due, attempts, error`

func deliveryRows(rows *sql.Rows, err error) ([]event.Delivery, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []event.Delivery
	for rows.Next() {
		var d event.Delivery
		var id, kind, body, state string
		var at, due int64
		if err := rows.Scan(&d.Receiver, &id, &kind, &at, &body, &state, &due, &d.Attempts, &d.Error); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(body), &d.Event); err != nil {
			return nil, fmt.Errorf("reading event %s: %w", id, err)
		}
		d.Event.ID, d.Event.Type = id, event.Type(kind)
		d.Written, d.Due, d.Dead = instantOf(&at), instantOf(&due), state == outboxDead
		out = append(out, d)
	}
	return out, rows.Err()
}

// Delivered removes events of one receiver that it has. Removing them again is no error.
func (s *Store) Delivered(ctx context.Context, all []event.Delivery) error {
	if s.none {
		return unsupported()
	}
	if len(all) == 0 {
		return nil
	}

	var ids []string
	for _, d := range all {
		ids = append(ids, d.Event.ID)
	}
	marks, args := placeholders(ids, all[0].Receiver)
	return s.tx(ctx, "noting that events are delivered", func(ctx context.Context, tx *txn) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM outbox WHERE receiver = $1 AND event IN (`+marks+`)`, args...)
		return err
	})
}

// Undelivered notes why a receiver did not get an event, and when it is tried again; the
// zero time: never, and the event is a dead letter. Where another instance has claimed it
// since, nothing is noted.
func (s *Store) Undelivered(ctx context.Context, d event.Delivery, again time.Time, why string) error {
	if s.none {
		return unsupported()
	}

	state, due := outboxPending, again.UnixMicro()
	if again.IsZero() {
		state, due = outboxDead, s.now().UnixMicro()
	}

	// attempts has grown if another instance has claimed the event since: that instance's result counts.
	return s.tx(ctx, "noting that an event is not delivered", func(ctx context.Context, tx *txn) error {
		_, err := tx.ExecContext(ctx, `UPDATE outbox SET state = $1, due = $2, error = $3
			WHERE receiver = $4 AND event = $5 AND attempts = $6 AND state = 'pending'`,
			state, due, text(why), d.Receiver, d.Event.ID, d.Attempts)
		return err
	})
}

// wakeCourier says that events were written. One place is enough: whoever reads from it
// looks for all of them.
func (s *Store) wakeCourier() {
	select {
	case s.written <- struct{}{}:
	default:
	}
}

// EventsOf lists the events about a finished decision.
func EventsOf(d attestor.Decision) []event.Event {
	data := event.OfDecision(d)
	of := func(t event.Type) event.Event { return event.New(t, d.ID, d.Time, d.Image.Reference, data) }

	// A dry run refuses nothing, and an override counts as one.
	out := []event.Event{of(event.DecisionRecorded)}
	switch {
	case groundOf(d).override != nil && groundOf(d).admits():
		out = append(out, of(event.OverrideUsed))
	case d.Verdict == attestor.Deny && !d.DryRun:
		out = append(out, of(event.DecisionDenied))
	}
	return out
}
