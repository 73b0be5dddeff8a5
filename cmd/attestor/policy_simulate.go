package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

func policySimulateCommand() *cobra.Command {
	var format string
	var files []string
	var fail bool
	c := &cobra.Command{
		Use:   "simulate RECORDS",
		Short: "Judge recorded evidence by other policies and print who would flip",
		Long: `Reads what attestor decisions export wrote (NDJSON; - is standard input), judges each record by the
policies given, and prints counts and every image that would be answered otherwise, by reason and owner.
Evidence that was gathered for less than a policy asks about is answered with EVIDENCE_MISSING, not by a guess.

Exit codes: 0, and with --fail 1 where an image that passed would no longer.`,
		Example: "  attestor policy simulate --policy new/production.yaml march.ndjson",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			set, err := policy.Load(files...)
			if err != nil {
				return err
			}
			in, done, err := openRecords(c, args[0])
			if err != nil {
				return err
			}
			defer done()
			report, err := policy.Simulate(set, policy.ReadRecords(in))
			if err != nil {
				return err
			}
			if err := printSimulation(c.OutOrStdout(), format, report); err != nil {
				return err
			}
			if fail && slices.ContainsFunc(report.Flips, func(f attestor.Flip) bool { return f.Before == attestor.Pass }) {
				return &exit{code: attestor.ExitDeny}
			}
			return nil
		},
	}
	c.Flags().StringArrayVar(&files, "policy", nil, "policy `FILE` or directory (repeatable)")
	c.Flags().BoolVar(&fail, "fail", false, "end with 1 where an image that passed would no longer")
	if err := c.MarkFlagRequired("policy"); err != nil {
		panic("attestor: the flag policy does not exist") // a constant
	}
	formatFlag(c, &format, "text", "json", "markdown")
	return c
}

// openRecords opens a file, with a progress bar where somebody watches.
func openRecords(c *cobra.Command, name string) (in io.Reader, done func(), err error) {
	if name == "-" {
		return c.InOrStdin(), func() {}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, fmt.Errorf("reading records: %w", err)
	}
	done = func() { _ = f.Close() } // it was only read
	info, err := f.Stat()
	if err != nil {
		done()
		return nil, nil, fmt.Errorf("reading records: %w", err)
	}
	if !isTerminal(c.ErrOrStderr()) {
		return f, done, nil
	}
	bar := progressbar.NewOptions64(info.Size(), progressbar.OptionSetWriter(c.ErrOrStderr()), progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription("judging"), progressbar.OptionClearOnFinish())
	reader := progressbar.NewReader(f, bar)
	return &reader, done, nil
}

func printSimulation(w io.Writer, format string, r policy.Report) error {
	switch format {
	case "json":
		return writeJSON(w, r)
	case "markdown":
		return simulationMarkdown(w, r)
	}
	fmt.Fprintln(w, r.Summary())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "VERDICT\tBEFORE\tAFTER")
	for _, o := range []attestor.Outcome{attestor.Pass, attestor.Deny, attestor.Undecided} {
		fmt.Fprintf(t, "%s\t%d\t%d\n", o, r.Before[o], r.After[o])
	}
	if r.Outside > 0 {
		fmt.Fprintf(t, "outside\t%d\t%d\n", r.Outside, r.Outside)
	}
	if len(r.Flips) > 0 {
		fmt.Fprintln(t, "\nREASON\tIMAGES")
		for _, code := range byCount(r.ByReason) {
			fmt.Fprintf(t, "%s\t%d\n", code, r.ByReason[code])
		}
		fmt.Fprintln(t, "\nOWNER\tIMAGES")
		for _, owner := range byCount(r.ByOwner) {
			fmt.Fprintf(t, "%s\t%d\n", owner, r.ByOwner[owner])
		}
		fmt.Fprintln(t, "\nIMAGE\tOWNER\tBEFORE\tAFTER\tREASONS")
		for _, f := range r.Flips {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", f.Image, f.Owner, f.Before, f.After, flipCodes(f))
		}
	}
	return t.Flush()
}

func simulationMarkdown(w io.Writer, r policy.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n| verdict | before | after |\n| --- | ---: | ---: |\n", r.Summary())
	for _, o := range []attestor.Outcome{attestor.Pass, attestor.Deny, attestor.Undecided} {
		fmt.Fprintf(&b, "| %s | %d | %d |\n", o, r.Before[o], r.After[o])
	}
	if len(r.Flips) > 0 {
		b.WriteString("\n| image | owner | before | after | reasons |\n| --- | --- | --- | --- | --- |\n")
		for _, f := range r.Flips {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", f.Image, strings.NewReplacer("|", `\|`, "\n", " ").Replace(f.Owner), f.Before, f.After, flipCodes(f))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func flipCodes(f attestor.Flip) string {
	var codes []attestor.Code
	for _, r := range f.Reasons {
		if !slices.Contains(codes, r.Code) {
			codes = append(codes, r.Code)
		}
	}
	return joinCodes(codes)
}

// byCount lists keys, the most frequent first.
func byCount[K ~string](counts map[K]int) []K {
	return slices.SortedFunc(maps.Keys(counts), func(a, b K) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
}
