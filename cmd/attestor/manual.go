package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manPages are manual pages of section 1: one for the program, and one for each command.
func manPages(root *cobra.Command) []generated {
	out := []generated{{"attestor.1", manPage(root)}}
	for _, c := range visible(root) {
		out = append(out, generated{strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1", manPage(c)})
	}
	return out
}

// manPage is one page in the man macros of roff.
func manPage(c *cobra.Command) []byte {
	var b bytes.Buffer
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	fmt.Fprintf(&b, ".TH %q 1\n.SH NAME\n%s \\- %s\n.SH SYNOPSIS\n.B %s\n", strings.ToUpper(name), roff(name),
		roff(c.Short), roff(c.UseLine()))

	// The exit codes have a section of their own in a manual.
	long, codes, _ := strings.Cut(c.Long, "\n\nExit codes:\n")
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s\n", paragraphs(long))
	if c.HasSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range visible(c) {
			if sub == c {
				continue
			}
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(sub.CommandPath()), roff(sub.Short))
		}
	}

	if c.HasLocalFlags() {
		b.WriteString(".SH OPTIONS\n")
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			value, usage := pflag.UnquoteUsage(f)
			flag := strings.TrimSpace("--" + f.Name + " " + value)
			if f.Shorthand != "" {
				flag = "-" + f.Shorthand + ", " + flag
			}
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(flag), roff(usage))
		})
	}

	if codes != "" {
		b.WriteString(".SH EXIT STATUS\n")
		for line := range strings.Lines(codes) {
			code, means, _ := strings.Cut(strings.TrimSpace(line), "  ")
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", code, roff(means))
		}
	}
	if c.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(c.Example))
	}
	return b.Bytes()
}

// paragraphs separates those of a text, and keeps lines that are set off.
func paragraphs(text string) string {
	var out []string
	for p := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if strings.HasPrefix(p, " ") {
			out = append(out, ".nf\n"+roff(p)+"\n.fi")
		} else {
			out = append(out, roff(p))
		}
	}
	return strings.Join(out, "\n.PP\n")
}

// roff escapes what the macros would take for their own: backslashes, hyphens that are to be copied, and a dot or an
// apostrophe at the beginning of a line.
func roff(s string) string {
	lines := strings.Split(strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
