package main

import "github.com/spf13/cobra"

// A generated is one file of the reference, by its path under docs.
type generated struct {
	name string
	text []byte
}

// actsItself marks a command that does something itself beside having subcommands.
const actsItself = "acts itself"

// acts reports whether a command does something itself, and is not only a group of others.
func acts(c *cobra.Command) bool { return !c.HasSubCommands() || c.Annotations[actsItself] != "" }

// visible lists the commands that do something themselves, in the order of help.
func visible(c *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	if acts(c) {
		out = append(out, c)
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
			out = append(out, visible(sub)...)
		}
	}
	return out
}
