package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

func decisionsPoliciesCommand() *cobra.Command {
	var f recordFlags
	var format string
	c := &cobra.Command{
		Use: "policies", Short: "List which policies were in force, and since when", Args: noArguments,
		Long: `Lists the recorded changes of policies, the newest first: since when they were in force, what put them in force (an
instance that started, or files that changed while one ran), and which policy changed. Each change has an entry in the
record's log. Of a service, only a caller who may read every repository sees them. While a new version is rolled out,
earlier instances may still judge by the policies before: each decision names its policy's digest.`,
		Example: "  attestor decisions policies --server https://gate.example\n" +
			"  attestor decisions policies --config attestor.yaml",
		RunE: func(c *cobra.Command, _ []string) (err error) {
			r, err := f.open(c)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, r.Close()) }()

			// Every change is printed before a changed one ends the command.
			changed, any := false, false
			for change, err := range r.PolicyChanges(c.Context()) {
				if err != nil {
					return err
				}
				if err := printPolicyChange(c.OutOrStdout(), format, change); err != nil {
					return err
				}
				any, changed = true, changed || change.Log != nil && change.Log.Changed != ""
			}
			if !any {
				fmt.Fprintln(c.ErrOrStderr(), "no changes of policies are recorded: a service records the first "+
					"when it starts")
			}
			if changed {
				return &exit{1, nil}
			}
			return nil
		},
	}
	f.where(c)
	formatFlag(c, &format, "text", "json")
	return c
}

// printPolicyChange prints one change, as JSON on a line or in sentences.
func printPolicyChange(w io.Writer, format string, c attestor.PolicyChange) error {
	if format == "json" {
		return json.NewEncoder(w).Encode(c)
	}

	var out strings.Builder
	fmt.Fprintf(&out, "%s  %s  ", c.Time.UTC().Format("2006-01-02 15:04:05Z"), plain.Text(c.ID))
	if c.Log != nil && c.Log.Changed != "" {
		out.WriteString("CHANGED SINCE IT WAS RECORDED: " + c.Log.Changed + "\n")
	} else {
		out.WriteString(map[attestor.PolicyCause]string{
			attestor.PoliciesAtStart: "an instance started", attestor.PoliciesReloaded: "files changed",
		}[c.Cause] + "\n")
	}

	// The source of a policy is where it is now. Of one that was removed it is not known.
	source := map[string]string{}
	for _, p := range c.Policies {
		source[p.Name] = p.Source
	}
	for _, d := range c.Changes {
		switch name := plain.Text(d.Name); {
		case d.Before == "":
			fmt.Fprintf(&out, "  %s: new, %s (%s)\n", name, d.After, plain.Text(source[d.Name]))
		case d.After == "":
			fmt.Fprintf(&out, "  %s: removed, was %s\n", name, d.Before)
		default:
			fmt.Fprintf(&out, "  %s: %s, was %s (%s)\n", name, d.After, d.Before, plain.Text(source[d.Name]))
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}
