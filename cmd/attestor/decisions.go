package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/filter"
	"github.com/attestor-gate/attestor/internal/when"
	"github.com/attestor-gate/attestor/report"
)

func decisionsCommand() *cobra.Command {
	c := &cobra.Command{Use: "decisions", Short: "Search, export and verify the record", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(decisionsListCommand(), decisionsExportCommand(), decisionsPruneCommand(),
		decisionsProveCommand(), decisionsVerifyCommand(), decisionsLogKeyCommand(), decisionsPoliciesCommand(),
		decisionsUnrecordedCommand())
	return c
}

func decisionsListCommand() *cobra.Command {
	var f recordFlags
	var format string
	c := &cobra.Command{
		Use: "list", Short: "List recorded decisions, newest first", Args: noArguments,
		Example: "  attestor decisions list --server https://gate.example --verdict deny --since 7d",
		RunE: func(c *cobra.Command, _ []string) error {
			if f.limit < 0 {
				return errors.New("--limit is less than 0: want a number of decisions, or 0 for all")
			}
			var out []attestor.Decision
			err := f.each(c, func(d attestor.Decision) bool {
				out = append(out, d)
				return f.limit <= 0 || len(out) <= f.limit
			})
			if err != nil {
				return err
			}

			// One more than is shown tells that the list goes on.
			if f.limit > 0 && len(out) > f.limit {
				out = out[:f.limit]
				fmt.Fprintf(c.ErrOrStderr(), "the newest %s; there are older ones: --limit 0 lists all\n",
					describe.Plural(f.limit, "decision"))
			}
			return writeReport(c, format, report.History(out))
		},
	}

	f.register(c)
	reportFlag(c, &format, report.OfDecisions, report.Text)
	c.Flags().IntVar(&f.limit, "limit", 50, "at most this many; 0 for all")
	return c
}

// each visits what was asked for until visit says that it is enough.
func (f *recordFlags) each(c *cobra.Command, visit func(attestor.Decision) bool) (err error) {
	filter, err := f.filter(c, time.Now())
	if err != nil {
		return err
	}
	r, err := f.open(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()

	for d, err := range r.Decisions(c.Context(), filter) {
		if err != nil {
			return err
		}
		if !visit(d) {
			return nil
		}
	}
	return nil
}

func decisionsExportCommand() *cobra.Command {
	var f recordFlags
	var rows bool
	var include []string
	c := &cobra.Command{
		Use: "export", Short: "Write whole records, with their evidence, as NDJSON", Args: noArguments,
		Long: `Writes whole records, evidence and policy text included, one JSON document a line: of a service, those that the caller
may read; of a configuration, the whole record. attestor policy simulate judges them again.

With --rows each line is a row of the table that events write (docs/events.md), with the same id: of each decision, of each
override, and of each revocation of the period and the repository. A filter that selects decisions by anything else leaves
revocations out.`,
		Example: "  attestor decisions export --server https://gate.example --since 7d > week.ndjson",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			filter, err := f.filter(c, time.Now())
			if err != nil {
				return err
			}

			export := f.exportStore
			if f.server != "" {
				export = f.exportService
			}

			// Rows and records have different forms: what only rows can leave out is refused for records.
			parts, err := partsOf(include)
			switch {
			case err != nil:
				return err
			case rows:
				export = f.exportRows(parts)
			case len(parts) > 0:
				return errors.New("--include says what rows show: add --rows")
			}
			n, err := export(c, filter)
			if err != nil {
				return err
			}
			what := "record"
			if rows {
				what = "row"
			}
			fmt.Fprintln(c.ErrOrStderr(), describe.Plural(n, what))
			if n == 0 {
				// An export without a line may be a mistake in the filter, and is said to be empty.
				fmt.Fprintln(c.ErrOrStderr(), noDecisions)
			}
			return nil
		},
	}
	f.register(c)
	c.Flags().BoolVar(&rows, "rows", false, "write rows of the table in BigQuery")
	c.Flags().StringSliceVar(&include, "include", nil, "`PARTS` that rows do not show otherwise: labels, text, callers")
	return c
}

// exportStore writes what the record itself holds.
func (f *recordFlags) exportStore(c *cobra.Command, wanted filter.Filter) (n int, err error) {
	s, err := f.openStore(c.Context())
	if err != nil {
		return 0, err
	}
	if err := readEarlier(c.Context(), s); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.Export(audit.MayLag(c.Context()), c.OutOrStdout(), wanted)
}

// exportService writes what a service lets the caller read, in the same form.
func (f *recordFlags) exportService(c *cobra.Command, wanted filter.Filter) (n int, err error) {
	cl, err := newClient(c, f.server, f.identity)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, cl.Close()) }()

	for r, err := range cl.Records(c.Context(), wanted) {
		if err != nil {
			return n, err
		}

		// Compact keeps each record on one line, whatever the service sent.
		var line bytes.Buffer
		if err := json.Compact(&line, r); err != nil {
			return n, fmt.Errorf("writing the export: %w", err)
		}
		line.WriteByte('\n')
		if _, err := line.WriteTo(c.OutOrStdout()); err != nil {
			return n, fmt.Errorf("writing the export: %w", err)
		}
		n++
	}
	return n, nil
}

func decisionsPruneCommand() *cobra.Command {
	var f recordFlags
	var before, format string
	c := &cobra.Command{
		Use: "prune --before 400d", Short: "Delete old decisions", Args: noArguments,
		Long: "Deletes decisions from before a time, and what only they referred to. Export them first. A decision stays, whatever its\n" +
			"age, while an image is admitted by it or its override is open.",
		Example: "  attestor decisions prune --config attestor.yaml --before 400d",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			t, err := when.ParseInstant(before, time.Now())
			if err != nil {
				return fmt.Errorf("--before: %w", err)
			}

			// An empty time would delete nothing, and look as if nothing was old enough.
			if t.IsZero() {
				return errors.New("--before is empty: say from before when, such as 400d or 2026-11-01")
			}
			s, err := f.itself(c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			pruned, err := s.Prune(c.Context(), t)
			switch {
			case err != nil:
				return err
			case format == "json":
				return writeJSON(c.OutOrStdout(), pruned)
			}
			if pruned.Events > 0 {
				fmt.Fprintf(c.OutOrStdout(), "%s deleted that their receivers never got\n",
					describe.Plural(int(pruned.Events), "event"))
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s deleted\n", describe.Plural(int(pruned.Decisions), "decision"))
			return err
		},
	}

	f.where(c)
	formatFlag(c, &format, "text", "json")
	c.Flags().StringVar(&before, "before", "", "RFC 3339, or how long ago, such as 400d")
	_ = c.MarkFlagRequired("before")
	return c
}
