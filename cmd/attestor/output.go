package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/report"
)

// reportFlag adds -o with the formats that a kind of report can be written in.
// A format of another kind is refused before the command does anything.
func reportFlag(c *cobra.Command, format *string, k report.Kind, standard report.Format) {
	c.Flags().StringVarP(format, "output", "o", string(standard), report.Accepted(k))
	c.PreRunE = func(*cobra.Command, []string) error {
		_, err := report.Find(*format, k)
		return withVariable(c, "output", err)
	}
}

// writeReport writes a document to standard output, in colour for a person.
func writeReport(c *cobra.Command, format string, d report.Document) error {
	return report.Write(c.OutOrStdout(), report.Format(format), d, reportOptions(c.OutOrStdout()))
}

func reportOptions(w io.Writer) report.Options {
	return report.Options{Colour: isTerminal(w) && os.Getenv("NO_COLOR") == "", Version: version}
}

// An alsoFlag is what --also asks for: further files, each in a format of decisions. What is wrong with one is found
// while flags are read, before anything is judged or signed.
type alsoFlag []struct {
	format report.Format
	file   string
}

func (a *alsoFlag) String() string { return "" }

// Type is what help calls the value.
func (a *alsoFlag) Type() string { return "FORMAT=FILE" }

// Set adds FORMAT=FILE.
func (a *alsoFlag) Set(s string) error {
	format, file, ok := strings.Cut(s, "=")
	if !ok || file == "" {
		return errors.New("want FORMAT=FILE, such as sarif=decision.sarif")
	}
	if _, err := report.Find(format, report.OfDecisions); err != nil {
		return err
	}
	if err := writable(file); err != nil {
		return err
	}

	*a = append(*a, struct {
		format report.Format
		file   string
	}{report.Format(format), file})
	return nil
}

// An outputFile is what --output-file names; "" for none. What is wrong with it is found as for --also.
type outputFile string

func (o *outputFile) String() string { return string(*o) }

// Type is what help calls the value.
func (o *outputFile) Type() string { return "FILE" }

// Set takes the name of a file that can be written.
func (o *outputFile) Set(s string) error {
	*o = outputFile(s)
	return writable(s)
}

// writable is the error of a file that cannot be written whatever is written: the name of a directory, or one in a
// directory that does not exist.
func writable(name string) error {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: name + " is a directory, and what is written is a file", Fix: "name a file in it",
		}
	}

	dir := filepath.Dir(name)
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: name + " cannot be written: there is no directory " + dir,
			Fix: "make it: mkdir -p " + dir,
		}
	}
	return nil
}

// inputName is how messages call an input: a file by its name.
func inputName(file string) string {
	if file == "-" {
		return "standard input"
	}
	return file
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// formatFlag adds -o with what it may be.
func formatFlag(c *cobra.Command, format *string, allowed ...string) {
	c.Flags().StringVarP(format, "output", "o", "text", strings.Join(allowed, ", "))
	c.PreRunE = func(*cobra.Command, []string) error {
		for _, a := range allowed {
			if *format == a {
				return nil
			}
		}

		return withVariable(c, "output", &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  fmt.Sprintf("-o %s is not known: want %s", *format, strings.Join(allowed, ", ")),
		})
	}
}
