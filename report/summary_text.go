package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/page"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/internal/when"
)

// counts is the line beneath the headline.
func (s Summary) counts() string {
	refused := "refused"
	if s.DryRun {
		refused = "would be refused"
	}

	line := fmt.Sprintf("%s pass (%s), %s %s, %s could not be decided", page.Number(s.Passed),
		page.Shares(s.Passed, s.Refused, s.Undecided)[0],
		page.Number(s.Refused), refused, page.Number(s.Undecided))
	if s.Revoked > 0 {
		line += "; the attestations of " + page.Plural(s.Revoked, "decision") + " were revoked since"
	}
	return line
}

// upcomingLine says how many images a day ahead refuses.
func upcomingLine(u attestor.Upcoming) string {
	day := u.EffectiveFrom
	if t, err := when.ParseDate(day); err == nil {
		day = t.Format("2 January 2006")
	}
	return fmt.Sprintf("refused from %s (owner: %s): %s", day, u.Owner, page.Plural(u.Images, "image"))
}

// upcomingCodes lists the codes, those of most images first.
func upcomingCodes(u attestor.Upcoming) string {
	codes := slices.SortedFunc(maps.Keys(u.ByReason), func(a, b attestor.Code) int {
		return cmp.Or(u.ByReason[b]-u.ByReason[a], cmp.Compare(a, b))
	})
	words := make([]string, len(codes))
	for i, c := range codes {
		words[i] = string(c)
	}
	return strings.Join(words, " ")
}

// shownRows is how many lines of a list a text form has.
const shownRows = 15

// summary is the record's headline and its lists.
func (t *terminal) summary(s Summary) {
	for _, b := range s.Overrides {
		t.line(t.paint("BREAK-GLASS  "+plain.Text(b.Image), bold, red))
		t.wrap("  ", plain.Text(fmt.Sprintf("%s, by %s: %s", page.Stamp(b.Time), b.By, b.Reason)))
	}

	t.line(t.paint(s.Headline(), bold))
	t.line(s.counts())

	for _, u := range s.Upcoming {
		t.line(plain.Text(upcomingLine(u)))
	}

	if c := s.Change; c != nil {
		t.line(fmt.Sprintf("since %s: %s newly refused, %d newly passing", page.Day(c.Since),
			page.Plural(len(c.NewlyRefused), "repository"), len(c.NewlyPassing)))
	}

	t.list("WHAT TO FIX FIRST", []string{"CLEARS", "OF", "FIX"}, rows(s.Fixes, func(f FixCount) []string {
		return []string{page.Number(f.Clears), page.Number(f.Images), f.Fix}
	}))
	t.list("WHY", []string{"IMAGES", "REASON", "MEANS"}, rows(s.Reasons, func(r ReasonCount) []string {
		return []string{page.Number(r.Images), string(r.Code), r.Means}
	}))
	t.list(
		"REFUSED LATER",
		[]string{"FROM", "IMAGES", "OWNER", "REASONS"},
		rows(s.Upcoming, func(u attestor.Upcoming) []string {
			return []string{u.EffectiveFrom, page.Number(u.Images), u.Owner, upcomingCodes(u)}
		}),
	)
	t.list("BASES", []string{"IMAGES", "OUTDATED", "BASE"}, rows(s.Bases, func(b BaseCount) []string {
		return []string{page.Number(b.Images), page.Number(b.Outdated), baseName(b)}
	}))
	t.list("EXCEPTIONS", []string{"STATE", "UNTIL", "WHAT"}, rows(s.Exceptions, func(e ExceptionUse) []string {
		return []string{e.State, e.Expires, e.ID + " (" + e.Owner + ")"}
	}))

	if p := s.Posture; p != nil {
		t.line()
		t.line(t.paint("SERVICES AND JOBS", bold), "  ", plain.Text(p.Headline()))
		t.list(
			"CONTROLS",
			[]string{"REFUSED", "WARNED", "NOT JUDGED", "CONTROL", "OWNERS"},
			rows(p.Controls, func(c PostureControl) []string {
				return []string{page.Number(c.Refused), page.Number(c.Warned), page.Number(c.Skipped),
					c.Rule, c.ownersText()}
			}),
		)
	}
}

// list is a titled table, indented.
func (t *terminal) list(title string, head []string, rows [][]string) {
	if len(rows) == 0 {
		return
	}

	table := Table{Rows: rows[:min(len(rows), shownRows)]}
	for _, name := range head {
		table.Columns = append(table.Columns, Column{Name: name})
	}

	t.line()
	t.line(t.paint(title, bold))

	for i, line := range table.aligned() {
		line = "  " + line
		if i == 0 {
			line = t.paint(line, dim)
		}

		t.line(line)
	}

	// What is left out is counted: a list that ends silently would look whole.
	if more := len(rows) - shownRows; more > 0 {
		t.line("  ", t.paint(fmt.Sprintf("… and %d more", more), dim))
	}
}

func baseName(b BaseCount) string {
	if b.Name == "" {
		return "no approved base"
	}
	return b.Name
}

func rows[T any](list []T, row func(T) []string) [][]string {
	out := make([][]string, 0, len(list))
	for _, v := range list {
		out = append(out, row(v))
	}

	return out
}
