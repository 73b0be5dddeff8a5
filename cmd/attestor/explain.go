package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor/audit"
)

func explainCommand() *cobra.Command {
	var f recordFlags
	var policyText bool
	c := &cobra.Command{
		Use: "explain ID", Short: "One recorded decision in sentences", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			r, err := f.open(c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, r.Close()) }()
			if !policyText {
				rec, err := r.Record(c.Context(), args[0])
				if err != nil {
					return err
				}
				_, err = io.WriteString(c.OutOrStdout(), audit.Explain(rec))
				return err
			}

			text, err := r.PolicyText(c.Context(), args[0])
			if err != nil {
				return err
			}
			if len(text) == 0 {
				return errors.New("no policy judged this decision, so that there is no text")
			}
			_, err = c.OutOrStdout().Write(text)
			return err
		},
	}

	f.where(c)
	c.Flags().BoolVar(&policyText, "policy-text", false,
		"print the text of the policy that judged, to judge by it again")
	return c
}
