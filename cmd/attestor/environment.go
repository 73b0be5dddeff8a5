package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// environmentPrefix begins the variables that stand for flags: ATTESTOR_TOKEN_FILE for --token-file.
const environmentPrefix = "ATTESTOR_"

// fromVariable marks, on a flag, the variable that gave its value.
const fromVariable = "attestor-variable"

// connects reports whether a flag says where or how to connect, or how to print. Only such flags have a variable: one
// that loosens, decides or acts must be seen on the command line of whoever answers for it.
func connects(flag string) bool {
	switch flag {
	case "server", "config", "audience", "token-file", "token-env", "service-account", "attestor", // where, and as whom
		"output", "title", "group-by", "links": // how to print
		return true
	}
	return false
}

// variable is the environment variable of a flag.
func variable(flag string) string {
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// given reports whether a flag was set on the command line.
func given(c *cobra.Command, flag string) bool {
	f := c.Flags().Lookup(flag)
	return f != nil && f.Changed && f.Annotations[fromVariable] == nil
}

// applyEnvironment gives flags that were not set the values of their variables. What is said on the command line about
// where to judge outweighs a variable about that.
func applyEnvironment(c *cobra.Command, getenv func(string) string) error {
	// These flags say that the command judges here: a server in a variable then does not count.
	local := given(c, "config") || given(c, "scan") || given(c, "policy") && c.Name() != "simulate"
	remote := given(c, "server")

	var errs error
	c.Flags().VisitAll(func(f *pflag.Flag) {
		value := getenv(variable(f.Name))
		overruled := f.Name == "server" && local || f.Name == "config" && remote
		if errs != nil || f.Changed || value == "" || !connects(f.Name) || overruled {
			return
		}

		if err := c.Flags().Set(f.Name, value); err != nil {
			errs = fmt.Errorf("%s: %w", variable(f.Name), err)
			return
		}
		if f.Annotations == nil {
			f.Annotations = map[string][]string{}
		}
		f.Annotations[fromVariable] = []string{variable(f.Name)}
	})
	return errs
}

// warnOfVariables names the variables that look like a flag's and have no effect.
func warnOfVariables(c *cobra.Command, environ []string) {
	var ignored []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		rest, ours := strings.CutPrefix(name, environmentPrefix)
		flag := strings.ToLower(strings.ReplaceAll(rest, "_", "-"))
		if ours && value != "" && !connects(flag) && anyFlag(c.Root(), flag) {
			ignored = append(ignored, name)
		}
	}

	// In one order, so that two runs print the same.
	slices.Sort(ignored)
	for _, name := range ignored {
		flag := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, environmentPrefix), "_", "-"))
		fmt.Fprintf(c.ErrOrStderr(),
			"attestor: warning: the variable %s has no effect: give --%s on the command line, "+
				"since it changes what is decided or done\n", name, flag)
	}
}

// anyFlag reports whether a command has a flag of this name.
func anyFlag(c *cobra.Command, flag string) bool {
	return c.Flags().Lookup(flag) != nil ||
		slices.ContainsFunc(c.Commands(), func(sub *cobra.Command) bool { return anyFlag(sub, flag) })
}

// useEnvironment has every command read the variables of its flags, and says so in help.
func useEnvironment(root *cobra.Command) {
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		warnOfVariables(c, os.Environ())
		if err := applyEnvironment(c, os.Getenv); err != nil {
			return err
		}
		return required(c)
	}

	var mention func(c *cobra.Command)
	mention = func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if connects(f.Name) {
				f.Usage += " [" + variable(f.Name) + "]"
			}
		})
		for _, sub := range c.Commands() {
			mention(sub)
		}
	}
	mention(root)
}

// withVariable names the variable that gave a flag's value, in an error about that value.
func withVariable(c *cobra.Command, flag string, err error) error {
	if name := variableOf(c, flag); err != nil && name != "" {
		return fmt.Errorf("%s: %w", name, err)
	}
	return err
}

// variableOf is the variable that gave a flag's value; "": none did.
func variableOf(c *cobra.Command, flag string) string {
	if f := c.Flags().Lookup(flag); f != nil && f.Annotations[fromVariable] != nil {
		return f.Annotations[fromVariable][0]
	}
	return ""
}
