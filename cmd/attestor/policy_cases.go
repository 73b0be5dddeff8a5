package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/report"
)

func policyTestCommand() *cobra.Command {
	var format string
	var coverage int
	c := &cobra.Command{
		Use:   "test FILE…",
		Short: "Run test files of policies: evidence in, verdict and codes out",
		Long: `Judges each case of the test files by the policies they name, and compares verdict and codes with
what the case wants. Says which codes the policies can give and no case gave.`,
		Example: "  attestor policy test deploy/policies/production_test.yaml",
		Args:    wants(0, "which test files"),
		RunE: func(c *cobra.Command, files []string) error {
			// More than 100 is never reached, and fails; less than 0 would fail nothing.
			if coverage < 0 {
				return errors.New("--min-coverage is less than 0: want a percentage")
			}
			var reports []policy.CaseReport
			failed := false
			for _, f := range files {
				r, err := policy.Test(f)
				if err != nil {
					return err
				}

				reports = append(reports, r)
				failed = failed || r.Failed() > 0 || percent(r) < coverage
			}

			if err := writeReport(c, format, casesDocument(files, reports)); err != nil {
				return err
			}
			if failed {
				return &exit{code: attestor.ExitDeny}
			}

			return nil
		},
	}

	c.Flags().IntVar(&coverage, "min-coverage", 0,
		"fail where fewer `PERCENT` of the codes that the policies can give are covered")
	reportFlag(c, &format, report.OfTests, report.Text)

	return c
}

// percent is how many of the codes that can come up did.
func percent(r policy.CaseReport) int {
	all := len(r.Covered) + len(r.Never)
	if all == 0 {
		return 100
	}

	return 100 * len(r.Covered) / all
}

// casesDocument has a part for each file, and an item for each case.
func casesDocument(files []string, reports []policy.CaseReport) report.Document {
	d := report.Document{Kind: report.OfTests, Value: reports}
	for i, r := range reports {
		p := report.Part{Tool: "attestor policy test", Layout: report.AsTable, Name: files[i], Verdict: attestor.Pass}
		if r.Failed() > 0 {
			p.Verdict = attestor.Deny
		}

		subject, table := report.Subject{Name: files[i], Kind: "file", File: files[i]}, casesTable()
		for _, c := range r.Results {
			item, result := caseItem(c)
			subject.Items = append(subject.Items, item)
			table.Rows = append(
				table.Rows,
				[]string{result, c.Name, dash(c.Policy), string(c.Got), dash(joinCodes(c.Codes))},
			)
		}

		p.Subjects, p.Tables = []report.Subject{subject}, []report.Table{table}

		p.Notes = []string{
			fmt.Sprintf("%s: %s, %d failed; of the codes that these policies can give, %d of %d (%d%%) are covered",
				files[i], describe.Plural(len(r.Results), "case"), r.Failed(), len(r.Covered),
				len(r.Covered)+len(r.Never), percent(r)),
		}

		if len(r.Never) > 0 {
			p.Notes = append(p.Notes, "never given: "+joinCodes(r.Never))
		}

		d.Parts = append(d.Parts, p)
	}

	return d
}

func casesTable() report.Table {
	return report.Table{Columns: []report.Column{
		{Name: "result"}, {Name: "case"}, {Name: "policy"}, {Name: "verdict"}, {Name: "codes"},
	}}
}

func caseItem(c policy.CaseResult) (item report.Item, result string) {
	item = report.Item{Group: dash(c.Policy), File: c.File, Line: c.Line,
		Check: attestor.Check{Name: c.Name, Status: attestor.StatusPass}}
	if c.Problem == "" {
		return item, "ok"
	}

	item.Status = attestor.StatusDeny
	item.Reasons = []attestor.Reason{{Severity: attestor.Refuses, Message: c.Problem}}

	return item, "FAIL"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func joinCodes(codes []attestor.Code) string {
	texts := make([]string, len(codes))
	for i, c := range codes {
		texts[i] = string(c)
	}

	return strings.Join(texts, ", ")
}
