package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

func policyTestCommand() *cobra.Command {
	var format string
	var coverage int
	c := &cobra.Command{
		Use:   "test FILE…",
		Short: "Run test files of policies: evidence in, verdict and codes out",
		Long: `Judges each case of the test files by the policies they name, and compares verdict and codes with
what the case wants. Says which codes the policies can give and no case gave.

Exit codes: 0 all as wanted, 1 some are not (or --min-coverage is not reached), 2 a file does not load.`,
		Example: "  attestor policy test deploy/policies/production_test.yaml",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, files []string) error {
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
			if err := printCases(c.OutOrStdout(), format, files, reports); err != nil {
				return err
			}
			if failed {
				return &exit{code: attestor.ExitDeny}
			}
			return nil
		},
	}
	c.Flags().IntVar(&coverage, "min-coverage", 0, "fail where fewer `PERCENT` of the codes that the policies can give are covered")
	formatFlag(c, &format, "text", "json", "junit")
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

func printCases(w io.Writer, format string, files []string, reports []policy.CaseReport) error {
	switch format {
	case "json":
		return writeJSON(w, reports)
	case "junit":
		return casesJUnit(w, files, reports)
	}
	for i, r := range reports {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "RESULT\tCASE\tPOLICY\tVERDICT\tCODES")
		for _, c := range r.Results {
			result := "ok"
			if c.Problem != "" {
				result = "FAIL"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", result, c.Name, dash(c.Policy), c.Got, dash(joinCodes(c.Codes)))
		}
		if err := t.Flush(); err != nil {
			return err
		}
		for _, c := range r.Results {
			if c.Problem != "" {
				fmt.Fprintf(w, "%s:%d: %s: %s\n", c.File, c.Line, c.Name, c.Problem)
			}
		}
		fmt.Fprintf(w, "%s: %d cases, %d failed; %d of %d codes that these policies can give are covered (%d%%)\n",
			files[i], len(r.Results), r.Failed(), len(r.Covered), len(r.Covered)+len(r.Never), percent(r))
		if len(r.Never) > 0 {
			fmt.Fprintf(w, "never given: %s\n", joinCodes(r.Never))
		}
	}
	return nil
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

type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr"`
	Line    int           `xml:"line,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
}

func casesJUnit(w io.Writer, files []string, reports []policy.CaseReport) error {
	var out junitSuites
	for i, r := range reports {
		s := junitSuite{Name: files[i], Tests: len(r.Results), Failures: r.Failed()}
		for _, c := range r.Results {
			one := junitCase{Name: c.Name, Class: dash(c.Policy), File: c.File, Line: c.Line}
			if c.Problem != "" {
				one.Failure = &junitFailure{Message: c.Problem}
			}
			s.Cases = append(s.Cases, one)
		}
		out.Suites = append(out.Suites, s)
	}
	text, err := xml.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, text)
	return err
}
