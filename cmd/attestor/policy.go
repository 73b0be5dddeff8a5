package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/policy"
)

func policyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Check, test, explain and try out policies",
		Long:  "Everything about policies that needs no image, no registry and no network.",
		Args:  noArguments,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}

	c.AddCommand(
		policyLintCommand(),
		policySchemaCommand(),
		policyTestCommand(),
		policyExplainCommand(),
		policySimulateCommand(),
		policyImportCommand(),
	)
	return c
}

func policyLintCommand() *cobra.Command {
	var format string
	var strict bool
	c := &cobra.Command{
		Use:   "lint FILE…",
		Short: "Say what is wrong with policies, and what is legal but odd",
		Long: `Loads policies together, as the service does, and prints everything that is wrong with them, with
file, line and column. Of policies that load it prints what is legal but odd: a base without a
signature, an exception about to end, an exception or a pattern that can never apply, a rule that can
never fire. A directory stands for the *.yaml in it.`,
		Example: "  attestor policy lint deploy/policies",
		Args:    wants(0, "which policies, as files or directories"),
		RunE: func(c *cobra.Command, files []string) error {
			set, err := policy.Load(files...)

			// What is wrong with policies is the answer of this command. A file that cannot be read is not.
			wrong, parsed := errors.AsType[policy.Errors](err)
			if err != nil && !parsed {
				return err
			}

			var odd []policy.Diagnostic
			if err == nil {
				odd = set.Lint(time.Now())
			}
			if err := printLint(c.OutOrStdout(), format, set, wrong, odd); err != nil {
				return err
			}

			if len(wrong) > 0 || strict && len(odd) > 0 {
				return &exit{code: attestor.ExitUsage}
			}
			return nil
		},
	}

	c.Flags().BoolVar(&strict, "strict", false, "end with 2 where something is odd, too")
	formatFlag(c, &format, "text", "json")
	return c
}

func printLint(w io.Writer, format string, set *policy.Set, wrong, odd []policy.Diagnostic) error {
	if format == "json" {
		return writeJSON(w, struct {
			Errors   []policy.Diagnostic `json:"errors"`
			Warnings []policy.Diagnostic `json:"warnings"`
			Dates    []string            `json:"dates"` // what refuses from a later day on
		}{append([]policy.Diagnostic{}, wrong...), append([]policy.Diagnostic{}, odd...), datesAhead(set)})
	}

	for _, d := range wrong {
		fmt.Fprintf(w, "error: %s\n", d)
	}
	for _, d := range odd {
		fmt.Fprintf(w, "warning: %s\n", d)
	}

	if len(wrong) > 0 {
		_, err := fmt.Fprintln(w, describe.Plural(len(wrong), "error"))
		return err
	}
	for _, date := range datesAhead(set) {
		fmt.Fprintf(w, "note: %s\n", date)
	}
	for _, p := range set.All() {
		fmt.Fprintf(w, "ok: %s: policy %s, %s, %s\n", p.File(), p.Ref().Name, p.Ref().Mode, p.Ref().Digest)
	}
	return nil
}

// datesAhead are the notes about days ahead, of every policy that loads.
func datesAhead(set *policy.Set) []string {
	out := []string{}
	for _, p := range set.All() {
		for _, date := range p.Dates(time.Now()) {
			out = append(out, p.File()+": "+date)
		}
	}
	return out
}

func policySchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON schema of policy files",
		Long: `Prints the JSON schema (2020-12) of policy files. Editors with a YAML language server complete and
check by it where a file begins with

  # yaml-language-server: $schema=gatepolicy.schema.json

The schema is published in docs/schema, beside that of attestor.yaml.`,
		Example: "  attestor policy schema > gatepolicy.schema.json",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			schema, err := policy.Schema()
			if err != nil {
				return err
			}
			_, err = c.OutOrStdout().Write(schema)
			return err
		},
	}
}

func policyExplainCommand() *cobra.Command {
	var format string
	var files []string
	c := &cobra.Command{
		Use:   "explain IMAGE",
		Short: "Say which policy governs an image, and why",
		Long: `Says which policy governs an image, which others cover it, and what the policy demands. Of a policy with fragments (uses) it prints each line
with the file and line that it was written in.`,
		Example: "  attestor policy explain --policy deploy/policies us-docker.pkg.dev/acme/prod/api",
		Args:    wants(1, "which image"),
		RunE: func(c *cobra.Command, args []string) error {
			set, err := policy.Load(files...)
			if err != nil {
				return err
			}
			repository, err := repositoryOf(args[0])
			if err != nil {
				return err
			}
			return printExplanation(c.OutOrStdout(), format, repository, set)
		},
	}

	c.Flags().StringArrayVar(&files, "policy", nil, "policy `FILE` or directory (repeatable)")
	if err := c.MarkFlagRequired("policy"); err != nil {
		panic("attestor: the flag policy does not exist") // a constant
	}
	formatFlag(c, &format, "text", "json")
	return c
}

func printExplanation(w io.Writer, format, repository string, set *policy.Set) error {
	matches := set.Explain(repository)
	if format == "json" {
		if err := writeJSON(w, explanation(repository, matches)); err != nil {
			return err
		}
	} else {
		explainText(w, repository, matches, set)
	}

	if len(matches) == 0 {
		return &exit{code: attestor.ExitDeny}
	}
	return nil
}

type explained struct {
	Policy  attestor.PolicyRef `json:"policy"`
	File    string             `json:"file"`
	Pattern attestor.Pattern   `json:"pattern"`
	Demands []string           `json:"demands"`
	Uses    []string           `json:"uses,omitempty"`  // fragments
	Lines   []policy.Line      `json:"lines,omitempty"` // of what governs, each with its file, where it uses fragments
}

func explanation(repository string, matches []policy.Match) any {
	out := struct {
		Repository string      `json:"repository"`
		Governs    *explained  `json:"governs"`
		Others     []explained `json:"others"`
	}{Repository: repository, Others: []explained{}}

	for i, m := range matches {
		e := explained{Policy: m.Policy.Ref(), File: m.Policy.File(), Pattern: m.Pattern, Demands: m.Policy.Demands()}
		if e.Uses = m.Policy.Uses(); i == 0 {
			if len(e.Uses) > 0 {
				e.Lines = m.Policy.Provenance()
			}
			out.Governs = &e
		} else {
			out.Others = append(out.Others, e)
		}
	}
	return out
}

func explainText(w io.Writer, repository string, matches []policy.Match, set *policy.Set) {
	if len(matches) == 0 {
		fmt.Fprintf(w, "no policy governs %s: it is refused, NO_POLICY\n", repository)
		for _, p := range set.All() {
			fmt.Fprintf(w, "  %s (%s) covers %v\n", p.Ref().Name, p.File(), p.Images())
		}
		return
	}

	// The first match governs; the rest are shown because their authors may expect to.
	governs := matches[0]
	fmt.Fprintf(w, "%s is governed by %s\n", repository, governs.Describe())
	for _, m := range matches[1:] {
		fmt.Fprintf(w, "  less specific: %s\n", m.Describe())
	}

	fmt.Fprintln(w, "it demands:")
	for _, d := range governs.Policy.Demands() {
		fmt.Fprintf(w, "  %s\n", d)
	}

	uses := governs.Policy.Uses()
	if len(uses) == 0 {
		return
	}
	fmt.Fprintf(w, "it uses %s; together they say:\n", strings.Join(uses, ", "))
	for _, line := range governs.Policy.Provenance() {
		fmt.Fprintf(w, "  %-40s %s\n", fmt.Sprintf("%s:%d", line.File, line.Line), line.Text)
	}
}
