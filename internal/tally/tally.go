// Package tally has what a report needs of one decision: a line for the newest one on
// an image, and its share in the counts of its day. The record keeps both, so that a
// report does not read every decision.
package tally

import (
	"fmt"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
)

// A Line is what a report needs of the newest decision on an image. It is small, so
// that a record may keep it beside the decision.
type Line struct {
	Row        Row                         `json:"row"`
	Inspected  bool                        `json:"inspected,omitempty"` // there are platforms
	Codes      map[attestor.Code]int       `json:"codes,omitempty"`     // of refusals, by how often
	Fixes      map[string]attestor.Code    `json:"fixes,omitempty"`     // of refusals, with the first's code
	Unfixable  bool                        `json:"unfixable,omitempty"` // a refusal has no fix
	Behind     int                         `json:"behind,omitempty"`    // days since an outdated base's tag moved on
	Clears     int                         `json:"clears,omitempty"`    // findings in the layers of an outdated base
	Published  []Published                 `json:"published,omitempty"` // of the findings
	Exceptions []attestor.AppliedException `json:"exceptions,omitempty"`
	Stale      map[string]string           `json:"stale,omitempty"`    // exceptions that matched nothing, and the message
	Upcoming   []attestor.Reason           `json:"upcoming,omitempty"` // what refuses from a later day on, without its text
}

// Published is how many findings of a severity have an advisory of one day.
type Published struct {
	Day   int64             `json:"day"` // since 1970; 0: not known; 1: longer ago than Old
	Level attestor.Severity `json:"level"`
	N     int               `json:"n"`
}

const (
	// Day is a UTC day.
	Day = 24 * time.Hour
	// Old is the age from which reports tell advisories no more apart.
	Old = 90 * Day
)

// Project makes the line of a record.
func Project(r attestor.Record) Line {
	d := r.Decision
	counts := severities(d)
	l := Line{Inspected: len(d.Platforms) > 0, Row: Row{
		ID: d.ID, Time: d.Time.UTC(), Image: describe.Name(d), Repository: describe.Repository(d),
		Requested: d.Image.Requested,
		Verdict:   describe.Outcome(d), Overridden: describe.Overridden(d), Critical: counts[attestor.Critical],
		High: counts[attestor.High], Owner: describe.Owner(r),
	}}
	if d.Policy != nil {
		l.Row.Policy = d.Policy.Name
	}

	for _, p := range d.Platforms {
		l.Row.Fixable = max(l.Row.Fixable, p.Scan.Fixable)

		if l.Row.Base == "" {
			l.Row.Base = p.Base.Name
		}

		l.Row.Outdated = l.Row.Outdated || p.Base.Name != "" && !p.Base.Current
	}

	l.refusals(d)
	l.base(r)
	l.findings(r)
	l.excused(d)
	for _, r := range d.Upcoming() {
		l.Upcoming = append(l.Upcoming, attestor.Reason{Code: r.Code, EffectiveFrom: r.EffectiveFrom, Owner: r.Owner})
	}
	return l
}

// refusals notes reasons and fixes, each once.
func (l *Line) refusals(d attestor.Decision) {
	l.Codes, l.Fixes = map[attestor.Code]int{}, map[string]attestor.Code{}
	for _, f := range describe.Findings(d, attestor.Refuses) {
		l.Row.Codes = describe.AppendNew(l.Row.Codes, string(f.Code))
		l.Codes[f.Code] += f.Count

		// A refusal without a fix stays after all fixes are applied: none of them
		// then clears the image.
		if f.Fix == "" {
			l.Unfixable = true
			continue
		}
		if l.Row.Fix == "" {
			l.Row.Fix = f.Fix
		}
		if _, ok := l.Fixes[f.Fix]; !ok {
			l.Fixes[f.Fix] = f.Code
		}
	}
}

// base notes how far an outdated base is behind, and what a rebuild may clear.
func (l *Line) base(r attestor.Record) {
	if !l.Row.Outdated {
		return
	}

	for _, p := range r.Decision.Platforms {
		var days int
		if _, err := fmt.Sscanf(p.Base.Behind, "%dd", &days); err == nil {
			l.Behind = max(l.Behind, days)
		}
	}

	// The figure is an upper bound: a newer base may have findings of its own.
	for _, p := range r.Evidence.Platforms {
		l.Clears = max(l.Clears, inBase(p))
	}
}

// findings notes those of the platform that has most.
func (l *Line) findings(r attestor.Record) {
	var worst []attestor.Vulnerability
	for _, p := range r.Evidence.Platforms {
		if len(p.Scan.Findings) > len(worst) {
			worst = p.Scan.Findings
		}
	}

	at := map[Published]int{} // with N 0
	for _, v := range worst {
		key := Published{Level: v.Severity}
		if !key.Level.Known() {
			key.Level = attestor.Unspecified
		}
		// What is old at the decision is old in every report on it: its day need not be
		// kept.
		switch {
		case v.Published == nil:
		case r.Decision.Time.Sub(*v.Published) > Old:
			key.Day = 1
		default:
			key.Day = v.Published.Unix() / int64(Day/time.Second)
		}

		i, ok := at[key]
		if !ok {
			i = len(l.Published)
			at[key] = i
			l.Published = append(l.Published, key)
		}
		l.Published[i].N++
	}
}

// excused notes the exceptions that were used, and those that matched nothing.
func (l *Line) excused(d attestor.Decision) {
	here := map[string]bool{}
	for _, c := range d.Checks {
		for _, a := range c.Exceptions {
			if key := ExceptionKey(a); !here[key] {
				here[key] = true
				l.Exceptions = append(l.Exceptions, a)
			}
		}
		for _, r := range c.Reasons {
			if r.Code == attestor.CodeExceptionStale {
				if l.Stale == nil {
					l.Stale = map[string]string{}
				}
				l.Stale[r.Subject] = r.Message
			}
		}
	}
}

// A Row is one image by its newest decision.
type Row struct {
	ID         string           `json:"id"`
	Time       time.Time        `json:"time"`
	Image      string           `json:"image"` // by digest where it was resolved
	Repository string           `json:"repository"`
	Requested  string           `json:"requested"`
	Verdict    attestor.Outcome `json:"verdict"`
	Overridden bool             `json:"overridden,omitempty"`
	Policy     string           `json:"policy,omitempty"`
	Codes      []string         `json:"codes,omitempty"`
	Fix        string           `json:"fix,omitempty"` // the first
	Base       string           `json:"base,omitempty"`
	Outdated   bool             `json:"outdated,omitempty"`
	Critical   int              `json:"critical,omitempty"`
	High       int              `json:"high,omitempty"`
	Fixable    int              `json:"fixable,omitempty"`
	Owner      string           `json:"owner,omitempty"` // "" in lines of versions that did not note it
}

// By is the owner, and for a line of a version that did not note it the repository's path.
func (r Row) By() string {
	if r.Owner == "" {
		return describe.OwnerOf(r.Repository)
	}
	return r.Owner
}

// Severe is the findings that keep people awake.
func (r Row) Severe() int { return r.Critical + r.High }

// severities of an image are those of its worst platform: an index has the
// same findings once for each.
func severities(d attestor.Decision) map[attestor.Severity]int {
	out := map[attestor.Severity]int{}
	for _, p := range d.Platforms {
		for level, n := range p.Scan.Counts {
			out[level] = max(out[level], n)
		}
	}

	return out
}

// inBase counts the findings in layers that are the base's alone.
func inBase(p attestor.PlatformEvidence) int {
	base, n := p.Inherited(), 0
	for i := range p.Scan.Findings {
		if base.Holds(&p.Scan.Findings[i]) {
			n++
		}
	}

	return n
}

// ExceptionKey is equal for applied exceptions that are one.
func ExceptionKey(a attestor.AppliedException) string {
	return strings.Join([]string{a.ID, a.Owner, a.Expires, a.Reason}, "\x00")
}

// A DayCount is the decisions of one UTC day by one policy with one verdict.
type DayCount struct {
	Day       time.Time
	Policy    string // "": none governed
	Verdict   attestor.Outcome
	Decisions int
	Enforced  int // refusals that took effect
	Emulated  int
	Findings  map[attestor.Severity]int
}

// CountOf is the count of one decision.
func CountOf(d attestor.Decision) DayCount {
	c := DayCount{
		Day: d.Time.UTC().Truncate(Day), Verdict: describe.Outcome(d), Decisions: 1, Findings: severities(d),
	}
	if c.Verdict == attestor.Deny && !d.DryRun && !describe.Overridden(d) {
		c.Enforced = 1
	}
	if d.Emulated {
		c.Emulated = 1
	}
	if d.Policy != nil {
		c.Policy = d.Policy.Name
	}

	return c
}
