package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/attestor-gate/attestor/internal/nearest"
)

// explainUsage has every command say what it lacks, and what was probably meant.
func explainUsage(c *cobra.Command) {
	c.SetFlagErrorFunc(flagError)
	explainArguments(c)
}

func explainArguments(c *cobra.Command) {
	if !acts(c) {
		c.Args = knownCommand
	}
	for _, sub := range c.Commands() {
		explainArguments(sub)
	}
}

// knownCommand refuses what is not a command of a group.
func knownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}

	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("%q is one argument too many: %s has no commands of its own", args[0], c.CommandPath())
	}
	return fmt.Errorf("%q is not a command of %s%s\n          it has %s",
		args[0], c.CommandPath(), nearest.Question(args[0], names), strings.Join(names, ", "))
}

// wantedBy is what a flag takes, in words; "": its own error says it.
func wantedBy(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "int", "int32", "int64", "uint", "uint64":
		return "a whole number such as 10"
	case "float64":
		return "a number such as 0.5"
	case "bool":
		return "true or false"
	}
	return ""
}

// flagError adds the nearest flag to the error about an unknown one.
func flagError(c *cobra.Command, err error) error {
	if short, in, ok := strings.Cut(err.Error(), " in -"); ok && strings.HasPrefix(short, "unknown shorthand flag: ") {
		letter := strings.Trim(strings.TrimPrefix(short, "unknown shorthand flag: "), "'")
		return fmt.Errorf("there is no flag -%s, as in -%s\n          %s --help lists the flags",
			letter, in, c.CommandPath())
	}

	// The flag library's own text names functions of Go: strconv.ParseInt: parsing "many".
	if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		if want := wantedBy(bad.GetFlag()); want != "" {
			return fmt.Errorf("--%s: %q is not %s\n          %s --help lists the flags",
				bad.GetFlag().Name, bad.GetValue(), want, c.CommandPath())
		}
	}

	// What is left are unknown flags: the nearest name of the command's own is suggested.
	name, unknown := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !unknown {
		return fmt.Errorf("%w\n          %s --help lists the flags", err, c.CommandPath())
	}

	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	question := ""
	if near := nearest.To(name, names); near != "" {
		question = "; did you mean --" + near + "?"
	}
	return fmt.Errorf("there is no flag --%s%s\n          %s --help lists the flags", name, question, c.CommandPath())
}

// noArguments refuses arguments of a command that has only flags.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q is one argument too many: %s takes flags only\n          %s --help lists the flags",
			args[0], c.CommandPath(), c.CommandPath())
	}
	return nil
}

// required is an error about the first required flag that neither the command line nor a variable gave: what it is for,
// and how to give it.
func required(c *cobra.Command) error {
	var err error
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if err != nil || f.Changed || !slices.Contains(f.Annotations[cobra.BashCompOneRequiredFlag], "true") {
			return
		}
		name, usage := pflag.UnquoteUsage(f)
		err = fmt.Errorf("the required flag --%s %s is missing: %s\n          %s", f.Name, name, usage, c.UseLine())
	})
	return err
}

// wants is what a command's arguments are, for the message where they are missing or too many: one at least, and at
// most most; 0: any number.
func wants(most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return fmt.Errorf("say %s: %s", what, c.UseLine())
		case most > 0 && len(args) > most:
			return fmt.Errorf("%q is one argument too many: %s", args[most], c.UseLine())
		}
		return nil
	}
}
