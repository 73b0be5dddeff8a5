package report

import (
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/page"
	"github.com/attestor-gate/attestor/internal/plain"
)

// summary is the record's headline and its lists.
func (m markdown) summary(s Summary) {
	m.p("## %s\n\n", plain.Markdown(s.Headline()))

	for _, o := range s.Overrides {
		m.p("> 🚨 **Break-glass:** %s, by %s on %s: %s\n\n", plain.Code(o.Image), plain.Markdown(o.By),
			page.Stamp(o.Time),
			plain.Markdown(o.Reason))
	}

	m.p("%s\n", plain.Markdown(s.counts()))
	for _, u := range s.Upcoming {
		m.p("\n%s\n", plain.Markdown(upcomingLine(u)))
	}

	if c := s.Change; c != nil {
		m.p("\nSince %s: %s newly refused, %d newly passing, %d new, %d gone.\n",
			page.Day(c.Since), page.Plural(len(c.NewlyRefused), "repository"), len(c.NewlyPassing), c.New, c.Gone)
		for _, r := range c.NewlyRefused[:min(len(c.NewlyRefused), shownRows)] {
			m.p("- ❌ %s\n", plain.Code(r.Repository))
		}
	}

	for _, t := range s.markdownTables() {
		m.table(t, shownRows)
	}

	if p := s.Posture; p != nil {
		m.p("\n### Services and jobs\n\n%s.\n", plain.Markdown(p.Headline()))
		m.table(p.markdownTable(), shownRows)
	}
}

func (s Summary) markdownTables() []Table {
	open := slices.DeleteFunc(slices.Clone(s.Exceptions),
		func(e ExceptionUse) bool { return e.State == ExceptionInUse })
	refused := slices.DeleteFunc(slices.Clone(s.Rows), func(r Row) bool { return r.Verdict == attestor.Pass })

	tables := []Table{
		{"What to fix first", []Column{{"Fix", Words}, {"Clears", Words}, {"Of images", Words}},
			rows(s.Fixes, func(f FixCount) []string {
				return []string{f.Fix, page.Number(f.Clears), page.Number(f.Images)}
			}), 0},
		{"Why images do not pass", []Column{{"Reason", Code}, {"Means", Words}, {"Images", Words}},
			rows(s.Reasons, func(r ReasonCount) []string {
				return []string{string(r.Code), r.Means, page.Number(r.Images)}
			}), 0},
		{"Refused later", []Column{{"From", Words}, {"Images", Words}, {"Owner", Words}, {"Reasons", Code}},
			rows(s.Upcoming, func(u attestor.Upcoming) []string {
				return []string{u.EffectiveFrom, page.Number(u.Images), u.Owner, upcomingCodes(u)}
			}), 0},
		{"By base image", []Column{{"Base", Words}, {"Images", Words}, {"Outdated", Words},
			{"A rebuild may clear", Words}},
			rows(s.Bases, func(c BaseCount) []string {
				return []string{baseName(c), page.Number(c.Images), page.Number(c.Outdated),
					page.Plural(c.Clears, "finding")}
			}), 0},
		{"Exceptions that need somebody", []Column{{"What", Words}, {"State", Words}, {"Owner", Words},
			{"Until", Words}},
			rows(open, func(e ExceptionUse) []string { return []string{e.ID, e.State, e.Owner, e.Expires} }), 0},
		{"Images that do not pass", []Column{{"Image", Code}, {"Reasons", Code}}, rows(refused, func(r Row) []string {
			return []string{r.Image, strings.Join(r.Codes, " ")}
		}), 0},
	}

	// The summary may have only the first images.
	tables[len(tables)-1].Left = s.Refused + s.Undecided - len(refused)
	return tables
}

func (p Posture) markdownTable() Table {
	return Table{
		"Controls", []Column{{"Control", Code}, {"Refused", Words}, {"Warned", Words}, {"Not judged", Words},
			{"Owners", Words}, {"Fix", Words}},
		rows(p.Controls, func(c PostureControl) []string {
			return []string{c.Rule, page.Number(c.Refused), page.Number(c.Warned), page.Number(c.Skipped),
				c.ownersText(), c.Fix}
		}), 0,
	}
}
