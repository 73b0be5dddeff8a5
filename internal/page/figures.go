package page

import (
	"cmp"
	"html/template"
	"time"
)

// Figures are what the first page says of the last days. An image counts by its
// newest decision.
type Figures struct {
	Headline  string // in a sentence
	Since     time.Time
	Decisions int
	Images    int
	Passed    int
	Refused   int
	Undecided int
	Revoked   int  // decisions whose attestations were deleted since
	DryRun    bool // nothing was refused but in dry runs
	Emulated  bool
	Overrides []Override // newest first
	Trend     []Point    // oldest first
	Policies  []PolicyFigure
}

// A PolicyFigure is the decisions by one policy.
type PolicyFigure struct {
	Name                       string // "": no policy governed the image
	Passed, Refused, Undecided int
	Trend                      []Point // over the same days as the report's
}

// Chart is the policy's decisions over time.
func (p PolicyFigure) Chart() template.HTML {
	return VerdictColumns("Decisions by "+cmp.Or(p.Name, "no policy"), p.Trend)
}

// Chart is all decisions over time.
func (f Figures) Chart() template.HTML { return VerdictColumns("Decisions", f.Trend) }

// LastDay is the last point of the trend.
func (f Figures) LastDay() time.Time { return f.Trend[len(f.Trend)-1].Day }

// Top is the most decisions of any point of the trend.
func (f Figures) Top() int { return Top(f.Trend) }

// OpenOverrides are those that admit an image now.
func (f Figures) OpenOverrides() []Override { return Open(f.Overrides) }

// Open are the overrides that admit an image now.
func Open(all []Override) []Override {
	var out []Override
	for _, o := range all {
		if o.State != OverrideEnded {
			out = append(out, o)
		}
	}
	return out
}

// shownOpen is how many open overrides stand above everything else: enough to see that there are some, and few enough
// to see the page. foldedOpen is how many follow when asked for.
const shownOpen, foldedOpen = 5, 200

// FirstOpen are the newest of open overrides, and RestOpen those that are folded away.
func FirstOpen(open []Override) []Override { return open[:min(shownOpen, len(open))] }

// RestOpen are the open overrides after [FirstOpen].
func RestOpen(open []Override) []Override {
	return open[min(shownOpen, len(open)):min(shownOpen+foldedOpen, len(open))]
}

// OverriddenImages is how many images overrides are about.
func OverriddenImages(all []Override) int {
	seen := map[string]bool{}
	for _, o := range all {
		seen[o.Image] = true
	}
	return len(seen)
}

// The states of an override. One whose state is not known counts as open.
const (
	OverrideOpen    = "open"
	OverrideOverdue = "overdue" // it should have ended, and admits the image still
	OverrideEnded   = "ended"
)

// An Override is one use of break-glass.
type Override struct {
	ID      string     `json:"id"`
	Image   string     `json:"image"`
	By      string     `json:"by"`
	Reason  string     `json:"reason"`
	Time    time.Time  `json:"time"`
	Expires *time.Time `json:"expires,omitempty"`
	State   string     `json:"state,omitempty"` // open, overdue or ended; "" where it is not known
}

// Bar shows the verdicts.
func (f Figures) Bar() template.HTML {
	return VerdictBar("bar", f.Images, f.Passed, f.Undecided, f.Refused)
}

// VerdictBar is a [Bar] of verdicts.
func VerdictBar(class string, of, passed, undecided, refused int) template.HTML {
	return Bar(class, of, Segment{Class: "f-pass", N: passed}, Segment{Class: "f-error", N: undecided},
		Segment{Class: "f-deny", N: refused})
}
