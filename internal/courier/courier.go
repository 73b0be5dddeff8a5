// Package courier delivers events from the record's outbox to their receivers: Pub/Sub
// topics and webhooks.
//
// Each event is delivered at least once, and in no fixed order; its id is the same each
// time. An event that is not delivered is tried again after longer and longer pauses, and
// becomes a dead letter after [Attempts]. Receivers are independent: one that is slow or
// gone delays the events of no other, and no decision.
//
// Several instances may deliver from one outbox. Each claims events for a while; those of
// an instance that was killed are due again when its claim ends.
package courier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/internal/when"
)

// An Outbox has the events that were not delivered yet.
type Outbox interface {
	// ClaimEvents takes at most n events of a receiver that are due, for this instance
	// alone, until the lease ends. Each claim counts as an attempt.
	ClaimEvents(ctx context.Context, receiver string, n int, lease time.Duration) ([]event.Delivery, error)
	// Delivered removes events of one receiver.
	Delivered(ctx context.Context, all []event.Delivery) error
	// Undelivered notes why an event was not delivered, and when it is tried again; the
	// zero time: never. It notes nothing of an event that was claimed again since.
	Undelivered(ctx context.Context, d event.Delivery, again time.Time, why string) error
	// Written is sent to after this process wrote events.
	Written() <-chan struct{}
}

// A Sender sends messages to one receiver.
type Sender interface {
	// Send returns nil once the receiver has the message. A [*Failure] says more about
	// what to do; every other error is tried again.
	Send(ctx context.Context, m Message) error
}

// A Message is an event as one receiver gets it.
type Message struct {
	Event event.Event // for attributes; Body is what is sent
	Body  []byte      // the event in CloudEvents' JSON format
}

// A Failure is an error of a Sender that says how to go on.
type Failure struct {
	Err   error
	After time.Duration // the receiver asked to wait as long; 0: it named no time
	Gone  bool          // the receiver wants no events any more
}

// Error implements [error].
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

// A Receiver gets events.
type Receiver struct {
	Name   string
	Parts  []event.Part // that it may see beside what every receiver sees
	Sender Sender
	Batch  int // events that are sent at once; at least 1
	// Encode makes the message's body; nil: CloudEvents' JSON format.
	Encode func(e event.Event, parts []event.Part) ([]byte, error)
}

// Config is the configuration of a Courier. Everything is required.
type Config struct {
	Outbox    Outbox
	Receivers []Receiver
	Source    string // of the events: a URI that is this gate's alone
	Now       func() time.Time
	Logger    *slog.Logger
	Registry  *prometheus.Registry
}

// A Courier delivers events.
type Courier struct {
	c     Config
	sends *prometheus.CounterVec
}

// New returns a Courier.
func New(c Config) (*Courier, error) {
	if c.Outbox == nil || c.Now == nil || c.Logger == nil || c.Registry == nil || c.Source == "" {
		return nil, errors.New("making a courier: outbox, clock, logger, registry or source are missing")
	}

	sends := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "attestor_outbox_sends_total",
		Help: "Attempts to send an event, by receiver and outcome: delivered, failed, dead.",
	}, []string{"receiver", "outcome"})
	if err := c.Registry.Register(sends); err != nil {
		return nil, fmt.Errorf("making a courier: registering metrics: %w", err)
	}
	return &Courier{c: c, sends: sends}, nil
}

const (
	// lease is how long a claim holds: longer than an attempt and noting its outcome take.
	lease = 40 * time.Second
	// sendTimeout is how long one attempt may take.
	sendTimeout = 15 * time.Second
	// poll is how often an instance looks for events that others wrote, or that are due
	// again.
	poll = 2 * time.Second
	// storeTimeout bounds how long an outcome is written.
	storeTimeout = 10 * time.Second
	// goneFor is how long a receiver is left alone that wants no events any more.
	goneFor = time.Hour
)

// pauses are those between two attempts: the schedule that Standard Webhooks gives as an
// example. Beside it the event is tried for three days.
func pauses() []time.Duration {
	return []time.Duration{
		5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	}
}

// Attempts is how often an event is sent at most before it is a dead letter.
func Attempts() int { return len(pauses()) + 1 }

// Run delivers until ctx ends.
func (c *Courier) Run(ctx context.Context) {
	var wg sync.WaitGroup
	var wake []chan struct{}
	for _, r := range c.c.Receivers {
		signal := make(chan struct{}, 1)
		wake = append(wake, signal)
		wg.Go(func() { c.serve(ctx, r, signal) })
	}

	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-c.c.Outbox.Written():
			for _, w := range wake {
				select {
				case w <- struct{}{}:
				default: // it will look anyhow
				}
			}
		}
	}
	wg.Wait()
}

// serve delivers to one receiver until ctx ends.
func (c *Courier) serve(ctx context.Context, r Receiver, signal <-chan struct{}) {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		n, gone, err := c.deliver(ctx, r)
		if err != nil && ctx.Err() == nil {
			c.c.Logger.LogAttrs(ctx, slog.LevelWarn, "the outbox cannot be read or written; events wait",
				slog.String("receiver", r.Name), slog.Any("error", err))
		}
		if ctx.Err() != nil {
			return
		}

		switch {
		case gone:
			if when.Sleep(ctx, goneFor) != nil {
				return
			}
		case err == nil && n == r.Batch: // there may be more
		default:
			select {
			case <-ctx.Done():
				return
			case <-signal:
			case <-ticker.C:
			}
		}
	}
}

// deliver makes one attempt for each event of a receiver that is due, at most r.Batch. It
// returns how many there were, and whether the receiver wants no events any more.
func (c *Courier) deliver(ctx context.Context, r Receiver) (n int, gone bool, err error) {
	claimed, err := c.c.Outbox.ClaimEvents(ctx, r.Name, r.Batch, lease)
	if err != nil || len(claimed) == 0 {
		return 0, false, err
	}

	failed := make([]error, len(claimed))
	var wg sync.WaitGroup
	for i, d := range claimed {
		wg.Go(func() { failed[i] = c.send(ctx, r, d) })
	}
	wg.Wait()

	// What has arrived is noted even where the process is about to end, or it would be
	// sent again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	var delivered []event.Delivery
	var errs []error
	for i, d := range claimed {
		if failed[i] == nil {
			delivered = append(delivered, d)
			continue
		}
		if f, ok := errors.AsType[*Failure](failed[i]); ok && f.Gone {
			gone = true
		}
		errs = append(errs, c.fail(ctx, r, d, failed[i]))
	}
	c.sends.WithLabelValues(r.Name, "delivered").Add(float64(len(delivered)))
	return len(claimed), gone, errors.Join(append(errs, c.c.Outbox.Delivered(ctx, delivered))...)
}

// send makes one attempt. A panic of a sender is its failure, and not the gate's end.
func (c *Courier) send(ctx context.Context, r Receiver, d event.Delivery) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic while sending: %v", p)
		}
	}()

	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	encode := r.Encode
	if encode == nil {
		encode = func(e event.Event, parts []event.Part) ([]byte, error) { return e.Encode(c.c.Source, parts) }
	}
	body, err := encode(d.Event, r.Parts)
	if err != nil {
		return err
	}
	return r.Sender.Send(ctx, Message{Event: d.Event, Body: body})
}

// maxWhy bounds the error that is kept with an event, in bytes.
const maxWhy = 500

// fail notes that an attempt failed, and plans the next one.
func (c *Courier) fail(ctx context.Context, r Receiver, d event.Delivery, cause error) error {
	why := cause.Error()
	if len(why) > maxWhy {
		why = why[:maxWhy]
	}

	var again time.Time
	outcome := "dead"
	f, _ := errors.AsType[*Failure](cause)
	if all := pauses(); d.Attempts <= len(all) && (f == nil || !f.Gone) {
		// Up to a tenth more, so that events that failed together do not come back together.
		pause := all[d.Attempts-1]
		pause += time.Duration(rand.Int64N(int64(pause)/10 + 1)) //nolint:gosec // no secret
		if f != nil {
			pause = max(pause, min(f.After, all[len(all)-1]))
		}
		again, outcome = c.c.Now().Add(pause), "failed"
	}

	c.sends.WithLabelValues(r.Name, outcome).Inc()
	level := slog.LevelInfo
	if outcome == "dead" {
		level = slog.LevelError
	}
	c.c.Logger.LogAttrs(ctx, level, "an event was not delivered",
		slog.String("receiver", r.Name), slog.String("event", d.Event.ID), slog.Int("attempt", d.Attempts),
		slog.String("outcome", outcome), slog.String("error", why))
	return c.c.Outbox.Undelivered(ctx, d, again, why)
}
