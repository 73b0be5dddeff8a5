package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/page"
)

// A Builder sums up what it is given piece by piece, as a sweep finds it. It
// is for one goroutine.
type Builder struct {
	o          SummaryOptions
	s          Summary
	images     map[string]int // by canonical reference
	events     []event
	fixes      map[string]*FixCount
	reasons    map[attestor.Code]*ReasonCount
	groups     map[string]*GroupCount
	bases      map[string]*BaseCount
	behind     map[string]int
	ages       [len(ageNames)]map[attestor.Severity]int
	exceptions map[string]*ExceptionUse
	upcoming   attestor.UpcomingCounts
}

// event is one decision, for the trend.
type event struct {
	at      time.Time
	image   int
	verdict attestor.Outcome
	counts  [6]int // by attestor.Severities
}

// NewBuilder returns an empty Builder.
func NewBuilder(o SummaryOptions) *Builder {
	b := &Builder{
		o: o, images: map[string]int{}, fixes: map[string]*FixCount{}, reasons: map[attestor.Code]*ReasonCount{},
		groups: map[string]*GroupCount{}, bases: map[string]*BaseCount{}, behind: map[string]int{},
		exceptions: map[string]*ExceptionUse{},
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
	b.s.Decisions++
	b.s.Emulated = b.s.Emulated || d.Emulated

	// One refusal that took effect is enough for "were refused".
	if describe.Outcome(d) == attestor.Deny && !d.DryRun && !describe.Overridden(d) {
		b.s.DryRun = false
	}
	if b.s.Until.IsZero() || d.Time.After(b.s.Until) {
		b.s.Until = d.Time.UTC()
	}
	if b.s.Since.IsZero() || d.Time.Before(b.s.Since) {
		b.s.Since = d.Time.UTC()
	}
	if d.Revoked != nil {
		b.s.Revoked++
	}
	if g := d.BreakGlass; g != nil {
		b.s.Overrides = append(b.s.Overrides, page.Override{
			ID: d.ID, Image: describe.Name(d), By: g.By, Reason: g.Reason, Time: d.Time.UTC(), Expires: g.Expires,
		})
	}

	// An image counts by its newest decision: an old pass says nothing about an
	// image that was refused since, nor an old refusal about one that was mended.
	name := describe.Name(d)
	i, seen := b.images[name]
	if !seen {
		i = len(b.images)
		b.images[name] = i
		b.image(r)
	}

	e := event{at: d.Time, image: i, verdict: describe.Outcome(d)}
	counts := severities(d)
	for j, level := range attestor.Severities() {
		e.counts[j] = counts[level]
	}

	b.events = append(b.events, e)
}

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

// image counts the newest decision on an image.
func (b *Builder) image(r attestor.Record) {
	d := r.Decision
	counts := severities(d)
	row := Row{
		ID: d.ID, Time: d.Time.UTC(), Image: describe.Name(d), Repository: describe.Repository(d),
		Requested: d.Image.Requested,
		Verdict:   describe.Outcome(d), Overridden: describe.Overridden(d), Critical: counts[attestor.Critical],
		High: counts[attestor.High],
	}
	if d.Policy != nil {
		row.Policy = d.Policy.Name
	}

	for _, p := range d.Platforms {
		row.Fixable = max(row.Fixable, p.Scan.Fixable)

		if row.Base == "" {
			row.Base = p.Base.Name
		}

		row.Outdated = row.Outdated || p.Base.Name != "" && !p.Base.Current
	}

	b.refusals(d, &row)
	b.count(row, label(r, b.o.GroupBy))
	b.base(r, row)
	b.findings(r)
	b.excused(d)
	b.upcoming.Add(row.Image, d.Upcoming())
	b.s.Rows = append(b.s.Rows, row)
}

// refusals counts reasons and fixes, each once for an image.
func (b *Builder) refusals(d attestor.Decision, row *Row) {
	fixes := map[string]attestor.Code{}
	perCode := map[attestor.Code]int{}
	without := false
	for _, f := range describe.Findings(d, attestor.Refuses) {
		row.Codes = describe.AppendNew(row.Codes, string(f.Code))
		perCode[f.Code] += f.Count

		// A refusal without a fix stays after all fixes are applied: none of them
		// then clears the image.
		if f.Fix == "" {
			without = true
			continue
		}
		if row.Fix == "" {
			row.Fix = f.Fix
		}
		if _, ok := fixes[f.Fix]; !ok {
			fixes[f.Fix] = f.Code
		}
	}

	for c, n := range perCode {
		r := entry(b.reasons, c)
		r.Code = c
		r.Images++
		r.Count += n
	}

	for fix, c := range fixes {
		f := entry(b.fixes, fix)
		f.Fix = fix

		if f.Code == "" || c < f.Code {
			f.Code = c
		}

		f.Images++

		if len(fixes) == 1 && !without {
			f.Clears++
		}
	}
}

func entry[K comparable, V any](m map[K]*V, k K) *V {
	if m[k] == nil {
		m[k] = new(V)
	}
	return m[k]
}

func (b *Builder) count(row Row, group string) {
	if b.o.GroupBy == "" {
		group = row.Repository
	}

	g := entry(b.groups, group)
	g.Name = group
	g.Images++
	g.Fixable += row.Fixable
	b.s.Images++

	// Passed counts only the verdict pass; any other, and an unknown one, counts as
	// refused. The three figures add up to the number of images.
	switch row.Verdict {
	case attestor.Pass:
		b.s.Passed++
		g.Passed++
	case attestor.Undecided:
		b.s.Undecided++
		g.Undecided++
	default:
		b.s.Refused++
		g.Refused++
	}
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

func (b *Builder) base(r attestor.Record, row Row) {
	if len(r.Decision.Platforms) == 0 {
		return // never inspected
	}

	c := entry(b.bases, row.Base)
	c.Name = row.Base
	c.Images++

	if row.Verdict != attestor.Pass {
		c.Refused++
	}
	if !row.Outdated {
		return
	}

	c.Outdated++

	for _, p := range r.Decision.Platforms {
		var days int
		if _, err := fmt.Sscanf(p.Base.Behind, "%dd", &days); err == nil && days > b.behind[row.Base] {
			b.behind[row.Base] = days
			c.Behind = fmt.Sprintf("%dd", days)
		}
	}

	// The figure is an upper bound: a newer base may have findings of its own.
	clears := 0
	for _, p := range r.Evidence.Platforms {
		clears = max(clears, inBase(p))
	}

	c.Clears += clears
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

	const day = 24 * time.Hour
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

// findings counts those of the platform that has most.
func (b *Builder) findings(r attestor.Record) {
	var worst []attestor.Vulnerability
	for _, p := range r.Evidence.Platforms {
		if len(p.Scan.Findings) > len(worst) {
			worst = p.Scan.Findings
		}
	}

	for _, v := range worst {
		level := v.Severity
		if !level.Known() {
			level = attestor.Unspecified
		}

		b.ages[age(v.Published, b.o.Now)][level]++
	}
}

// The states of an exception.
const (
	ExceptionInUse    = "in use"
	ExceptionExpiring = "expiring"
	ExceptionExpired  = "expired"
	ExceptionUnused   = "unused"
)

const expiringWithin = 30 * 24 * time.Hour

func (b *Builder) excused(d attestor.Decision) {
	here := map[string]bool{}
	for _, c := range d.Checks {
		for _, a := range c.Exceptions {
			key := strings.Join([]string{a.ID, a.Owner, a.Expires, a.Reason}, "\x00")
			e := entry(b.exceptions, key)
			e.ID, e.Owner, e.Reason, e.Expires = a.ID, a.Owner, a.Reason, a.Expires
			e.State = b.state(a)

			if !here[key] {
				e.Images++
			}

			here[key] = true
		}
		for _, r := range c.Reasons {
			if r.Code == attestor.CodeExceptionStale {
				e := entry(b.exceptions, "unused\x00"+r.Subject)
				e.ID, e.Reason, e.State = r.Subject, r.Message, ExceptionUnused
			}
		}
	}
}

func (b *Builder) state(a attestor.AppliedException) string {
	expires, err := time.Parse(time.DateOnly, a.Expires)
	switch {
	case a.Expired:
		return ExceptionExpired
	case err == nil && expires.Sub(b.o.Now) < expiringWithin:
		return ExceptionExpiring
	}

	return ExceptionInUse
}

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
	s.Fixes = sorted(b.fixes, func(a, b FixCount) int {
		return cmp.Or(b.Clears-a.Clears, b.Images-a.Images, strings.Compare(a.Fix, b.Fix))
	})
	s.Reasons = sorted(b.reasons, func(a, b ReasonCount) int {
		return cmp.Or(b.Images-a.Images, b.Count-a.Count, strings.Compare(string(a.Code), string(b.Code)))
	})

	if b.o.GroupBy == "" && len(b.groups) > maxGroups {
		b.groups = byPath(b.groups)
		s.GroupedBy = "repository path"
	}

	s.Groups = sorted(b.groups, func(a, b GroupCount) int {
		return cmp.Or(b.Refused-a.Refused, b.Undecided-a.Undecided, b.Images-a.Images, strings.Compare(a.Name, b.Name))
	})
	s.Upcoming = b.upcoming.List()
	s.Bases = sorted(b.bases, func(a, b BaseCount) int {
		return cmp.Or(b.Outdated-a.Outdated, b.Images-a.Images, strings.Compare(a.Name, b.Name))
	})

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

	slices.SortStableFunc(s.Rows, func(x, y Row) int { // within a rank newest first, as they came
		return rank(x) - rank(y)
	})
	s.Trend = trend(b.events, len(b.images))

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

// rank puts first what needs somebody.
func rank(r Row) int {
	switch {
	case r.Overridden:
		return 0
	case r.Verdict == attestor.Pass:
		return 3
	case r.Verdict == attestor.Undecided:
		return 2
	}

	return 1
}
