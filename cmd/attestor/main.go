// Command attestor is an admission gate for container images on Google Cloud:
// it inspects an image, judges it by a policy, and signs a Binary Authorization
// attestation for one that passes.
//
// `attestor dev` runs all of it on one machine; `attestor serve` is the
// service, `attestor attest` its client and, without a server, the same engine
// in-process. Results go to stdout, everything else to stderr. Exit codes: 0
// passed, 1 refused by policy, 2 wrong usage or configuration, 3 could not
// decide.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/client"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is main without the process: it returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	checkShells(root)
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		return attestor.ExitPass
	}

	// Whatever broke off broke off for this: nothing is said of who did not answer.
	if ctx.Err() != nil {
		fmt.Fprintf(stderr, "attestor: interrupted\n          %s\n", resumed(c))
		return attestor.ExitError
	}

	// The code of an error outweighs what follows from its kind.
	if e, ok := errors.AsType[*exit](err); ok {
		if e.err != nil {
			printError(stderr, e.err)
		}
		return e.code
	}

	printError(stderr, err)
	if e, ok := errors.AsType[*client.Error](err); ok {
		return e.ExitCode
	}
	switch attestor.KindOf(err) {
	case attestor.Unavailable, attestor.Upstream, attestor.TooMany:
		return attestor.ExitError
	}

	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return attestor.ExitError
	}
	return attestor.ExitUsage
}

// resumed says how to go on with a command that was interrupted.
func resumed(c *cobra.Command) string {
	const again = "run the same command again"
	switch c.Name() {
	case "audit":
		if f := c.Flags().Lookup("state"); f != nil && f.Changed {
			return again + ": it goes on where " + f.Value.String() + " says that it stopped"
		}
		return again + "; with --state FILE an audit goes on where it stopped"
	case "attest":
		return again + ": what was signed is found, and nothing is signed twice"
	case "check":
		return again + ": nothing was signed"
	case "revoke":
		return again + ": what was deleted is gone, and the rest is deleted then"
	case "import":
		return again + ": until then the scan reads as running"
	}

	return again
}

// checkShells makes another shell than those that completion knows wrong usage, and so a command that help does not know:
// Cobra shows help for both, and succeeds. The commands write where the root does when they are made, so that they are
// made after the root knows.
func checkShells(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion":
			c.Args, c.RunE = knownCommand, func(c *cobra.Command, _ []string) error { return c.Help() }
		case "help":
			c.Args = func(c *cobra.Command, args []string) error {
				of, rest, err := c.Root().Find(args)
				if err != nil {
					return err
				}
				return knownCommand(of, rest)
			}
		}
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "attestor",
		Short: "An admission gate for container images on Google Cloud",
		Long: "attestor inspects a container image, judges it by a policy, and signs a Binary\n" +
			"Authorization attestation for one that passes. `attestor dev` shows all of it on this machine.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArguments,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}

	root.AddCommand(
		devCommand(), serveCommand(), doctorCommand(),
		attestCommand(), checkCommand(), verifyCommand(), revokeCommand(),
		auditCommand(), decisionsCommand(), eventsCommand(), explainCommand(), reportCommand(),
		policyCommand(), identityCommand(), postureCommand(), importCommand(), emulatorCommand(),
		versionCommand(), referenceCommand(),
	)
	sayExitCodes(root, "", exitCodes())
	useEnvironment(root)
	explainUsage(root)
	return root
}
