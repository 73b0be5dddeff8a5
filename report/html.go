package report

import (
	"bufio"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/page"
	"github.com/attestor-gate/attestor/internal/tally"
)

//go:embed report.html
var htmlText string

// maxTable is how many images the table of a page has, so that a page stays below two
// megabytes.
const maxTable = 2000

// writeHTML writes a summary as one self-contained page: nothing is loaded
// from elsewhere, and it reads without its script.
func writeHTML(w io.Writer, d Document, o Options) error {
	// An address such as javascript:… would become a link in a page that people
	// trust, so that an unusable one is an error and not left out.
	links, err := linkBase(o)
	if err != nil {
		return err
	}

	s := *d.Summary
	s.Rows = s.Rows[:min(len(s.Rows), maxTable)]

	head := page.Head{Title: s.Headline(), Note: "as of " + page.Stamp(s.Made), File: !o.Page, Script: true}
	head.Foot = "An image counts by its newest decision. A finding counts once for an image, and for an index by its " +
		"worst platform; severe ones are critical and high. Times are UTC."

	if o.Page {
		head.Nav = page.Nav("/report")
	}

	t, err := page.Parse("report", htmlText+postureHTML, template.FuncMap{
		"link": func(id string) string {
			if links == "" && !o.Page {
				return ""
			}
			return links + "/decisions/" + url.PathEscape(id)
		},
		"last":  func(t []TrendPoint) int { return len(t) - 1 },
		"first": func(c []ChangedRow) []ChangedRow { return c[:min(changedShown, len(c))] },
		"rest":  func(c []ChangedRow) []ChangedRow { return c[min(changedShown, len(c)):min(1000, len(c))] },
		"rank":  tally.Rank, "tag": tagOf,
		"add": func(parts ...int) (sum int) {
			for _, n := range parts {
				sum += n
			}
			return sum
		},
	})
	if err != nil {
		return err
	}

	// html/template escapes by context; page.Clean also escapes the characters that
	// reorder or hide text, which html/template leaves as they are.
	b := bufio.NewWriterSize(page.Clean(w), 64<<10)
	v := view{Head: head, Summary: s, Page: o.Page, Search: o.Search, Policies: o.Policies, From: o.Since,
		Remark: o.Remark}
	if err := t.ExecuteTemplate(b, "report", v); err != nil {
		return err
	}

	return b.Flush()
}

// linkBase accepts http and https only.
func linkBase(o Options) (string, error) {
	if o.Page || o.Links == "" {
		return "", nil
	}

	// A user or a query would stand in every link of the page.
	u, err := url.Parse(o.Links)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" {
		return "", &attestor.Error{Kind: attestor.Invalid, Fix: "use https://HOST",
			Msg: fmt.Sprintf("%q is not the address of a service", clip(o.Links))}
	}

	return strings.TrimSuffix(u.String(), "/"), nil
}

// view is what the template sees.
type view struct {
	Head page.Head
	Summary
	Page     bool              // has a form, and links to the lists of what it counts
	Search   map[string]string // the filters of the report
	Policies []string          // to choose from
	From     string            // from when it counts; "" for the filter's own
	Remark   string            // why the filters probably select nothing; "" for no reason
}

// Narrowed are the filters that the form has no field for.
func (v view) Narrowed() []page.Narrowed {
	return page.Narrow("/report", v.Search, "verdict", "policy", "repository", "owner", "since", "until")
}

// Download is the address of the report's decisions as a file.
func (v view) Download(format string) string {
	return "/report?" + page.Query(v.Search, "format", format)
}

// More is how many images are not in the table.
func (v view) More() int { return v.Images - len(v.Rows) }

// defaultPeriod is what a page's report covers where its reader names no beginning.
const defaultPeriod = "30d"

// List is the address of the decisions that a number of the report counts: those of
// its filters, with further ones, in pairs of name and value. "" for a file.
func (v view) List(pairs ...any) string {
	// Decisions have no owner of their own: images have, by their newest.
	if v.Search[ownerParameter] != "" {
		return ""
	}
	return v.opens("/decisions", pairs)
}

// ownerParameter is the filter of the page of a report that only images have.
const ownerParameter = "owner"

// ImageList is the address of the images that a number of the report counts.
func (v view) ImageList(pairs ...any) string { return v.opens("/images", pairs) }

func (v view) opens(path string, pairs []any) string {
	if !v.Page {
		return ""
	}
	search := map[string]string{"since": defaultPeriod}
	maps.Copy(search, v.Search)

	// A duration means another instant in each link's list, so that the beginning is named.
	if v.From != "" {
		search["since"] = v.From
	}
	further := make([]string, 0, len(pairs))
	for _, p := range pairs {
		further = append(further, fmt.Sprint(p))
	}
	return path + "?" + page.Query(search, further...)
}

// Headline is the summary in a sentence.
func (s Summary) Headline() string {
	refused := "were refused"
	if s.DryRun {
		refused = "would be refused"
	}

	// "All pass" is said only if passed equals the number of images. Undecided images
	// are named before refusals are counted as none.
	switch {
	case s.Images == 0:
		return "No image has been judged"
	case s.Passed == s.Images && s.Images == 1:
		return "The one image passes"
	case s.Passed == s.Images:
		return fmt.Sprintf("All %s images pass", page.Number(s.Images))
	case s.Refused == 0:
		return fmt.Sprintf("%s of %s could not be decided", page.Number(s.Undecided), page.Plural(s.Images, "image"))
	}

	if s.Refused == 1 && !s.DryRun {
		refused = "was refused"
	}

	return fmt.Sprintf("%s of %s %s", page.Number(s.Refused), page.Plural(s.Images, "image"), refused)
}

// RefusedWord is what refusing means in this report.
func (v view) RefusedWord() string {
	if v.DryRun {
		return "would be refused"
	}
	return "refused"
}

// A tag is a verdict in a table: its class, a mark that needs no colour, a word.
type tag struct{ Class, Mark, Word string }

func tagOf(r Row) tag {
	switch r.Verdict {
	case attestor.Pass:
		return tag{"pass", "✓", "passed"}
	case attestor.Undecided:
		return tag{"error", "?", "undecided"}
	}

	return tag{"deny", "✕", "refused"}
}

// NotPassing is what the fixes are about.
func (v view) NotPassing() int { return v.Refused + v.Undecided }

// VerdictBar is the headline as a bar, for pages.
func (s Summary) VerdictBar() template.HTML {
	return page.VerdictBar("bar", s.Images, s.Passed, s.Undecided, s.Refused)
}

// Bar is a group as a bar.
func (g GroupCount) Bar() template.HTML {
	return page.VerdictBar("cellbar", g.Images, g.Passed, g.Undecided, g.Refused)
}

// FixBar is how many of the images that do not pass a fix is part of.
func (v view) FixBar(f FixCount) template.HTML {
	return page.Bar("cellbar", v.Refused+v.Undecided, page.Segment{Class: "f-pass", N: f.Clears},
		page.Segment{Class: "f-error", N: f.Images - f.Clears})
}

// BaseBar is a base against the most used one.
func (v view) BaseBar(b BaseCount) template.HTML {
	most := 0
	for _, o := range v.Bases {
		most = max(most, o.Images)
	}

	if b.Name == "" {
		return page.Bar("cellbar", most, page.Segment{Class: "f-deny", N: b.Images})
	}

	return page.Bar("cellbar", most, page.Segment{Class: "f-pass", N: b.Images - b.Outdated},
		page.Segment{Class: "f-error", N: b.Outdated})
}

// AgeBar is findings of one age by severity.
func (v view) AgeBar(a AgeCount) template.HTML {
	most := 0
	for _, o := range v.Ages {
		most = max(most, o.Total())
	}

	return page.Bar("cellbar", most, bySeverity(a.Counts)...)
}

// Total is the findings of one age.
func (a AgeCount) Total() int {
	n := 0
	for _, c := range a.Counts {
		n += c
	}

	return n
}

// AgesKnown reports whether there was evidence to count from.
func (v view) AgesKnown() bool {
	for _, a := range v.Ages {
		if a.Total() > 0 {
			return true
		}
	}
	return false
}

func bySeverity(counts map[attestor.Severity]int) []page.Segment {
	var out []page.Segment
	for _, level := range attestor.Severities() {
		out = append(out, page.Segment{Class: "f-" + string(level), N: counts[level]})
	}

	return out
}

func (p TrendPoint) share() string { return page.Shares(p.Passed, p.Refused, p.Undecided)[0] }

// Share is for the template.
func (p TrendPoint) Share() string { return p.share() }

// perImage is how many findings of a severity the image of an average decision had, in
// hundredths.
func (p TrendPoint) perImage(level attestor.Severity) int {
	return p.Findings[level] * 100 / max(p.Passed+p.Refused+p.Undecided, 1)
}

func (p TrendPoint) allPerImage() int {
	n := 0
	for _, level := range attestor.Severities() {
		n += p.perImage(level)
	}

	return n
}

func hundredths(n int) string { return fmt.Sprintf("%.1f", float64(n)/100) }

func (v view) findingsTop() int {
	top := 0
	for _, p := range v.Trend {
		top = max(top, p.allPerImage())
	}

	return top
}

// FindingsTop is the most findings an average image had at any time.
func (v view) FindingsTop() string { return hundredths(v.findingsTop()) }

// FindingsChart is findings of an average image by severity, over time.
func (v view) FindingsChart() template.HTML {
	columns := make([]page.Column, 0, len(v.Trend))
	for _, p := range v.Trend {
		c := page.Column{Label: fmt.Sprintf("%s: %s for an average decision, %s critical, %s high",
			page.Day(p.Day), hundredths(p.allPerImage()),
			hundredths(p.perImage(attestor.Critical)), hundredths(p.perImage(attestor.High)))}
		for _, level := range attestor.Severities() {
			c.Segments = append(c.Segments, page.Segment{Class: "f-" + string(level), N: p.perImage(level)})
		}

		columns = append(columns, c)
	}

	first, last := v.Trend[0], v.Trend[len(v.Trend)-1]
	return page.Columns(fmt.Sprintf("Findings of an average decision: %s on %s, %s on %s.",
		hundredths(first.allPerImage()), page.Day(first.Day), hundredths(last.allPerImage()), page.Day(last.Day)),
		v.findingsTop(), columns)
}

// Some of the lists are long; the rest of them is folded away.
const folded, changedShown = 12, 8

// A linked number has the address of what it counts, or "".
type linked struct {
	List string
	N    int
}

// Counted is a number with the list of the images that it counts.
func (v view) Counted(n int, pairs ...any) linked {
	if n == 0 {
		return linked{"", n}
	}
	return linked{v.ImageList(pairs...), n}
}

// CountedDecisions is a number with the list of the decisions that it counts.
func (v view) CountedDecisions(n int, pairs ...any) linked {
	if n == 0 {
		return linked{"", n}
	}
	return linked{v.List(pairs...), n}
}

// PolicyFigures are the policies' decisions over time.
func (v view) PolicyFigures() []page.PolicyFigure { return v.policyFigures() }

// DayChart is all decisions over time.
func (v view) DayChart() template.HTML { return page.VerdictColumns("Decisions", points(v.Trend)) }

// DayTop is the most decisions at any time.
func (v view) DayTop() int { return page.Top(points(v.Trend)) }

// EndedOverrides is how many overrides admit nothing any more.
func (v view) EndedOverrides() int { return len(v.Overrides) - len(page.Open(v.Overrides)) }

// A group is a [GroupCount] with the parameter that selects its images, or "".
type group struct {
	GroupCount
	Parameter string
}

// CountedOf is a number of a group with the list of the images that it counts.
func (v view) CountedOf(g group, n int, pairs ...any) linked {
	if g.Parameter == "" {
		return linked{"", n}
	}
	return v.Counted(n, append(pairs, g.Parameter, g.Name)...)
}

func (v view) grouped(groups []GroupCount) []group {
	out := make([]group, 0, len(groups))
	for _, g := range groups {
		parameter := ""
		if strings.HasPrefix(v.GroupedBy, "repository") && g.Name != "" {
			parameter = "repository"
		}
		out = append(out, group{g, parameter})
	}
	return out
}

// A groupTable is a table of groups of a report.
type groupTable struct {
	View   view
	Groups []group
}

// GroupTable is for the template, which passes one value.
func (v view) GroupTable(groups []group) groupTable { return groupTable{v, groups} }

// An exceptionTable is a table of exceptions of a report.
type exceptionTable struct {
	View       view
	Title      string
	Exceptions []ExceptionUse
}

// ExceptionTable is for the template, which passes one value.
func (v view) ExceptionTable(title string, all []ExceptionUse) exceptionTable {
	return exceptionTable{v, title, all}
}

// maxOverrides is how many overrides a page lists.
const maxOverrides = 100

// FirstOverrides are the newest.
func (v view) FirstOverrides() []page.Override {
	return v.Overrides[:min(maxOverrides, len(v.Overrides))]
}

// MoreOverrides is how many are not among them.
func (v view) MoreOverrides() int { return max(0, len(v.Overrides)-maxOverrides) }

// FirstGroups and RestGroups are the groups, in two parts.
func (v view) FirstGroups() []group { return v.grouped(v.Groups[:min(folded, len(v.Groups))]) }

// RestGroups are those that are folded away, and at most a thousand of them:
// the table of images has every one.
func (v view) RestGroups() []group {
	return v.grouped(v.Groups[min(folded, len(v.Groups)):min(1000, len(v.Groups))])
}

// FirstFixes are those worth reading in a meeting.
func (v view) FirstFixes() []FixCount { return v.Fixes[:min(folded, len(v.Fixes))] }

// RestFixes are folded away, and at most two hundred.
func (v view) RestFixes() []FixCount {
	return v.Fixes[min(folded, len(v.Fixes)):min(200, len(v.Fixes))]
}

// chunk is how many rows the browser lays out together; see table.js.
const chunk = 100

// Chunks are the rows in bodies of a table.
func (v view) Chunks() [][]Row { return slices.Collect(slices.Chunk(v.Rows, chunk)) }

// Delta is a difference with its sign.
func (v view) Delta(now, before int) string {
	switch {
	case now > before:
		return "+" + page.Number(now-before)
	case now < before:
		return "−" + page.Number(before-now)
	}

	return "±0"
}
