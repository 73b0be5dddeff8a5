// Package report decides how lists of decisions are told: to a terminal, a
// pull request, a spreadsheet, a code-scanning page, a test report, a browser.
// Whatever stands in a decision may have been written by an attacker (image
// names, labels, advisory texts), so that every encoder makes it harmless in
// its own format. What was decided, and where decisions come from, is left to
// others.
package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/junit"
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
	HTML     Format = "html" // a [Summary] only
)

// ParseFormat accepts one of the formats in allowed, or any where none is given.
func ParseFormat(s string, allowed ...Format) (Format, error) {
	if len(allowed) == 0 {
		allowed = []Format{Text, JSON, NDJSON, Markdown, CSV, SARIF, JUnit, HTML}
	}
	names := make([]string, 0, len(allowed))
	for _, f := range allowed {
		if s == string(f) {
			return f, nil
		}
		names = append(names, string(f))
	}
	return "", &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf("%q is not an output format here", clip(s)), Fix: "want one of " + strings.Join(names, ", ")}
}

// Options adjust an encoding. The zero value is plain and complete.
type Options struct {
	Colour  bool      // text: ANSI colours; for a terminal, where NO_COLOR is not set
	Width   int       // text: columns to wrap at; 0: 100
	Version string    // of this program, for SARIF
	Now     time.Time // when the report was made; zero: the newest decision's time
	List    bool      // json: an array even of one decision
	All     bool      // text: every reason, however many there are

	// What else was judged beside the images, such as the services that run
	// them, in the same document: it comes after the decisions.
	Runs   []*sarif.Run  // sarif
	Suites []junit.Suite // junit
}

const defaultWidth = 100

// Write encodes decisions. JSON of one decision is the Decision itself, and of
// any other number an array, unless o.List asks for an array always.
func Write(w io.Writer, f Format, ds []attestor.Decision, o Options) error {
	if o.Width <= 0 {
		o.Width = defaultWidth
	}
	var err error
	switch f {
	case Text:
		err = writeText(w, ds, o)
	case JSON:
		err = writeJSON(w, ds, o)
	case NDJSON:
		err = writeNDJSON(w, ds)
	case Markdown:
		err = writeMarkdown(w, ds)
	case CSV:
		err = writeCSV(w, ds)
	case SARIF:
		err = writeSARIF(w, ds, o)
	case JUnit:
		err = writeJUnit(w, ds, o)
	default:
		return &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf("decisions cannot be written as %q", clip(string(f)))}
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", f, err)
	}
	return nil
}

func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}
