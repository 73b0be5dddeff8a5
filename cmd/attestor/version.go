package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor/policy"
)

// build is what `attestor version` says of this program.
type build struct {
	Version      string `json:"version"`
	Commit       string `json:"commit"`
	Go           string `json:"go"`
	PolicySchema string `json:"policySchema"`
}

func versionCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "version", Short: "Version, commit, Go, policy schema version", Args: noArguments,
		Example: "  attestor version -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			info, known := debug.ReadBuildInfo()
			v, revision := built(info, known)
			b := build{v, revision, runtime.Version(), policy.APIVersion}
			if format == "json" {
				return writeJSON(c.OutOrStdout(), b)
			}
			_, err := fmt.Fprintf(c.OutOrStdout(), "attestor %s (commit %s, %s, policy schema %s)\n",
				b.Version, b.Commit, b.Go, b.PolicySchema)
			return err
		},
	}

	formatFlag(c, &format, "text", "json")
	return c
}
