package main

import (
	"context"
	"errors"
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
		Use: "explain ID|IMAGE", Short: "One recorded decision in sentences", Args: wants(1, "which decision, by its id or image"),
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

			id, err := decisionNamed(c.Context(), r, args[0])
			if err != nil {
				return err
			}
			if !policyText {
				rec, err := r.Record(c.Context(), id)
				if err != nil {
					return explainRevocation(c, r, id, format, err)
				}
				if format != string(report.Text) {
					return writeReport(c, format, report.Decisions([]attestor.Decision{rec.Decision}))
				}
				_, err = io.WriteString(c.OutOrStdout(), audit.Explain(rec))
				return err
			}

			text, err := r.PolicyText(c.Context(), id)
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}

	f.where(c)
	reportFlag(c, &format, report.OfDecisions, report.Text)
	c.Flags().BoolVar(&policyText, "policy-text", false,
		"print the text of the policy that judged, to judge by it again")
	return c
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
	if format != string(report.Text) {
		return errors.New("a revocation is explained as text only: leave out -o")
	}
	_, err = io.WriteString(c.OutOrStdout(), audit.ExplainRevocation(revocation))
	return err
}
