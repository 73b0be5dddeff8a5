package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/internal/plain"
)

func eventsCommand() *cobra.Command {
	c := &cobra.Command{Use: "events", Short: "List events that were not delivered, and send them again",
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(eventsListCommand(), eventsRedriveCommand())
	return c
}

// outbox is where events wait: of a service, or of the record itself.
type outbox struct {
	events  func(ctx context.Context, f event.Filter) iter.Seq2[event.Delivery, error]
	redrive func(ctx context.Context, f event.Filter) (int64, error)
	close   func() error
}

// outboxBatch is how many events are read at a time.
const outboxBatch = 200

// eventsOf walks the events of the record itself.
func eventsOf(s *audit.Store) func(context.Context, event.Filter) iter.Seq2[event.Delivery, error] {
	return func(ctx context.Context, f event.Filter) iter.Seq2[event.Delivery, error] {
		return func(yield func(event.Delivery, error) bool) {
			for after := (event.Delivery{}); ; {
				page, err := s.Events(ctx, f, after, outboxBatch)
				if err != nil {
					yield(event.Delivery{}, err)
					return
				}
				for _, d := range page {
					if !yield(d, nil) {
						return
					}
				}
				if len(page) < outboxBatch {
					return
				}
				after = page[len(page)-1]
			}
		}
	}
}

// eventFlags say which events are wanted, and where they wait.
type eventFlags struct {
	recordFlags
	event.Filter
}

func (f *eventFlags) register(c *cobra.Command) {
	f.where(c)
	c.Flags().StringVar(&f.Receiver, "receiver", "", "of this `RECEIVER` alone")
	c.Flags().StringVar(&f.Event, "event", "", "the event with this `ID` alone")
}

func (f *eventFlags) open(c *cobra.Command) (outbox, error) {
	// A script whose variable is empty would get every event.
	for _, name := range []string{"receiver", "event"} {
		if v, err := c.Flags().GetString(name); err == nil && v == "" && c.Flags().Changed(name) {
			return outbox{}, errors.New("--" + name + " is empty: leave it out for all events")
		}
	}
	if f.server != "" {
		cl, err := newClient(c, f.server, f.identity)
		if err != nil {
			return outbox{}, err
		}
		return outbox{cl.Events, cl.Redrive, cl.Close}, nil
	}
	s, err := f.openStore(c.Context())
	if err != nil {
		return outbox{}, err
	}
	return outbox{eventsOf(s), s.Redrive, s.Close}, nil
}

func eventsListCommand() *cobra.Command {
	var f eventFlags
	var format string
	var limit int
	c := &cobra.Command{
		Use: "list", Short: "List events that were not delivered, the oldest first", Args: noArguments,
		Long: "Lists the events that wait for their receivers or, with --dead, the dead letters: events that were not delivered and are\n" +
			"not tried any more.",
		Example: "  attestor events list --config attestor.yaml --dead",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if limit < 0 {
				return errors.New("--limit is less than 0: want a number of events, or 0 for all")
			}
			o, err := f.open(c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, o.close()) }()

			// One more than is shown tells that the list goes on.
			found := []event.Delivery{}
			for d, err := range o.events(c.Context(), f.Filter) {
				if err != nil {
					return err
				}
				if found = append(found, d); limit > 0 && len(found) > limit {
					found = found[:limit]
					fmt.Fprintf(c.ErrOrStderr(), "the oldest %s; there are newer ones: --limit 0 lists all\n",
						describe.Plural(limit, "event"))
					break
				}
			}
			if format == "json" {
				return writeJSON(c.OutOrStdout(), found)
			}
			return writeEvents(c, found)
		},
	}
	f.register(c)
	formatFlag(c, &format, "text", "json")
	c.Flags().BoolVar(&f.Dead, "dead", false, "list dead letters")
	c.Flags().IntVar(&limit, "limit", 50, "at most this many; 0 for all")
	return c
}

// writeEvents prints a table.
func writeEvents(c *cobra.Command, found []event.Delivery) error {
	if len(found) == 0 {
		_, err := fmt.Fprintln(c.ErrOrStderr(), "no events")
		return err
	}

	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WRITTEN\tRECEIVER\tTYPE\tEVENT\tATTEMPTS\tLAST ERROR")
	for _, d := range found {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", d.Written.UTC().Format(time.RFC3339), plain.Text(d.Receiver),
			plain.Text(string(d.Event.Type)), plain.Text(d.Event.ID), d.Attempts, plain.Text(d.Error))
	}
	return w.Flush()
}

func eventsRedriveCommand() *cobra.Command {
	var f eventFlags
	var format string
	c := &cobra.Command{
		Use: "redrive", Short: "Send dead letters again", Args: noArguments,
		Long: "Has dead letters sent again as if they were new, by the instances that are at work. Receivers know a repeated event by\n" +
			"its id.",
		Example: "  attestor events redrive --server https://gate.example --receiver tickets",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			o, err := f.open(c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, o.close()) }()
			n, err := o.redrive(c.Context(), f.Filter)
			if err != nil {
				return err
			}
			if format == "json" {
				return writeJSON(c.OutOrStdout(), map[string]int64{"redriven": n}) // as the service answers
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s will be sent again\n", describe.Plural(int(n), "event"))
			return err
		},
	}

	f.register(c)
	formatFlag(c, &format, "text", "json")
	return c
}
