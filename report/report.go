// Package report writes what was judged: to a terminal, a pull request, a
// spreadsheet, a code-scanning page, a test report, a browser. Decisions,
// sweeps, postures, policy tests and simulations become a [Document], and each
// format has one encoder of documents, a row of [Encodings].
//
// Whatever stands in a document may have been written by an attacker (image
// names, labels, advisory texts), so that every encoder makes it harmless in
// its own format.
package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

// A Format names an encoding, as the option -o does.
type Format string

// The formats.
const (
	Text     Format = "text"
	JSON     Format = "json"
	NDJSON   Format = "ndjson"
	Markdown Format = "markdown"
	CSV      Format = "csv"
	SARIF    Format = "sarif"
	JUnit    Format = "junit"
	HTML     Format = "html"
)

// A Kind says what a document is about.
type Kind string

// The kinds.
const (
	OfDecisions  Kind = "decisions"
	OfRecord     Kind = "report" // a period or a sweep: many decisions, and the services that run the images
	OfPosture    Kind = "posture"
	OfTests      Kind = "policy tests"
	OfSimulation Kind = "simulation"
)

// An Encoding is one row of the table of formats.
type Encoding struct {
	Format      Format
	ContentType string
	Kinds       []Kind // that it can write
	Lists       bool   // of a record it needs every decision; others write its summary

	encode func(io.Writer, Document, Options) error
}

// Encodings is the table of formats. What commands accept, their help and
// docs/audit.md follow from it.
func Encodings() []Encoding {
	all := []Kind{OfDecisions, OfRecord, OfPosture, OfTests, OfSimulation}
	return []Encoding{
		{Text, "text/plain; charset=utf-8", all, false, writeText},
		{JSON, "application/json", all, false, writeJSON},
		{NDJSON, "application/x-ndjson", []Kind{OfDecisions, OfRecord}, true, writeNDJSON},
		{Markdown, "text/markdown; charset=utf-8", all, false, writeMarkdown},
		{CSV, "text/csv; charset=utf-8", []Kind{OfDecisions, OfRecord}, true, writeCSV},
		{SARIF, "application/sarif+json", []Kind{OfDecisions, OfRecord, OfPosture}, true, writeSARIF},
		{JUnit, "application/xml", []Kind{OfDecisions, OfRecord, OfPosture, OfTests}, true, writeJUnit},
		{HTML, "text/html; charset=utf-8", []Kind{OfRecord}, false, writeHTML},
	}
}

// Accepted lists the formats of a kind, in words, as the help of -o does.
func Accepted(k Kind) string {
	var names []string
	for _, e := range Encodings() {
		if slices.Contains(e.Kinds, k) {
			names = append(names, string(e.Format))
		}
	}

	last := len(names) - 1

	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// Find returns the encoding that name stands for. An error of kind Invalid
// lists the formats of the kind.
func Find(name string, k Kind) (Encoding, error) {
	for _, e := range Encodings() {
		if name == string(e.Format) && slices.Contains(e.Kinds, k) {
			return e, nil
		}
	}

	return Encoding{}, &attestor.Error{
		Kind: attestor.Invalid, Msg: fmt.Sprintf("%q is not an output format of this command", clip(name)),
		Fix: "use " + Accepted(k),
	}
}

// Options adjust an encoding. The zero value is plain and complete.
type Options struct {
	Colour  bool   // text: ANSI colours; for a terminal, where NO_COLOR is not set
	Width   int    // text: columns to wrap at; 0: 100
	Explain string // text: what to type before a decision's id to see all of it; "": attestor explain
	Version string // sarif: of this program
	Page    bool   // html: a page of the service, with its navigation
	// html page: the filters of the report, by parameter, as the reader wrote them, and the policies to choose from
	Search   map[string]string
	Policies []string
	// html page: the time from which the report counts, as the parameter since takes it; "" for the filter's own
	Since  string
	Remark string // html: why the filters probably select nothing; "" for no reason
	// html: the service's address, such as https://gate.example.com, for links to decisions; "" for none, unless Page
	Links string
}

// Unrecorded is [Options.Explain] where nothing keeps the decisions.
const Unrecorded = "-"

const defaultWidth = 100

// Write encodes a document. An error of kind Invalid says that the format does
// not write documents of its kind.
func Write(w io.Writer, f Format, d Document, o Options) error {
	e, err := Find(string(f), d.Kind)
	if err != nil {
		return err
	}

	return e.Write(w, d, o)
}

// Write encodes a document of one of the encoding's kinds. An error of kind
// Invalid says that the encoding needs decisions and got their summary, or
// needs a summary and got decisions: either would look like an empty record.
func (e Encoding) Write(w io.Writer, d Document, o Options) error {
	// A summary has no list of decisions, and a list no summary. The encoder would
	// write a valid file without any image, which reads as "nothing was refused".
	if d.Kind == OfRecord && e.Lists == (d.Summary != nil) {
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: fmt.Sprintf("format %s cannot be written from this document", e.Format),
			Fix: "give a record's decisions to formats that list them, and its summary to others",
		}
	}

	if o.Width <= 0 {
		o.Width = defaultWidth
	}

	// An error leaves a truncated file. Callers must not publish it as a report,
	// and learn here which format broke off.
	err := e.encode(w, d, o)
	switch {
	case err == nil, attestor.KindOf(err) == attestor.Invalid:
		return err
	}

	return fmt.Errorf("writing %s: %w", e.Format, err)
}

func clip(s string) string { return plain.Clip(s, 100) }
