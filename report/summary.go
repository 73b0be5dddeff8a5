package report

import (
	"fmt"
	"iter"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/page"
	"github.com/attestor-gate/attestor/internal/tally"
)

// A Summary is what many decisions say together. An image counts by its newest
// decision; its JSON form is what a later report compares itself with.
type Summary struct {
	Title      string              `json:"title"`
	Made       time.Time           `json:"made"`
	Since      time.Time           `json:"since,omitzero"` // of the oldest decision
	Until      time.Time           `json:"until,omitzero"` // of the newest
	Decisions  int                 `json:"decisions"`
	Images     int                 `json:"images"`
	Passed     int                 `json:"passed"`
	Refused    int                 `json:"refused"`
	Undecided  int                 `json:"undecided"`
	Revoked    int                 `json:"revoked"` // decisions whose attestations were deleted since
	DryRun     bool                `json:"dryRun"`  // no decision was enforced
	Emulated   bool                `json:"emulated"`
	Overrides  []page.Override     `json:"overrides"` // newest first, every one of the period
	Change     *Change             `json:"change,omitempty"`
	Fixes      []FixCount          `json:"fixes"`    // those that clear most images first
	Reasons    []ReasonCount       `json:"reasons"`  // most images first
	Upcoming   []attestor.Upcoming `json:"upcoming"` // what is refused from later days on, the next day first
	GroupedBy  string              `json:"groupedBy"`
	Groups     []GroupCount        `json:"groups"` // most refusals first
	Owners     []OwnerCount        `json:"owners"` // those with most images that do not pass first
	Bases      []BaseCount         `json:"bases"`  // most outdated images first
	Ages       []AgeCount          `json:"ages"`   // of findings, youngest first
	Exceptions []ExceptionUse      `json:"exceptions"`
	Trend      []TrendPoint        `json:"trend"`    // oldest first
	Policies   []PolicyTrend       `json:"policies"` // most refusals first
	Rows       []Row               `json:"rows"`     // those that need somebody first
	Posture    *Posture            `json:"posture,omitempty"`
}

// Figures are the summary's part of the service's first page.
func (s Summary) Figures() page.Figures {
	return page.Figures{
		Headline: s.Headline(), Since: s.Since, Decisions: s.Decisions, Images: s.Images, Passed: s.Passed,
		Refused:   s.Refused,
		Undecided: s.Undecided, DryRun: s.DryRun, Emulated: s.Emulated, Overrides: s.Overrides,
		Revoked: s.Revoked, Trend: points(s.Trend), Policies: s.policyFigures(),
	}
}

func (s Summary) policyFigures() []page.PolicyFigure {
	var out []page.PolicyFigure
	for _, t := range s.Policies {
		out = append(out, t.figure())
	}
	return out
}

// A FixCount is one thing to do, and what it does.
type FixCount struct {
	Fix    string        `json:"fix"`
	Code   attestor.Code `json:"code"`   // the first reason's
	Images int           `json:"images"` // that ask for it
	Clears int           `json:"clears"` // of them, those that ask for nothing else
}

// A ReasonCount is how often a code stood in the way.
type ReasonCount struct {
	Code   attestor.Code `json:"code"`
	Means  string        `json:"means"`
	Images int           `json:"images"`
	Count  int           `json:"count"` // reasons; an image may have many
}

// A GroupCount is one repository, or one value of a label.
type GroupCount struct {
	Name      string `json:"name"`
	Images    int    `json:"images"`
	Passed    int    `json:"passed"`
	Refused   int    `json:"refused"`
	Undecided int    `json:"undecided"`
	Fixable   int    `json:"fixable"` // findings
}

// A BaseCount is one approved base, or "" for images with none.
type BaseCount struct {
	Name     string `json:"name"`
	Images   int    `json:"images"`
	Outdated int    `json:"outdated"` // images whose base is not what its tag names now
	Behind   string `json:"behind"`   // the furthest behind: "40d"
	Clears   int    `json:"clears"`   // findings in layers of outdated bases; needs evidence
	Refused  int    `json:"refused"`
}

// An AgeCount is findings by severity, published so long ago.
type AgeCount struct {
	Age    string                    `json:"age"`
	Counts map[attestor.Severity]int `json:"counts"`
}

// An ExceptionUse is one exception, and what became of it.
type ExceptionUse struct {
	ID      string `json:"id"`
	Owner   string `json:"owner"`
	Reason  string `json:"reason"`
	Expires string `json:"expires"`
	State   string `json:"state"` // in use, expiring, expired, unused
	Images  int    `json:"images"`
}

// A TrendPoint is the decisions of a day or week, UTC, and the findings of what they
// were on.
type TrendPoint struct {
	Day       time.Time                 `json:"day"`
	Passed    int                       `json:"passed"`
	Refused   int                       `json:"refused"`
	Undecided int                       `json:"undecided"`
	Findings  map[attestor.Severity]int `json:"findings"`
}

// A Row is one image by its newest decision.
type Row = tally.Row

// SummaryOptions adjust a summary.
type SummaryOptions struct {
	Title    string
	Now      time.Time // required: what "expiring" and ages are counted from
	GroupBy  string    // a label's name, the caller's or the image's own; "": by repository
	Previous *Summary  // an earlier report, for what changed; nil: none
	MaxRows  int       // of the table of images; 0: all

	// InForce are the exceptions of the policies in force, so that those that no image used are listed; nil: only those
	// that a decision warned of are. Give them where the summary is about every image.
	InForce []attestor.AppliedException
}

// FromDecisions gives decisions the shape that [Summarise] takes, where their
// evidence is not at hand: ages of findings and what a rebuild clears are then
// not known.
func FromDecisions(ds iter.Seq2[attestor.Decision, error]) iter.Seq2[attestor.Record, error] {
	return func(yield func(attestor.Record, error) bool) {
		for d, err := range ds {
			if !yield(attestor.Record{Decision: d}, err) {
				return
			}
		}
	}
}

// Summarise reads records, newest first, and sums them up. It keeps a line for
// each image, not the records.
func Summarise(records iter.Seq2[attestor.Record, error], o SummaryOptions) (Summary, error) {
	b := NewBuilder(o)
	for r, err := range records {
		if err != nil {
			return Summary{}, fmt.Errorf("summing up decisions: %w", err)
		}
		b.Add(r)
	}

	return b.Summary(), nil
}
