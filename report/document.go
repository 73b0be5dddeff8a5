package report

import (
	"cmp"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
)

// A Document is what is written, whatever it is about.
type Document struct {
	Kind    Kind
	Parts   []Part
	Summary *Summary      // of [OfRecord], for formats that do not list decisions
	Records Records       // of formats with a line for each decision
	Value   any           // in JSON
	Values  iter.Seq[any] // in NDJSON, one a line
}

// Records are the rows of a spreadsheet, as text from outside.
type Records struct {
	Head []string
	Rows iter.Seq[[]string]
}

// A Layout is how text and Markdown show a part.
type Layout int

// The layouts.
const (
	ByCheck   Layout = iota // a verdict for each subject, with all its checks
	ByFinding               // a verdict for the part; of each subject the findings that need somebody
	AsTable                 // tables, and the items that refuse
	AsList                  // tables alone; the subjects are for other formats
)

// A Part is what one tool judged.
type Part struct {
	Tool       string           // attestor, or attestor posture
	Layout     Layout           // in text and Markdown
	Name       string           // of the part as a whole, where it refuses without an item that does
	Verdict    attestor.Outcome // on all of it; anything unknown refuses
	Incomplete bool             // something could not be decided
	Profile    string           // that judged
	Count      string           // of subjects, with their noun

	Title    string // of the part, as a heading
	Lead     string // the first line
	Empty    string // instead of subjects
	Subjects []Subject
	Tables   []Table
	Notes    []string // the last lines

	Means map[string]string // what codes and rules mean
}

// A Subject is an image, a service, a file of tests: what was judged.
type Subject struct {
	Name     string           // the reference, the full name, the path
	Kind     string           // service, job; "" for an image
	File     string           // that defines it, or ""
	Line     int              // where the definition begins
	Identity string           // outlives a build: the repository, the service's name
	ID       string           // of the decision, or ""
	Verdict  attestor.Outcome // "" where subjects have none of their own
	Words    string           // the verdict: refused, would be refused, …
	Override *attestor.BreakGlass
	Excused  string   // by which override it is admitted now, in a sentence, in spite of its verdict; "" for none
	Since    string   // what became of what was admitted, in a sentence; ""
	Asked    string   // the name that was asked for, or ""
	Context  string   // what governed, and how to find the decision again
	Deploy   []string // references that may be deployed
	Time     time.Time
	Duration time.Duration
	Items    []Item
}

// An Item is one check of a subject, with its reasons.
type Item struct {
	attestor.Check
	Found   string // in a few words; may be ""
	Missing bool   // skipped for want of evidence that could be given
	Group   string // in a test report, where it is not the subject's name
	File    string // where the check itself is written down, as a test case is
	Line    int
}

// shown reports whether a reader has to see the item: it refuses or warns, passes
// by exceptions, or was skipped because evidence is missing. A status that this
// version does not know is shown.
func (i Item) shown() bool {
	switch {
	case i.excused() != "", i.Missing:
		return true
	}
	return i.Status != attestor.StatusPass && i.Status != attestor.StatusSkipped
}

// named reports whether the item is identified by its check's name and not by
// reason codes, as posture rules and test cases are.
func (i Item) named() bool { return len(i.Reasons) > 0 && i.Reasons[0].Code == "" }

// headline is the first reason that refuses, or else the first.
func (i Item) headline() attestor.Reason {
	var first attestor.Reason
	// A warning may stand before the refusal. The refusal is the headline, so that
	// a reader who sees one line sees why the item fails.
	for n, r := range i.WithSeverities().Reasons {
		if r.Severity == attestor.Refuses {
			return r
		}
		if n == 0 {
			first = r
		}
	}

	return first
}

func (i Item) message() string { return i.headline().Message }

func (i Item) fix() string { return i.headline().Fix }

// excused lists the exceptions in force: their subjects, owners and ends.
func (i Item) excused() string {
	var all []string
	// An expired exception excuses nothing, and must not be read as if it did.
	for _, e := range i.Exceptions {
		if !e.Expired {
			all = append(all, e.Subject+", by "+e.Owner+" until "+e.Expires+": "+e.Reason)
		}
	}

	return strings.Join(all, "; ")
}

// overridden reports whether the subject was admitted in spite of its verdict.
func (s Subject) overridden() bool { return s.Override != nil && s.Verdict != attestor.Pass }

// A finding is a [describe.Finding] with what excuses it.
type finding struct {
	describe.Finding
	excused string
}

// rule names the finding in a list of rules.
func (f finding) rule() string { return cmp.Or(string(f.Code), f.Check) }

// findings groups the reasons of some severities across platforms. An item
// without codes is a finding of its own, if it is shown.
func (s Subject) findings(severities ...attestor.ReasonSeverity) []finding {
	var out []finding
	var coded []attestor.Check
	for _, i := range s.Items {
		switch {
		case !i.named():
			coded = append(coded, i.Check)
		case i.shown() && slices.Contains(severities, i.Reasons[0].Severity):
			out = append(out, finding{excused: i.excused(), Finding: describe.Finding{
				Check: i.Name, Status: i.Status, Severity: i.Reasons[0].Severity, Count: 1,
				Message: i.message(), Fix: i.fix(),
			}})
		}
	}

	// Reasons of several platforms become one finding; items without codes are findings already.
	for _, f := range describe.Findings(attestor.Decision{Checks: coded}, severities...) {
		out = append(out, finding{Finding: f})
	}

	return out
}

// A Column of a [Table]; its kind decides how a cell is written.
type Column struct {
	Name string
	Kind ColumnKind
}

// A ColumnKind says what the cells of a column hold.
type ColumnKind int

// The kinds of columns.
const (
	Words  ColumnKind = iota
	Number            // to the right
	Code              // a name that is copied as it is
)

// A Table is a titled list; cells are text from outside.
type Table struct {
	Title   string // "" for none
	Columns []Column
	Rows    [][]string
	Left    int // rows that it has beside these
}
