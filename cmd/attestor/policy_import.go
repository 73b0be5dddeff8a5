package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/when"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/policy/migrate"
)

func policyImportCommand() *cobra.Command {
	var o migrate.Options
	var expires, format string
	c := &cobra.Command{
		Use:   "import FILE…",
		Short: "Make a policy of one of Voucher, Kritis or Binary Authorization",
		Long: `Writes a policy to standard output that refuses whatever its source refuses: of Voucher's configuration, of Kritis'
ImageSecurityPolicy or VulnzSigningPolicy with its AttestationAuthority, of the policy of a Binary Authorization project, or of
a check-based platform policy. FILE may be - for standard input. Several files are read together, such as the policy that judges
images and the project policy that names attestors.

What became of each field is said on standard error, and in the policy: carried, stricter, left out (an exemption, or nothing
that judges images), unchosen (a part that --select does not name) or lost (a requirement that a policy cannot express). With a
lost requirement no policy is written, since it would be laxer than its source; --placeholders writes a rule that refuses every
image in its place, for you to replace.`,
		Example: "  attestor policy import voucher.toml --select prod --images 'us-docker.pkg.dev/acme/prod/**' " +
			"--attestor projects/acme-security/attestors/gate > production.yaml",
		Args: wants(0, "which policies, as files, or - for standard input"),
		RunE: func(c *cobra.Command, files []string) error {
			var err error

			// The clock is read once, so that all exceptions end by one day.
			if o.Now = time.Now(); expires != "" {
				if o.Expires, err = when.ParseDate(expires); err != nil {
					return err
				}
			}
			sources, err := foreignPolicies(c.InOrStdin(), files)
			if err != nil {
				return err
			}

			result, err := migrate.Import(sources, o)
			if err != nil {
				return err
			}
			if err := printImport(c, format, result); err != nil {
				return err
			}

			// Nothing was written: a policy without the requirement would pass what its source refuses.
			if result.Policy == nil {
				return &exit{code: attestor.ExitDeny}
			}
			return nil
		},
	}

	flags := c.Flags()
	flags.StringVar(&o.Name, "name", "", "`NAME` of the policy (default imported)")
	flags.StringArrayVar(&o.Images, "images", nil, "`PATTERN` of the repositories that the policy governs (repeatable)")
	flags.StringArrayVar(
		&o.Attestors,
		"attestor",
		nil,
		"`ATTESTOR` that attests to what passes (repeatable; default those of a project policy)",
	)
	flags.StringArrayVar(
		&o.Select,
		"select",
		nil,
		"`PART` of a source that has several: a group, a rule, a check set, a name (repeatable)",
	)
	flags.StringVar(&o.Owner, "owner", "", "`OWNER` of the exceptions for allowed CVEs, which are left out without one")
	flags.StringVar(&o.Reason, "reason", "", "`REASON` of these exceptions")
	flags.StringVar(&expires, "expires", "", "last `DAY` of these exceptions, at most 90 days ahead")
	flags.BoolVar(
		&o.Placeholders,
		"placeholders",
		false,
		"write a rule that refuses every image for each lost requirement",
	)
	formatFlag(c, &format, "text", "json")
	return c
}

// foreignPolicies reads files no further than it takes to see that one is too large.
func foreignPolicies(stdin io.Reader, files []string) ([]policy.Source, error) {
	var out []policy.Source
	for _, name := range files {
		in := stdin
		if name != "-" {
			f, err := os.Open(name)
			if err != nil {
				return nil, &attestor.Error{Kind: attestor.Invalid, Msg: err.Error()}
			}
			defer f.Close() //nolint:gocritic // a few files
			in = f
		}
		text, err := io.ReadAll(io.LimitReader(in, migrate.MaxFile+1))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		out = append(out, policy.Source{Name: name, Text: text})
	}
	return out, nil
}

// printImport writes the policy to standard output and what became of each field to standard error, or both as JSON.
func printImport(c *cobra.Command, format string, result migrate.Result) error {
	if format == "json" {
		return writeJSON(c.OutOrStdout(), struct {
			Policy string          `json:"policy"` // "" if a requirement is lost
			Fields []migrate.Field `json:"fields"`
		}{string(result.Policy), result.Fields})
	}

	for _, f := range result.Fields {
		fmt.Fprintf(c.ErrOrStderr(), "%-8s  %s: %s: %s\n", f.Treatment, f.Source, cmp.Or(f.Path, "the whole"), f.Note)
	}
	switch lost := len(result.LostFields()); {
	case result.Policy == nil:
		fmt.Fprintf(
			c.ErrOrStderr(),
			"no policy is written: it would be laxer than its source by %s; --placeholders refuses every image until "+
				"you have replaced them\n",
			describe.Plural(lost, "requirement"),
		)
	case lost > 0:
		fmt.Fprintf(
			c.ErrOrStderr(),
			"the policy refuses every image until you replace %s\n",
			describe.Plural(lost, "rule"),
		)
	}
	_, err := c.OutOrStdout().Write(result.Policy)
	return err
}
