package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/internal/filter"
)

// partsOf reads --include.
func partsOf(include []string) ([]event.Part, error) {
	var out []event.Part
	for _, p := range include {
		if !slices.Contains(event.Parts(), event.Part(p)) {
			return nil, fmt.Errorf("--include: %q: want %v", p, event.Parts())
		}
		out = append(out, event.Part(p))
	}
	return out, nil
}

// exportRows writes decisions, overrides and revocations as rows.
func (f *recordFlags) exportRows(parts []event.Part) func(*cobra.Command, filter.Filter) (int, error) {
	return func(c *cobra.Command, wanted filter.Filter) (n int, err error) {
		r, err := f.open(c)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, r.Close()) }()

		write := func(e event.Event) error {
			row, err := e.EncodeRow(parts)
			if err != nil {
				return err
			}
			if _, err := c.OutOrStdout().Write(append(row, '\n')); err != nil {
				return fmt.Errorf("writing the export: %w", err)
			}
			n++
			return nil
		}

		for d, err := range r.Decisions(c.Context(), wanted) {
			if err != nil {
				return n, err
			}

			// What somebody changed in the database is no decision of the gate.
			if d.Log != nil && d.Log.Changed != "" {
				return n, fmt.Errorf("decision %s was changed since it was recorded: %s", d.ID, d.Log.Changed)
			}
			for _, e := range audit.EventsOf(d) {
				if !slices.Contains(event.TableTypes(), e.Type) {
					continue
				}
				if err := write(e); err != nil {
					return n, err
				}
			}
		}

		// A filter by what only decisions have leaves revocations out.
		if !ofRevocations(wanted) {
			return n, nil
		}
		for r, err := range r.Revocations(c.Context(), wanted) {
			if err != nil {
				return n, err
			}
			if r.Log != nil && r.Log.Changed != "" {
				return n, fmt.Errorf("revocation %s was changed since it was recorded: %s", r.ID, r.Log.Changed)
			}
			if err := write(event.Revoked(r.RevocationRecord)); err != nil {
				return n, err
			}
		}
		return n, nil
	}
}

// ofRevocations reports whether a filter selects by what revocations have too.
func ofRevocations(f filter.Filter) bool {
	values := f.Values()
	for _, name := range []string{"since", "until", "repository"} {
		delete(values, name)
	}
	return len(values) == 0
}
