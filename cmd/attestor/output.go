package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor/report"
)

// reportFlag adds -o with the formats that a kind of report can be written in.
// A format of another kind is refused before the command does anything.
func reportFlag(c *cobra.Command, format *string, k report.Kind, standard report.Format) {
	c.Flags().StringVarP(format, "output", "o", string(standard), report.Accepted(k))
	c.PreRunE = func(*cobra.Command, []string) error {
		_, err := report.Find(*format, k)
		return err
	}
}

// writeReport writes a document to standard output, in colour for a person.
func writeReport(c *cobra.Command, format string, d report.Document) error {
	return report.Write(c.OutOrStdout(), report.Format(format), d, reportOptions(c.OutOrStdout()))
}

func reportOptions(w io.Writer) report.Options {
	return report.Options{Colour: isTerminal(w) && os.Getenv("NO_COLOR") == "", Version: version}
}
