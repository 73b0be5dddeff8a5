package report

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/page"
	"github.com/attestor-gate/attestor/internal/tally"
)

// A Builder sums up what it is given piece by piece, as a sweep finds it. It
// is for one goroutine.
type Builder struct {
	o          SummaryOptions
	s          Summary
	images     map[string]bool // that were counted, by canonical reference
	days       map[int64]*TrendPoint
	policies   map[string]map[int64]*TrendPoint // by name, then as days
	owners     map[string]*OwnerCount
	ownerFixes map[string]map[string]*FixCount // by owner
	fixes      map[string]*FixCount
	reasons    map[attestor.Code]*ReasonCount
	groups     map[string]*GroupCount
	bases      map[string]*BaseCount
	behind     map[string]int
	ages       [len(ageNames)]map[attestor.Severity]int
	exceptions map[string]*ExceptionUse
	upcoming   map[[2]string]*attestor.Upcoming
}

const day = tally.Day

// NewBuilder returns an empty Builder.
func NewBuilder(o SummaryOptions) *Builder {
	b := &Builder{
		o: o, images: map[string]bool{}, days: map[int64]*TrendPoint{}, policies: map[string]map[int64]*TrendPoint{},
		owners:     map[string]*OwnerCount{},
		ownerFixes: map[string]map[string]*FixCount{}, fixes: map[string]*FixCount{},
		reasons: map[attestor.Code]*ReasonCount{},
		groups:  map[string]*GroupCount{}, bases: map[string]*BaseCount{}, behind: map[string]int{},
		exceptions: map[string]*ExceptionUse{}, upcoming: map[[2]string]*attestor.Upcoming{},
		s: Summary{Title: o.Title, Made: o.Now.UTC(), GroupedBy: o.GroupBy, DryRun: true, Overrides: []page.Override{},
			Rows: []Row{}},
	}
	if b.s.GroupedBy == "" {
		b.s.GroupedBy = "repository"
	}

	for i := range b.ages {
		b.ages[i] = map[attestor.Severity]int{}
	}

	return b
}

// Add counts a record. Of several on one image the first counts for the image,
// so that they come newest first.
func (b *Builder) Add(r attestor.Record) {
	d := r.Decision
	b.addCount(tally.CountOf(d))
	b.override(d)

	// The period is that of the decisions, whatever was asked for.
	if b.s.Until.IsZero() || d.Time.After(b.s.Until) {
		b.s.Until = d.Time.UTC()
	}
	if b.s.Since.IsZero() || d.Time.Before(b.s.Since) {
		b.s.Since = d.Time.UTC()
	}
	if d.Revoked != nil {
		b.s.Revoked++
	}

	// An image counts by its newest decision: an old pass says nothing about an
	// image that was refused since, nor an old refusal about one that was mended.
	if name := describe.Name(d); !b.images[name] {
		b.images[name] = true
		if err := b.line(tally.Project(r), label(r, b.o.GroupBy)); err != nil {
			panic(err) // facts of a line have the form that fact reads
		}
	}
}

// day is the point of the trend that a time belongs to.
func (b *Builder) day(t time.Time) *TrendPoint {
	start := t.UTC().Truncate(day)
	p := b.days[start.Unix()]
	if p == nil {
		p = &TrendPoint{Day: start, Findings: map[attestor.Severity]int{}}
		b.days[start.Unix()] = p
	}
	return p
}

// line counts the newest decision on an image.
func (b *Builder) line(l tally.Line, group string) error {
	if b.o.GroupBy == "" {
		group = l.Row.Repository
	}

	// A line counts by its facts, as the sums of a record do, so that both ways give one report.
	for _, f := range append(tally.Facts(l), tally.GroupFact(l, group)) {
		if err := b.fact(f); err != nil {
			return err
		}
	}

	b.example(l)
	b.keep(l.Row)
	return nil
}

// keep adds a row to the table of images, of which at most MaxRows are kept: those
// that need somebody first, and of these the newest.
func (b *Builder) keep(row Row) {
	b.s.Rows = append(b.s.Rows, row)

	// Only at twice the bound is the table sorted and cut, and not for each row.
	if most := b.o.MaxRows; most > 0 && len(b.s.Rows) >= 2*most {
		b.s.Rows = slices.Clip(b.first(most))
	}
}

// first are the rows that come first, in their order.
func (b *Builder) first(most int) []Row {
	slices.SortStableFunc(b.s.Rows, func(x, y Row) int {
		return cmp.Or(tally.Rank(x)-tally.Rank(y), y.Time.Compare(x.Time))
	})
	if most > 0 && len(b.s.Rows) > most {
		return slices.Clone(b.s.Rows[:most])
	}
	return b.s.Rows
}

func entry[K comparable, V any](m map[K]*V, k K) *V {
	if m[k] == nil {
		m[k] = new(V)
	}
	return m[k]
}

// label is the caller's, or else the image's own; "" for none.
func label(r attestor.Record, name string) string {
	if v := r.Decision.Labels[name]; v != "" {
		return v
	}

	for _, p := range r.Evidence.Platforms {
		if v := p.Config.Labels[name]; v != "" {
			return v
		}
	}

	return ""
}

// The ages of findings, by when their advisory was published.
const (
	ageWeek = iota
	ageMonth
	ageQuarter
	ageOlder
	ageUnknown
)

var ageNames = [...]string{"up to 7 days", "up to 30 days", "up to 90 days", "older", "not known"}

func age(published *time.Time, now time.Time) int {
	if published == nil {
		return ageUnknown
	}

	switch d := now.Sub(*published); {
	case d <= 7*day:
		return ageWeek
	case d <= 30*day:
		return ageMonth
	case d <= 90*day:
		return ageQuarter
	}

	return ageOlder
}

// The states of an exception.
const (
	ExceptionInUse    = "in use"
	ExceptionExpiring = "expiring"
	ExceptionExpired  = "expired"
	ExceptionUnused   = "unused"
)

const expiringWithin = 30 * 24 * time.Hour

// Summary is what was added so far. Ties go by name, so that the same decisions
// give the same report.
func (b *Builder) Summary() Summary {
	s := b.s
	means := map[attestor.Code]string{}
	for _, info := range attestor.Codes() {
		means[info.Code] = info.Means
	}

	for _, r := range b.reasons {
		r.Means = means[r.Code]
	}

	s.DryRun = s.DryRun && s.Decisions > 0
	s.Fixes, s.Owners = sorted(b.fixes, byEffect), b.ownerCounts()
	s.Reasons = sorted(b.reasons, func(a, b ReasonCount) int {
		return cmp.Or(b.Images-a.Images, b.Count-a.Count, strings.Compare(string(a.Code), string(b.Code)))
	})

	// A page with thousands of groups shows nothing: they are joined by their paths.
	if b.o.GroupBy == "" && len(b.groups) > maxGroups {
		b.groups = byPath(b.groups)
		s.GroupedBy = "repository path"
	}

	s.Groups = sorted(b.groups, func(a, b GroupCount) int {
		return cmp.Or(b.Refused-a.Refused, b.Undecided-a.Undecided, b.Images-a.Images, strings.Compare(a.Name, b.Name))
	})
	s.Upcoming = sorted(b.upcoming, func(a, b attestor.Upcoming) int {
		return cmp.Or(strings.Compare(a.EffectiveFrom, b.EffectiveFrom), strings.Compare(a.Owner, b.Owner))
	})
	s.Bases = sorted(b.bases, func(a, b BaseCount) int {
		return cmp.Or(b.Outdated-a.Outdated, b.Images-a.Images, strings.Compare(a.Name, b.Name))
	})

	b.addUnused()
	for key, e := range b.exceptions { // one that was used by any image is no unused one
		if e.State == ExceptionUnused && slices.ContainsFunc(slices.Collect(maps.Values(b.exceptions)),
			func(o *ExceptionUse) bool { return o.ID == e.ID && o.State != ExceptionUnused }) {
			delete(b.exceptions, key)
		}
	}

	order := []string{ExceptionExpired, ExceptionExpiring, ExceptionUnused, ExceptionInUse}
	s.Exceptions = sorted(b.exceptions, func(a, b ExceptionUse) int {
		return cmp.Or(slices.Index(order, a.State)-slices.Index(order, b.State), strings.Compare(a.Expires, b.Expires),
			strings.Compare(a.ID, b.ID), strings.Compare(a.Owner, b.Owner))
	})

	for i, name := range ageNames {
		s.Ages = append(s.Ages, AgeCount{Age: name, Counts: b.ages[i]})
	}

	s.Rows = b.first(b.o.MaxRows)
	s.Trend = trend(b.days)
	s.Policies = b.policyTrends(s.Trend)

	if b.o.Previous != nil {
		s.Change = change(*b.o.Previous, s)
	}

	return s
}

// maxGroups is where repositories are too many to be read one by one.
const maxGroups = 40

// byPath joins the repositories of one path.
func byPath(repos map[string]*GroupCount) map[string]*GroupCount {
	out := map[string]*GroupCount{}
	for name, r := range repos {
		if i := strings.LastIndex(name, "/"); i > 0 {
			name = name[:i] + "/*"
		}

		g := entry(out, name)
		g.Name = name
		g.Images, g.Passed, g.Refused = g.Images+r.Images, g.Passed+r.Passed, g.Refused+r.Refused
		g.Undecided, g.Fixable = g.Undecided+r.Undecided, g.Fixable+r.Fixable
	}

	return out
}

func sorted[K comparable, V any](m map[K]*V, compare func(a, b V) int) []V {
	out := make([]V, 0, len(m))
	for _, v := range m {
		out = append(out, *v)
	}

	slices.SortFunc(out, compare)

	return out
}
