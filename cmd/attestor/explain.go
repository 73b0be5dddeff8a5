package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/report"
)

func explainCommand() *cobra.Command {
	var f recordFlags
	var policyText bool
	var format string
	c := &cobra.Command{
		Use: "explain ID|IMAGE", Short: "Explain one recorded decision in sentences",
		Args: wants(1, "which decision, by its id or image"),
		Long: `Explains one recorded decision: by its id, or the newest on an image. A tag selects the decisions that were asked for
by that tag.`,
		Example: "  attestor explain 01990000-0000-7000-8000-000000000000\n" +
			"  attestor explain us-docker.pkg.dev/acme/prod/api:v7 --server https://gate.example",
		RunE: func(c *cobra.Command, args []string) (err error) {
			r, err := f.open(c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, r.Close()) }()

			// An image is resolved to its newest decision before anything is explained.
			id, err := decisionNamed(c.Context(), r, args[0])
			if err != nil {
				return err
			}
			if !policyText {
				return explainDecision(c, r, id, format)
			}
			return printPolicyText(c, r, id)
		},
	}

	f.where(c)
	reportFlag(c, &format, report.OfDecisions, report.Text)
	c.Flags().BoolVar(&policyText, "policy-text", false,
		"print the text of the policy that judged, to judge by it again")
	return c
}

// explainDecision prints a decision, or the revocation that has the id. It ends with 1 where the record was changed:
// whoever reads only the exit code must not take a changed record for an explained one.
func explainDecision(c *cobra.Command, r records, id, format string) error {
	rec, err := r.Record(c.Context(), id)
	if err != nil {
		return explainRevocation(c, r, id, format, err)
	}

	// An earlier version recorded a revocation in the form of a denial. Nothing may tell it as one.
	if old, ok := attestor.AsRevocation(rec.Decision); ok && changedRecord(rec.Decision) == "" {
		if read, err := r.Revocation(c.Context(), id); err == nil {
			old = read // with the decisions that had admitted the image
		}
		return printRevocation(c, old, format)
	}

	if format != string(report.Text) {
		err = writeReport(c, format, report.Decisions([]attestor.Decision{rec.Decision}))
	} else {
		_, err = io.WriteString(c.OutOrStdout(), audit.Explain(rec))
	}
	if err == nil && changedRecord(rec.Decision) != "" {
		return &exit{1, nil}
	}
	return err
}

// printPolicyText prints the text of the policy that judged a decision. The text of a record that was changed is not
// the one that judged, and is not printed.
func printPolicyText(c *cobra.Command, r records, id string) error {
	rec, err := r.Record(c.Context(), id)
	if err != nil {
		return err
	}
	if changed := changedRecord(rec.Decision); changed != "" {
		return &exit{1, fmt.Errorf("decision %s: %s", id, changed)}
	}

	text, err := r.PolicyText(c.Context(), id)
	if err != nil {
		return err
	}
	_, err = c.OutOrStdout().Write(text)
	return err
}

// changedRecord says how a decision differs from what was recorded; "" for not at all.
func changedRecord(d attestor.Decision) string {
	if d.Log == nil {
		return ""
	}
	return d.Log.Changed
}

// decisionNamed is the id that was given, or that of the newest decision on the image that was given.
func decisionNamed(ctx context.Context, r records, name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("say which decision: its id, or an image; attestor decisions list shows them")
	case !strings.Contains(name, "/"):
		return name, nil
	}

	ref, err := attestor.ParseReference(name)
	if err != nil {
		return "", err
	}
	for d, err := range r.Decisions(ctx, audit.Filter{Image: ref.String()}) {
		return d.ID, err
	}
	return "", &attestor.Error{
		Kind: attestor.NotFound, Msg: "no decision on " + ref.String() + " is recorded",
		Fix: "attestor decisions list --repository " + ref.Repository() + " lists those on other tags and digests",
	}
}

// explainRevocation explains the revocation of an id that is no decision's. It
// returns the error of looking for the decision where there is no revocation either.
func explainRevocation(c *cobra.Command, r records, id, format string, noDecision error) error {
	revocation, err := r.Revocation(c.Context(), id)
	if err != nil {
		return noDecision
	}
	return printRevocation(c, revocation, format)
}

func printRevocation(c *cobra.Command, r attestor.RevocationRecord, format string) error {
	if format != string(report.Text) {
		return errors.New("a revocation is explained as text only: leave out -o")
	}
	_, err := io.WriteString(c.OutOrStdout(), audit.ExplainRevocation(r))
	return err
}
