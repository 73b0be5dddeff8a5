package page

import (
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
	DryRun    bool // nothing was refused in earnest
	Emulated  bool
	Overrides []Override // newest first
}

// An Override is one use of break-glass.
type Override struct {
	ID      string     `json:"id"`
	Image   string     `json:"image"`
	By      string     `json:"by"`
	Reason  string     `json:"reason"`
	Time    time.Time  `json:"time"`
	Expires *time.Time `json:"expires,omitempty"`
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
